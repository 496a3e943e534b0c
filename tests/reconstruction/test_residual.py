"""A face beside its photograph: distances and differences that are known beforehand."""

from __future__ import annotations

import types

import numpy as np
import pytest

from jfrecon.data import landmark_layout
from jfrecon.data.cropping import Box
from jfrecon.data.sample import Sample
from jfrecon.reconstruction import residual
from jfrecon.reconstruction.photograph import Face
from jfrecon.reconstruction.residual import Confidence, Residual
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.types import Pinhole

SIZE, FOCAL, AWAY = 256, 1024.0, 1000.0
MODEL = types.SimpleNamespace(landmark_ids=np.arange(68))
EYES = 90 * FOCAL / (AWAY + 5)  # pixels between the outer corners, which are 90 mm apart, 5 mm behind the middle


def seen(turn: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [68, 3] mm, which are the landmarks, and their pixels; turned by so many radians about the vertical."""
    x, y, z = landmark_layout.MEAN.T
    vertices = np.stack([x * np.cos(turn) + z * np.sin(turn), y, z * np.cos(turn) - x * np.sin(turn) - AWAY], -1)
    return vertices, vertices[:, :2] / -vertices[:, 2:] * [FOCAL, -FOCAL] + SIZE / 2


def compare(given: np.ndarray, turn: float = 0.0, photo: int = 100, drawn: int = 100, covered: bool = True) -> Residual:
    vertices, pixels = seen(turn)
    camera = Pinhole(np.float32(FOCAL), np.full(2, SIZE / 2, np.float32))
    box = Box(0.0, 0.0, float(SIZE))
    face = Reconstruction(None, vertices, pixels, camera, box, (SIZE, SIZE))
    sample = Sample(np.full((SIZE, SIZE, 3), photo, np.uint8), landmarks=given.astype(np.float32))
    cover = np.full((SIZE, SIZE), float(covered), np.float32)
    layers = {'photo': np.full((SIZE, SIZE, 3), drawn / 255, np.float32) * cover[..., None], 'coverage': cover}
    return residual.measure(MODEL, face, Face(sample, box), layers)


@pytest.mark.parametrize('turn', [0.0, 1.2])
def test_landmarks_are_measured_in_eyes_as_seen_from_the_front(turn):
    """A turned head's eyes come close to each other in the picture; the measure does not."""
    away = seen(turn)[1] + [3.0, 4.0]
    assert compare(away, turn).landmarks == pytest.approx(5 / EYES, rel=0.05)  # they are not at one depth
    away[:40] = np.nan
    assert compare(away, turn).landmarks == pytest.approx(5 / EYES, rel=0.05)
    assert compare(np.full((68, 2), np.nan), turn).landmarks is None


def test_pictures_are_compared_where_the_face_is():
    assert compare(seen()[1], photo=100, drawn=151).photograph == pytest.approx(51 / 255, abs=1e-6)
    assert compare(np.full((68, 2), np.nan), photo=100, drawn=151).photograph == pytest.approx(51 / 255, abs=1e-6)
    assert compare(seen()[1], covered=False).photograph is None
    assert compare(np.full((68, 2), np.nan), covered=False).photograph is None


def test_doubts():
    sure = Confidence(None, 0.9)
    assert residual.doubts(Residual(0.03, 0.01), sure, True) == residual.doubts(Residual(0.1, 0.1), sure, False) == []
    assert residual.doubts(Residual(None, 0.01), Confidence(0.99, 0.9), True) == []
    (landmarks,) = residual.doubts(Residual(0.15, 0.01), sure, True)
    assert landmarks.startswith('its landmarks are 0.15 of the distance of the eyes')
    (picture,) = residual.doubts(Residual(0.03, 0.3), sure, False)
    assert 'differs from the photograph by 0.30' in picture
    (beside,) = residual.doubts(Residual(None, None), sure, True)
    assert beside == 'it does not lie on the face in the photograph'
    presence, skin = residual.doubts(Residual(0.03, 0.01), Confidence(0.6, 0.25), True)
    assert presence == 'its detector is 0.60 sure that it is a face' and skin.startswith('0.25 of it is skin')


@pytest.mark.parametrize('known', [True, False])
def test_the_share_of_skin_is_that_of_the_face(known, monkeypatch):
    """The left half of the picture is skin, and the hair above and the neck below are not asked."""
    points = seen()[1] if known else np.full((68, 2), np.nan)

    def left(images):
        found = np.zeros(images.shape[:3])
        found[:, :, : images.shape[2] // 2] = 1
        found[:, :8] = found[:, -8:] = images[0].mean()
        return found

    monkeypatch.setattr(residual.skin, 'probabilities', left)
    for value in (0, 255):
        sample = Sample(np.full((SIZE, SIZE, 3), value, np.uint8), landmarks=points.astype(np.float32))
        found = residual.confidence(Face(sample, Box(0.0, 0.0, float(SIZE)), 0.75))
        # the hull is of 68 points, which are nearly symmetric, on a grid of 64 pixels
        assert found.presence == 0.75 and found.skin == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize('colourless', [False, True])
def test_a_black_and_white_photograph_is_compared_without_colours(colourless):
    """A rendering of skin colour against a photograph that shows it, and against one that shows its mean."""
    y, x = np.mgrid[:64, :64] / 64
    linear = np.stack([0.2 + 0.5 * x, 0.1 + 0.3 * y, 0.1 + 0.2 * x], -1)
    encoded = lambda values: np.where(values < 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    shown = linear.mean(-1, keepdims=True).repeat(3, -1) if colourless else linear
    given = Face(Sample(np.round(255 * encoded(shown)).astype(np.uint8), focal=200.0), Box(8.0, 8.0, 48.0))
    assert given.black_and_white == colourless
    layers = {'photo': encoded(linear).astype(np.float32), 'coverage': np.ones((64, 64), np.float32)}
    found = residual.measure(None, None, given, layers)
    # both are rounded to 255 levels and resampled
    assert found.landmarks is None and found.photograph < 0.004
