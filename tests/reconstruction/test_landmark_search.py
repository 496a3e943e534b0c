from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from jfrecon import morphable
from jfrecon.data import cropping
from jfrecon.data.cropping import Box
from jfrecon.data.sample import Sample
from jfrecon.evaluation import metrics
from jfrecon.fitting import start
from jfrecon.morphable import linear
from jfrecon.reconstruction import landmark_search
from jfrecon.reconstruction.landmark_search import View
from jfrecon.reconstruction.prediction import Predictor


@pytest.mark.parametrize('angle', [0.0, 0.4, -1.2])
def test_a_turned_square_says_where_its_pixels_came_from(angle):
    """A bright disc is found where it was painted, though it was cut, turned and reduced."""
    y, x = np.mgrid[:150, :200] + 0.5
    place = np.array([120.0, 90.0])
    image = np.repeat((255 * ((x - place[0]) ** 2 + (y - place[1]) ** 2 < 49))[..., None], 3, 2).astype(np.uint8)
    view = View(Box(50, 30, 100), angle)
    cut = view.cut(Sample(image), 40, 4.5).crop
    row, column = center_of_mass(cut.image[..., 0].astype(float))
    np.testing.assert_allclose(view.back(np.array([column + 0.5, row + 0.5]), 40), place, atol=0.2)
    assert cut.focal == 180 and tuple(cut.principal) == (20, 20)


def test_the_view_around_landmarks_has_the_eyes_level():
    """Landmarks turned clockwise by 20 degrees need a photograph that is turned back by as much."""
    upright = np.random.default_rng(0).uniform(0, 100, (68, 2))
    upright[list(landmark_search.OUTER_EYES)] = [[20, 40], [80, 40]]
    turn = np.deg2rad(20)
    turned = upright @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + [300, 200]
    view = landmark_search.around(turned, 1.6)
    assert view.angle == pytest.approx(turn)
    assert view.square.side == pytest.approx(cropping.box_from_landmarks(upright, 1.6).side)
    # in the view the landmarks lie as upright ones do in their box
    box = cropping.box_from_landmarks(upright, 1.6)
    np.testing.assert_allclose(view.back((upright - box[:2]) / box.side * 64, 64), turned, atol=1e-6)


def test_a_tilted_face_in_a_wide_box_is_found():
    """By a network that sees tilts and sizes by half: where a face is looked at closely and upright, it is right."""
    model = linear.truncate(morphable.load(), 2, 3, 2)
    shape = np.asarray(linear.landmarks(model, model.mean))[:, :2] * [1, -1]
    shape = (shape - shape.mean(0)) / np.ptp(shape, 0).max()
    tilt = np.deg2rad(25)
    truth = 70 * shape @ landmark_search._turn(tilt).T + [110, 90]
    y, x = np.mgrid[:200, :200] + 0.5
    photo = Sample(np.stack([x, y, 0 * x], -1).astype(np.uint8))  # its colours say where a pixel lies
    pixels = np.stack(np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5), -1).reshape(-1, 2)
    said = []

    def infer(image, camera):
        rows = []
        for k, crop_k in enumerate(np.asarray(image)):
            places = crop_k[..., :2].reshape(-1, 2) * 255 + 0.5
            inside = (places > 1).all(-1)
            affine = np.linalg.lstsq(np.c_[places, np.ones(len(places))][inside], pixels[inside], rcond=None)[0]
            seen = np.c_[truth, np.ones(68)] @ affine
            eyes = seen[45] - seen[36]
            angle, middle = np.arctan2(eyes[1], eyes[0]), seen.mean(0)
            size = np.ptp((seen - middle) @ landmark_search._turn(angle).T, 0).max() / 32
            points = middle + 32 * np.sqrt(size * 0.55) * shape @ landmark_search._turn(-angle / 2).T
            said.append(points @ np.linalg.inv(affine[:2]) + (0 - affine[2]) @ np.linalg.inv(affine[:2]))
            focal = jax.tree.map(lambda leaf, k=k: leaf[k : k + 1], camera)
            rows.append(start.mean_face(model, points, focal, 2, 32))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *rows)

    network = Predictor(model, None, infer, 32, 4.5, 1 / 0.55)
    box = landmark_search.scaled(cropping.box_from_landmarks(truth, 1 / 0.55), 1.33)
    found = landmark_search.landmarks(network, photo, box)
    once = metrics.landmark_nme(said[2], truth)
    assert once > 0.15 and metrics.landmark_nme(found, truth) < once / 4  # an eighth of the tilt is left
