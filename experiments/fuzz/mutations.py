"""Files as an attacker, a bad disk or a broken download would leave them."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

CANARY = 'canary'  # of a file beside the folder, which nobody may open
ELSEWHERE = (CANARY, '/etc/passwd')
NUMBERS = [
    b'-1', b'0', b'1', b'255', b'65536', b'2147483647', b'-2147483648', b'4294967296', b'9' * 19, b'1' + b'0' * 400,
    b'1e308', b'-1e-320', b'nan', b'inf', b'', b'0x7f', b'"1"', b'null', b'[]', b'{}', b'true',
]  # fmt: skip
WORDS = [
    0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, (1 << 64) - 1,
]  # fmt: skip
OPENINGS = [b'[', b'{"a":', b'(', b'\x91', b'{', b'](']
ESCAPES = [
    f'../{CANARY}'.encode(), f'../../{CANARY}'.encode(), f'..\\{CANARY}'.encode(), b'/etc/passwd', b'\0', b'a' * 70_000,
]  # fmt: skip


def mutated(data: bytes, number: int, seed: int) -> bytes:
    """The file's bytes changed one to three times, also inside of containers, whose checksums are then mended."""
    rng = np.random.default_rng([seed, number])
    for _ in range(rng.integers(1, 4)):
        data = _once(data, rng)
    return data


def _once(data: bytes, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.6:
        for known, inside in CONTAINERS:
            if known(data):
                try:
                    return inside(data, rng)
                except Exception:  # what is changed already may be taken apart no more
                    break
    return _change(data, rng)


def _change(data: bytes, rng: np.random.Generator) -> bytes:
    if not data:
        return bytes(rng.integers(0, 256, 16, np.uint8))
    return CHANGES[rng.integers(len(CHANGES))](data, rng)


def _place(data: bytes, rng: np.random.Generator) -> int:
    """Half of the time among the first bytes, where sizes stand."""
    return int(rng.integers(min(len(data), 256) if rng.random() < 0.5 else len(data)))


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 17)):
        changed[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)]


def _word(data: bytes, rng: np.random.Generator) -> bytes:
    """A binary number becomes a huge, a negative or a small one."""
    size, at = int(rng.choice([1, 2, 4, 8])), _place(data, rng)
    value = WORDS[rng.integers(len(WORDS))] & ((1 << 8 * size) - 1)
    return data[:at] + value.to_bytes(size, 'little' if rng.random() < 0.6 else 'big') + data[at + size :]


def _number(data: bytes, rng: np.random.Generator) -> bytes:
    """A number in text becomes a huge, a negative, or no number."""
    return _substituted(rb'-?\d+(\.\d+)?(e-?\d+)?', NUMBERS, data, rng)


def _name(data: bytes, rng: np.random.Generator) -> bytes:
    """A name becomes that of a file elsewhere."""
    return _substituted(rb'(?<=")[^"\\\n]{1,80}(?=")|\w{1,40}\.(png|mtl|npy|array_record|bin)', ESCAPES, data, rng)


def _substituted(pattern: bytes, by: list[bytes], data: bytes, rng: np.random.Generator) -> bytes:
    found = list(re.finditer(pattern, data[:200_000]))
    if not found:
        return _word(data, rng)
    chosen = found[rng.integers(len(found))]
    return data[: chosen.start()] + by[rng.integers(len(by))] + data[chosen.end() :]


def _part(data: bytes, rng: np.random.Generator) -> slice:
    at = _place(data, rng)
    return slice(at, at + int(rng.integers(1, 1 + max(1, min(4096, len(data) // 4)))))


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    """A part stands there several times: keys, chunks or rows twice."""
    part = _part(data, rng)
    return data[: part.start] + data[part] * int(rng.integers(2, 20)) + data[part.stop :]


def _swap(data: bytes, rng: np.random.Generator) -> bytes:
    first, second = sorted([_part(data, rng), _part(data, rng)], key=lambda part: part.start)
    return data[: first.start] + data[second] + data[first.stop : second.start] + data[first] + data[second.stop :]


def _remove(data: bytes, rng: np.random.Generator) -> bytes:
    part = _part(data, rng)
    return data[: part.start] + data[part.stop :]


def _nest(data: bytes, rng: np.random.Generator) -> bytes:
    at = 0 if rng.random() < 0.3 else _place(data, rng)
    opening = OPENINGS[rng.integers(len(OPENINGS))]
    return data[:at] + opening * int(rng.choice([50, 3000, 200_000])) + data[at:]


def _noise(data: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    return data[:at] + bytes(rng.integers(0, 256, int(rng.integers(1, 64)), np.uint8)) + data[at:]


Change = Callable[[bytes, np.random.Generator], bytes]
CHANGES: list[Change] = [_flip, _cut, _word, _word, _number, _number, _name, _repeat, _swap, _remove, _nest, _noise]


def _in_zip(data: bytes, rng: np.random.Generator) -> bytes:
    """A member's content or name, whose checksum and place are then right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [[name, archive.read(name)] for name in archive.namelist()]
    member = members[rng.integers(len(members))]
    what = rng.random()
    if what < 0.7:
        member[1] = _change(member[1], rng)
    elif what < 0.8:
        member[0] = ESCAPES[rng.integers(4)].decode() + '.npy'
    elif what < 0.9:
        members.append([member[0], members[rng.integers(len(members))][1]])
    else:
        members.remove(member)
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED if rng.random() < 0.5 else zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def _in_png(data: bytes, rng: np.random.Generator) -> bytes:
    chunks, at = [], 8
    while at < len(data):
        (size,) = struct.unpack('>I', data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    k = int(rng.integers(len(chunks)))
    kind, content = chunks[k]
    if kind == b'IDAT' and rng.random() < 0.5:
        content = zlib.compress(_change(zlib.decompress(content), rng))
    else:
        content = _change(content, rng)
    chunks[k] = kind, content
    if rng.random() < 0.2:
        chunks.insert(k, chunks[rng.integers(len(chunks))])
    whole = (struct.pack('>I', len(c)) + kind + c + struct.pack('>I', zlib.crc32(kind + c)) for kind, c in chunks)
    return data[:8] + b''.join(whole)


def _in_safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    """The table of tensors, whose length is then right."""
    size = int.from_bytes(data[:8], 'little')
    table = _change(data[8 : 8 + size], rng)
    return len(table).to_bytes(8, 'little') + table + data[8 + size :]


def _is_safetensors(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data[8 : 8 + int.from_bytes(data[:8], 'little')]), dict)
    except (ValueError, RecursionError):
        return False


CONTAINERS: list[tuple[Callable[[bytes], bool], Change]] = [
    (lambda data: data[:4] == b'PK\x03\x04', _in_zip),
    (lambda data: data[:8] == b'\x89PNG\r\n\x1a\n', _in_png),
    (_is_safetensors, _in_safetensors),
]
