from __future__ import annotations

import numpy as np
from PIL import Image

from jfrecon.data.sample import InMemory, Sample
from jfrecon.export import contact


def face(name: str = 'a.png') -> Sample:
    points = np.full((68, 2), np.nan, np.float32)
    points[0] = 60, 40
    return Sample(np.full((80, 80, 3), 100, np.uint8), points, box=(-10.0, 20.0, 50.0), name=name)


def test_boxes_and_points_are_where_the_sample_says():
    tile = np.asarray(contact.tile(face()))
    scale = contact.TILE // 80
    assert tuple(tile[40 * scale, 60 * scale]) == contact.POINT
    assert tuple(tile[20 * scale, 30 * scale]) == contact.BOX
    assert tuple(tile[50 * scale, 0]) == contact.BOX  # the part of the box beyond the picture is drawn at its edge
    assert tuple(tile[50 * scale, 20 * scale]) == (100, 100, 100)


def test_what_a_mask_leaves_out_is_red():
    mask = np.zeros((80, 80), np.uint8)
    mask[:40] = 255
    tile = np.asarray(contact.tile(face().replace(mask=mask, box=None))).astype(int)
    assert tuple(tile[30, 30]) == (100, 100, 100) and tile[150, 30, 0] > tile[150, 30, 1] + 50


def test_sheets_of_all_faces_or_of_some(tmp_path, monkeypatch):
    faces = InMemory([face(f'{k}<b>.png') for k in range(50)])
    contact.write(tmp_path / 'all', faces, 'Fifty <faces>', ['a note'], {'no <face> found': 3})
    page = (tmp_path / 'all' / 'contact.html').read_text()
    assert 'Fifty &lt;faces&gt;' in page and 'no &lt;face&gt; found' in page and 'are shown' not in page
    heights = [Image.open(tmp_path / 'all' / f'contact-00{k}.png').height for k in range(2)]
    assert heights == [5 * (contact.TILE + contact.CAPTION), 2 * (contact.TILE + contact.CAPTION)]
    monkeypatch.setattr(contact, 'SHOWN', 7)
    contact.write(tmp_path / 'some', faces, 'Fifty', [], {})
    assert '7 of 50 faces are shown' in (tmp_path / 'some' / 'contact.html').read_text()
