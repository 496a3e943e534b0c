"""The face mesh on scikit-image's astronaut: as she is, turned, made small, in boxes, and where no face is."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from PIL import Image

from jfrecon.data import detection
from jfrecon.data.cropping import MIRROR
from jfrecon.data.detection import blazeface, face_mesh
from jfrecon.data.detection.blazeface import Candidate
from jfrecon.data.detection.detector import Detection

# By hand, in pixels: outer corners of the eyes, tip of the nose, corners of the mouth.
BY_HAND = {
    36: (195, 101),
    45: (256, 104),
    30: (224, 126),
    48: (203, 140),
    54: (246, 141),
    62: (224, 143),
    66: (223, 149),
}


@pytest.fixture(scope='module')
def astronaut():
    return skimage.data.astronaut()


@pytest.fixture(scope='module')
def face(astronaut):
    found = detection.load('mesh').find(astronaut)
    assert len(found) == 1
    return found[0]


def off(landmarks, places):
    """NME over the outer eyes' distance."""
    width = np.linalg.norm(landmarks[45] - landmarks[36])
    return max(float(np.linalg.norm(landmarks[k] - place)) for k, place in places.items()) / width


def test_landmarks_lie_where_they_are_by_hand(face):
    assert face.presence > 0.9 and face.dense.shape == (478, 3)
    assert off(face.landmarks, BY_HAND) < 0.1  # 5 pixels, as far as a hand is sure
    assert (face.confidence[17:] > 0.5).all(), 'she looks at the camera'
    assert (face.confidence[:17] > 0.5 * face_mesh.OUTLINE).all() and (face.confidence[:17] <= face_mesh.OUTLINE).all()
    inside = face.landmarks[36:42]
    assert np.ptp(inside, axis=0)[0] > 2 * np.ptp(inside, axis=0)[1], 'an eye is wider than it is open'


def test_lips_and_lids_are_open_and_the_eyes_look_ahead(face):
    apart = face.openings / (BY_HAND[45][0] - BY_HAND[36][0])
    assert abs(apart[5, 1] - (BY_HAND[62][1] - BY_HAND[66][1]) / 61) < 0.05  # 3 pixels by hand
    assert (apart[:4, 1] < -0.05).all() and (apart[:4, 1] > -0.15).all(), 'lids are 5 to 15 mm apart'
    assert np.abs(apart[:, 0]).max() < 0.05 and np.abs(face.gaze).max() < 0.1 * 61
    larger = face.scaled(2)
    np.testing.assert_allclose(larger.openings, 2 * face.openings)
    np.testing.assert_allclose(larger.gaze, 2 * face.gaze)


@pytest.mark.parametrize('turns', [1, 2, 3])
def test_a_photograph_on_its_side_has_the_same_landmarks(astronaut, face, turns):
    found = detection.load('mesh').find(np.ascontiguousarray(np.rot90(astronaut, turns)))
    points = face.landmarks
    height, width = astronaut.shape[:2]
    for _ in range(turns):  # as np.rot90 moves pixels
        points = np.stack([points[:, 1], width - points[:, 0]], -1)
        height, width = width, height
    nearest = min(found, key=lambda one: np.abs(one.landmarks - points).max())
    assert off(nearest.landmarks, dict(enumerate(points))) < 0.1


def test_a_mirrored_photograph_has_mirrored_landmarks(astronaut, face):
    found = detection.load('mesh').find(np.ascontiguousarray(astronaut[:, ::-1]))[0]
    mirrored = face.landmarks[MIRROR] * [-1, 1] + [astronaut.shape[1], 0]
    assert off(found.landmarks, dict(enumerate(mirrored))) < 0.1


def test_a_small_face_in_a_large_photograph_is_found_by_tiles(astronaut, face):
    """29 pixels from eye to eye of 1,024: the whole photograph, in 192 pixels, shows 5 of them."""
    large = Image.new('RGB', (1024, 1024), (90, 110, 130))
    large.paste(Image.fromarray(astronaut).resize((280, 280)), (700, 50))
    found = detection.load('mesh').find(np.asarray(large))
    assert len(found) == 1
    expected = face.landmarks * 280 / 512 + [700, 50]
    assert off(found[0].landmarks, dict(enumerate(expected))) < 0.15


def test_boxes_are_answered_in_their_order(astronaut, face):
    low, high = face.landmarks.min(0), face.landmarks.max(0)
    boxes = np.array([[400, 400, 80, 80], [*low, *(high - low)]], np.float64)
    nowhere, here = detection.load('mesh').find_in(astronaut, boxes)
    assert nowhere is None
    assert off(here.landmarks, dict(enumerate(face.landmarks))) < 0.05


def test_no_face_is_found_where_none_is():
    rng = np.random.default_rng(0)
    for picture in (
        skimage.data.coffee(),
        rng.integers(0, 256, (200, 300, 3), dtype=np.uint8),
        np.zeros((16, 400, 3), np.uint8),
    ):
        assert detection.load('mesh').find(picture) == []


def test_points_behind_a_turned_head_do_not_count(face):
    """The mean of a head, turned by hand: the far side of the jaw goes, the near one stays."""
    head = np.zeros((478, 3))
    head[[*face_mesh.ACROSS, *face_mesh.ALONG]] = [[-70, 0, 0], [70, 0, 0], [0, 90, 0], [0, -90, 0]]  # y down
    angle = np.radians(50)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    straight, left = face_mesh.confidence68(head), face_mesh.confidence68(head @ turn.T)
    right = face_mesh.confidence68(head @ turn)
    assert straight[17:].min() > 0.5 and (left > 0).all()
    np.testing.assert_allclose(left, right[MIRROR], atol=0.05)
    jaws = np.array(sorted([left[:5].mean(), left[12:17].mean()])) / face_mesh.OUTLINE
    assert jaws[0] < 0.2 and jaws[1] > 0.9 and left[27:31].min() > 0.9


def test_detections_that_overlap_are_one(astronaut):
    level = np.eye(6, 2)[::-1].cumsum(0)[::-1] * [0, 1] + np.arange(6)[:, None] * [10, 0]
    make = lambda score, x, points=level: Candidate(score, np.array([x, 50.0]), np.array([40.0, 40.0]), points)
    one, near, far = make(0.9, 50.0), make(0.6, 56.0), make(0.7, 150.0)
    assert blazeface.overlap(one, near) == pytest.approx(34 * 40 / (2 * 1600 - 34 * 40))
    upside_down = make(0.8, 52.0, -level)
    first, second = blazeface.merged([near, far, upside_down, one])
    assert first.score == 0.9 and first.centre[0] == pytest.approx((0.9 * 50 + 0.6 * 56) / 1.5)
    assert second is not far and second.centre[0] == 150


def test_what_is_small_beside_a_face_has_to_be_sure():
    make = lambda score, size: Candidate(score, np.zeros(2), np.full(2, float(size)), np.zeros((6, 2)))
    face, ear, child, small = make(0.9, 90), make(0.7, 25), make(0.7, 40), make(0.8, 25)
    assert blazeface.beside([face, ear, child, small]) == [face, child, small]
    assert blazeface.beside([ear]) == [ear] and blazeface.beside([]) == []


def test_tiles_cover_the_photograph():
    for shape in ((1000, 1000), (600, 1000), (1000, 400), (180, 180)):
        tiles = blazeface.tile_views(np.zeros((*shape, 3), np.uint8))
        if max(shape) < 2 * blazeface.SMALLEST_TILE:
            assert tiles == []
            continue
        seen = np.zeros(shape, bool)
        for x, y, side, _ in tiles:
            seen[max(0, int(y)) : int(np.ceil(y + side)), max(0, int(x)) : int(np.ceil(x + side))] = True
        assert seen.all() and len(tiles) <= 9


def test_many_photographs_at_once_and_frames_one_after_another(astronaut, face):
    detector = detection.load('mesh')
    moved, there = np.roll(astronaut, 8, axis=1), dict(enumerate(face.landmarks + np.array([8, 0])))
    (first,), (second,), nobody = detector.find_many([astronaut, moved, np.zeros((60, 90, 3), np.uint8)])
    np.testing.assert_allclose(first.landmarks, face.landmarks, atol=1e-3)
    assert off(second.landmarks, there) < 0.05 and nobody == []
    followed, lost = detector.follow(
        moved, [face, Detection(face.landmarks, dense=face.dense + np.array([200, 250, 0]))]
    )
    assert off(followed.landmarks, there) < 0.05 and lost is None


def test_a_face_that_is_cut_in_half_is_none(astronaut, face, monkeypatch):
    points, box = face.landmarks[[39, 42, 30, 66, 0, 16]], np.ptp(face.landmarks, axis=0)
    for cut, count in ((0, 1), (228, 0)):  # her nose is at 224
        seen = Candidate(0.9, face.landmarks.mean(0) - [cut, 0], box, points - [cut, 0])
        monkeypatch.setattr(blazeface, 'search_each', lambda images, seen=seen: [[seen]])
        assert len(face_mesh.find(np.ascontiguousarray(astronaut[:, cut:]))) == count


@pytest.mark.parametrize(('side', 'up'), [(0.6, -0.1), (0.6, 0.2), (0.5, 0.1)])
def test_a_face_that_did_not_fit_into_its_square_is_looked_at_until_it_does(side, up, astronaut, face):
    right = face_mesh._upright(face.dense)
    small = right._replace(centre=right.centre - [0, up * right.side], side=side * right.side)
    (mesh,) = face_mesh._looked_at([astronaut], [small])
    width = np.linalg.norm(face.landmarks[45] - face.landmarks[36])
    assert np.linalg.norm(face_mesh.landmarks68(mesh.points) - face.landmarks, axis=-1).mean() < 0.02 * width
