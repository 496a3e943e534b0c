"""Which file a row of a table speaks of. A file is its path: the row may leave out its first folders."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jfrecon.data.landmark_files import OF_ONE
from jfrecon.errors import UserError

FRAME = re.compile(r'(.+)_\d{6}')  # a frame's name: its clip's and its number


class Owner(NamedTuple):
    """The file that a row speaks of, and the picture: the file itself, or a frame ``clip.mp4_000120`` of it."""

    file: str
    picture: str


def owners(files: Sequence[tuple[str, Path]], rows: Iterable[str]) -> dict[str, Owner]:
    """Return row -> the file whose path ends in the row's; rows that fit no file are left out.

    A name that is the row's exactly goes before paths that end in it. Letters with accents are the same composed
    (NFC) and decomposed (NFD, as macOS had it), and so are a suffix in capitals and in small letters, and slashes and
    backslashes. The name of a file with the landmarks of one photograph (`landmark_files.OF_ONE`) stands for any
    suffix.

    Args:
      files: (name, absolute path), see `jfrecon.data.listing.find`.
      rows: names in a table.

    Raises:
      UserError: a row fits two files.
    """
    exact = {name for name, _ in files}
    with_suffix, without = _Index(), _Index()
    for name, path in files:
        for long in (key(name), key(path.as_posix())):
            with_suffix.add(name, long, long == key(name))
            without.add(name, _stem(long), long == key(name))

    def find(text: str) -> str | None:
        if text in exact:
            return text
        alike = key(text).lstrip('/')
        of_one = alike.endswith(OF_ONE)
        found = without.find(_stem(alike)) if of_one else with_suffix.find(alike)
        if len(found) > 1:
            raise UserError(f'{text!r} could be {found[0]!r} or {found[1]!r}: name it with its folders')
        return found[0] if found else None

    owned = {}
    for row in dict.fromkeys(rows):
        if (file := find(row)) is not None:
            owned[row] = Owner(file, file)
        elif (frame := FRAME.fullmatch(row)) and (file := find(frame[1])) is not None:
            owned[row] = Owner(file, file + row[len(frame[1]) :])
    return owned


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(path.stem)) if path.name else name


class _Index:
    """Files by all that their paths end in."""

    def __init__(self) -> None:
        self._whole: dict[str, set[str]] = {}
        self._ends: dict[str, set[str]] = {}

    def add(self, name: str, path: str, whole: bool) -> None:
        if whole:
            self._whole.setdefault(path, set()).add(name)
        folders = path.strip('/').split('/')
        for k in range(len(folders)):
            self._ends.setdefault('/'.join(folders[k:]), set()).add(name)

    def find(self, end: str) -> list[str]:
        return sorted(self._whole.get(end) or self._ends.get(end) or ())


def key(name: str) -> str:
    """Return a name such that names which mean the same file on some system are equal."""
    path = PurePosixPath(unicodedata.normalize('NFC', name).replace('\\', '/'))
    return str(path.with_name(path.stem + path.suffix.casefold()) if path.name else path)
