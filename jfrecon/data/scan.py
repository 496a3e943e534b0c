"""Files below a folder: those that are wanted by their suffix, and those that are passed over."""

from __future__ import annotations

import collections
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from jfrecon import outputs
from jfrecon.data import images


class Scan(NamedTuple):
    """What is below a folder.

    Attributes:
      wanted: the files with one of the suffixes, sorted.
      others: the other files, sorted, hidden ones among them.
      closed: (path, why nobody looks into it), sorted: links to folders, which may lead in circles, folders that may
        not be read, or that jfrecon filled (`outputs.is_result`), whose pictures are no photographs, and what is not a
        file: a pipe that would block, a link that leads nowhere.
    """

    wanted: list[Path]
    others: list[Path]
    closed: list[tuple[Path, str]]


def scan(folder: Path, suffixes: Collection[str]) -> Scan:
    """Sort everything below a folder. Suffixes are in lower case; those of the files may be in any.

    A hidden file is never wanted: macOS leaves ``._IMG.jpg`` beside ``IMG.jpg``, which is no picture.
    """
    wanted: list[Path] = []
    others: list[Path] = []
    closed: list[tuple[Path, str]] = []
    refuse = lambda error: closed.append((Path(error.filename), f'cannot be read ({error.strerror})'))
    for at, folders, names in os.walk(folder, onerror=refuse):
        closed += [(link, 'a link to a folder') for name in folders if (link := Path(at, name)).is_symlink()]
        results = [name for name in folders if not Path(at, name).is_symlink() and outputs.is_result(Path(at, name))]
        closed += [(Path(at, name), 'results of jfrecon') for name in results]
        folders[:] = [name for name in folders if name not in results]
        for path in (Path(at, name) for name in names):
            if not os.path.isfile(path):
                closed.append((path, 'not a file'))
            elif path.suffix.lower() in suffixes and not path.name.startswith('.'):
                wanted.append(path)
            else:
                others.append(path)
    return Scan(sorted(wanted), sorted(others), sorted(closed))


def passed_over(paths: Iterable[Path]) -> str:
    """'passed over 3 files: 2 .txt, 1 .heic (pip install ...)', the most frequent suffix first; '' for no files."""
    counts = collections.Counter(map(_kind, paths))
    if not counts:
        return ''
    kinds = sorted(counts.items(), key=lambda kind: (-kind[1], kind[0]))
    listed = ', '.join(f'{count} {kind}{_remedy(kind)}' for kind, count in kinds)
    total = counts.total()
    return f'passed over {total} file{"s" if total > 1 else ""}: {listed}'


def _kind(path: Path) -> str:
    return 'hidden' if path.name.startswith('.') else path.suffix.lower() or 'without a suffix'


def _remedy(kind: str) -> str:
    return f' ({images.INSTALL_HEIC})' if kind in images.HEIC and kind not in images.SUFFIXES else ''
