"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def cache() -> Path:
    """Return the cache folder: ``$JFRECON_CACHE``, else ``$XDG_CACHE_HOME/jfrecon``, else ``~/.cache/jfrecon``."""
    chosen = os.environ.get('JFRECON_CACHE')
    return Path(chosen) if chosen else Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'jfrecon'


@contextlib.contextmanager
def replacing(path: str | Path, suffix: str = '.tmp') -> Iterator[Path]:
    """Give a path beside the final name, and rename in the end: a kill or a full disk leaves the old file or none.

    suffix: of the path, for libraries that go by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'{path.name}.{os.getpid()}{suffix}')
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        if error.filename is None:  # of a full disk
            error.filename = os.fspath(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file, see `replacing`."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """`write_bytes` of UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, content: Any) -> None:
    """`write_text` of indented JSON."""
    write_text(path, json.dumps(content, indent=2) + '\n')


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content; of a folder, that of the names and contents of all files below it."""
    if path.is_dir():
        whole = hashlib.sha256()
        for inner in sorted(inner for inner in path.rglob('*') if inner.is_file()):
            whole.update(f'{shown(inner.relative_to(path))}\0{digest(inner)}\n'.encode())
        return whole.hexdigest()
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def shown(path: str | Path) -> str:
    """Return a path as text that any file and terminal can hold, on one line, whatever bytes the file is called by."""
    text = os.fsencode(path).decode('utf-8', 'backslashreplace')
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)
