from __future__ import annotations

import hashlib
import os
import time

import numpy as np
import pytest

from jfrecon.data.landmark_files import LandmarkFile
from jfrecon.data.prepare import inputs
from jfrecon.errors import UserError


def fill(folder, **contents):
    for name, content in contents.items():
        path = folder / name.replace('__', '/').replace('_', '.')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def points(names, groups=None) -> LandmarkFile:
    values = np.arange(len(names), dtype=np.float32)[:, None, None] * np.ones((1, 68, 2), np.float32)
    return LandmarkFile(list(names), values, list(groups or [''] * len(names)))


def test_what_there_is_in_the_order_of_the_command(tmp_path):
    fill(tmp_path, b__2_png=b'2', b__1_JPG=b'1', b__deep__0_png=b'0', a__x_png=b'x', b__notes_txt=b'?')
    plan = inputs.plan([tmp_path / 'b', tmp_path / 'a' / 'x.png', tmp_path / 'b' / '1.JPG'])
    assert [given.name for given in plan.inputs] == ['b/1.JPG', 'b/2.png', 'b/deep/0.png', 'a/x.png']
    assert plan.rejected == [('b/notes.txt', 'neither a photo nor a video by its name')]
    assert plan.inputs[0].sha256 == hashlib.sha256(b'1').hexdigest()
    assert inputs.plan([tmp_path / 'b']).inputs[0].name == '1.JPG'


def test_each_content_once(tmp_path):
    """The first of them, or the first that something is given for."""
    fill(tmp_path, a_png=b'same', b_png=b'same', c_png=b'other', d_png=b'same')
    plan = inputs.plan([tmp_path])
    assert [given.name for given in plan.inputs] == ['a.png', 'c.png']
    assert plan.rejected == [(name, 'the same content as another (of a.png)') for name in ('b.png', 'd.png')]
    plan = inputs.plan([tmp_path], points(['d.png', 'c.png']))
    assert [given.name for given in plan.inputs] == ['c.png', 'd.png']


def test_files_that_are_none(tmp_path):
    fill(tmp_path, a_png=b'a')
    os.mkfifo(tmp_path / 'pipe.jpg')  # to open it would wait for ever
    (tmp_path / 'link.jpg').symlink_to(tmp_path / 'nowhere')
    (tmp_path / 'below').symlink_to(tmp_path)  # to follow it would never end
    (tmp_path / os.fsdecode(b'\xff.png')).write_bytes(b'b')  # no text in any encoding we know
    plan = inputs.plan([tmp_path])
    assert [given.name for given in plan.inputs] == ['a.png', '\\xff.png']
    assert plan.rejected == [
        ('below', 'a link to a folder'),
        ('link.jpg', 'not a file'),
        ('pipe.jpg', 'not a file'),
    ]


def test_folders_and_files_that_cannot_be_read(tmp_path, monkeypatch):
    """Root reads everything, so the refusals are played."""
    fill(tmp_path, a_png=b'a', b_png=b'b', closed__c_png=b'c')
    scandir, digest = os.scandir, inputs.digest

    def refuse(path, name, allowed):
        if str(path).endswith(name):
            raise PermissionError(13, 'Permission denied', str(path))
        return allowed(path)

    monkeypatch.setattr(os, 'scandir', lambda path: refuse(path, 'closed', scandir))
    monkeypatch.setattr(inputs, 'digest', lambda path: refuse(path, 'b.png', digest))
    plan = inputs.plan([tmp_path])
    assert [given.name for given in plan.inputs] == ['a.png']
    assert plan.rejected == [(name, 'cannot be read (Permission denied)') for name in ('closed', 'b.png')]


def test_landmarks_find_their_files(tmp_path):
    fill(tmp_path, x__1_png=b'1', x__2_png=b'2', y__1_png=b'3', y__clip_mp4=b'4')
    names = ['x/1.png', '2.png', '2.png', 'clip.mp4_000010', 'none.png']
    plan = inputs.plan([tmp_path], points(names, ['kim', 'lee', 'sam', 'kim', 'kim']))
    given = {row.name: row for row in plan.inputs}
    assert given['x/1.png'].known['x/1.png'].landmarks[:, 0, 0].tolist() == [0]
    assert given['x/2.png'].known['x/2.png'].landmarks[:, 0, 0].tolist() == [1, 2]
    assert given['x/2.png'].known['x/2.png'].groups == ('lee', 'sam')
    assert given['y/clip.mp4'].known['y/clip.mp4_000010'].landmarks[:, 0, 0].tolist() == [3]
    assert given['y/clip.mp4'].group == 'y/clip.mp4' and given['y/1.png'].known == {}
    assert given['y/1.png'].unnamed.landmarks.shape == (0, 68, 2)
    assert plan.unused == ['none.png']
    with pytest.raises(UserError, match=r"'1.png' could be 'x/1.png' or 'y/1.png'"):
        inputs.plan([tmp_path], points(['1.png']))


def test_photos_without_a_row_are_named(tmp_path):
    fill(tmp_path, a_png=b'a', b_png=b'b', c_png=b'c')
    assert inputs.plan([tmp_path]).unmatched == []
    plan = inputs.plan([tmp_path], points(['b.png', 'd.png']))
    assert plan.unmatched == ['a.png', 'c.png'] and plan.unused == ['d.png']
    assert inputs.plan([tmp_path], boxes=(['c.png'], np.ones((1, 4)))).unmatched == ['a.png', 'b.png']


def test_subjects_from_an_index(tmp_path):
    fill(tmp_path, a_png=b'a', b_png=b'b', index_csv=b'filename,subject\nb.png,lee\n')
    assert [given.group for given in inputs.plan([tmp_path]).inputs] == ['', 'lee']
    fill(tmp_path, index_csv=b'id,name\n1,b.png\n')  # somebody else's table
    assert [given.group for given in inputs.plan([tmp_path]).inputs] == ['', '']
    fill(tmp_path, index_csv=b'\xff\xfe')
    with pytest.raises(UserError, match=r'index.csv cannot be read'):
        inputs.plan([tmp_path])


def test_masks_are_not_photos(tmp_path):
    fill(tmp_path, a_png=b'a', b_png=b'b')
    (tmp_path / 'a_skin.png').write_bytes(b'm')
    plan = inputs.plan([tmp_path], masks=tmp_path, mask_suffix='_skin')
    assert [(given.name, given.mask) for given in plan.inputs] == [
        ('a.png', tmp_path / 'a_skin.png'),
        ('b.png', None),
    ]
    assert plan.inputs[0].mask_sha256 == hashlib.sha256(b'm').hexdigest()
    assert plan.rejected == [('a_skin.png', 'a mask')]
    fill(tmp_path, masks__b_png=b'n')  # in a folder below the photos, by the same name
    plan = inputs.plan([tmp_path], masks=tmp_path / 'masks')
    assert [given.name for given in plan.inputs] == ['a.png', 'a_skin.png', 'b.png']
    assert plan.inputs[2].mask == tmp_path / 'masks' / 'b.png' and plan.rejected == [('masks/b.png', 'a mask')]


def test_only_files_that_look_changed_are_hashed_again(tmp_path, monkeypatch):
    fill(tmp_path, a_png=b'a', b_png=b'b')
    before = inputs.plan([tmp_path])
    time.sleep(0.01)  # the clock of the file system ticks every few milliseconds
    (tmp_path / 'b.png').write_bytes(b'c')
    hashed, digest = [], inputs.digest
    monkeypatch.setattr(inputs, 'digest', lambda path: hashed.append(path.name) or digest(path))
    after = inputs.plan([tmp_path], hashed=before.hashed)
    assert hashed == ['b.png']
    assert [given.sha256 for given in after.inputs] == [hashlib.sha256(text).hexdigest() for text in (b'a', b'c')]


def test_nothing_to_do(tmp_path):
    with pytest.raises(UserError, match=r'no such file or folder: .*none'):
        inputs.plan([tmp_path / 'none'])
    with pytest.raises(UserError, match=r'no photos and no videos in .*$'):
        inputs.plan([tmp_path])
    os.mkfifo(tmp_path / 'pipe.jpg')
    fill(tmp_path, notes_txt=b'?')
    for paths in ([tmp_path], [tmp_path / 'pipe.jpg', tmp_path / 'notes.txt']):
        with pytest.raises(UserError, match=r'pipe.jpg: not a file; notes.txt: neither a photo nor a video'):
            inputs.plan(paths)
