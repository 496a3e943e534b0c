from __future__ import annotations

import numpy as np
import pytest

from jfrecon.data import cropping, detection, shards
from jfrecon.data.cropping import Box
from jfrecon.data.detection import Given
from jfrecon.data.detection.detector import Detection, Detector
from jfrecon.data.detection.detectors import mesh
from jfrecon.data.prepare.extract import MARGIN, Settings, cut, faces
from jfrecon.data.sample import Sample, Unreadable


@pytest.fixture
def detector(monkeypatch):
    """Puts a detector that finds some faces in place of the mesh; returns the boxes that it is asked for."""

    def found(*faces):
        asked = []
        stub = Detector(lambda image: list(faces), lambda image, boxes: asked.append(boxes) or list(faces))
        monkeypatch.setattr(mesh, 'DETECTOR', stub)
        return asked

    return found


def photo(height: int = 120, width: int = 150) -> Sample:
    """Smooth, so that resampling twice differs little from resampling once."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 250 / width, y * 250 / height, (x + y) * 120 / (width + height)], axis=-1)
    mask = np.uint8(255) * ((x - 70) ** 2 + (y - 60) ** 2 < 30**2).astype(np.uint8)
    points = np.random.default_rng(0).uniform((50, 40), (90, 80), (68, 2)).astype(np.float32)
    return Sample(image.astype(np.uint8), points, mask, focal=200.0, name='a.jpg', group='kim')


@pytest.mark.parametrize('box', [Box(45.5, 32.25, 48.0), Box(-9.0, 70.0, 60.0), Box(40.0, 30.0, 140.0)])
def test_a_crop_of_the_part_is_the_crop_of_the_photo(box):
    """Also as far out as the default jitter moves it, and where the box leaves the photo; nothing was
    reduced, so the pixels, the mask, the landmarks and the camera are those of the crop that never saw the
    part."""
    whole = photo()
    part = cut(whole, box, size=512)
    assert part.image.shape[0] <= MARGIN * box.side + 2 and part.image.shape[1] <= MARGIN * box.side + 2
    left, top = np.array(box[:2]) - part.box[:2]
    for scale, dx, dy in [(1.0, 0.0, 0.0), (np.exp(0.1), 0.05, -0.05), (np.exp(-0.1), -0.05, 0.05)]:
        side = box.side * scale
        moved = Box(box.x + (box.side - side) / 2 + dx * box.side, box.y + (box.side - side) / 2 + dy * box.side, side)
        expected = cropping.crop(whole, moved, 32, default_focal=4.0)
        found = cropping.crop(part, moved._replace(x=moved.x - left, y=moved.y - top), 32, default_focal=4.0)
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.mask, expected.mask)
        # float32 pixels: 1e-7 of 150
        np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=1e-4)
        np.testing.assert_allclose(found.principal, expected.principal, atol=1e-4)
        assert found.focal == pytest.approx(expected.focal, rel=1e-6)


def test_a_large_face_is_reduced():
    """By one factor along both axes: rays to the landmarks, (p - c) / f, stay what they were."""
    whole, box = photo(), Box(45.5, 32.25, 48.0)
    part = cut(whole, box, size=20)
    assert part.box[2] == pytest.approx(20) and max(part.image.shape[:2]) <= 20 * MARGIN + 1
    rays = (whole.landmarks - [75, 60]) / whole.focal
    np.testing.assert_allclose((part.landmarks - part.principal) / part.focal, rays, atol=1e-6)
    direct = cropping.crop(whole, box, 10, default_focal=4.0)
    again = cropping.crop(part, Box(*part.box), 10, default_focal=4.0)
    # Two triangles instead of one over ramps of at most 250 / 120 a pixel of the photo: rounding (1) and
    # little more.
    assert np.abs(again.image.astype(int) - direct.image).max() <= 3


def test_boxes_without_a_face_to_see():
    for box, reason in [(Box(200.0, 0.0, 40.0), 'does not fit'), (Box(-31.0, 30.0, 60.0), 'does not fit')]:
        with pytest.raises(Unreadable, match=reason):
            cut(photo(), box, 512)
    with pytest.raises(Unreadable, match='too little'):
        cut(photo(), Box(50.0, 50.0, 10.0), 512)  # 14 pixels, which shards would not take for a picture


def test_several_faces_of_a_photo_are_numbered():
    points = np.stack([photo().landmarks, photo().landmarks - [0, 20], np.full((68, 2), np.nan)])
    known = Given(landmarks=points, groups=('kim', 'lee', 'sam'))
    kept, rejected = faces(photo(), known, Settings(crop='landmarks'))
    assert [(face.name, face.group) for face in kept] == [('a.jpg_0', 'kim'), ('a.jpg_1', 'lee')]
    assert rejected == [('a.jpg_2', 'no landmark is known')]
    alone, _ = faces(photo(), Given(landmarks=points[:1]), Settings(crop='landmarks'))
    assert (alone[0].name, alone[0].group) == ('a.jpg', 'kim')
    box = cropping.box_from_landmarks(points[0], 1.6)
    np.testing.assert_allclose(alone[0].box[2], box.side, rtol=1e-6)


@pytest.mark.parametrize(
    'given, crop, reason',
    [
        (Given(), 'landmarks', 'no face found'),
        (Given(), 'whole', 'no face found'),
        (Given(boxes=np.zeros((0, 4))), 'landmarks', 'nothing is given for it'),
        (Given(landmarks=np.zeros((0, 68, 2))), 'landmarks', 'nothing is given for it'),
    ],
)
def test_photos_without_a_face(given, crop, reason, detector):
    detector()
    with pytest.raises(Unreadable, match=reason):
        faces(photo(), given, Settings(crop=crop, landmarker='mesh'))


def test_pictures_that_are_crops_already(detector):
    """Each is one face, whoever else is seen in it."""
    detector(Detection(photo().landmarks), Detection(photo().landmarks - [0, 20]))
    (kept,), _ = faces(photo(), Given(), Settings(crop='whole', landmarker='mesh'))
    np.testing.assert_array_equal(kept.image, photo().image)
    assert kept.box == (0.0, -15.0, 150.0)
    np.testing.assert_array_equal(kept.landmarks, photo().landmarks)


def test_faces_survive_the_shards():
    kept, _ = faces(photo(), Given(landmarks=photo().landmarks[None]), Settings(crop='landmarks'))
    again = shards.unpack(shards.pack(kept[0]))
    assert again.box == pytest.approx(kept[0].box) and again.focal == pytest.approx(kept[0].focal)
    np.testing.assert_array_equal(again.image, kept[0].image)


def test_a_box_without_a_face_costs_no_other_face(detector):
    detector(Detection(photo().landmarks), None)
    boxes = np.array([[0, 0, np.nan, 5], [30, 20, 60, 60], [0, 0, -5, 5], [5, 5, 20, 20]])
    kept, rejected = faces(photo(), Given(boxes=boxes), Settings(crop='landmarks', landmarker='mesh'))
    assert [face.name for face in kept] == ['a.jpg_1']
    none, nobody = 'the given box is not a box', 'no face is seen in the given box'
    assert rejected == [('a.jpg_0', none), ('a.jpg_2', none), ('a.jpg_3', nobody)]


def test_who_shows_no_landmarks_is_not_cropped_by_them(detector):
    points = photo().landmarks
    detector(Detection(points), Detection(points, confidence=np.zeros(68)))
    kept, rejected = faces(photo(), Given(), Settings(crop='landmarks', landmarker='mesh'))
    assert [face.name for face in kept] == ['a.jpg_0']
    assert rejected == [('a.jpg_1', 'no landmark is known')]


def test_what_is_given_is_in_pixels_of_the_file(detector):
    """A photo that was read at half its size has half of them."""
    whole = photo()
    small = whole.replace(image=whole.image[::2, ::2], mask=None, scale=0.5)
    asked = detector(None)
    detection.find(small, Given(boxes=np.array([[40.0, 30.0, 60.0, 60.0]])), 'mesh')
    np.testing.assert_array_equal(asked[0], [[20.0, 15.0, 30.0, 30.0]])
    (found,) = detection.find(small, Given(landmarks=whole.landmarks[None]))
    np.testing.assert_array_equal(found.landmarks, whole.landmarks / 2)
