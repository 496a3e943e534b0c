from __future__ import annotations

import numpy as np

from jfrecon.data import detection
from jfrecon.data.detection import Given
from jfrecon.data.detection.detectors import face_alignment
from jfrecon.data.sample import Sample


def test_what_it_is_handed_and_what_is_taken_back(monkeypatch):
    """Its networks are not here, only the form of what they return (face-alignment 1.5.0)."""
    asked, points = [], np.random.default_rng(0).uniform(0, 99, (3, 68, 2)).astype(np.float32)
    peaks = np.full((3, 68), 0.5, np.float32)
    peaks[0, :2] = [-0.1, 1.2]

    class Network:
        def get_landmarks_from_image(self, image, detected_faces, return_bboxes, return_landmark_score):
            assert return_bboxes and return_landmark_score
            asked.append(detected_faces)
            if detected_faces is None and image.max() == 0:
                return None, None, None
            corners = [np.array([1, 2, 31, 42, 0.8])] if detected_faces is None else detected_faces
            return list(points[: len(corners)]), list(peaks[: len(corners)]), corners

    monkeypatch.setattr(face_alignment, 'network', Network)
    monkeypatch.setattr(detection, 'load', lambda _: face_alignment.DETECTOR)
    dark, grey = (Sample(np.full((9, 9, 3), value, np.uint8)) for value in (0, 99))
    assert detection.find(dark, Given(), 'face-alignment') == []
    (found,) = detection.find(grey, Given(), 'face-alignment')
    np.testing.assert_array_equal(found.landmarks, points[0])
    assert np.isnan(found.known[0]).all() and np.isfinite(found.known[1:]).all(), 'a map without a peak'
    assert found.confidence[:3].tolist() == [0, 1, 0.5] and found.presence == 0.8

    boxes = np.array([[1.0, 2.0, 30.0, 40.0], [np.nan, 0, 1, 1], [5, 6, 7, 8]])
    given = detection.find(grey, Given(boxes=boxes), 'face-alignment')
    np.testing.assert_allclose(np.array(asked[-1])[:, :4], [[1, 2, 31, 42], [5, 6, 12, 14]])
    np.testing.assert_array_equal(given[2].landmarks, points[1])
    assert str(given[1]) == 'the given box is not a box', 'its place is kept'
