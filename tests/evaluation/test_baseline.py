import numpy as np
import pytest

from jfrecon.evaluation import baseline
from jfrecon.fitting import start
from jfrecon.geometry import cameras, rotations
from jfrecon.morphable import load
from jfrecon.types import Pinhole

SIZE = 64


@pytest.fixture(scope='module')
def model():
    return load('makehuman')


def project(model, rotation, translation, camera):
    points = np.asarray(model.mean)[np.asarray(model.landmark_ids)]
    pixels, _ = cameras.project(camera, rotations.transform(rotation, translation, points))
    return np.asarray(pixels)


def test_the_mean_face_stands_at_the_same_place_whatever_the_camera(model):
    usual = Pinhole(np.float32(4.5 * SIZE), np.full(2, SIZE / 2, np.float32))
    landmarks = project(model, np.array([0.1, -0.05, 0.02]), np.array([5.0, -8.0, -1150.0]), usual)
    camera = Pinhole(
        np.array([4.5, 4.5, 9.0], np.float32) * SIZE,
        np.array([[0.5, 0.5], [1.1, 0.3], [0.5, 0.5]], np.float32) * SIZE,
    )
    floor = start.mean_face(model, landmarks, camera, bands=3, size=SIZE)
    found = project(model, floor.rotation, floor.translation, camera)
    # exact for the camera that made them; elsewhere perspective differs by a few percent of a face of 35 pixels
    np.testing.assert_allclose(found[0], landmarks, atol=0.02)
    np.testing.assert_allclose(found[1:], np.broadcast_to(landmarks, (2, 68, 2)), atol=1.0)
    assert not floor.identity.any() and not floor.expression.any() and not floor.albedo.any()


def test_aligned_mean_is_closest_to_itself(model):
    camera = Pinhole(np.float32(4.5 * SIZE), np.full(2, SIZE / 2, np.float32))
    landmarks = project(model, np.array([-0.2, 0.5, 0.1]), np.array([0.0, 10.0, -1300.0]), camera)
    np.testing.assert_allclose(baseline.aligned_mean_landmarks(model, landmarks, camera, SIZE), landmarks, atol=0.02)


def test_fitted_gain_recovers_a_colour_cast_and_looks_only_inside():
    rng = np.random.default_rng(0)
    rendered = rng.uniform(size=(10, 12, 3))
    mask = np.zeros((10, 12))
    mask[2:8, 3:9] = 1
    target = np.where(mask[..., None] > 0, rendered * [0.5, 1.5, 2.0], 7.0)
    np.testing.assert_allclose(baseline.fitted_gain(rendered, target, mask), [0.5, 1.5, 2.0], rtol=1e-12)
    assert np.isfinite(baseline.fitted_gain(rendered, target, np.zeros_like(mask))).all()
