from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from jfrecon.data import landmark_layout
from jfrecon.fitting import occluders

SIZE = 96


def test_hair_and_background_are_occluders_but_moles_and_beards_are_not():
    """A disc of skin, with a fringe over its upper part, a strip of wall at its left rim, a mole and a dark chin."""
    draws = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    radius = np.hypot(x - 48, y - 48)
    face, forehead = radius < 36, y < 30
    skin = np.full((SIZE, SIZE, 3), [0.7, 0.5, 0.4])
    drawn = skin * face[..., None]
    photo = skin + draws.normal(scale=0.02, size=skin.shape)  # and some noise
    fringe, mole, beard = (y < 24) & face, np.hypot(x - 60, y - 50) < 4, (y > 62) & face
    wall = face & (radius > 34) & (x < 48) & ~beard & (y > 34)
    photo[fringe | mole | beard] = [0.15, 0.1, 0.05]
    photo[wall] = [0.9, 0.9, 0.95]

    found = occluders.at_rim(drawn, photo, face, forehead)
    assert found[fringe].mean() > 0.95 and found[wall].mean() > 0.8
    assert not found[mole].any()
    assert found[beard & (radius < 31)].sum() == 0, 'only the rim of a beard is in doubt'
    plain = face & ~fringe & ~wall & ~mole & ~beard
    assert found[plain].mean() < 0.1
    assert not found[~face].any()


def test_a_face_that_is_drawn_right_has_no_occluders():
    draws = np.random.default_rng(1)
    photo = draws.uniform(size=(32, 32, 3))
    face = np.zeros((32, 32), bool)
    face[4:28, 4:28] = True
    drawn = photo + draws.normal(scale=0.01, size=photo.shape)
    assert not occluders.at_rim(drawn, photo, face, face).any()
    assert not occluders.at_rim(drawn, photo, np.zeros_like(face), face).any()


def head(**worn: bool) -> tuple[np.ndarray, ...]:
    """A drawn face of one colour, its photograph with brows, eyes, lips, a moustache and what is ``worn``, ...

    ... the face, what the parsing network says of it, its landmarks, and what is worn.
    """
    size, draws = 128, np.random.default_rng(0)
    points = landmark_layout.MEAN[:, :2] * [1, -1]
    points = points * (0.7 * size / np.ptp(points[:, 0])) + size / 2
    points[:, 1] += 0.1 * size
    y, x = np.mgrid[:size, :size] + 0.5
    near = lambda ids, reach: np.min([np.hypot(x - px, y - py) for px, py in points[ids]], axis=0) < reach
    face = np.hypot((x - size / 2) / 0.45, (y - size / 2) / 0.48) < size
    drawn = np.broadcast_to([0.7, 0.5, 0.4], (size, size, 3)) * face[..., None]
    photo = drawn + draws.normal(scale=0.015, size=drawn.shape)
    eyes = near([*range(36, 48)], 3)
    photo[near([*range(17, 27)], 3)] = [0.2, 0.15, 0.1]
    photo[eyes] = [0.3, 0.3, 0.35]
    photo[near([*range(48, 68)], 3)] = [0.6, 0.2, 0.2]
    photo[near([50, 52], 4)] = [0.15, 0.1, 0.1]
    if not worn:
        photo[near([4, 8, 12], 7) | (np.hypot(x - 35, y - 75) < 3)] = [0.2, 0.1, 0.1]  # a beard, and a mole
    front = np.zeros_like(face)
    skin = np.where(eyes | near([*range(60, 68)], 2), 0.1, 0.95)
    if worn.get('glasses'):
        for ids in (range(36, 42), range(42, 48)):
            away = np.hypot(x - points[[*ids], 0].mean(), (y - points[[*ids], 1].mean()) * 1.3)
            front |= np.abs(away - 15) < 1.5
        front |= (np.abs(y - points[27, 1]) < 1.5) & (np.abs(x - points[27, 0]) < 6)
        skin[front & ((x < 35) | near([27, 28], 8))] = 0.2  # the network sees a part of the frame
    if worn.get('microphone'):
        front |= np.hypot(x - points[57, 0], y - points[57, 1] - 4) < 16
        skin[front & (y > points[57, 1])] = 0.2
    if worn.get('shades'):
        for ids in (range(36, 42), range(42, 48)):
            front |= np.hypot(x - points[[*ids], 0].mean(), (y - points[[*ids], 1].mean()) * 1.3) < 15
        front |= (np.abs(y - points[27, 1]) < 2) & (np.abs(x - points[27, 0]) < 8)
        skin[front] = 0.2
    photo[front] = [0.05, 0.05, 0.06]
    return drawn, photo, face, skin, points, front


@pytest.mark.parametrize('what', ['glasses', 'microphone', 'shades'])
def test_what_is_worn_in_the_middle_of_a_face_is_found(what):
    *known, front = head(**{what: True})
    found, face = occluders.within(*known), known[2]
    assert found[front & face].mean() > 0.85
    # blur and the pixels that are added make it wider; brows that it crosses go with it
    away = face & (ndimage.distance_transform_edt(~front) > 4)
    assert found[away].mean() < 0.05


def test_brows_eyes_lips_a_beard_and_a_mole_are_the_face_s_own():
    """They differ as much, but no part of them is what the network calls no skin, but for eyes and lips themselves."""
    *known, _ = head()
    assert not occluders.within(*known).any()
    drawn, photo, face, skin, points = known
    assert not occluders.within(drawn, photo, face & False, skin, points).any()
    assert not occluders.within(drawn, photo, face, skin, points * 0).any()  # no landmarks to go by
    # nor is what the network is wrong about, where the colours are the face's
    skin[60:70, 20:40] = 0
    assert not occluders.within(*known).any()
