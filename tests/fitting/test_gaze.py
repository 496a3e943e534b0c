from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon import morphable
from jfrecon.data.detection import face_mesh
from jfrecon.fitting import gaze
from jfrecon.morphable import heads
from jfrecon.render import surface
from jfrecon.types import FaceParameters, Pinhole

WIDTH, DEPTH, FOCAL = 100, 800.0, 450.0


def face(**moves):
    """The mean head from the front, with activations of expressions by name."""
    model = morphable.load()
    expression = np.zeros((1, len(model.expression_basis)), np.float32)
    for name, value in moves.items():
        expression[0, model.expression_names.index(name)] = value
    zeros = lambda *shape: np.zeros((1, *shape), np.float32)
    translation = np.array([[0, 0, -DEPTH]], np.float32)
    identity, albedo = len(model.identity_basis), len(model.diffuse_basis)
    chi = FaceParameters(zeros(identity), expression, zeros(albedo), zeros(3), translation, zeros(4, 3))
    camera = Pinhole(np.array([FOCAL], np.float32), np.full((1, 2), WIDTH / 2, np.float32))
    return model, chi, surface.posed(model, chi, camera)


def off(look, share=1.0, **moves):
    model, chi, posed = face(**moves)
    irises = heads.irises(morphable.load_head())
    known = gaze.Gaze(np.array([look], np.float32), np.full(1, share, np.float32))
    return float(gaze.distance(model, irises, chi, posed, known, WIDTH)[0])


def test_eyes_are_off_by_what_their_irises_have_to_move():
    """Against a pinhole by hand; looking to the person's left, the irises go to the image's right."""
    model, head = morphable.load(), morphable.load_head()
    mean, _, modes = (np.asarray(basis) for basis in heads.irises(head))
    names = list(head.model.expression_names)
    corners = np.asarray(model.mean)[np.asarray(model.landmark_ids)[np.array([[36, 39], [42, 45]])]]
    flat = lambda points: FOCAL / WIDTH * points[..., :2] * [1, -1] / (DEPTH - points[..., 2:])
    way = lambda irises: (flat(irises) - flat(corners).mean(1)).mean(0)
    ahead = way(mean)
    assert (
        off(ahead) < 1e-4
        and off(ahead + 1, share=0.5) == pytest.approx(1.0, rel=1e-3)
        and off(ahead + 1, share=0.0) == 0
    )
    left = {'eyeLookOutLeft': 1.0, 'eyeLookInRight': 1.0}
    moved = way(mean + sum(modes[names.index(name)] for name in left)) - ahead
    assert moved[0] > 0.01 and abs(moved[1]) < 0.3 * moved[0]
    # corners of the eyes move a little with their lids
    assert off(ahead, **left) == pytest.approx(np.abs(moved).sum(), rel=0.2)
    assert off(ahead + moved, **left) < 0.2 * np.abs(moved).sum()


def test_only_expressions_follow_the_irises():
    model, chi, _ = face()
    irises = heads.irises(morphable.load_head())
    camera = Pinhole(np.array([FOCAL], np.float32), np.full((1, 2), WIDTH / 2, np.float32))
    known = gaze.Gaze(np.array([[0.1, 0.1]], np.float32), np.ones(1, np.float32))
    cost = lambda chi: gaze.distance(model, irises, chi, surface.posed(model, chi, camera), known, WIDTH)[0]
    slope = jax.jit(jax.grad(cost))(jax.tree.map(jnp.asarray, chi))
    assert np.abs(slope.expression).max() > 0
    for name in ('identity', 'rotation', 'translation'):
        np.testing.assert_array_equal(getattr(slope, name), 0, err_msg=name)


def test_meshes_say_where_eyes_look_unless_they_are_shut():
    points = np.zeros((face_mesh.POINTS, 3))
    for (inner, outer), iris, x in zip(face_mesh.CORNERS, face_mesh.IRISES, (100, 200)):
        points[[inner, outer]] = [[x, 50, 0], [x + 30, 50, 0]]
        points[iris] = [x + 15 + 6, 50 - 3, 0]
    opened = points.copy()
    opened[np.array(face_mesh.OPENINGS)[:, 0], 1] -= 6
    found = gaze.of_meshes([opened, points, None], [300.0, 300.0, 300.0])
    np.testing.assert_allclose(found.way[0], [0.02, -0.01], atol=1e-6)
    np.testing.assert_array_equal(found.share[1:], 0)
    assert found.share[0] > 0


def test_nothing_is_known_of_eyes_that_nobody_saw():
    assert gaze.open_share(np.full((7, 2), np.nan), np.full((68, 2), np.nan)) == 0
    assert float(jnp.sum(gaze.nothing(3).share)) == 0
