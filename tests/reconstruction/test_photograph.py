from __future__ import annotations

import numpy as np
import pytest

from jfrecon.data import landmark_layout
from jfrecon.data.cropping import AJAR, Box
from jfrecon.data.detection import Given
from jfrecon.data.detection.detector import Detection, Detector
from jfrecon.data.detection.detectors import mesh
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.reconstruction import photograph
from jfrecon.reconstruction.prediction import Predictor

PHOTO = Sample(np.zeros((200, 200, 3), np.uint8))
NETWORK = Predictor(None, None, None, 32, 3.0, 2.0)


def face() -> np.ndarray:
    """Landmarks whose eyes are 80 pixels apart, with lips that a detector left 0.9 `AJAR` apart."""
    points = landmark_layout.MEAN[:, :2] * [1, -1] * 80 / 84 + [100, 100]  # its eyes are 84 mm apart
    points[[61, 62, 63]] = [[93, 127], [100, 127], [107, 127]]
    points[[67, 66, 65]] = points[[61, 62, 63]] + [0, 0.9 * AJAR * 80]
    return points


def test_detected_landmarks_are_taken_with_the_lips_shut():
    found = photograph.locate(PHOTO, face(), NETWORK)
    assert np.linalg.norm(found.sample.landmarks[[61, 62, 63]] - found.sample.landmarks[[67, 66, 65]]) < 1e-4
    np.testing.assert_array_equal(found.sample.landmarks[36:48], face()[36:48].astype(np.float32))


def test_an_unknown_focal_length_is_the_networks():
    side = 2.0 * np.ptp(face(), 0).max()
    for network, focal in ((NETWORK, 3.0), (None, photograph.FOCAL)):
        found = photograph.locate(PHOTO, face(), network, scale=2.0)
        assert np.isclose(found.box.side, side) and np.isclose(found.sample.focal, focal * side)


def test_boxes_without_a_face_are_one_reason_each(monkeypatch):
    seen = Detector(lambda image: [], lambda image, boxes: [None, Detection(face())])
    monkeypatch.setattr(mesh, 'DETECTOR', seen)
    boxes = np.array([[0, 0, 20, 20], [5, 5, 0, np.nan], [20, 20, 150, 150]])
    nobody, nothing, here = photograph.search(PHOTO, Given(boxes=boxes), 'mesh')
    assert str(nobody) == 'no face is seen in the given box' and str(nothing) == 'the given box is not a box'
    np.testing.assert_array_equal(here.sample.landmarks[36:48], face()[36:48].astype(np.float32))


def test_one_face_that_cannot_be_does_not_take_the_others_along():
    given = Given(landmarks=np.stack([face(), face()[:, ::-1] + [20, -10], np.add(face(), [30, 0])]))
    good, turned, other = photograph.search(PHOTO, given)
    assert isinstance(turned, Unreadable) and 'x and y exchanged' in str(turned)
    assert other.box.x - good.box.x == pytest.approx(30, abs=1e-3)
    with pytest.raises(Unreadable, match='x and y exchanged'):
        photograph.find(PHOTO, given)


def test_known_landmarks_are_kept_and_the_others_predicted_where_they_are_too_few():
    """From twelve on a fit goes by those that are known."""
    predicted = np.full((68, 2), 7, np.float32)
    for known, filled in ((12, False), (11, True), (0, True)):
        points = np.where(np.arange(68)[:, None] < known, face(), np.nan).astype(np.float32)
        kept = photograph.Face(PHOTO.replace(landmarks=points), Box(0, 0, 200)).supported(predicted).sample.landmarks
        np.testing.assert_array_equal(kept[:known], points[:known])
        assert (kept[known:] == 7).all() if filled else np.isnan(kept[known:]).all()


@pytest.mark.parametrize('scale', [1.0, 0.5])
def test_focal_lengths_are_pixels_of_the_file(scale):
    photo = Sample(np.zeros((80, 100, 3), np.uint8), scale=scale)
    assert photograph.with_focal(photo, 400.0).focal == 400 * scale
    for focal in (0.2 * 100 / scale, 2000 * 100 / scale):
        with pytest.raises(Unreadable, match=r'millimetres \(35 mm equivalent\) times \d+\.\d are pixels') as caught:
            photograph.with_focal(photo, focal)
        assert f'{100 / scale:.0f} x {80 / scale:.0f} pixels' in str(caught.value)
