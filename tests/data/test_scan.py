from __future__ import annotations

import os
from pathlib import Path

import pytest

from jfrecon.data import images, scan


@pytest.fixture
def mixed(tmp_path):
    for name in ('b/2.JPG', 'b/1.png', 'a.jfif', '._a.jpg', 'a.heic', 'notes.txt', 'more.TXT', 'README'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'x')
    return tmp_path


def test_what_is_wanted_and_what_is_passed_over(mixed):
    (mixed / 'loop').symlink_to(mixed)
    os.mkfifo(mixed / 'pipe.jpg')
    found = scan.scan(mixed, ('.jpg', '.png', '.jfif'))
    names = lambda paths: [path.relative_to(mixed).as_posix() for path in paths]
    assert names(found.wanted) == ['a.jfif', 'b/1.png', 'b/2.JPG']
    assert names(found.others) == ['._a.jpg', 'README', 'a.heic', 'more.TXT', 'notes.txt']
    assert found.closed == [(mixed / 'loop', 'a link to a folder'), (mixed / 'pipe.jpg', 'not a file')]


def test_what_is_passed_over_is_counted_by_suffix(mixed, monkeypatch):
    others = scan.scan(mixed, ('.jpg', '.png', '.jfif')).others
    monkeypatch.setattr(images, 'SUFFIXES', ('.jpg',))  # as without pillow-heif
    line = "passed over 5 files: 2 .txt, 1 .heic (pip install 'jfrecon[heic]'), 1 hidden, 1 without a suffix"
    assert scan.passed_over(others) == line
    monkeypatch.setattr(images, 'SUFFIXES', ('.jpg', '.heic'))
    assert 'pip' not in scan.passed_over(others)
    assert scan.passed_over([]) == ''
    assert scan.passed_over([Path('a.txt')]) == 'passed over 1 file: 1 .txt'
