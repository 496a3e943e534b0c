"""Files are there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from jfrecon import commands, files


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / 'new' / 'light.exr'
    files.write_text(path, 'old')
    with pytest.raises(RuntimeError), files.replacing(path, '.exr') as unfinished:
        assert unfinished.suffix == '.exr' and unfinished.parent == path.parent and unfinished != path
        unfinished.write_text('half')
        raise RuntimeError('the library fails')
    assert path.read_text() == 'old' and [file.name for file in path.parent.iterdir()] == ['light.exr']


def test_what_is_complete_takes_the_place_of_the_old_file(tmp_path):
    path = tmp_path / 'some.json'
    files.write_bytes(path, b'old')
    with files.replacing(path) as unfinished:
        unfinished.write_text('new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new'
    files.write_json(path, {'a': 1})
    assert json.loads(path.read_text()) == {'a': 1} and len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(OSError):
        files.write_text(tmp_path / 'file' / 'below', 'text')


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch, capsys):
    """Linux says which disk is full of no file: the command's one line would be 'No space left on device' alone."""
    path = tmp_path / 'landmarks.npz'
    files.write_bytes(path, b'old')
    write = Path.write_bytes

    def full(self, content):
        write(self, content[:2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(SystemExit) as left:
        commands.run(lambda: files.write_bytes(path, b'new content'))
    assert left.value.code == 2 and capsys.readouterr().err == f'error: {path}: No space left on device\n'
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [('landmarks.npz', b'old')]
