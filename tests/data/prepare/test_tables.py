from __future__ import annotations

import numpy as np
import pytest

from jfrecon.data.prepare import tables
from jfrecon.errors import UserError


def test_boxes(tmp_path):
    (tmp_path / 'b.csv').write_text('filename,w,h,x,y,score\na.png,3,4,1,2,0.9\n')
    np.savez(tmp_path / 'b.npz', filename=['a.png'], boxes=[[1, 2, 3, 4]])
    for name in ('b.csv', 'b.npz'):
        names, boxes = tables.read_boxes(tmp_path / name)
        assert names == ['a.png'] and boxes.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    'name, content',
    [
        ('b.csv', b'filename,x,y,w\na.png,1,2,3\n'),
        ('b.csv', b'filename,x,y,w,h\na.png,1,2,3\n'),
        ('b.csv', b'filename,x,y,w,h\na.png,1,2,3,wide\n'),
        ('b.csv', b'\xff\xfe\x00'),
        ('b.npz', b'PK\x03\x04 no zip'),
        ('b.npz', b''),
    ],
)
def test_wrong_boxes(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match='does not hold filename, x, y, w, h'):
        tables.read_boxes(tmp_path / name)
    with pytest.raises(UserError, match='no such file of boxes'):
        tables.read_boxes(tmp_path / f'no-{name}')
