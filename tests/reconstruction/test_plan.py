"""What is found out before the work begins: folders of faces, what is in their way, and what cannot be read."""

from __future__ import annotations

import json
import os
import re
import socket
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from jfrecon.data.landmark_files import LandmarkFile
from jfrecon.errors import UserError
from jfrecon.files import digest
from jfrecon.reconstruction import plan
from jfrecon.reconstruction.plan import Existing


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def face(folder: Path, photo: Path | None = None, **about) -> None:
    """What marks the folder of a face, of a photograph where it is said."""
    fill(folder, 'face.glb')
    known = {'jfrecon': 1, 'kind': 'face', 'files': {}, 'face': 0, 'faces': 1}
    known = {} if photo is None else {**known, 'sha256': digest(photo)}
    (folder / 'metadata.json').write_text(json.dumps({**known, **about}))


def points(*names: str) -> LandmarkFile:
    values = np.arange(len(names), dtype=np.float32)[:, None, None] * np.ones((1, 68, 2), np.float32)
    return LandmarkFile(list(names), values, [''] * len(names))


def meet(one: str, other: str) -> bool:
    """Whether folders of two files, or of one of their faces, could be one, or one in the other, by brute force."""
    key = lambda name: unicodedata.normalize('NFC', name).casefold()
    families = [{key(name), *(f'{key(name)}_{k}' for k in range(20))} for name in (one, other)]
    within = any(b.startswith(f'{a}/') or a.startswith(f'{b}/') for a in families[0] for b in families[1])
    return bool(families[0] & families[1]) or within


HARD = [
    'x.jpg', 'x.png', 'x.JPG', 'X.jpg', 'x_png.png', 'x_png-2.bmp', 'group.jpg', 'group_0.jpg', 'group_0.png',
    'group_0_1.jpg', 'a.jpg', 'a/1.jpg', 'a_3/2.jpg', 'A/1.jpg', 'b/a/1.jpg', 'b/a.jpg', 'b_a.jpg', 'x', 'x_jpg',
    'e\u0301.jpg', '\u00e9.jpg', '\u00c9.jpg', '.hidden.jpg', 'two.dots.jpg', 'two.jpg', 'c.jpg/1.jpg', 'c.jpg.png',
    'd/1_0.jpg', 'd/1.jpg', 'd/1_0_0.jpg', 'stra\u00dfe.jpg', 'STRASSE.jpg',
]  # fmt: skip


def test_no_two_files_can_get_one_folder():
    draws = np.random.default_rng(0)
    few = [
        ['x.jpg', 'x.png', 'x_png/1.jpg'], ['x.jpg', 'x.png', 'x_png_0/1.jpg'], ['x.jpg', 'x.png', 'x_png_0.jpg'],
    ]  # fmt: skip
    for names in [HARD, *few, *(list(draws.permutation(HARD)[: draws.integers(2, 12)]) for _ in range(60))]:
        folders = plan.named_folders([str(name) for name in names])
        assert folders.keys() == set(names)
        together = [
            (one, other) for one in folders.values() for other in folders.values() if one != other and meet(one, other)
        ]
        assert not together and len(set(folders.values())) == len(names), folders


def test_folders_mirror_the_tree_and_keep_their_stems():
    assert plan.named_folders(['1.jpg', '2.jpg']) == {'1.jpg': '1', '2.jpg': '2'}
    assert plan.named_folders(['a/1.jpg', 'b/1.jpg']) == {'a/1.jpg': 'a/1', 'b/1.jpg': 'b/1'}
    assert plan.named_folders(['x.jpg', 'x.png', 'y.png']) == {'x.jpg': 'x_jpg', 'x.png': 'x_png', 'y.png': 'y'}
    assert plan.named_folders(['img_001.jpg', 'img_002.jpg']) == {'img_001.jpg': 'img_001', 'img_002.jpg': 'img_002'}
    assert plan.named_folders(['group.jpg', 'group_0.jpg']) == {'group.jpg': 'group', 'group_0.jpg': 'group_0_jpg'}


def test_folders_do_not_depend_on_the_order():
    shuffled = np.random.default_rng(0).permutation(HARD)
    assert plan.named_folders(HARD) == plan.named_folders([str(name) for name in shuffled])


def test_names_that_are_too_long_are_cut(tmp_path):
    names = [f'{"x" * 251}.jpg', f'{"x" * 250}y.jpg', f'{"ä" * 125}.jpg', f'{"d" * 255}/1.jpg']
    folders = plan.named_folders(names)
    assert len(set(folders.values())) == 4
    for folder in folders.values():
        (tmp_path / f'{folder}_999').mkdir(parents=True)
    assert all('x' * 200 in folders[name] for name in names[:2])
    assert plan.named_folders([names[0]]) == {names[0]: folders[names[0]]}, 'the same in every run'


def test_what_cannot_become_a_face_is_known_before(tmp_path):
    photos, out = tmp_path / 'photos', tmp_path / 'out'
    fill(photos, 'good.jpg', 'notes.txt', 'x.jpg/inside.jpg', '.hidden.jpg')
    os.mkfifo(tmp_path / 'pipe.jpg')
    (tmp_path / 'loop.jpg').symlink_to(tmp_path / 'loop.jpg')
    place = socket.socket(socket.AF_UNIX)
    place.bind(str(tmp_path / 'socket.jpg'))
    (photos / 'below').symlink_to(photos)
    os.mkfifo(photos / 'pipe.jpg')
    named = [tmp_path / name for name in ('pipe.jpg', 'loop.jpg', 'socket.jpg')]
    made = plan.make([photos, *named, Path('/dev/zero')], out)
    place.close()
    reasons = {Path(name).name: reason for name, reason in made.failed}
    assert reasons == {
        'pipe.jpg': 'it is a named pipe, not a file',
        'loop.jpg': 'cannot be read (Too many levels of symbolic links)',
        'socket.jpg': 'it is a socket, not a file',
        'zero': 'it is a device, not a file',
    }
    assert [Path(job.name).name for job in made.jobs] == ['good.jpg', 'inside.jpg'] and made.total == 6
    text = '\n'.join(made.notes)
    assert (
        'passed over 2 files: 1 .txt, 1 hidden' in text
        and 'a link to a folder' in text
        and 'pipe.jpg: not a file' in text
    )


def test_what_cannot_be_written_is_known_before(tmp_path, monkeypatch):
    fill(tmp_path, 'in/a/1.jpg', 'in/2.jpg', 'in/3.jpg', 'out/a')
    lstat = os.lstat

    def refused(path, *arguments, **named):
        if Path(path).name == '3':
            raise OSError(84, 'Invalid or incomplete multibyte or wide character', str(path))
        return lstat(path, *arguments, **named)

    monkeypatch.setattr(os, 'lstat', refused)
    made = plan.make([tmp_path / 'in'], tmp_path / 'out')
    assert [job.name for job in made.jobs] == ['2.jpg']
    assert dict(made.failed) == {
        'a/1.jpg': f'a file is in the way of {tmp_path / "out" / "a" / "1"}',
        '3.jpg': '3 cannot be written (Invalid or incomplete multibyte or wide character)',
    }


def test_names_that_are_no_text(tmp_path):
    fill(tmp_path, 'in/good.jpg')
    (tmp_path / 'in' / os.fsdecode(b'caf\xe9.jpg')).write_bytes(b'')
    (tmp_path / 'in' / 'a\nb.jpg').write_bytes(b'')
    made = plan.make([tmp_path / 'in'], tmp_path / 'out')
    assert sorted(job.name for job in made.jobs) == ['a\\nb.jpg', 'caf\\xe9.jpg', 'good.jpg']
    assert sorted(job.folder for job in made.jobs) == ['a\\nb', 'caf\\xe9', 'good']
    for job in made.jobs:
        (tmp_path / 'out' / job.folder).mkdir(parents=True)
        job.folder.encode()
        assert job.path.exists()


def test_landmarks_are_those_of_the_path(tmp_path):
    fill(tmp_path, 'a/1.jpg', 'b/1.JPG', 'b/2.jpg', 'b/clip.mp4')
    rows = points('b/1.jpg', 'a/1.jpg', 'b/1.jpg', 'gone.jpg', 'clip.mp4_000010')
    made = plan.make([tmp_path], tmp_path / 'out', landmarks=rows)
    given = {job.name: job.given.landmarks for job in made.jobs}
    assert given['a/1.jpg'][:, 0, 0].tolist() == [1] and given['b/1.JPG'][:, 0, 0].tolist() == [0, 2]
    assert given['b/clip.mp4'] is None
    assert made.failed == [('b/2.jpg', 'it has no row of landmarks')]
    text = '\n'.join(made.notes)
    assert '2 rows of landmarks for no photograph: gone.jpg, clip.mp4_000010' in text
    assert '1 photograph without landmarks' in text and '--box' in text
    alone = plan.make([tmp_path / 'b' / '1.JPG'], tmp_path / 'out', landmarks=rows)
    assert alone.jobs[0].given.landmarks[:, 0, 0].tolist() == [0, 2], 'not those of a/1.jpg'


def test_a_box_is_for_photographs_and_videos_and_reasons_are_the_first(tmp_path):
    fill(tmp_path, 'in/a.jpg', 'in/b.mp4')
    os.mkfifo(tmp_path / 'pipe.jpg')
    box = np.array([[1.0, 2, 3, 4]])
    made = plan.make([tmp_path / 'in'], tmp_path / 'out', box=box)
    assert [job.given.boxes is box for job in made.jobs] == [True, True]
    made = plan.make([tmp_path / 'in', tmp_path / 'pipe.jpg'], tmp_path / 'out', landmarks=points('a.jpg'))
    assert [reason for _, reason in made.failed] == ['it is a named pipe, not a file']


def test_many_names_are_cut_short():
    assert plan.listed(list('abcde')) == 'a, b, c, d, e' and plan.listed(list('abcdefg')) == 'a, b, c, d, e and 2 more'


def test_what_is_there_is_refused_left_out_or_replaced(tmp_path):
    fill(tmp_path, 'in/a/1.jpg', 'in/b/1.jpg', 'in/group.jpg')
    out, photos = tmp_path / 'out', tmp_path / 'in'
    (out / 'b' / '1').mkdir(parents=True)  # an empty folder is in nobody's way
    assert len(plan.make([photos], out).jobs) == 3
    face(out / 'a' / '1', photos / 'a' / '1.jpg', photograph='a/1.jpg')
    with pytest.raises(UserError) as caught:
        plan.make([photos], out)
    assert all(word in str(caught.value) for word in (str(out / 'a' / '1'), '--skip-existing', '--overwrite'))
    assert len(plan.make([photos], out, Existing.OVERWRITE).jobs) == 3
    left = plan.make([photos], out, Existing.SKIP)
    assert left.skipped == ['a/1.jpg'] and [job.name for job in left.jobs] == ['b/1.jpg', 'group.jpg']
    assert plan.make([photos], out, Existing.SKIP, same_person=True).skipped == [], 'they are made together'

    fill(out, 'b/1/mine.txt')
    for existing in Existing:
        with pytest.raises(UserError, match=f'{out / "b" / "1"} is there and is no reconstructed face'):
            plan.make([photos / 'b', photos / 'group.jpg'], out, existing)


def test_a_group_is_done_when_all_its_faces_are(tmp_path):
    fill(tmp_path, 'in/group.jpg')
    photo, out = tmp_path / 'in' / 'group.jpg', tmp_path / 'out'
    about = lambda number: {'photograph': 'group.jpg', 'face': number, 'faces': 2}
    face(out / 'group_1', photo, **about(1))
    with pytest.raises(UserError, match=re.escape(str(out / 'group_1'))):
        plan.make([photo], out)
    assert len(plan.make([photo], out, Existing.SKIP).jobs) == 1
    face(out / 'group_0', photo, **about(0))
    assert plan.make([photo], out, Existing.SKIP).skipped == ['group.jpg']
    face(out / 'group_0', photo, **about(0), replacing={'face.glb': 'x'})  # killed while it was replaced
    assert len(plan.make([photo], out, Existing.SKIP).jobs) == 1
    fill(out, 'group_7/mine.txt')  # of somebody else
    assert len(plan.make([photo], out, Existing.OVERWRITE).jobs) == 1


def test_a_folder_of_something_else_is_not_taken_for_done(tmp_path):
    fill(tmp_path, 'in/1.jpg', 'in/2.jpg')
    out = tmp_path / 'out'
    face(out / '1', tmp_path / 'in' / '2.jpg', photograph='2.jpg')
    with pytest.raises(UserError, match=r'is of 2\.jpg, not of 1\.jpg'):
        plan.make([tmp_path / 'in'], out, Existing.SKIP)
    face(out / '1', tmp_path / 'in' / '2.jpg', photograph='1.jpg')
    with pytest.raises(UserError, match=r'is of 1\.jpg as it was before it changed: --overwrite'):
        plan.make([tmp_path / 'in'], out, Existing.SKIP)
    face(out / '1', photograph='1.jpg')  # by an earlier version, without hashes
    assert plan.make([tmp_path / 'in'], out, Existing.SKIP).skipped == ['1.jpg']
    face(out / '1', photograph='2.jpg')
    with pytest.raises(UserError, match=r'is of 2\.jpg'):
        plan.make([tmp_path / 'in'], out, Existing.SKIP)


def test_nothing_to_do_is_said_with_what_is_there(tmp_path):
    fill(tmp_path, 'notes.txt')
    with pytest.raises(UserError, match=r'no photographs and no videos in .*; passed over 1 file: 1 \.txt'):
        plan.make([tmp_path], tmp_path / 'out')


def test_landmarks_beside_videos_are_said_to_be_of_the_photographs(tmp_path):
    fill(tmp_path, 'in/a.jpg', 'in/b.mp4', 'in/c.mp4')
    todo = plan.make([tmp_path / 'in'], tmp_path / 'out', landmarks=points('a.jpg'))
    assert todo.notes == ['--landmarks is for photographs: in 2 videos the face is looked for']
    assert [job.given.landmarks is None for job in todo.jobs] == [False, True, True]
    assert plan.make([tmp_path / 'in' / 'a.jpg'], tmp_path / 'out', landmarks=points('a.jpg')).notes == []
