from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jfrecon.data import listing
from jfrecon.errors import UserError


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_names_are_relative_to_what_holds_all_inputs(tmp_path):
    fill(tmp_path, 'a/1.jpg', 'b/1.jpg', 'b/deep/2.jpg')
    names = lambda *inputs: [name for name, _ in listing.find([tmp_path / path for path in inputs], ('.jpg',)).files]
    assert names('b') == ['1.jpg', 'deep/2.jpg']
    assert names('b/deep/2.jpg') == ['2.jpg']
    assert names('b/1.jpg', 'a/1.jpg') == ['b/1.jpg', 'a/1.jpg']
    assert names('b', 'b/../a', 'b/1.jpg') == ['b/1.jpg', 'b/deep/2.jpg', 'a/1.jpg']
    with pytest.raises(UserError, match=r'no such file or folder: .*none'):
        names('none')


def test_results_are_no_inputs_unless_they_are_named(tmp_path):
    fill(tmp_path, 'me.jpg', 'x.jpg/inside.jpg')
    fill(tmp_path, 'faces/new/panel.png', 'faces/old/face.glb', 'faces/old/parameters.npz', 'faces/old/panel.png')
    fill(tmp_path, 'faces/.jfrecon-unfinished-host-1/panel.png', 'runs/config.json', 'runs/metrics.jsonl', 'runs/p.png')
    fill(tmp_path, 'album/cover.jpg')
    (tmp_path / 'faces' / 'new' / 'metadata.json').write_text(json.dumps({'jfrecon': 1, 'files': {}}))
    (tmp_path / 'faces' / 'old' / 'metadata.json').write_text(json.dumps({'model': {'name': 'makehuman'}}))
    (tmp_path / 'album' / 'metadata.json').write_text(json.dumps({'files': {'cover.jpg': 'by Kim'}}))
    found = listing.find([tmp_path], ('.jpg',))
    assert [name for name, _ in found.files] == ['album/cover.jpg', 'album/metadata.json', 'me.jpg', 'x.jpg/inside.jpg']
    passed = ('faces/.jfrecon-unfinished-host-1', 'faces/new', 'faces/old', 'runs')
    assert found.closed == [(name, 'results of jfrecon') for name in passed]
    assert 'panel.png' in dict(listing.find([tmp_path / 'faces' / 'new'], ()).files)


def test_names_are_text_whatever_bytes_they_are(tmp_path):
    (tmp_path / os.fsdecode(b'caf\xe9.jpg')).write_bytes(b'')
    (tmp_path / 'two\nlines\x1b[2J.jpg').write_bytes(b'')
    found = listing.find([tmp_path], ('.jpg',))
    assert sorted(name for name, _ in found.files) == ['caf\\xe9.jpg', 'two\\nlines\\x1b[2J.jpg']
    assert all(path.exists() for _, path in found.files)
    with pytest.raises(UserError) as caught:
        listing.find([tmp_path / os.fsdecode(b'\xff.jpg')], ())
    str(caught.value).encode()
