from __future__ import annotations

import numpy as np
import pytest

from jfrecon.data import landmark_files
from jfrecon.errors import UserError


def points(count: int = 68, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(5, 300, (count, 2)).astype(np.float32)


def pts(values: np.ndarray) -> str:
    rows = '\n'.join(f'{x:.3f} {y:.3f}' for x, y in values)
    return f'version: 1\nn_points: {len(values)}\n{{\n{rows}\n}}\n'


def table(values: np.ndarray, first: int = 0, between: str = ',', form: str = '{}{}') -> str:
    """A csv of one photograph, x of all points before y of all, as OpenFace has it."""
    header = [form.format(axis, first + k) for axis in 'xy' for k in range(len(values))]
    cells = [f'{value:.3f}' for value in values.T.ravel()]
    return f'filename{between}{between.join(header)}\na/1.jpg{between}{between.join(cells)}\n'


def test_51_points_are_those_without_the_jaw(tmp_path):
    inner = points(51)
    np.savez(tmp_path / 'inner.npz', filename=['a.jpg'], landmarks=inner[None])
    (tmp_path / 'inner.csv').write_text(table(inner))
    (tmp_path / 'inner.pts').write_text(pts(inner + 0.5))
    for name in ('inner.npz', 'inner.csv', 'inner.pts'):
        (read,) = landmark_files.read(tmp_path / name).landmarks
        assert np.isnan(read[:17]).all(), name
        np.testing.assert_allclose(read[17:], inner, atol=1e-3)


def test_what_tools_write_for_a_point_that_they_do_not_know_is_unknown(tmp_path):
    given = points()
    given[3], given[5], given[7], given[9, 1] = (0, 0), (-1, -1), (np.nan, 2), np.inf
    given[11] = 0, 40  # a face that the left edge cuts
    np.savez(tmp_path / 'lm.npz', filename=['a.jpg'], landmarks=given[None])
    (tmp_path / 'lm.csv').write_text(table(given))
    (tmp_path / 'lm.pts').write_text(pts(given))
    for name in ('lm.npz', 'lm.csv', 'lm.pts'):
        (read,) = landmark_files.read(tmp_path / name).landmarks
        assert np.flatnonzero(np.isnan(read).any(-1)).tolist() == [3, 5, 7, 9], name


def test_pts_files_count_pixels_from_1(tmp_path):
    """As iBUG's annotators did, in Matlab: the centre of the first pixel is (1, 1), here (0.5, 0.5)."""
    given = points()
    given[0] = 1, 1
    (tmp_path / 'face.PTS').write_text('// by hand\n' + pts(given).replace('\n', '\r\n'))
    read = landmark_files.read(tmp_path / 'face.PTS')
    assert read.names == ['face.PTS']
    np.testing.assert_allclose(read.landmarks[0], given - 0.5, atol=1e-3)
    assert read.landmarks[0, 0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize('first, between, form', [(0, ',', '{}{}'), (1, ';', '{}{}'), (0, ', ', ' {}_{}')])
def test_csv_tables(tmp_path, first, between, form):
    given = points()
    (tmp_path / 'lm.csv').write_text('\ufeff' + table(given, first, between, form), encoding='utf-8')
    read = landmark_files.read(tmp_path / 'lm.csv')
    assert read.names == ['a/1.jpg'] and read.groups == ['']
    np.testing.assert_allclose(read.landmarks[0], given, atol=1e-3)


def test_a_folder_of_files_with_one_photograph_each(tmp_path):
    given = [points(seed=k) for k in range(4)]
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / '1.pts').write_text(pts(given[0] + 0.5))
    (tmp_path / '1.pts').write_text(pts(given[1] + 0.5))
    both = [table(face).split('\n')[1].split(',', 1)[1] for face in given[2:]]
    header = table(given[2]).split('\n')[0].split(',', 1)[1]
    (tmp_path / 'two.csv').write_text('\n'.join([header, *both]))  # two faces, as OpenFace writes them
    (tmp_path / 'notes.txt').write_text('hello')
    read = landmark_files.read(tmp_path)
    assert read.names == ['1.pts', 'a/1.pts', 'two.csv', 'two.csv']
    np.testing.assert_allclose(read.landmarks, [given[k] for k in (1, 0, 2, 3)], atol=1e-3)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=r'no \.pts and no \.csv'):
        landmark_files.read(tmp_path / 'empty')


@pytest.mark.parametrize(
    'name, content, words',
    [
        ('a.pts', 'version: 1\n1 2\n', 'no points between lines with { and }'),
        ('a.pts', pts(points(29)), '29 points; iBUG has 68, or 51'),
        ('a.pts', pts(points()).replace('{\n', '{\n1 2 3\n'), '69 points'),
        ('a.pts', pts(points()).replace('{\n', '{\nx ').replace('x ', 'x'), 'is not a number'),
        ('a.csv', '', 'its first line is to name the columns'),
        ('a.csv', 'filename,x0,y0\na.jpg,1,2\n', 'its first line is to name the columns'),
        ('a.csv', table(points()).replace('x5,', 'x99,'), 'its first line is to name the columns'),
        ('a.csv', table(points()) + 'b.jpg,1,2\n', 'line 3: 3 cells, the first line has 137'),
        ('a.csv', table(np.full((68, 2), 77)).replace('77.000', 'left', 1), "line 2, x0: 'left' is not a number"),
        ('a.csv', b'\xff\xfe\x00', 'is not text'),
    ],
)
def test_malformed_files_are_named(tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        landmark_files.read(path)
    assert str(path) in str(caught.value) and words in str(caught.value) and '\n' not in str(caught.value)
