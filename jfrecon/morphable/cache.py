"""Arrays that take long to compute and depend on nothing but their inputs, kept between runs."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jfrecon import files


def fingerprint(arrays: Iterable[np.ndarray], sources: Iterable[Path]) -> str:
    """Hash of arrays and of the modules that compute with them: changed code never meets an old result."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f'{array.dtype}{array.shape}'.encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    for source in sorted(sources):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:32]


def arrays(name: str, key: str, build: Callable[[], tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """What ``build`` returns, from the cache where it is there.

    A file that is damaged is built again; a folder that cannot be written costs time, not the result. Processes that
    start together never read half a file.
    """
    file = files.cache() / f'{name}-{key}.npz'
    try:
        with np.load(file, allow_pickle=False) as data:
            return tuple(data[f'a{i}'] for i in range(len(data.files)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    result = build()
    try:
        with files.replacing(file) as unfinished, unfinished.open('wb') as out:
            named: dict[str, Any] = {f'a{i}': array for i, array in enumerate(result)}
            np.savez(out, **named)
    except OSError:
        pass
    return result
