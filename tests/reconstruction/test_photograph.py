from __future__ import annotations

import numpy as np

from jfrecon.data.cropping import AJAR, Box
from jfrecon.data.sample import Sample
from jfrecon.reconstruction import landmark_search, photograph
from jfrecon.reconstruction.prediction import Predictor

PHOTO = Sample(np.zeros((200, 200, 3), np.uint8))
NETWORK = Predictor(None, None, None, 32, 3.0, 2.0)


def face() -> np.ndarray:
    """Landmarks whose eyes are 80 pixels apart, with lips that a detector left 0.9 `AJAR` apart."""
    points = np.random.default_rng(0).uniform(60, 140, (68, 2))
    points[[36, 45]] = [[60, 80], [140, 80]]
    points[27], points[8] = [100, 80], [100, 140]
    points[[61, 62, 63]] = [[90, 120], [100, 120], [110, 120]]
    points[[67, 66, 65]] = points[[61, 62, 63]] + [0, 0.9 * AJAR * 80]
    return points


def test_detected_landmarks_are_taken_with_the_lips_shut(monkeypatch):
    monkeypatch.setattr(landmark_search, 'landmarks', None)  # they are known: nobody looks for them
    found = photograph.locate(PHOTO, face(), None, NETWORK)
    assert np.linalg.norm(found.sample.landmarks[[61, 62, 63]] - found.sample.landmarks[[67, 66, 65]]) < 1e-4
    np.testing.assert_array_equal(found.sample.landmarks[36:48], face()[36:48].astype(np.float32))


def test_where_only_a_box_is_known_the_network_looks_for_the_face(monkeypatch):
    """The square is then the landmarks', and a photograph that does not know its focal length gets the network's."""
    points = face().astype(np.float32)
    monkeypatch.setattr(landmark_search, 'landmarks', lambda network, photo, box: points)
    nowhere = np.full((68, 2), np.nan)
    found = photograph.locate(PHOTO, nowhere, Box(20, 20, 150), NETWORK, scale=2.0)
    side = 2.0 * np.ptp(points, 0).max()
    assert np.isclose(found.box.side, side) and np.isclose(found.sample.focal, 3.0 * side)
    np.testing.assert_array_equal(found.sample.landmarks, points)
    assert photograph.locate(PHOTO, nowhere, Box(20, 20, 150), None).box == Box(20, 20, 150)
