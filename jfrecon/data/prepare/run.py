"""A preparation: inputs to parts, parts to shards. Where it was killed, the same preparation goes on.

`DIR/prepare.json` is the record of the run, `DIR/parts` what is done but not yet in a complete set. The faces of a
block of the listing (`inputs.Plan`) are the shard of its number. A block whose inputs are all done is written, then
noted, then its parts are removed: killed between any two of these, the same bytes are written again. A share
(`share.Share`) is a preparation of some blocks: together the shares leave the shards that one preparation leaves.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import functools
import io
import os
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock
from tqdm import tqdm

from jfrecon import files
from jfrecon.data import detection, shards, videos
from jfrecon.data.prepare import parts, workers
from jfrecon.data.prepare.extract import Rejected, Settings
from jfrecon.data.prepare.inputs import Plan, Seen
from jfrecon.data.prepare.share import WHOLE, Share
from jfrecon.errors import UserError

RECORD, PARTS, HASHED, REJECTED = 'prepare.json', 'parts', 'hashed.json', 'rejected.csv'
LOCK = 'prepare.lock'  # there while a preparation is at work, or was killed
# What a preparation leaves, beside its record and its lock; `jfrecon.export.contact` makes the pages.
NAMES = re.compile(
    rf'{PARTS}|{re.escape(REJECTED)}|{re.escape(shards.MANIFEST)}|{shards.SHARD_NAME.pattern}|contact(-\d+)?\.\w+'
)
FORMAT, VERSION = 'jfrecon preparation', 3
LIBRARIES = ('numpy', 'pillow', 'scikit-image', 'array_record')

UNFINISHED = re.compile(rf'({re.escape(RECORD)}|{NAMES.pattern})(\.\d+)?\.tmp')  # what a kill leaves of them


@contextlib.contextmanager
def lock(out: Path) -> Iterator[None]:
    """The folder, made where missing, for this process alone; a kill unlocks it.

    Raises:
      UserError: another process is at work there, or files are in the way that no preparation of ours left.
    """
    shards.require_utf8(out)
    out.mkdir(parents=True, exist_ok=True)
    held = filelock.FileLock(out / LOCK, timeout=0)
    try:
        held.acquire()
    except filelock.Timeout:
        raise UserError(f'another preparation is at work in {out}') from None
    except OSError as error:
        raise UserError(f'{out} cannot be locked ({error.strerror}): choose another --out') from error
    try:
        if not (out / RECORD).exists() and (taken := sorted(name for name in os.listdir(out) if NAMES.fullmatch(name))):
            raise UserError(f'{out / taken[0]} is there, and no preparation left it: choose another --out')
        for name in os.listdir(out):
            if UNFINISHED.fullmatch(name):
                (out / name).unlink()
        yield
    finally:
        with contextlib.suppress(OSError):  # before its release: somebody else's must not go. Windows does it by itself
            os.unlink(held.lock_file)
        held.release()


def hashed(out: Path) -> dict[str, Seen]:
    """What an interrupted run hashed, by path."""
    try:
        found = files.read_json(out / PARTS / HASHED)
        return {path: Seen(*row) for path, row in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def record(plan: Plan, settings: Settings, tables: Mapping[str, str]) -> dict[str, Any]:
    """What decides every byte of the shards: settings, hashes of tables and inputs, versions of libraries."""
    libraries = {}
    names = [*LIBRARIES, *(detection.load(settings.landmarker).libraries if settings.landmarker else ())]
    for name in [*names, *(['av'] if any(given.clip for given in plan.inputs) else [])]:
        with contextlib.suppress(metadata.PackageNotFoundError):
            libraries[name] = metadata.version(name)
    return {
        'format': FORMAT,
        'version': VERSION,
        'settings': {**dataclasses.asdict(settings), 'shard_size': plan.shard_size, **tables},
        'libraries': libraries,
        'listing': {'files': plan.files, 'sha256': plan.listing},
        'inputs': [given.record() for given in plan.inputs],
        'rejected': [list(row) for row in plan.rejected],
    }


def prepare(plan: Plan, out: Path, settings: Settings, recorded: dict[str, Any], processes: int) -> list[Rejected]:
    """Leaves complete shards in a locked folder, and `rejected.csv`; returns what is in that.

    Raises ``UserError``: the folder holds something else, no face is found at all (one of several shares may be
    without), a video wants PyAV.
    """
    if any(given.clip for given in plan.inputs):
        videos.require()
    _begin(out, recorded)
    if not (out / shards.MANIFEST).exists():
        files.write_json(out / PARTS / HASHED, plan.hashed)
        _work(plan, out, settings, recorded, processes)
    parts.clear(out / PARTS)
    return _rejected(out / REJECTED)


def _begin(out: Path, recorded: dict[str, Any]) -> None:
    path = out / RECORD
    if not path.exists():
        files.write_json(path, recorded)
        return
    try:
        difference = _difference(files.read_json(path), recorded)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(f'{path} is damaged: choose another --out') from error
    if difference:
        raise UserError(f'{out} holds another preparation: {difference}; choose another --out, or the old command')


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The first thing in which a preparation differs from the one that began, in words; '' for none."""
    said = lambda value: 'none' if value == '' else value
    if (before['format'], before['version']) != (now['format'], now['version']):
        return f'version {before["version"]} is not {now["version"]}'
    for table in ('settings', 'libraries'):
        old, new = before[table], now[table]
        for name in old | new:
            if old.get(name) != new.get(name):
                return f'{name} was {said(old.get(name))}, is {said(new.get(name))}'
    if before['inputs'] == now['inputs']:
        if before['listing'] == now['listing']:
            return ''
        return f'{before["listing"]["files"]} files were listed, {now["listing"]["files"]} are, or others'
    old = {row['name']: row for row in before['inputs']}
    new = {row['name']: row for row in now['inputs']}
    for name in old | new:
        if name not in new:
            return f'{name} is gone'
        if name not in old:
            return f'{name} is new'
        if old[name] != new[name]:
            return f'{name} has changed'
    return 'the inputs have another order'


def _work(plan: Plan, out: Path, settings: Settings, recorded: dict[str, Any], processes: int) -> None:
    folder = out / PARTS
    blocks: dict[int, list[int]] = {}
    for number, given in enumerate(plan.inputs):
        blocks.setdefault(given.block, []).append(number)
    notes = {block: note for block in blocks if (note := _note(out, block)) is not None}
    written = {number for block in notes for number in blocks[block]}
    done = parts.finished(folder, written) | written
    left = {block: sum(number not in done for number in numbers) for block, numbers in blocks.items()}
    faces = sum(len(note['names']) for note in notes.values())
    tasks = [(number, given) for number, given in enumerate(plan.inputs) if number not in done]
    make = functools.partial(parts.make, folder, settings)
    with tqdm(total=len(plan.inputs), initial=len(done), desc='preparing', unit='file', disable=None) as bar:

        def write(block: int) -> int:
            notes[block] = _write(out, block, blocks[block])
            bar.set_postfix(faces=faces + len(notes[block]['names']))
            return len(notes[block]['names'])

        for block in [block for block in blocks if not left[block] and block not in notes]:
            faces += write(block)
        for task, answer in workers.each(make, tasks, processes):
            if isinstance(answer, workers.Crashed):
                reason = f'reading it crashes the process ({answer})'
                parts.reject(folder, task[0], Rejected(task[1].name, reason))
            bar.update()
            left[task[1].block] -= 1
            if not left[task[1].block]:
                faces += write(task[1].block)
    entries = [notes[block] for block in blocks]
    rejected = [*recorded['rejected'], *(row for entry in entries for row in entry['rejected'])]
    files.write_text(out / REJECTED, _csv([Rejected(*row) for row in rejected]))
    if not faces and plan.share == WHOLE:
        raise UserError(f'there is no face in {len(plan.inputs)} files: {out / REJECTED} has the reasons')
    shards.write_manifest(
        out,
        [entry['shard'] for entry in entries if entry['shard']],
        [name for entry in entries for name in entry['names']],
        [group for entry in entries for group in entry['groups']],
        None if plan.share == WHOLE else _part(plan.share, recorded),
    )


def _part(share: Share, recorded: dict[str, Any]) -> shards.Part:
    """What the parts of one preparation have in common, for those who read them together."""
    about = recorded['settings'] | recorded['libraries']
    listing = recorded['listing']
    about |= {'files listed': listing['files'], 'names and sizes of the files listed': listing['sha256']}
    return shards.Part(share.number, share.of, {name: str(value) for name, value in about.items()})


def _write(out: Path, block: int, numbers: list[int]) -> dict[str, Any]:
    """Writes a block's shard and its note, then forgets its parts."""
    folder = out / PARTS
    note: dict[str, Any] = {'names': [], 'groups': [], 'rejected': []}

    def records() -> Iterator[bytes]:
        for number in numbers:
            for part in parts.load(folder, number):
                note['names'] += part.names
                note['groups'] += part.groups
                note['rejected'] += part.rejected
                yield from part.records

    note['shard'] = shards.write_shard(out, block, records())
    files.write_json(folder / f'block-{block:05d}.json', note)
    for number in numbers:
        parts.remove(folder, number)
    return note


def _note(out: Path, block: int) -> dict[str, Any] | None:
    """The note of a written block whose shard is there."""
    try:
        note = files.read_json(out / PARTS / f'block-{block:05d}.json')
        shard = note['shard']
        return note if shard is None or (out / shard['file']).stat().st_size == shard['bytes'] else None
    except (OSError, ValueError):
        return None


def _rejected(path: Path) -> list[Rejected]:
    try:
        with path.open(newline='', encoding='utf-8') as file:
            header, *rows = csv.reader(file)
        if tuple(header) != Rejected._fields:
            raise ValueError
        return [Rejected(*row) for row in rows]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise UserError(
            f'{path} was changed since it was written; the faces beside it are complete: train on them, or prepare '
            'anew in another --out'
        ) from error


def _csv(rejected: list[Rejected]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator='\n')
    table.writerow(Rejected._fields)
    table.writerows(rejected)
    return text.getvalue()
