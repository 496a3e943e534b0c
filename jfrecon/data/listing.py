"""The files that a command is given: what lies in its folders, under names that results and tables know it by."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from jfrecon.data import scan
from jfrecon.errors import UserError
from jfrecon.files import shown

NAMED = 5  # files in a message


class Listing(NamedTuple):
    """Files, and what is passed over.

    Attributes:
      files: (name, path) of each, also of those that are not wanted by their suffix. Names are relative to the folder
        that holds all inputs, with slashes, and printable.
      closed: (name, reason) of what nobody looks into, see `scan.scan`.
    """

    files: list[tuple[str, Path]]
    closed: list[tuple[str, str]]


def find(paths: Sequence[Path], suffixes: Collection[str]) -> Listing:
    """Return all files of a command line in its order, those of a folder sorted, each once.

    Raises:
      UserError: a path does not exist.
    """
    roots = [absolute(path) for path in paths]
    for path in roots:
        if not os.path.lexists(path):
            raise UserError(f'no such file or folder: {shown(path)}')
    common = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in roots]))
    name = lambda path: shown(path.relative_to(common).as_posix())
    files: dict[Path, None] = {}
    closed: list[tuple[str, str]] = []
    for root in roots:
        if root.is_dir():
            below = scan.scan(root, suffixes)
            files |= dict.fromkeys(sorted(below.wanted + below.others))
            closed += [(name(path), why) for path, why in below.closed]
        else:
            files[root] = None
    return Listing([(name(path), path) for path in files], sorted(set(closed)))


def absolute(path: Path) -> Path:
    """Return a path from the root on, without `..`; links stay as they are named."""
    return Path(os.path.abspath(path))


def first(names: Sequence[str]) -> str:
    """Return the first names, and how many there are beside."""
    more = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
    return ', '.join(names[:NAMED]) + more
