from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from jfrecon.data import images, landmark_files
from jfrecon.data.folder import Folder
from jfrecon.data.sample import Joined
from jfrecon.errors import UserError


@pytest.fixture
def photos(tmp_path):
    """Three pictures (one below), one text file that calls itself a picture, and something else."""
    rng = np.random.default_rng(0)
    folder = tmp_path / 'photos'
    (folder / 'more').mkdir(parents=True)
    for name in ('a.png', 'b.PNG', 'more/c.png'):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(folder / name)
    (folder / 'fake.jpg').write_text('hello')
    (folder / 'notes.txt').write_text('hello')
    return folder


def points(count: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 30, (count, 68, 3)).astype(np.float32)


def test_without_landmarks_all_pictures_below(photos):
    source = Folder(photos)
    assert [source.name(i) for i in range(len(source))] == ['a.png', 'b.PNG', 'fake.jpg', 'more/c.png']
    assert [sample.name for sample in source] == ['a.png', 'b.PNG', 'more/c.png']
    assert source[2].name == 'more/c.png'
    assert source.unreadable[0][0] == 'fake.jpg' and len(source.unreadable) == 1
    assert list(source.groups) == ['', '', '', 'more']
    assert np.isnan(source[0].landmarks).all() and source[0].mask is None
    np.testing.assert_array_equal(source[0].image, np.asarray(Image.open(photos / 'a.png')))


def test_landmarks_come_by_name_in_the_order_of_the_file(photos, tmp_path):
    names = ['more/c.png', 'a.png', 'a.png', 'gone.png']
    np.savez(tmp_path / 'lm.npz', filename=names, spots=points(4), subject=['x', 'y', 'z', 'y'])
    source = Folder(photos, landmarks=tmp_path / 'lm.npz', key='spots')
    assert [source.name(i) for i in range(4)] == names and list(source.groups) == ['x', 'y', 'z', 'y']
    np.savez(tmp_path / 'no_subjects.npz', filename=names[:2], landmarks=points(2))
    assert list(Folder(photos, tmp_path / 'no_subjects.npz').groups) == ['more', '']
    for i in range(3):
        np.testing.assert_array_equal(source[i].landmarks, points(4)[i, :, :2])
    assert source[2].group == 'z'
    assert source[3].name == 'more/c.png'  # 'gone.png' is missing; the next, cyclically, is the first
    assert source.unreadable == [('gone.png', f'{photos / "gone.png"}: No such file or directory')]


def test_half_known_landmarks_are_unknown(photos, tmp_path):
    given = points(1)
    given[0, 5, 1], given[0, 7, 0] = np.nan, np.inf
    np.savez(tmp_path / 'lm.npz', filename=['a.png'], landmarks=given)
    unknown = np.isnan(Folder(photos, landmarks=tmp_path / 'lm.npz')[0].landmarks)
    assert np.flatnonzero(unknown.all(axis=1)).tolist() == [5, 7] and unknown.sum() == 4


def test_names_from_an_index_beside_the_landmarks(photos, tmp_path):
    np.savez(tmp_path / 'lm.npz', landmarks=points(2))
    (tmp_path / 'index.csv').write_text('filename,age,subject\nb.PNG,30,kim\na.png,31,lee\n')
    source = Folder(photos, landmarks=tmp_path / 'lm.npz')
    assert [(s.name, s.group) for s in source] == [('b.PNG', 'kim'), ('a.png', 'lee')]


def test_masks_go_by_the_stem(photos, tmp_path):
    masks = tmp_path / 'masks'
    masks.mkdir()
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20] = 255
    Image.fromarray(mask).save(masks / 'a_skin.png')
    Image.fromarray(mask[:10]).save(masks / 'b_skin.png')  # of another size
    source = Folder(photos, masks=masks, mask_suffix='_skin')
    np.testing.assert_array_equal(source[0].mask, mask)
    assert source.attempt(1) is None and 'mask' in source.unreadable[0][1]
    assert source.attempt(3).mask is None


def test_a_picture_is_its_path(photos, tmp_path):
    """Pictures of one name in two subfolders have rows and masks of their own."""
    (photos / 'other').mkdir()
    Image.open(photos / 'more' / 'c.png').rotate(180).save(photos / 'other' / 'c.png')
    np.savez(tmp_path / 'lm.npz', filename=['photos/other/c.png', 'b.png', 'more/c.png'], landmarks=points(3))
    masks = tmp_path / 'masks'
    for place, columns in (('more', 10), ('other', 20)):
        (masks / place).mkdir(parents=True)
        mask = np.zeros((30, 40), np.uint8)
        mask[:, :columns] = 255
        Image.fromarray(mask).save(masks / place / 'c.png')
    Image.fromarray(255 - mask).save(masks / 'b.png')
    source = Folder(photos, tmp_path / 'lm.npz', masks=masks)
    assert [sample.name for sample in source] == ['other/c.png', 'b.PNG', 'more/c.png']
    for i in range(3):
        np.testing.assert_array_equal(source[i].landmarks, points(3)[i, :, :2])
    assert [sample.mask.mean() / 255 for sample in source] == [0.5, 0.5, 0.25]
    (masks / 'other' / 'c.png').rename(masks / 'c.png')
    assert source[0].mask is None, "which picture's is it?"
    np.savez(tmp_path / 'lm.npz', filename=['c.png'], landmarks=points(1))
    with pytest.raises(UserError, match=r"'c.png' could be 'more/c.png' or 'other/c.png'"):
        Folder(photos, tmp_path / 'lm.npz')


def test_keep(photos, tmp_path):
    np.savez(tmp_path / 'lm.npz', filename=['a.png', 'b.PNG'], landmarks=points(2), subject=['x', 'y'])
    by_group = Folder(photos, landmarks=tmp_path / 'lm.npz', keep=lambda name, group: group == 'y')
    assert [s.name for s in by_group] == ['b.PNG']
    np.testing.assert_array_equal(by_group[0].landmarks, points(2)[1, :, :2])
    assert [s.name for s in Folder(photos, keep={'a.png'})] == ['a.png']
    with pytest.raises(UserError, match='no pictures'):
        Folder(photos, keep=())


def test_names_that_leave_the_folder(photos, tmp_path):
    Image.new('RGB', (30, 30)).save(tmp_path / 'secret.png')
    np.savez(tmp_path / 'lm.npz', filename=['../secret.png'], landmarks=points(1))
    with pytest.raises(UserError, match='not in'):
        Folder(photos, landmarks=tmp_path / 'lm.npz')


def test_missing_folders(photos, tmp_path):
    for arguments in ({'folder': tmp_path / 'none'}, {'folder': photos, 'masks': tmp_path / 'none'}):
        with pytest.raises(UserError, match='no such folder'):
            Folder(**arguments)


class Trap:
    def __reduce__(self):
        return (exec, ('raise SystemExit("code ran")',))


def write_landmarks(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'not an npz'),
        (b'PK\x03\x04 not really a zip', 'not an npz'),
        (pickle.dumps(Trap()), 'not an npz'),
        ({'filename': np.array(['a.png', Trap()], object), 'landmarks': points(2)}, 'not an npz'),
        (
            {'filename': ['a.png'], 'other': points(1)},
            "no 'landmarks'; arrays that could be landmarks: other",
        ),
        ({'filename': ['a.png'], 'landmarks': points(2)}, r'expected \(1, 68, 2\) or \(1, 51, 2\)'),
        ({'filename': ['a.png'], 'landmarks': points(1)[:, :5]}, r'expected \(1, 68, 2\) or \(1, 51, 2\)'),
        ({'filename': ['a.png'], 'landmarks': np.array(['text'])}, 'not an npz'),
        ({'filename': 'a.png', 'landmarks': points(1)}, 'not an npz'),
        ({'filename': ['a.png'], 'landmarks': points(1), 'subject': ['x', 'y']}, '2 subjects'),
        ({'landmarks': points(1)}, 'index.csv cannot be read'),
    ],
)
def test_wrong_landmark_files(tmp_path, content, message):
    path = tmp_path / 'lm.npz'
    write_landmarks(path, content)
    with pytest.raises(UserError, match=message) as caught:
        landmark_files.read(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_no_landmark_file(tmp_path):
    with pytest.raises(UserError, match='no such landmark file'):
        landmark_files.read(tmp_path / 'none.npz')


def test_joined_sources_are_read_one_after_another(photos, tmp_path):
    np.savez(tmp_path / 'lm.npz', filename=['a.png', 'fake.jpg'], landmarks=points(2), subject=['x', ''])
    joined = Joined(Folder(photos, tmp_path / 'lm.npz'), Folder(photos))
    assert len(joined) == 6
    assert [joined.name(k) for k in range(6)] == ['a.png', 'fake.jpg', 'a.png', 'b.PNG', 'fake.jpg', 'more/c.png']
    assert list(joined.groups) == ['0/x', '', '', '', '', '1/more']
    np.testing.assert_array_equal(joined[0].landmarks, points(1)[0, :, :2])
    assert joined[1].name == 'a.png' and np.isnan(joined[1].landmarks).all()  # the next that is readable
    assert [sample.name for sample in joined] == ['a.png', 'a.png', 'b.PNG', 'more/c.png']
    assert [name for name, _ in joined.unreadable] == ['fake.jpg', 'fake.jpg']


def test_landmarks_and_masks_of_a_huge_picture_follow_it(photos, tmp_path, monkeypatch):
    """It is read at half its size; they are given in its own pixels."""
    monkeypatch.setattr(images, 'MAX_PIXELS', 1000)
    mask = np.zeros((30, 40), np.uint8)
    mask[:10, :20] = 255
    (tmp_path / 'masks').mkdir()
    Image.fromarray(mask).save(tmp_path / 'masks' / 'a.png')
    np.savez(tmp_path / 'lm.npz', filename=['a.png'], landmarks=points(1))
    sample = Folder(photos, tmp_path / 'lm.npz', masks=tmp_path / 'masks')[0]
    assert sample.image.shape == (15, 20, 3) and sample.scale == 0.5
    np.testing.assert_allclose(sample.landmarks, points(1)[0, :, :2] / 2)
    assert sample.mask[:5, :10].all() and sample.mask.sum() == 255 * 50


def test_what_a_folder_holds_beside_pictures_is_said(photos, caplog):
    Folder(photos)
    assert any('passed over 1 file: 1 .txt' in record.getMessage() for record in caplog.records)
