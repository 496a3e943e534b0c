from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from jfrecon.data import matching
from jfrecon.errors import UserError


def files(*names: str) -> list[tuple[str, Path]]:
    return [(name, Path('/home/ann/photos') / name) for name in names]


def test_a_file_is_its_path():
    given = files('a/1.jpg', 'b/1.jpg', 'b/2.jpg')
    owned = matching.owners(given, ['b/1.jpg', 'a/1.jpg', '2.jpg', 'c/1.jpg', 'gone.jpg'])
    assert {row: owner.file for row, owner in owned.items()} == {
        'b/1.jpg': 'b/1.jpg', 'a/1.jpg': 'a/1.jpg', '2.jpg': 'b/2.jpg'
    }  # fmt: skip
    with pytest.raises(UserError, match=r"'1.jpg' could be 'a/1.jpg' or 'b/1.jpg': name it with its folders"):
        matching.owners(given, ['1.jpg'])


def test_the_name_itself_goes_before_paths_that_end_in_it():
    owned = matching.owners(files('1.jpg', 'b/1.jpg'), ['1.jpg'])
    assert owned['1.jpg'].file == '1.jpg'


def test_a_row_may_name_folders_above_the_inputs():
    given = files('1.jpg')
    for row in ('photos/1.jpg', '/home/ann/photos/1.jpg', 'ann\\photos\\1.jpg', './1.jpg'):
        assert matching.owners(given, [row]), row
    for row in ('a/1.jpg', '/home/bob/photos/1.jpg', '1.jpg/1.jpg', 'hotos/1.jpg'):
        assert not matching.owners(given, [row]), row


def test_letters_with_accents_and_suffixes_in_capitals():
    composed, decomposed = (unicodedata.normalize(form, 'Zoë/é.jpg') for form in ('NFC', 'NFD'))
    assert composed != decomposed
    for name, row in ((composed, decomposed), (decomposed, composed)):
        assert matching.owners(files(name), [row])[row].file == name
    assert matching.owners(files('a.JPG'), ['a.jpg']) and matching.owners(files('a.jpg'), ['a.JPG'])
    assert not matching.owners(files('A.jpg'), ['a.jpg']), 'two files on most systems'
    owned = matching.owners(files('a.JPG', 'a.jpg'), ['a.jpg', 'a.JPG'])
    assert owned['a.jpg'].file == 'a.jpg' and owned['a.JPG'].file == 'a.JPG'


def test_frames_belong_to_their_clip():
    given = files('y/clip.mp4', 'x_000001.jpg')
    owned = matching.owners(given, ['clip.mp4_000010', 'x_000001.jpg', 'other.mp4_000010'])
    assert owned == {
        'clip.mp4_000010': ('y/clip.mp4', 'y/clip.mp4_000010'),
        'x_000001.jpg': ('x_000001.jpg', 'x_000001.jpg'),
    }


def test_a_file_of_one_photograph_belongs_to_the_one_with_its_stem():
    given = files('a/1.jpg', 'b/1.png', '2.JPEG')
    owned = matching.owners(given, ['a/1.pts', '2.csv', 'b/1.PTS'])
    assert [owned[row].file for row in ('a/1.pts', 'b/1.PTS', '2.csv')] == ['a/1.jpg', 'b/1.png', '2.JPEG']
    assert matching.owners(files('a/x.jpg.png', 'a/x.jpg'), ['x.jpg'])['x.jpg'].file == 'a/x.jpg'
    with pytest.raises(UserError, match=r"'1.pts' could be 'a/1.jpg' or 'b/1.png'"):
        matching.owners(given, ['1.pts'])
