"""The seam: a detector of another project, found by its name, in everything that looks for faces."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from PIL import Image

from jfrecon import prepare, reconstruct
from jfrecon.data import cropping, detection, landmark_layout, shards
from jfrecon.data.detection import Given
from jfrecon.data.detection.detector import BATCH, Detection, Detector
from jfrecon.data.detection.detectors import face_alignment
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.errors import UserError
from jfrecon.reconstruction import photograph
from tests import detectors

POINTS = np.random.default_rng(0).uniform([20, 30], [60, 90], (68, 2))


@pytest.fixture
def added(tmp_path, monkeypatch):
    """The detector of the guide, in a package installed beside jfrecon: the processes of `prepare` see it too."""
    monkeypatch.syspath_prepend(detectors.install(tmp_path / 'installed'))
    return detectors.BRIGHTEST


@pytest.fixture
def photos(tmp_path):
    """Two bright squares on black, each of which the guide's detector takes for a face."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for name, (x, y) in {'a.png': (40, 30), 'b.png': (70, 60)}.items():
        picture = np.zeros((160, 200, 3), np.uint8)
        picture[y : y + 50, x : x + 50] = np.random.default_rng(x).integers(200, 255, (50, 50, 3))
        Image.fromarray(picture).save(folder / name)
    return folder


class Nobody:
    """In place of a reconstructor: the face was found, and that is enough."""

    fitter = network = None

    def __call__(self, faces, progress):
        raise Unreadable('far enough')


def test_a_detector_is_added(added, photos, tmp_path, monkeypatch):
    assert detection.names() == ('brightest', 'face-alignment', 'mesh')
    out = tmp_path / 'out'
    prepare.main([str(photos), f'--out={out}', f'--landmarker={added}', '--processes=1'])
    first, second = shards.Shards(out)
    for face, (x, y) in ((first, (40, 30)), (second, (70, 60))):
        centre = (face.landmarks - face.box[:2]).mean(0) / face.box[2]
        np.testing.assert_allclose(centre, 0.5, atol=0.05)
        assert np.ptp(face.landmarks, axis=0).max() == pytest.approx(50, abs=2), (x, y)
    assert f'"landmarker": "{added}"' in (out / 'prepare.json').read_text()

    seen, locate = [], photograph.locate
    monkeypatch.setattr(photograph, 'locate', lambda *asked: seen.append(locate(*asked)) or seen[-1])
    monkeypatch.setattr(photograph, 'reconstructor', lambda *_: Nobody())
    monkeypatch.setattr(landmark_layout, 'require', lambda *_: None)  # its landmarks are no face's
    assert reconstruct.main([str(photos / 'b.png'), f'--out={tmp_path / "faces"}', f'--landmarker={added}']) == 2
    (face,) = seen
    np.testing.assert_allclose(face.sample.landmarks.mean(0), [95, 85], atol=2)
    assert face.box.side == pytest.approx(photograph.SCALE * 50, abs=3)


def test_the_guides_detector_looks_into_boxes(added):
    image = np.zeros((100, 100, 3), np.uint8)
    image[10:20, 10:20], image[50:80, 50:80] = 250, 200
    (found,) = detection.find(Sample(image), Given(boxes=np.array([[40.0, 40, 60, 60]])), added)
    np.testing.assert_allclose(found.landmarks.mean(0), [65, 65], atol=1)


def test_a_landmark_without_confidence_is_unknown():
    confidence = np.linspace(0, 1, 68)
    found = Detection(POINTS, confidence=confidence)
    np.testing.assert_array_equal(found.landmarks, POINTS)
    assert np.isnan(found.known[0]).all()
    np.testing.assert_array_equal(found.known[1:], POINTS[1:])
    assert found.square(1.8) == cropping.box_from_landmarks(POINTS[1:], 1.8)
    with pytest.raises(Unreadable, match='no landmark'):
        Detection(POINTS, confidence=np.zeros(68)).square(1.8)


def test_many_images_in_batches_where_a_detector_can():
    asked = []

    def many(images):
        asked.append(len(images))
        return [[Detection(POINTS, presence=float(image[0, 0, 0]) / 255)] for image in images]

    one = Detector(lambda image: many([image])[0], lambda image, boxes: [])
    images = [np.full((2, 2, 3), k, np.uint8) for k in range(BATCH + 3)]
    presence = lambda detector: [found[0].presence for found in detector.each(iter(images))]
    expected = [k / 255 for k in range(BATCH + 3)]
    assert presence(one) == expected and asked == [1] * (BATCH + 3)
    asked.clear()
    assert presence(dataclasses.replace(one, find_many=many)) == expected and asked == [BATCH, 3]


@pytest.fixture
def installed(monkeypatch):
    """Says whether face-alignment is."""
    return lambda there: monkeypatch.setattr(
        face_alignment, 'DETECTOR',
        dataclasses.replace(face_alignment.DETECTOR, missing=lambda: '' if there else 'pip install it'),
    )  # fmt: skip


@pytest.mark.parametrize('there', [False, True])
def test_who_looks(installed, there):
    installed(there)
    assert detection.choose() == 'mesh' and detection.choose(landmarks=True) == ''
    if there:
        assert detection.choose('face-alignment') == 'face-alignment'


@pytest.mark.parametrize(
    'asked, said',
    [
        ({'name': 'dlib'}, '--landmarker=dlib: there are face-alignment, mesh'),
        ({'name': 'face_alignment'}, '--landmarker=face_alignment: there are face-alignment'),
        ({'name': 'face-alignment'}, 'face-alignment is not installed (pip install it); there are mesh'),
        ({'name': 'mesh', 'landmarks': True}, 'leave it or --landmarker=mesh out'),
    ],
)
def test_who_cannot_look(installed, asked, said):
    installed(False)
    with pytest.raises(UserError, match=re.escape(said)):
        detection.choose(**asked)


def test_given_landmarks_need_no_detector(monkeypatch):
    monkeypatch.setattr(detection, 'load', None)
    image = Sample(np.zeros((100, 100, 3), np.uint8))
    (found,) = detection.find(image, Given(landmarks=POINTS[None], boxes=np.ones((1, 4))))
    np.testing.assert_array_equal(found.landmarks, POINTS)
