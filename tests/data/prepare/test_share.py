from __future__ import annotations

import csv
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jfrecon.data import build, shards
from jfrecon.data.prepare import inputs, run, share
from jfrecon.data.prepare.extract import Settings
from jfrecon.errors import UserError

SETTINGS = Settings(crop='landmarks')
COUNT, SHARD = 11, 2


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Eleven tiny photos in blocks of two, done by this process: copies in other blocks, a broken one, a note."""
    monkeypatch.setattr(run.workers, 'each', lambda work, tasks, _: ((task, work(task)) for task in tasks))
    folder, rng = tmp_path / 'photos', np.random.default_rng(0)
    folder.mkdir()
    for k in range(COUNT):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f'{k:02d}.bmp')
    shutil.copy(folder / '01.bmp', folder / '07.bmp')  # all are equally long
    shutil.copy(folder / '10.bmp', folder / '02.bmp')  # something is given for the second alone
    (folder / '05.bmp').write_text('no picture')
    (folder / 'notes.txt').write_text('no picture')
    return folder


def table() -> inputs.landmark_files.LandmarkFile:
    rows = [f'{k:02d}.bmp' for k in range(COUNT) if k not in (2, 8)]
    points = np.random.default_rng(1).uniform(10, 35, (len(rows), 68, 2)).astype(np.float32)
    return inputs.landmark_files.LandmarkFile(rows, points, [f's{k % 3}' for k in range(len(rows))])


def prepare(folder: Path, out: Path, part: str | None = None, settings: Settings = SETTINGS) -> inputs.Plan:
    own = None if part is None else share.read(part)
    out = share.place(out, own)
    with run.lock(out):
        plan = inputs.plan([folder], table(), shard_size=SHARD, share=own or share.WHOLE)
        run.prepare(plan, out, settings, run.record(plan, settings, {}), 1)
    return plan


def records(folder: Path) -> dict[str, bytes]:
    """The shards below a folder by their names alone, each of which comes once."""
    found = sorted(folder.rglob('*.array_record'))
    assert len({path.name for path in found}) == len(found)
    return {path.name: path.read_bytes() for path in found}


def rejected(folder: Path) -> list[list[str]]:
    tables = [list(csv.reader(path.open(newline=''))) for path in folder.rglob(run.REJECTED)]
    return sorted(row for table in tables for row in table[1:])


@pytest.mark.parametrize('of', [1, 3, 5, 9])
def test_parts_leave_the_bytes_of_the_whole(of, photos, tmp_path):
    """In any order, and with more parts than there are shards."""
    prepare(photos, tmp_path / 'whole')
    for number in np.random.default_rng(of).permutation(of) + 1:
        prepare(photos, tmp_path / 'parts', f'{number}/{of}')
    whole, parts = shards.Shards(tmp_path / 'whole'), shards.Shards(tmp_path / 'parts/*')
    assert records(tmp_path / 'parts') == records(tmp_path / 'whole')
    assert rejected(tmp_path / 'parts') == rejected(tmp_path / 'whole') and len(rejected(tmp_path / 'whole')) == 5
    names = [whole.name(k) for k in range(len(whole))]
    assert names == [f'{k:02d}.bmp' for k in (0, 1, 3, 4, 6, 9, 10)]
    assert [parts.name(k) for k in range(len(parts))] == names == [face.name for face in parts]
    assert list(parts.groups) == list(whole.groups) and len(set(whole.groups)) == 3


def test_a_part_reads_no_more_than_it_needs(photos, tmp_path, monkeypatch):
    """Its own files whole, and those of the others that look like one of them."""
    hashed, digest = set(), inputs.digest
    monkeypatch.setattr(inputs, 'digest', lambda path: hashed.add(path.name) or digest(path))
    plan = inputs.plan([photos], shard_size=SHARD, share=share.read('1/3'))
    assert hashed == {f'{k:02d}.bmp' for k in (0, 1, 6, 7)} and plan.blocks == 6
    hashed.clear()
    inputs.plan([photos], shard_size=SHARD, share=share.read('2/3'))
    assert hashed == {f'{k:02d}.bmp' for k in (2, 3, 8, 9)} | {'10.bmp'}


def test_training_reads_the_parts(photos, tmp_path):
    for number in (1, 2, 3):
        prepare(photos, tmp_path / 'parts', f'{number}/3')
    (tmp_path / 'parts' / 'slurm-1.out').write_text("a file is in nobody's way")
    data = {'source': 'shards', 'path': str(tmp_path / 'parts/*'), 'crop': 'prepared', 'masks': None}
    config = build.ConfigDict({'data': data})
    assert len(build.source(config, tmp_path)) == 7
    alone = shards.Shards(tmp_path / 'parts' / 'part-00001-of-00003')
    assert [face.name for face in alone] == ['00.bmp', '01.bmp', '06.bmp']
    config.data.path = str(tmp_path / 'parts')
    with pytest.raises(UserError, match=r"its folders have: read them together as '.*parts/\*'"):
        build.source(config, tmp_path)


def test_parts_that_do_not_make_a_whole(photos, tmp_path):
    out = tmp_path / 'parts'
    pattern = out / '*'
    with pytest.raises(UserError, match=r'no such folder: .*parts/'):
        shards.Shards(pattern)
    prepare(photos, out, '2/3')
    with pytest.raises(UserError, match=r'2 of 3 parts are not there: 1, 3; prepare them \(--part=1/3\)'):
        shards.Shards(pattern)
    prepare(photos, out, '1/3')
    (out / 'part-00003-of-00003').mkdir()
    with pytest.raises(UserError, match=r'part-00003-of-00003 has no manifest.json: not shards, or writing them was'):
        shards.Shards(pattern)
    prepare(photos, out, '3/3', Settings(crop='landmarks', scale=2))
    with pytest.raises(UserError, match=r'are of different preparations \(scale: 1.6 and 2\): prepare all'):
        shards.Shards(pattern)
    shutil.rmtree(out / 'part-00003-of-00003')
    (photos / 'more.bmp').write_bytes(b'')
    prepare(photos, out, '3/3')
    with pytest.raises(UserError, match=r'are of different preparations \(files listed: 11 and 12\)'):
        shards.Shards(pattern)
    shutil.rmtree(out / 'part-00003-of-00003')
    shutil.copytree(out / 'part-00002-of-00003', out / 'part-b')
    with pytest.raises(UserError, match=r'part-00002-of-00003 and .*part-b are the same part'):
        shards.Shards(pattern)
    shutil.rmtree(out / 'part-b')
    prepare(photos, tmp_path / 'others', '4/4')
    shutil.move(tmp_path / 'others' / 'part-00004-of-00004', out)
    with pytest.raises(UserError, match=r'is one of 3 parts, .* of 4: keep one set'):
        shards.Shards(pattern)


def test_folders_of_different_preparations_are_one_set(photos, tmp_path):
    for name in 'ba':
        prepare(photos, tmp_path / 'sets' / name)
    faces = shards.Shards(tmp_path / 'sets' / '[ab]')
    assert len(faces) == 14 and faces.name(0) == faces.name(7) == '00.bmp'
    shutil.move(tmp_path / 'sets' / 'a', tmp_path / 'sets' / '[c]')
    assert len(shards.Shards(tmp_path / 'sets' / '[c]')) == 7  # a name, not a pattern


def test_no_face_in_any_part(tmp_path, photos):
    for k in itertools.chain(range(8), range(9, COUNT)):
        (photos / f'{k:02d}.bmp').unlink()
    for number in (1, 2):
        prepare(photos, tmp_path / 'parts', f'{number}/2')
        assert len(shards.Shards(tmp_path / 'parts' / f'part-0000{number}-of-00002')) == 0
    with pytest.raises(UserError, match='there is no face in any of the parts'):
        shards.Shards(tmp_path / 'parts' / '*')


def test_one_number_of_parts_below_a_folder(photos, tmp_path):
    prepare(photos, tmp_path / 'whole')
    with pytest.raises(UserError, match='whole holds a preparation without --part: choose another --out'):
        prepare(photos, tmp_path / 'whole', '1/2')
    prepare(photos, tmp_path / 'parts', '1/2')
    with pytest.raises(UserError, match='parts holds parts of a preparation in 2, not in 3: choose another --out'):
        prepare(photos, tmp_path / 'parts', '1/3')
    with pytest.raises(UserError, match='parts holds parts of a preparation, read as'):
        prepare(photos, tmp_path / 'parts')


@pytest.mark.parametrize(
    'text', ['', '1', '0/3', '4/3', '1/0', '-1/3', '1/3/5', 'a/3', '1.5/3', '1/100000', '²/3', ' 1/3']
)
def test_what_is_no_part(text):
    with pytest.raises(UserError, match=r'--part=.* is not I/N with I from 1 to N, as 1/3'):
        share.read(text)


def test_parts_are_counted_from_one():
    assert share.read('03/0010') == (3, 10) and share.read('3/10').folder == 'part-00003-of-00010'
    owners = [[number for number in (1, 2, 3) if share.Share(number, 3).has(block)] for block in range(7)]
    assert owners == [[1], [2], [3], [1], [2], [3], [1]]


@pytest.mark.parametrize(
    'part',
    [
        {'number': 0, 'of': 3, 'about': {}},
        {'number': 4, 'of': 3, 'about': {}},
        {'number': '1', 'of': 3, 'about': {}},
        {'number': 1, 'of': 3, 'about': {'scale': 2}},
        {'number': 1, 'of': 3, 'about': []},
        {'number': 1, 'of': 3},
        None,
    ],
)
def test_a_manifest_of_a_part_that_is_damaged(part, photos, tmp_path):
    prepare(photos, tmp_path / 'parts', '1/3')
    path = tmp_path / 'parts' / 'part-00001-of-00003' / shards.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {'part': part}))
    with pytest.raises(UserError, match=r'is damaged .*write the shards again'):
        shards.Shards(path.parent)


def test_blocks_are_of_photos_or_of_a_video():
    paths = [Path(name) for name in ('a.jpg', 'b.png', 'c.jpg', 'd.mp4', 'e.mp4', 'f.jpg', 'g.jpg', 'h.jpg')]
    assert inputs._blocks(paths, 2) == [0, 0, 1, 2, 3, 4, 4, 5]
    assert inputs._blocks(paths[3:4], 2) == [0]
