from __future__ import annotations

import numpy as np

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

    found = occluders.find(drawn, photo, face, forehead)
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
    assert not occluders.find(drawn, photo, face, face).any()
    assert not occluders.find(drawn, photo, np.zeros_like(face), face).any()
