from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jfrecon.data import images, shards
from jfrecon.data.prepare import inputs, parts, run
from jfrecon.data.prepare.extract import Settings
from jfrecon.errors import UserError

COUNT, SHARD = 9, 2
SETTINGS = Settings(crop='landmarks')


class Killed(BaseException):
    pass


@pytest.fixture
def photos(tmp_path):
    """Nine tiny photos in blocks of two, one block without a face; one is broken, one has two faces."""
    rng, folder, rows = np.random.default_rng(0), tmp_path / 'photos', []
    folder.mkdir()
    for k in range(COUNT):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f'{k}.png')
        rows += [f'{k}.png'] * (0 if k in (2, 3) else 2 if k == 5 else 1)
    (folder / '6.png').write_text('no picture')
    points = rng.uniform(10, 35, (len(rows), 68, 2)).astype(np.float32)
    return inputs.plan([folder], inputs.landmark_files.LandmarkFile(rows, points, [''] * len(rows)), shard_size=SHARD)


@pytest.fixture
def alone(monkeypatch):
    """No processes: what they do is done here."""
    monkeypatch.setattr(run.workers, 'each', lambda work, tasks, _: ((task, work(task)) for task in tasks))


def prepare(plan, out, processes=1):
    with run.lock(out):
        return run.prepare(plan, out, SETTINGS, run.record(plan, SETTINGS, {}), processes)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_faces_come_in_the_order_of_their_files(photos, tmp_path, alone):
    rejected = prepare(photos, tmp_path / 'out')
    faces = shards.Shards(tmp_path / 'out')
    assert [face.name for face in faces] == [
        '0.png',
        '1.png',
        '4.png',
        '5.png_0',
        '5.png_1',
        '7.png',
        '8.png',
    ]
    assert [row.name for row in rejected] == ['2.png', '3.png', '6.png']
    assert {row.reason for row in rejected[:2]} == {'nothing is given for it'}
    assert sorted(contents(tmp_path / 'out')) == [
        'manifest.json', 'prepare.json', 'rejected.csv', *(f'shard-0000{k}.array_record' for k in (0, 2, 3, 4))
    ]  # fmt: skip


def test_the_manifest_has_the_hashes_of_the_files(photos, tmp_path, alone):
    prepare(photos, tmp_path / 'out')
    for entry in shards._read_manifest(tmp_path / 'out')['shards']:
        content = (tmp_path / 'out' / entry['file']).read_bytes()
        assert len(content) == entry['bytes'] and hashlib.sha256(content).hexdigest() == entry['sha256']


@pytest.mark.slow
def test_processes_change_nothing(photos, tmp_path, alone, monkeypatch):
    prepare(photos, tmp_path / 'alone')
    monkeypatch.undo()
    for processes in (1, 3):
        out = tmp_path / f'by{processes}'
        prepare(photos, out, processes)
        assert contents(out) == contents(tmp_path / 'alone')


def test_killed_at_every_change_of_the_disk(photos, tmp_path, alone, monkeypatch):
    """Each write (half-way), rename or removal in turn is the last thing that happens; then it goes on."""
    prepare(photos, tmp_path / 'alone')
    expected = contents(tmp_path / 'alone')
    left = [0]

    def dies(change):
        def changed(*arguments, **options):
            left[0] -= 1
            if left[0] == 0 and change is write:
                write(arguments[0], arguments[1][: len(arguments[1]) // 2])
            if left[0] <= 0:  # also what would tidy up: the dead do not
                raise Killed
            return change(*arguments, **options)

        return changed

    write = Path.write_bytes
    changes = [(Path, 'write_bytes'), (Path, 'replace'), (Path, 'unlink'), (Path, 'rmdir'), (os, 'replace')]
    for owner, name in changes:
        monkeypatch.setattr(owner, name, dies(getattr(owner, name)))
    moments = 0
    while True:
        out = tmp_path / f'killed{moments}'
        left[0] = moments + 1
        try:
            prepare(photos, out)
        except Killed:
            left[0] = 10**9
            prepare(photos, out)
            assert contents(out) == expected, f'killed at change {moments}'
            moments += 1
        else:
            break
    # A part takes three changes, a record or a note two: fewer would mean that the deaths went astray.
    assert moments > 5 * COUNT


def test_parts_that_a_power_cut_damaged_are_made_again(photos, tmp_path, alone, monkeypatch):
    prepare(photos, tmp_path / 'alone')
    out, make = tmp_path / 'out', parts.make

    def dies(folder, settings, task):
        if task[0] == 1:
            raise Killed
        return make(folder, settings, task)

    monkeypatch.setattr(parts, 'make', dies)
    with pytest.raises(Killed):
        prepare(photos, out)
    (part,) = (out / run.PARTS).glob('*.part')
    part.write_bytes(part.read_bytes()[:-7])
    monkeypatch.setattr(parts, 'make', make)
    prepare(photos, out)
    assert contents(out) == contents(tmp_path / 'alone')


def test_a_file_that_crashes_its_process_is_rejected(photos, tmp_path, monkeypatch):
    def each(work, tasks, _):
        for task in tasks:
            yield task, run.workers.Crashed('SIGSEGV') if task[0] == 1 else work(task)

    monkeypatch.setattr(run.workers, 'each', each)
    rejected = prepare(photos, tmp_path / 'out')
    assert rejected[0] == ('1.png', 'reading it crashes the process (SIGSEGV)')
    assert '1.png' not in [face.name for face in shards.Shards(tmp_path / 'out')]


def test_other_preparations_are_refused(photos, tmp_path, alone):
    out = tmp_path / 'out'
    prepare(photos, out)
    before = contents(out)
    folder = photos.inputs[0].path.parent

    def refused(plan, match, settings=SETTINGS, **tables):
        with pytest.raises(UserError, match=match):
            run.prepare(plan, out, settings, run.record(plan, settings, tables), 1)
        assert contents(out) == before

    refused(photos, 'scale was 1.6, is 2', Settings(crop='landmarks', scale=2))
    refused(photos, 'landmarks_sha256 was None, is abc', landmarks_sha256='abc')
    (folder / '0.png').rename(folder / 'new.png')
    refused(inputs.plan([folder], shard_size=SHARD), '0.png is gone')
    (folder / 'new.png').rename(folder / '0.png')
    (folder / '0.png').write_bytes(images.encode(np.zeros((40, 50, 3), np.uint8)))
    refused(inputs.plan([folder], shard_size=SHARD), '0.png has changed')
    shutil.copy(folder / '8.png', folder / '0.png')
    (folder / 'more.png').write_bytes(b'more')
    refused(inputs.plan([folder], shard_size=SHARD), '8.png is gone|0.png has changed')
    (out / run.RECORD).write_text('{}')
    with pytest.raises(UserError, match='is damaged'):
        prepare(photos, out)
    (out / run.RECORD).unlink()
    with pytest.raises(UserError, match=r'manifest.json is there, and no preparation left it'):
        prepare(photos, out)


def test_a_preparation_of_an_earlier_version_is_refused(photos, tmp_path, alone):
    """Its shards hold other files."""
    out = tmp_path / 'out'
    prepare(photos, out)
    record = json.loads((out / run.RECORD).read_text())
    (out / run.RECORD).write_text(json.dumps(record | {'version': 2}))
    with pytest.raises(UserError, match='holds another preparation: version 2 is not 3'):
        prepare(photos, out)


def test_a_file_that_changes_meanwhile(photos, tmp_path, alone):
    photos.inputs[4].path.write_bytes(b'something else')
    with pytest.raises(UserError, match=r'4.png has changed since'):
        prepare(photos, tmp_path / 'out')
    photos.inputs[4].path.unlink()
    with pytest.raises(UserError, match=r'4.png was there at the start'):
        prepare(photos, tmp_path / 'out')


def test_a_shard_that_was_lost_is_made_again(photos, tmp_path, alone, monkeypatch):
    prepare(photos, tmp_path / 'alone')
    out, manifest = tmp_path / 'out', shards.write_manifest
    monkeypatch.setattr(shards, 'write_manifest', lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        prepare(photos, out)
    (out / 'shard-00002.array_record').unlink()
    monkeypatch.setattr(shards, 'write_manifest', manifest)
    prepare(photos, out)
    assert contents(out) == contents(tmp_path / 'alone')


def test_one_at_a_time(tmp_path):
    with run.lock(tmp_path / 'out'):
        with pytest.raises(UserError, match='another preparation is at work'):
            with run.lock(tmp_path / 'out'):
                pass
    with run.lock(tmp_path / 'out'):
        pass


@pytest.mark.parametrize(
    'name',
    ['parts/notes.txt', 'rejected.csv', 'contact.html', 'contact-000.png', 'manifest.json', 'shard-00000.array_record'],
)
def test_what_is_not_ours_is_not_replaced(name, photos, tmp_path, alone):
    mine = tmp_path / 'out' / name
    mine.parent.mkdir(parents=True)
    mine.write_text('mine')
    taken = (tmp_path / 'out' / Path(name).parts[0]).as_posix()
    with pytest.raises(UserError, match=rf'{taken} is there, and no preparation left it: choose another --out'):
        prepare(photos, tmp_path / 'out')
    assert contents(tmp_path / 'out') == {name: b'mine'}


def test_other_files_in_the_folder_stay(photos, tmp_path, alone, monkeypatch):
    prepare(photos, tmp_path / 'alone')
    out, before = tmp_path / 'out', ['notes.txt', 'sub/shard-00000.array_record', 'prepare.lock.txt']
    later = ['parts/notes.txt', 'parts/a-last.part', 'parts/mine.tmp', 'prepare.json.bak.tmp']
    leave(out, before)
    manifest = shards.write_manifest
    monkeypatch.setattr(shards, 'write_manifest', lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        prepare(photos, out)
    leave(out, later)
    (out / 'manifest.json.123.tmp').write_text('what a kill left')
    monkeypatch.setattr(shards, 'write_manifest', manifest)
    prepare(photos, out)
    assert contents(out) == contents(tmp_path / 'alone') | dict.fromkeys(before + later, b'mine')


def leave(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('mine')


def test_a_disk_that_is_full_at_any_write(photos, tmp_path, alone, monkeypatch):
    """It is named with the file that could not be written; with more space, the same command goes on."""
    prepare(photos, tmp_path / 'alone')
    write, left = Path.write_bytes, [0]

    def full(path, content):
        left[0] -= 1
        if left[0] == 0:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, 'No space left on device')  # which names no file
        return write(path, content)

    monkeypatch.setattr(Path, 'write_bytes', full)
    for moment in itertools.count(1):
        out, left[0] = tmp_path / f'full{moment}', moment
        try:
            prepare(photos, out)
        except OSError as error:
            assert Path(error.filename).is_relative_to(out) and not Path(error.filename).exists(), moment
            assert not list(out.rglob('*.tmp'))
            prepare(photos, out)
            assert contents(out) == contents(tmp_path / 'alone'), moment
        else:
            break
    assert moment > COUNT + 5  # a part for each, a note for each block, the record, hashes, reasons, the manifest


@pytest.mark.parametrize('content', [b'name;reason\n', b'name,reason\na.jpg\n', b'\xff\xfe', None])
def test_a_list_of_the_rejected_that_was_edited(content, photos, tmp_path, alone):
    prepare(photos, tmp_path / 'out')
    path = tmp_path / 'out' / run.REJECTED
    path.write_bytes(content) if content is not None else path.unlink()
    with pytest.raises(UserError, match=r'rejected.csv was changed since it was written'):
        prepare(photos, tmp_path / 'out')
    assert len(shards.Shards(tmp_path / 'out')) == 7


def test_a_folder_of_shards_has_a_name_in_utf_8(tmp_path):
    out = tmp_path / os.fsdecode(b'\xff')
    with pytest.raises(UserError, match=r'\\xff: shards need a folder whose name is UTF-8'):
        with run.lock(out):
            pass
    assert not out.exists()


def test_no_face_at_all(tmp_path, alone):
    folder = tmp_path / 'photos'
    folder.mkdir()
    (folder / 'a.jpg').write_text('no picture')
    with pytest.raises(UserError, match=r'no face in 1 files: .*rejected.csv'):
        prepare(inputs.plan([folder], shard_size=SHARD), tmp_path / 'out')
    assert 'a.jpg,not a readable picture' in (tmp_path / 'out' / run.REJECTED).read_text()
