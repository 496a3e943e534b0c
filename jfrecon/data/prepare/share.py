"""The share of a preparation that one job of an array makes: ``--part=I/N``.

Each job lists all files and makes every N-th block of them, in a folder of its own below ``--out``. Jobs need nothing
of one another: they run at the same time or one by one, on one machine or on many.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from jfrecon.errors import UserError

WRITTEN = re.compile(r'0*([1-9]\d{0,4})/0*([1-9]\d{0,4})', re.ASCII)
FOLDER = re.compile(r'part-(\d{5})-of-(\d{5})', re.ASCII)


class Share(NamedTuple):
    """Part ``number`` of ``of``, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f'{self.number}/{self.of}'

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return f'part-{self.number:05d}-of-{self.of:05d}'

    def has(self, block: int) -> bool:
        """Return whether a block (counted from 0) is one of its own: every ``of``-th."""
        return block % self.of == self.number - 1


WHOLE = Share(1, 1)


def read(text: str) -> Share:
    """Return the share that I/N names.

    Raises:
      UserError: it is not two numbers with 1 <= I <= N <= 99999.
    """
    found = WRITTEN.fullmatch(text)
    if found is None or int(found[1]) > int(found[2]):
        raise UserError(
            f'--part={text} is not I/N with I from 1 to N, as 1/3, 2/3 and 3/3 (N at most 99999); a job array that '
            'counts from 0 adds 1'
        )
    return Share(int(found[1]), int(found[2]))


def place(out: Path, share: Share | None) -> Path:
    """Return the folder for a share below ``--out``, for no share ``--out`` itself.

    Raises:
      UserError: what is there was prepared in another number of parts.
    """
    there = {int(found[2]) for path in out.glob('part-*') if (found := FOLDER.fullmatch(path.name))}
    if share is None:
        if there:
            raise UserError(f"{out} holds parts of a preparation, read as '{out}/*': choose another --out")
        return out
    if (out / 'prepare.json').exists():
        raise UserError(f'{out} holds a preparation without --part: choose another --out')
    if others := there - {share.of}:
        raise UserError(f'{out} holds parts of a preparation in {min(others)}, not in {share.of}: choose another --out')
    return out / share.folder
