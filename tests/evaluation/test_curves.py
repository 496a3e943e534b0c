from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import stats

from jfrecon.evaluation import curves


def test_by_hand():
    errors = np.array([3.0, 1, 4, 2])
    values, share = curves.cumulative(errors)
    assert values.tolist() == [1, 2, 3, 4]
    assert share.tolist() == [0.25, 0.5, 0.75, 1]


def test_against_scipy():
    errors = np.random.default_rng(0).gamma(3, 1, size=200)
    values, share = curves.cumulative(errors)
    found = stats.ecdf(errors).cdf
    np.testing.assert_array_equal(values, found.quantiles)
    np.testing.assert_allclose(share, found.probabilities, atol=1e-12)


def test_the_picture_shows_a_line_per_method_at_its_height(tmp_path):
    path = tmp_path / 'new' / 'ced.png'
    # one image each, with an error of 1 and of 3; the axes reach to 4
    curves.draw(path, {'good': np.array([1.0]), 'bad': np.array([3.0])}, limit=4)
    picture = np.asarray(Image.open(path).convert('RGB')).astype(int)
    columns = []
    for colour in ([31, 119, 180], [255, 127, 14]):  # matplotlib's first two colours
        line = np.abs(picture - colour).sum(-1) < 60
        line[picture.shape[0] * 3 // 5 :] = False  # the floor and the legend
        columns.append(np.flatnonzero(line.sum(0) > picture.shape[0] // 4).mean())  # where the curve rises
        assert not line[:, : int(columns[-1]) - 3].any()  # no image before that
    axes = np.flatnonzero((picture.sum(-1) < 100).mean(0) > 0.5)  # left and right edge of the frame
    rise = (np.array(columns) - axes.min()) / (axes.max() - axes.min())
    np.testing.assert_allclose(rise, [0.25, 0.75], atol=0.02)
    assert not list(tmp_path.glob('**/*.tmp'))
