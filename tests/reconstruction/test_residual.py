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
from jfrecon.reconstruction.residual import Residual
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.types import Pinhole

SIZE, FOCAL, AWAY = 256, 1024.0, 1000.0
MODEL = types.SimpleNamespace(landmark_ids=np.arange(68))
EYES = 84 * FOCAL / (AWAY + 1)  # pixels between the outer corners, which are 84 mm apart, 1 mm behind the middle


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
    assert residual.doubts(Residual(0.03, 0.01), True) == residual.doubts(Residual(0.1, 0.1), False) == []
    assert residual.doubts(Residual(None, 0.01), True) == []
    (landmarks,) = residual.doubts(Residual(0.15, 0.01), True)
    assert landmarks.startswith('its landmarks are 0.15 of the distance of the eyes')
    (picture,) = residual.doubts(Residual(0.03, 0.3), False)
    assert 'differs from the photograph by 0.30' in picture
    (beside,) = residual.doubts(Residual(None, None), True)
    assert beside == 'it does not lie on the face in the photograph'


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
