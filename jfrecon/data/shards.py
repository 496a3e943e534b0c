"""Samples in ArrayRecord shards: one folder, one manifest that is written last, no code in the records.

A record is a msgpack map; pictures are PNG or JPEG bytes, arrays are raw little-endian bytes with dtype and
shape from a fixed list. A folder without its manifest is the remains of an interrupted run. The same samples
give the same bytes. Several folders are read as one, see `Shards`.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import numpy as np
from array_record.python import array_record_data_source, array_record_module

from jfrecon import files
from jfrecon.data import images
from jfrecon.data.sample import TRUTH_FIELDS, Sample, Source, Unreadable, check
from jfrecon.errors import UserError

FORMAT, VERSION = 'jfrecon shards', 1
MANIFEST = 'manifest.json'
DTYPES = {'float16': '<f2', 'float32': '<f4', 'uint8': '|u1', 'int32': '<i4'}
LEFT = re.compile(r'(\.\d+)?\.tmp$')  # what a kill leaves at the end of a name
SHARD_NAME = re.compile(r'shard-\d{5,}\.array_record', re.ASCII)


class Part(NamedTuple):
    """Of a set in several folders, what one of them is.

    Attributes:
      number, of: part ``number`` of ``of``, from 1.
      about: what all parts have in common, by name: settings, hashes.
    """

    number: int
    of: int
    about: Mapping[str, str]


def write(
    samples: Iterable[Sample],
    folder: str | Path,
    shard_size: int = 1024,
    quality: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Writes samples to a new folder and returns how many.

    Args:
      samples: read once, in order.
      folder: made where missing; leftovers of an interrupted run are overwritten, a complete one is refused.
      shard_size: samples in a file.
      quality: JPEG quality of the images, None for lossless PNG.
      progress: called with the number of samples written so far.

    Raises:
      UserError: the folder holds a complete set already, or there are no samples.
    """
    folder = Path(folder)
    require_utf8(folder)
    if (folder / MANIFEST).exists():
        raise UserError(f'{folder} holds shards already: choose another folder or remove it')
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if SHARD_NAME.fullmatch(LEFT.sub('', old.name)):
            old.unlink()
    shards: list[dict[str, Any]] = []
    names: list[str] = []
    groups: list[str] = []

    def records() -> Iterator[bytes]:
        for sample in samples:
            names.append(sample.name)
            groups.append(sample.group)
            yield pack(sample, quality)
            if progress is not None:
                progress(len(names))

    stream = records()
    while shard := write_shard(folder, len(shards), itertools.islice(stream, shard_size)):
        shards.append(shard)
    if not names:
        raise UserError(f'no samples to write to {folder}')
    write_manifest(folder, shards, names, groups)
    return len(names)


def require_utf8(folder: Path) -> None:
    """Raises ``UserError`` for a folder that ArrayRecord, which opens files by UTF-8 names alone, cannot write to."""
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise UserError(f'{files.shown(folder)}: shards need a folder whose name is UTF-8; choose another') from error


def write_shard(folder: Path, number: int, records: Iterator[bytes]) -> dict[str, Any] | None:
    """One shard, whole or not at all: its entry in the manifest, or None (and no file) where there is no record."""
    first = next(records, None)
    if first is None:
        return None
    path = folder / f'shard-{number:05d}.array_record'
    with files.replacing(path) as unfinished:
        writer, count = array_record_module.ArrayRecordWriter(str(unfinished), 'group_size:1'), 0
        try:
            for record in itertools.chain([first], records):
                with _said_clearly(path):
                    writer.write(record)
                count += 1
            with _said_clearly(path):
                writer.close()
        except BaseException:
            with contextlib.suppress(RuntimeError):
                writer.close()
            raise
        size, digest = unfinished.stat().st_size, files.digest(unfinished)
    return {'file': path.name, 'count': count, 'bytes': size, 'sha256': digest}


@contextlib.contextmanager
def _said_clearly(path: Path) -> Iterator[None]:
    """ArrayRecord's errors, a full disk most likely, as the user's."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(f'{path} cannot be written: {str(error).split(";")[0]}') from error


def write_manifest(
    folder: Path, shards: list[dict[str, Any]], names: list[str], groups: list[str], part: Part | None = None
) -> None:
    """What makes shards a complete set, or a complete part of one; to be called last."""
    manifest = {'format': FORMAT, 'version': VERSION, 'count': len(names), 'shards': shards}
    manifest |= {'names': names, 'groups': groups}
    if part is not None:
        manifest['part'] = part._asdict()
    files.write_text(folder / MANIFEST, json.dumps(manifest, indent=1))


class Shards(Source):
    """The samples in a folder that ``write`` filled, or in all folders that a pattern (``DIR/*``) fits.

    Parts of one preparation come in the order of their shards, which is that of a preparation in one; other folders one
    after the other. A part that is named as a folder is read alone, and may be empty.

    Raises ``UserError`` where no folder fits, one is not complete, or a part of a set is missing or of another set. A
    damaged record is an unreadable sample.
    """

    def __init__(self, path: str | Path):
        super().__init__()
        found = folders(path)
        if not found:
            raise UserError(f'no such folder: {files.shown(path)}')
        for folder in found:
            require_utf8(folder)
        manifests = {folder: _read_manifest(folder) for folder in found}
        if not Path(path).is_dir():
            _require_whole(path, manifests)
        instructions = []
        self._names: list[str] = []
        self._groups: list[str] = []
        for folder, shard, start in _in_order(manifests):
            place = folder / shard['file']
            if not place.is_file() or place.stat().st_size != shard['bytes']:
                raise UserError(f'{place} is missing or not complete: write the shards again')
            # Naming the range keeps ArrayRecord from opening every file just to count.
            instructions.append(f'{place}[0:{shard["count"]}]')
            self._names += manifests[folder]['names'][start : start + shard['count']]
            self._groups += manifests[folder]['groups'][start : start + shard['count']]
        self._records = array_record_data_source.ArrayRecordDataSource(instructions) if instructions else []

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int) -> Sample:
        """The sample at an index; raises ``Unreadable`` for a damaged record."""
        try:
            record = self._records[index]
        except (RuntimeError, ValueError, IndexError) as error:
            reason = str(error).splitlines()
            raise Unreadable(f'damaged shard ({reason[0] if reason else "cut short"})') from error
        return unpack(record)

    def name(self, index: int) -> str:
        """The name that the sample had when it was written."""
        return self._names[index]

    @property
    def groups(self) -> Sequence[str]:
        """The groups of all samples, from the manifest."""
        return self._groups


def folders(path: str | Path) -> list[Path]:
    """Return the folder of a name, or those that a pattern with ``*``, ``?`` or ``[...]`` fits, sorted."""
    if Path(path).is_dir() or not glob.has_magic(str(path)):
        return [Path(path)] if Path(path).is_dir() else []
    return sorted(found for found in map(Path, glob.glob(str(path))) if found.is_dir())


def _in_order(manifests: Mapping[Path, dict[str, Any]]) -> list[tuple[Path, dict[str, Any], int]]:
    """(folder, shard, index of its first sample in its folder): folder by folder, parts as if they were one."""
    order = []
    for folder, manifest in manifests.items():
        start = 0
        for shard in manifest['shards']:
            together = str(folder.parent if 'part' in manifest else folder)
            order.append(((together, int(re.findall(r'\d+', shard['file'])[0])), (folder, shard, start)))
            start += shard['count']
    return [what for _, what in sorted(order, key=lambda row: row[0])]


def _require_whole(path: str | Path, manifests: Mapping[Path, dict[str, Any]]) -> None:
    """Raises ``UserError`` where parts are missing, or do not belong together, or all are empty."""
    sets: dict[Path, dict[Path, Part]] = {}
    for folder, manifest in manifests.items():
        if 'part' in manifest:
            sets.setdefault(folder.parent, {})[folder] = Part(**manifest['part'])
    for parts in sets.values():
        (first, one), *others = parts.items()
        numbers = {one.number: first}
        for folder, part in others:
            if part.of != one.of:
                raise UserError(f'{first} is one of {one.of} parts, {folder} of {part.of}: keep one set of parts there')
            if part.number in numbers:
                raise UserError(f'{numbers[part.number]} and {folder} are the same part: keep one of them')
            numbers[part.number] = folder
            for name in {**one.about, **part.about}:
                here, there = one.about.get(name), part.about.get(name)
                if here != there:
                    raise UserError(
                        f'{first} and {folder} are of different preparations ({name}: {here} and {there}): prepare all '
                        'parts by one command, of the same files'
                    )
        if missing := [str(number) for number in range(1, one.of + 1) if number not in numbers]:
            raise UserError(
                f'{path}: {len(missing)} of {one.of} parts are not there: {", ".join(missing[:5])}'
                f'{" and others" if len(missing) > 5 else ""}; prepare them (--part={missing[0]}/{one.of}), or write a '
                'pattern that fits all'
            )
    if not any(manifest['count'] for manifest in manifests.values()):
        raise UserError(f'{path}: there is no face in any of the parts; their rejected.csv has the reasons')


def pack(sample: Sample, quality: int | None = None) -> bytes:
    """One record."""
    record = {
        'version': VERSION,
        'image': images.encode(sample.image, quality),
        'landmarks': _pack_array(sample.landmarks.astype(np.float32)),
        'mask': None if sample.mask is None else images.encode(sample.mask),
        'focal': float(sample.focal),
        'principal': _pack_array(sample.principal.astype(np.float32)),
        'truth': None if sample.truth is None else {k: _pack_array(sample.truth[k]) for k in TRUTH_FIELDS},
        'name': sample.name,
        'group': sample.group,
        'box': sample.box,
        'confidence': None if sample.confidence is None else _pack_array(sample.confidence.astype(np.float32)),
    }
    return msgpack.packb(record)


def unpack(record: bytes) -> Sample:
    """The sample in a record; raises ``Unreadable`` for anything but the bytes of ``pack``."""
    try:
        fields = msgpack.unpackb(record)
        if fields['version'] != VERSION:
            raise Unreadable(f'record version {fields["version"]!r} is not {VERSION}')
        image = images.decode(fields['image']).image
        truth = fields['truth']
        box, confidence = fields.get('box'), fields.get('confidence')  # older shards have none
        sample = Sample(
            image=image,
            landmarks=_unpack_array(fields['landmarks']),
            mask=None if fields['mask'] is None else images.decode_mask(fields['mask']),
            focal=float(fields['focal']),
            principal=_unpack_array(fields['principal']),
            truth=None if truth is None else {k: _unpack_array(truth[k]) for k in TRUTH_FIELDS},
            name=str(fields['name']),
            group=str(fields['group']),
            box=None if box is None else (float(box[0]), float(box[1]), float(box[2])),
            confidence=None if confidence is None else _unpack_array(confidence),
        )
    except (ValueError, TypeError, LookupError, AttributeError, msgpack.UnpackException) as error:
        raise Unreadable(f'not a record of version {VERSION} ({type(error).__name__}: {error})') from error
    return check(sample)


def _pack_array(array: np.ndarray) -> dict[str, Any]:
    if array.dtype.name not in DTYPES:
        raise TypeError(f'shards store {", ".join(DTYPES)}, not {array.dtype}')
    data = np.ascontiguousarray(array, dtype=DTYPES[array.dtype.name]).tobytes()
    return {'dtype': array.dtype.name, 'shape': list(array.shape), 'data': data}


def _unpack_array(fields: dict[str, Any]) -> np.ndarray:
    dtype, shape = np.dtype(DTYPES[fields['dtype']]), fields['shape']
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f'bad shape {shape}')
    if math.prod(shape) * dtype.itemsize != len(fields['data']):
        raise ValueError(f'{len(fields["data"])} bytes for shape {shape}')
    return np.frombuffer(fields['data'], dtype).reshape(shape)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not folder.is_dir():
        raise UserError(f'no such folder: {folder}')
    if not path.exists():
        if any(folder.glob(f'*/{MANIFEST}')):
            raise UserError(f"{folder} has no {MANIFEST}, its folders have: read them together as '{folder}/*'")
        raise UserError(f'{folder} has no {MANIFEST}: not shards, or writing them was interrupted; write them again')
    try:
        manifest = files.read_json(path)
        if manifest['format'] != FORMAT or manifest['version'] != VERSION:
            raise UserError(f'{path} is not version {VERSION} of {FORMAT}: write the shards again')
        shards = manifest['shards']
        whole = sum(shard['count'] for shard in shards) == manifest['count']
        safe = all(SHARD_NAME.fullmatch(shard['file']) for shard in shards)
        listed = all(
            len(manifest[key]) == manifest['count'] and all(isinstance(text, str) for text in manifest[key])
            for key in ('names', 'groups')
        )
        if 'part' in manifest:
            part = Part(**manifest['part'])
            safe &= all(type(number) is int for number in part[:2]) and 1 <= part.number <= part.of < 10**5
            safe &= all(isinstance(text, str) for row in part.about.items() for text in row)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f'{path} is damaged ({type(error).__name__}): write the shards again') from error
    if not ((shards or 'part' in manifest) and whole and safe and listed):
        raise UserError(f'{path} is damaged (its counts or names disagree): write the shards again')
    return manifest
