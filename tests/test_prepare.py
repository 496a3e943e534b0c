"""The command as users meet it: in a process of its own, on hostile files, under kills."""

from __future__ import annotations

import csv
import os
import resource
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from jfrecon import prepare
from jfrecon.data import build, shards
from jfrecon.data.pipeline import examples, prepared_box
from jfrecon.data.prepare.extract import Rejected
from jfrecon.errors import UserError
from tests import detectors

ROOT = Path(__file__).parents[1]


def command(*arguments: object, **options: Any) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, '-m', 'jfrecon.prepare', *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(*arguments: object, **options: Any) -> tuple[int, str, str]:
    process = command(*arguments, **options)
    said, complained = process.communicate(timeout=120)
    return process.returncode, said, complained


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """A dozen noisy photos with landmarks."""
    folder, rng = tmp_path_factory.mktemp('photos'), np.random.default_rng(0)
    names = [f'{k:02d}.png' for k in range(12)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (60, 70, 3), np.uint8)).save(folder / name)
    points = rng.uniform(15, 50, (12, 68, 2)).astype(np.float32)
    points[3] = np.nan
    np.savez(folder.parent / 'landmarks.npz', filename=names, spots=points)
    return folder


def given(photos: Path) -> list[object]:
    return [
        photos, f'--landmarks={photos.parent / "landmarks.npz"}', '--landmarks_key=spots', '--shard_size=3',
        '--processes=1',  # each imports JAX
    ]  # fmt: skip


@pytest.fixture(scope='module')
def seconds(photos):
    """How long the command takes where nobody disturbs it; what it leaves is what `alone` is."""
    begun = time.monotonic()
    assert run(*given(photos), f'--out={photos.parent / "alone"}')[0] == 0
    return time.monotonic() - begun


@pytest.fixture(scope='module')
def alone(photos, seconds):
    return photos.parent / 'alone'


class Brightest(NamedTuple):
    """The guide's detector, as a process finds and is told it."""

    env: dict[str, str]
    flags: tuple[str, ...] = (f'--landmarker={detectors.BRIGHTEST}',)


@pytest.fixture
def brightest(tmp_path):
    path = os.pathsep.join([str(detectors.install(tmp_path / 'installed')), str(ROOT)])
    return Brightest(os.environ | {'PYTHONPATH': path})


def bright(side):
    """A picture with a bright square on a dark ground."""
    picture = np.full((side, side, 3), 40, np.uint8)
    picture[60:160, 90:190] = np.random.default_rng(side).integers(200, 255, (100, 100, 3))
    return Image.fromarray(picture)


@pytest.fixture
def hostile(tmp_path):
    """What the guide's detector takes for a face, upright and as a turned camera's file with its lens, among files
    that are none."""
    folder = tmp_path / 'hostile'
    folder.mkdir()
    picture = bright(240)
    picture.save(folder / 'upright.png')
    turned, exif = picture.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6
    exif[0x8769] = {0xA405: 50}
    turned.save(folder / 'turned.jpg', quality=95, exif=exif)
    (folder / 'zopy.png').write_bytes((folder / 'upright.png').read_bytes())
    (folder / 'cut.jpg').write_bytes((folder / 'turned.jpg').read_bytes()[:6000])
    (folder / 'text.jpg').write_text('hello')
    (folder / 'empty.png').write_bytes(b'')
    (folder / 'notes.txt').write_text('hello')
    Image.new('1', (12_000, 12_000)).save(folder / 'bomb.png')
    return folder


def test_hostile_files_are_listed_and_the_others_prepared(hostile, brightest, tmp_path):
    out = tmp_path / 'out'
    code, said, complained = run(hostile, f'--out={out}', '--processes=2', *brightest.flags, env=brightest.env)
    assert code == 0 and complained == 'passed over 1 file: 1 .txt\n', complained
    assert said.startswith('2 faces from 6 files, 6 rejected (')
    with (out / 'rejected.csv').open(newline='') as file:
        rejected = {row['name']: row['reason'] for row in csv.DictReader(file)}
    for name, reason in {
        'zopy.png': 'the same content as another (of upright.png)',
        'cut.jpg': 'not a readable picture',
        'text.jpg': 'not a readable picture',
        'empty.png': 'the file is empty',
        'notes.txt': 'neither a photo nor a video',
        'bomb.png': '12000 x 12000 pixels are more than the limit',
    }.items():
        assert rejected.pop(name).startswith(reason)
    assert not rejected
    turned, upright = shards.Shards(out)
    assert (turned.name, upright.name) == ('turned.jpg', 'upright.png')
    # JPEG blurred the edges by a few pixels; the lens belongs to the whole photo, of 240 by 240 pixels, whose centre is
    # the principal point.
    np.testing.assert_allclose(turned.box, upright.box, atol=0.1 * upright.box[2])
    assert np.isnan(upright.focal)
    assert turned.focal == pytest.approx(50 / np.hypot(36, 24) * np.hypot(240, 240))
    page = (out / 'contact.html').read_text()
    assert 'contact-000.png' in page and (out / 'contact-000.png').is_file()


def test_training_reads_it(alone, tmp_path):
    config = build.ConfigDict({'data': {'source': 'shards', 'path': str(alone), 'crop': 'prepared', 'masks': None}})
    faces = build.source(config, tmp_path)
    assert len(faces) == 11 and build.rule(config)(faces[0]) == faces[0].box
    options = {'size': 16, 'batch_size': 11, 'default_focal': 4.0}
    ((chosen, _),) = examples(faces, rule=prepared_box(), **options)
    ((around, _),) = examples(faces, **options)  # the landmarks' rule, of 1.6 as well
    np.testing.assert_allclose(chosen.landmarks, around.landmarks, atol=1e-4)
    assert chosen.landmark_weight.all()


def test_two_jobs_at_once_leave_the_bytes_of_one(photos, alone, tmp_path):
    jobs = [command(*given(photos), f'--out={tmp_path}', f'--part={k}/2') for k in (1, 2)]
    said = [job.communicate(timeout=120) for job in jobs]
    assert all(job.returncode == 0 for job in jobs), said
    assert said[0][0].startswith('6 faces from 6 files, 0 rejected: ')
    shared = {path.name: path.read_bytes() for path in tmp_path.glob('part-*-of-00002/*.array_record')}
    assert shared == {path.name: path.read_bytes() for path in alone.glob('*.array_record')} and len(shared) == 4


def test_a_part_without_a_shard(photos, tmp_path, capsys):
    prepare.main([*map(str, given(photos)), f'--out={tmp_path}', '--part=5/5'])
    said, complained = capsys.readouterr()
    assert said.startswith('0 faces from 0 files, 0 rejected: ') and (tmp_path / 'part-00005-of-00005').is_dir()
    more = 'a --shard-size smaller than 3, for all parts, makes more'
    assert complained.splitlines()[0] == f'12 files are 4 shards: part 5/5 is empty; {more}'


def test_mistakes_are_one_line_and_code_2(photos, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    for arguments, named in [
        ([photos / 'none', f'--out={tmp_path / "out"}'], 'no such file or folder'),
        ([photos, f'--out={photos / "out"}'], 'lies in'),
        ([photos, f'--out={tmp_path / "file" / "out"}'], 'file'),
        ([photos, f'--out={tmp_path / "out"}', '--landmarks=none.npz'], 'no such landmark file'),
        ([photos, '--boxes=b.csv', f'--out={tmp_path / "out"}', '--crop=whole'], 'takes each picture as one face'),
        ([photos, f'--out={tmp_path / "out"}', '--every=0'], 'must be positive'),
        ([photos, f'--out={tmp_path / "out"}', '--part=0/3'], '--part=0/3 is not I/N'),
    ]:
        with pytest.raises((UserError, OSError), match=named):
            prepare.main(list(map(str, arguments)))
    code, said, complained = run(*arguments)
    assert code == 2 and said == '' and complained.startswith('error: ') and complained.count('\n') == 1


def test_names_of_every_kind(tmp_path):
    """What a file is called is no reason to lose it, or to stop; rows and files that do not meet are named."""
    folder, out = tmp_path / 'photos', tmp_path / 'out'
    folder.mkdir()
    long, bytes_ = f'{"n" * 251}.png', os.fsdecode(b'\xff.png')
    for k, name in enumerate([long, bytes_, unicodedata.normalize('NFD', 'é.png'), 'A.PNG', 'alone.png']):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (60, 70, 3), np.uint8)).save(folder / name)
    os.mkfifo(folder / 'pipe.png')
    rows = [long, '\\xff.png', unicodedata.normalize('NFC', 'é.png'), 'A.png', 'nobody.png']
    points = np.random.default_rng(0).uniform(15, 50, (5, 68, 2))
    np.savez(tmp_path / 'landmarks.npz', filename=rows, landmarks=points)
    code, said, complained = run(folder, f'--out={out}', f'--landmarks={tmp_path / "landmarks.npz"}', '--processes=1')
    assert code == 0 and said.startswith('4 faces from 5 files, 2 rejected'), complained
    lines = complained.splitlines()
    assert any('1 names in --landmarks fit no file: nobody.png; ' in line for line in lines), lines
    assert any('1 files have no row in --landmarks: alone.png; add rows, or ' in line for line in lines), lines
    with (out / 'rejected.csv').open(newline='', encoding='utf-8') as file:
        rejected = {row['name']: row['reason'] for row in csv.DictReader(file)}
    assert rejected == {'pipe.png': 'not a file', 'alone.png': 'nothing is given for it'}


def test_where_only_linux_would_do(photos, alone, tmp_path):
    """Neither locks of folders, nor masks of signals, nor a word which cores are free: Windows, and in part macOS."""
    (tmp_path / 'sitecustomize.py').write_text(
        "import os, signal, sys\nsys.modules['fcntl'] = None\n"
        'del os.sched_getaffinity, signal.pthread_sigmask, signal.SIGBUS\n'
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    out = tmp_path / 'out'
    code, _, complained = run(*given(photos), f'--out={out}', env=os.environ | {'PYTHONPATH': path})
    assert code == 0, complained
    assert contents(out) == contents(alone)


def test_a_full_disk_is_one_line_and_loses_nothing(photos, alone, tmp_path):
    """A limit on the size of files stops the first write of faces, as a full disk would."""
    out, limit = tmp_path / 'out', (2000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    code, said, complained = run(
        *given(photos), f'--out={out}', preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    )
    assert code == 2 and said == '' and complained.startswith(f'error: {out}') and complained.count('\n') == 1
    assert run(*given(photos), f'--out={out}')[0] == 0
    assert contents(out) == contents(alone)


def test_help_has_an_example(capsys):
    with pytest.raises(SystemExit) as exited:
        prepare.main(['--help'])
    assert exited.value.code == 0 and 'example: python -m jfrecon.prepare' in capsys.readouterr().out


@pytest.mark.slow
def test_ctrl_c_and_on(brightest, tmp_path):
    """To the whole group of processes, as a terminal sends it, while they look for faces."""
    folder, out = tmp_path / 'photos', tmp_path / 'out'
    folder.mkdir()
    for k in range(4):
        bright(240 + k).save(folder / f'{k}.png')
    process = subprocess.Popen(
        [sys.executable, '-m', 'jfrecon.prepare', str(folder), f'--out={out}', '--processes=2', *brightest.flags],
        cwd=ROOT,
        env=brightest.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a job in the background is born deaf to it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not list(out.glob('parts/*.part')):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)
    _, complained = process.communicate(timeout=60)  # which also waits until no process holds on to its end
    assert process.returncode == 130 and complained == 'interrupted\n'
    code, said, _ = run(folder, f'--out={out}', *brightest.flags, env=brightest.env)
    assert code == 0 and said.startswith('4 faces from 4 files, 0 rejected')


def test_killed_and_resumed(photos, alone, seconds, tmp_path):
    """Two deaths at random moments; `experiments/prepare_survives` is the large one, with photographs."""
    killed = tmp_path / 'killed'
    rng = np.random.default_rng(0)
    for how in (signal.SIGKILL, signal.SIGTERM):
        process = command(*given(photos), f'--out={killed}', f'--processes={rng.integers(1, 3)}')
        try:
            process.wait(rng.uniform(0.5, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(how)
        process.communicate()
    code, said, _ = run(*given(photos), f'--out={killed}')
    assert code == 0 and said.startswith('11 faces from 12 files, 1 rejected (1 no landmark is known)')
    assert contents(killed) == contents(alone)


def test_reasons_are_counted_without_their_details():
    reasons = [
        'cannot be read (a)',
        '12 x 1,345 pixels are too few',
        '7 x 3 pixels are too few',
        'no face found',
    ]
    assert prepare.by_reason([Rejected('x', reason) for reason in reasons]) == {
        'N x N pixels are too few': 2,
        'cannot be read': 1,
        'no face found': 1,
    }
