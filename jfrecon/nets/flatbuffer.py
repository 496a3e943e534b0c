"""Read FlatBuffers, and FlexBuffers' flat maps, with every access inside the file checked.

A file may be hostile: every offset and length is compared with the file's size before it is followed, and nothing is
read recursively, so that time and memory are bounded by the size of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

SIZES = {'b': 1, 'B': 1, 'h': 2, 'H': 2, 'i': 4, 'I': 4, 'f': 4, 'q': 8, 'Q': 8, 'd': 8, '?': 1}

# FlexBuffers' types that a flat map may hold, as (struct code by width, NumPy kind of a vector's elements).
INT, UINT, FLOAT, MAP, BOOL = 1, 2, 3, 9, 26
VECTORS = {11: 'i', 12: 'u', 13: 'f'}
CODES = {INT: 'bhiq', UINT: 'BHIQ', BOOL: 'BHIQ', FLOAT: '..fd'}


class Broken(ValueError):
    """The bytes are not what they claim to be."""


class Table:
    """A FlatBuffers table: fields by their number in the schema, absent ones with a default.

    Attributes:
      data: the whole file.
      start: where the table begins.
    """

    def __init__(self, data: bytes, start: int) -> None:
        self.data, self.start = data, start
        self._fields = start - _unpack(data, 'i', start)
        self._size = _unpack(data, 'H', self._fields)

    @classmethod
    def root(cls, data: bytes, identifier: bytes) -> Table:
        """The root table of a file with a four-byte identifier."""
        if data[4:8] != identifier:
            raise Broken(f'it does not say that it is {identifier.decode()}')
        return cls(data, _unpack(data, 'I', 0))

    def number(self, field: int, code: str, default: float = 0) -> int:
        """A scalar field of a struct code."""
        place = self._place(field)
        return default if place is None else _unpack(self.data, code, place)  # type: ignore[return-value]

    def text(self, field: int) -> str:
        """A string field, '' where it is absent."""
        return bytes(self.vector(field, 'u1')).decode('utf-8', 'replace')

    def vector(self, field: int, dtype: str) -> np.ndarray:
        """A vector of numbers, empty where it is absent."""
        place = self._target(field)
        if place is None:
            return np.zeros(0, dtype)
        count = _unpack(self.data, 'I', place)
        if count * np.dtype(dtype).itemsize > len(self.data) - place - 4:
            raise Broken(f'a vector of {count} numbers is longer than the file')
        return np.frombuffer(self.data, dtype, count, place + 4)

    def table(self, field: int) -> Table | None:
        """A table, None where it is absent."""
        place = self._target(field)
        return None if place is None else Table(self.data, place)

    def tables(self, field: int) -> Iterator[Table]:
        """A vector of tables, empty where it is absent."""
        place = self._target(field)
        if place is None:
            return
        for k in range(_unpack(self.data, 'I', place)):
            at = place + 4 + 4 * k
            yield Table(self.data, at + _unpack(self.data, 'I', at))

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = _unpack(self.data, 'H', self._fields + entry) if entry + 2 <= self._size else 0
        return self.start + offset if offset else None

    def _target(self, field: int) -> int | None:
        place = self._place(field)
        return None if place is None else place + _unpack(self.data, 'I', place)


def flat_map(data: bytes) -> dict[str, float | np.ndarray]:
    """A FlexBuffers map whose values are numbers and vectors of numbers.

    Raises:
      Broken: it is something else.
    """
    if len(data) < 3:
        raise Broken('a FlexBuffer has three bytes at least')
    kind, width = data[-2] >> 2, data[-1]
    if kind != MAP or width not in (1, 2, 4, 8):
        raise Broken('not a FlexBuffers map')
    root = len(data) - 2 - width
    values = root - _unsigned(data, root, width)
    size = 1 << (data[-2] & 3)
    keys = values - 3 * size
    keys -= _unsigned(data, keys, size)
    key_size = _unsigned(data, values - 2 * size, size)
    count = _unsigned(data, values - size, size)
    if key_size not in (1, 2, 4, 8) or count > len(data):
        raise Broken('a FlexBuffers map whose sizes cannot be')
    found: dict[str, float | np.ndarray] = {}
    for k in range(count):
        name = keys + k * key_size
        name -= _unsigned(data, name, key_size)
        end = data.find(b'\0', max(name, 0))
        if name < 0 or end < 0:
            raise Broken('a key without an end')
        packed = _unpack(data, 'B', values + count * size + k)
        found[data[name:end].decode('utf-8', 'replace')] = _value(data, values + k * size, size, packed)
    return found


def _value(data: bytes, place: int, size: int, packed: int) -> float | np.ndarray:
    kind, width = packed >> 2, 1 << (packed & 3)
    if kind in CODES:
        code = CODES[kind][size.bit_length() - 1]
        if code == '.':
            raise Broken('a float of less than four bytes')
        return _unpack(data, code, place)
    if kind not in VECTORS:
        raise Broken(f'FlexBuffers type {kind} in a flat map')
    first = place - _unsigned(data, place, size)
    count = _unsigned(data, first - width, width)
    if first < 0 or count * width > len(data) - first or (VECTORS[kind] == 'f' and width < 4):
        raise Broken('a vector that is longer than its map')
    return np.frombuffer(data, f'<{VECTORS[kind]}{width}', count, first)


def _unsigned(data: bytes, place: int, width: int) -> int:
    return _unpack(data, 'BHIQ'[width.bit_length() - 1], place)


def _unpack(data: bytes, code: str, place: int) -> int:
    if not 0 <= place <= len(data) - SIZES[code]:
        raise Broken(f'an offset leads to byte {place} of {len(data)}')
    return struct.unpack_from(f'<{code}', data, place)[0]
