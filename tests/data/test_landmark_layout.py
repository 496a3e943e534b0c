"""Landmarks of the mean head of `jfrecon.morphable`, projected by SciPy's rotations; the layout is a rounded copy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jfrecon import morphable
from jfrecon.data import cropping, landmark_layout
from jfrecon.data.sample import Unreadable


@pytest.fixture(scope='module')
def head() -> np.ndarray:
    model = morphable.load()
    points = np.asarray(model.mean)[np.asarray(model.landmark_ids)]
    return points - points.mean(0)


def seen(head: np.ndarray, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """A face of about 150 pixels around (250, 200), a metre away from the camera."""
    turned = Rotation.from_euler('zyx', [roll, yaw, pitch], degrees=True).apply(head)
    scale = 1100 / (1000 - turned[:, 2:])
    return (turned[:, :2] * [1, -1] * scale + [250, 200]).astype(np.float32)


def test_the_layout_is_the_mean_head(head):
    np.testing.assert_allclose(landmark_layout.MEAN, head, atol=1)


@pytest.mark.parametrize('yaw, pitch, roll', [(0, 0, 0), (40, 0, 0), (-30, 15, 50), (0, -20, -100)])
def test_missing_points_lie_where_the_head_has_them(head, yaw, pitch, roll):
    """Without the jaw, and without all but every fourth point; a tenth of the face is about the spread of people."""
    whole = seen(head, yaw, pitch, roll)
    for missing in (np.arange(68) < 17, np.arange(68) % 4 > 0):
        given = np.where(missing[:, None], np.float32(np.nan), whole)
        found = landmark_layout.completed(given)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found[~missing], whole[~missing])
        assert np.abs(found - whole).max() < 5, 'a rounded head and a camera twice as far away, of 150 pixels'
        found = cropping.box_from_landmarks(given)
        np.testing.assert_allclose(found, cropping.box_from_landmarks(whole), atol=5)


def test_a_few_points_say_nothing_of_the_others(head):
    given = np.where(np.arange(68)[:, None] < 60, np.float32(np.nan), seen(head))
    np.testing.assert_array_equal(landmark_layout.completed(given), given)


@pytest.mark.parametrize('yaw, roll', [(0, 0), (65, 0), (-65, 40), (20, 170), (0, -90)])
@pytest.mark.parametrize('inner', [False, True])
def test_a_mirrored_face_is_named(head, yaw, roll, inner):
    whole = seen(head, yaw, 0, roll)
    if inner:
        whole[:17] = np.nan
    landmark_layout.require(whole, 400, 500)
    wrong = {
        'x and y': whole[:, ::-1],
        'left and right': whole[cropping.MIRROR],
        'from below': [0, 400] + whole * [1, -1],
    }
    for words, points in wrong.items():
        with pytest.raises(Unreadable, match=words if not roll else 'mirrored face'):
            landmark_layout.require(np.asarray(points), 400, 500)


def test_points_of_other_pixels_or_of_another_order_are_named(head):
    whole = seen(head)
    landmark_layout.require(whole, 400, 500)
    landmark_layout.require(np.full((68, 2), np.nan), 400, 500)
    landmark_layout.require(whole - [240, 0], 400, 500)  # a third of the face is cut by the edge
    cases = {
        'fractions': whole / [500, 400],
        'outside of its 500 x 400 pixels': whole * 4,
        'in their order': whole[::-1],
        'as those of a face': np.random.default_rng(0).uniform(100, 300, (68, 2)),
    }
    for words, points in cases.items():
        with pytest.raises(Unreadable, match=words):
            landmark_layout.require(points, 400, 500)
