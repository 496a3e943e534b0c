"""Numeric arrays of MATLAB files, whose tags are looked at before SciPy follows them.

SciPy 1.17 ends the process where a damaged file names a type of numbers that does not exist.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scipy.io import loadmat

ORDERS = {b'IM': '<', b'MI': '>'}
NUMBERS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13})  # types of data, miINT8 to miUINT64 without what is reserved
CLASSES = frozenset(range(6, 16))  # mxDOUBLE to mxUINT64
MATRIX, COMPRESSED = 14, 15
OPAQUE = 17  # class of MATLAB's objects, which are without dimensions
COMPLEX = 0x800
HEAD = 4096  # bytes of a matrix in which its name and the type of its numbers stand


def read(path: Path, *names: str) -> dict[str, Any]:
    """What `scipy.io.loadmat` finds of variables of these names, real arrays, in a file of version 5 to 7.

    Raises:
      OSError: it cannot be read.
      ValueError: it is of another version, damaged, or holds something else by one of the names. Damage beyond the tags
        makes SciPy raise anything.
    """
    with open(path, 'rb') as file:
        header = file.read(128)
        order = ORDERS.get(header[126:])
        if order is None:
            raise ValueError('not a MATLAB file of version 5 to 7')
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f'{order}II', tag)
            following = file.tell() + size
            head = file.read(min(size, HEAD))
            if kind == COMPRESSED:
                head = zlib.decompressobj().decompress(head, HEAD)
                kind, head = struct.unpack(f'{order}I', head[:4])[0], head[8:]
            if kind != MATRIX:
                raise ValueError(f'an element of type {kind} where a matrix should be')
            _check(head, order, names)
            file.seek(following)
    return loadmat(path, variable_names=names)


def _check(head: bytes, order: str, names: tuple[str, ...]) -> None:
    """Raises ValueError where a matrix has one of the names and is not one of real numbers."""
    elements = _elements(head, order)
    try:
        (first, flags), (second, _), (third, name), (kind, _) = (next(elements) for _ in range(4))
        (flag, _) = struct.unpack(f'{order}II', flags)
    except (StopIteration, RuntimeError, struct.error):
        raise ValueError('a matrix breaks off') from None
    if flag & 0xFF == OPAQUE:
        return
    if (first, second, third) != (6, 5, 1):  # SciPy takes flags, dimensions and name as they have to be
        raise ValueError('a matrix without flags, dimensions and name')
    if name.decode('latin1') not in names:
        return
    if flag & 0xFF not in CLASSES or flag & COMPLEX or kind not in NUMBERS:
        raise ValueError(f'{name.decode("latin1")} is no array of real numbers')


def _elements(head: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(type, content) one after the other; those of four bytes and less stand in the tag itself."""
    at = 0
    while len(head) >= at + 8:
        first, size = struct.unpack(f'{order}II', head[at : at + 8])
        if first >> 16:
            yield first & 0xFFFF, head[at + 4 : at + 4 + min(first >> 16, 4)]
            at += 8
        else:
            yield first, head[at + 8 : at + 8 + size]
            at += 8 + size + -size % 8
