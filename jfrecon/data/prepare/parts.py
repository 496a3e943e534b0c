"""What is done of an input, in files that are whole or not there: a photo's faces, or those of some
frames."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import msgpack

from jfrecon import files
from jfrecon.data import images, shards, videos
from jfrecon.data.detection import Given
from jfrecon.data.prepare.extract import Rejected, Settings, faces
from jfrecon.data.prepare.inputs import Input
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.errors import UserError

QUALITY = 95  # of the JPEGs in the shards, without chroma subsampling
FRAMES = 64  # used frames of a video between two files
LAST = '-last'  # in the name of the part that finishes its input
# What is put into the folder, here and by `run`, and what a kill leaves of it.
NAMES = re.compile(r'(\d{7,}-\d{5,}(-last)?\.part|block-\d{5,}\.json|hashed\.json)(\.\d+\.tmp)?')


class Part(NamedTuple):
    """Faces as records of a shard, their names and groups, and what was rejected."""

    records: list[bytes]
    names: list[str]
    groups: list[str]
    rejected: list[Rejected]


def make(folder: Path, settings: Settings, task: tuple[int, Input]) -> int:
    """Makes those parts of an input (number, input) that a folder does not have yet; returns its number.

    Raises ``UserError`` where the input is no longer the one that was hashed.
    """
    number, given = task
    if given.clip:
        _check(given.sha256, files.digest(given.path), given.path)
        segments = _clip(given, settings, lambda segment: _path(folder, number, segment, False).exists())
    else:
        segments = iter([(0, True, _photo(given, settings))])
    for segment, last, part in segments:
        path = _path(folder, number, segment, last)
        if not path.exists():
            _write(path, part)
    return number


def clear(folder: Path) -> None:
    """Remove what is ours in a folder, and the folder where nothing else is in it."""
    for path in folder.glob('*'):
        if NAMES.fullmatch(path.name):
            path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


def finished(folder: Path, written: Collection[int]) -> set[int]:
    """Numbers of the inputs whose parts are all there.

    Removes the parts of those that are ``written`` already, and what a kill or a power cut has damaged.
    """
    found = set()
    for path in [path for path in folder.glob('*') if NAMES.fullmatch(path.name)]:
        if path.suffix == '.tmp':
            path.unlink()
        elif path.suffix == '.part':
            if int(path.stem.split('-')[0]) in written or _read(path) is None:
                path.unlink()
            else:
                found.add(path.stem)
    whole = set()
    for stem in (stem for stem in found if stem.endswith(LAST)):
        number, segment = map(int, stem.removesuffix(LAST).split('-'))
        if all(_path(folder, number, k, False).stem in found for k in range(segment)):
            whole.add(number)
    return whole


def load(folder: Path, number: int) -> Iterator[Part]:
    """The parts of a finished input, in order."""
    for path in _of(folder, number):
        part = _read(path)
        if part is None:
            raise UserError(f'{path} was damaged while it lay there: the same command makes it again')
        yield part


def remove(folder: Path, number: int) -> None:
    """Forget an input."""
    for path in _of(folder, number):
        path.unlink()


def reject(folder: Path, number: int, rejected: Rejected) -> None:
    """What is left of an input that cannot even be tried; frames before that stay."""
    before = len(_of(folder, number))
    _write(_path(folder, number, before, True), Part([], [], [], [rejected]))


def _photo(given: Input, settings: Settings) -> Part:
    try:
        data = given.path.read_bytes()
        mask = None if given.mask is None else given.mask.read_bytes()
    except OSError as error:
        raise UserError(f'{given.path} was there at the start: {error.strerror}; choose another --out') from None
    _check(given.sha256, hashlib.sha256(data).hexdigest(), given.path)
    if mask is not None:
        _check(given.mask_sha256, hashlib.sha256(mask).hexdigest(), given.mask)
    part = Part([], [], [], [])
    try:
        photo = images.decode(data, str(given.path)).sample(
            mask=None if mask is None else images.decode_mask(mask), name=given.name, group=given.group
        )
        _add(part, photo, given.known.get(photo.name, given.unnamed), settings)
    except Unreadable as error:
        part.rejected.append(Rejected(given.name, str(error)))
    return part


def _clip(given: Input, settings: Settings, done: Callable[[int], bool]) -> Iterator[tuple[int, bool, Part]]:
    """(segment, whether it is the last, part) of a video; segments that are ``done`` stay empty."""
    part, segment, used = Part([], [], [], []), 0, 0
    try:
        for frame in videos.frames(given.path, settings.every):
            if used and used % FRAMES == 0:
                yield segment, False, part
                part, segment = Part([], [], [], []), segment + 1
            used += 1
            if done(segment):
                continue
            photo = Sample(frame.image, name=f'{given.name}_{frame.number:06d}', group=given.group)
            try:
                _add(part, photo, given.known.get(photo.name, given.unnamed), settings)
            except Unreadable as error:
                part.rejected.append(Rejected(photo.name, str(error)))
    except Unreadable as error:
        part.rejected.append(Rejected(given.name, str(error)))
    yield segment, True, part


def _add(part: Part, photo: Sample, known: Given, settings: Settings) -> None:
    kept, rejected = faces(photo, known, settings)
    part.rejected.extend(rejected)
    for sample in kept:
        part.records.append(shards.pack(sample, QUALITY))
        part.names.append(sample.name)
        part.groups.append(sample.group)


def _path(folder: Path, number: int, segment: int, last: bool) -> Path:
    return folder / f'{number:07d}-{segment:05d}{LAST if last else ""}.part'


def _of(folder: Path, number: int) -> list[Path]:
    paths = []
    for segment in itertools.count():
        paths += [path for last in (False, True) if (path := _path(folder, number, segment, last)).exists()]
        if len(paths) <= segment:
            return paths
    raise AssertionError


def _write(path: Path, part: Part) -> None:
    content = msgpack.packb(tuple(part))
    files.write_bytes(path, hashlib.sha256(content).digest() + content)


def _read(path: Path) -> Part | None:
    content = path.read_bytes()
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        return None
    records, names, groups, rejected = msgpack.unpackb(content[32:])
    return Part(records, names, groups, [Rejected(*row) for row in rejected])


def _check(expected: str, found: str, path: Path | None) -> None:
    if found != expected:
        raise UserError(f'{path} has changed since its preparation began: prepare anew in another --out')
