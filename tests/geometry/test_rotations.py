from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jfrecon.geometry import rotations

RNG = np.random.default_rng(0)
# Angles from far below the switch to the series (1e-2 rad) up to just under pi.
ANGLES = [1e-8, 1e-4, 9.9e-3, 1.01e-2, 0.3, 2.0, 3.0, np.pi - 1e-3]


def axes(n=50):
    v = RNG.normal(size=(n, 3))
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


@pytest.mark.parametrize('angle', ANGLES)
def test_matrix_and_rotvec_agree_with_scipy(angle):
    truth = axes() * angle
    with jax.enable_x64(True):
        m = rotations.matrix(jnp.asarray(truth))
        back = rotations.rotvec(m)
    # float64 rounding; near pi the inverse loses a factor 1 / (pi - angle) = 1e3 at most.
    np.testing.assert_allclose(m, Rotation.from_rotvec(truth).as_matrix(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(back, truth, atol=1e-12)


def test_float32_is_accurate_on_both_sides_of_the_series():
    for angle in ANGLES:
        truth = axes() * angle
        m = rotations.matrix(jnp.asarray(truth, jnp.float32))
        # Inputs carry 6e-8 of relative rounding, up to 2e-7 rad at pi; a few operations follow.
        np.testing.assert_allclose(m, Rotation.from_rotvec(truth).as_matrix(), atol=1e-6)


def test_rotvec_at_exactly_pi_is_a_half_turn():
    for axis in np.eye(3):
        m = jnp.asarray(2 * np.outer(axis, axis) - np.eye(3), jnp.float32)
        # float32 rounding of pi.
        np.testing.assert_allclose(np.abs(rotations.rotvec(m)), np.pi * axis, atol=1e-6)


def test_derivatives_at_zero_are_those_of_the_exponential():
    zero = jnp.zeros(3)
    generators = np.zeros((3, 3, 3))
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        generators[k, j, i], generators[j, k, i] = 1, -1
    np.testing.assert_array_equal(jax.jit(jax.jacobian(rotations.matrix))(zero), generators)
    # exp(K) = I + K + K²/2, so the second derivative is (G_i G_j + G_j G_i) / 2.
    second = np.einsum('abi,bcj->acij', generators, generators)
    second = (second + second.swapaxes(-1, -2)) / 2
    np.testing.assert_allclose(jax.jit(jax.hessian(rotations.matrix))(zero), second, atol=1e-7)
    round_trip = jax.jit(jax.jacobian(lambda v: rotations.rotvec(rotations.matrix(v))))(zero)
    np.testing.assert_allclose(round_trip, np.eye(3), atol=1e-7)


@pytest.mark.parametrize('angle', [1e-6, 5e-3, 0.02, 1.0, 3.0])
def test_gradient_matches_finite_differences(angle):
    with jax.enable_x64(True):
        v = jnp.asarray(axes(1)[0] * angle)
        weights = jnp.asarray(RNG.normal(size=(3, 3)))
        for f in (
            lambda x: (rotations.matrix(x) * weights).sum(),
            lambda x: (rotations.rotvec(rotations.matrix(x)) * weights[0]).sum(),
        ):
            f, h = jax.jit(f), 1e-6
            numeric = [(f(v + h * e) - f(v - h * e)) / (2 * h) for e in np.eye(3)]
            # Central differences: h² plus rounding 1e-16 / h, times a curvature of order ten.
            np.testing.assert_allclose(jax.jit(jax.grad(f))(v), numeric, atol=1e-8)


def test_euler_agrees_with_scipy_and_with_its_words():
    angles = RNG.uniform(-1.5, 1.5, size=(20, 3))
    ours = rotations.euler(*jnp.asarray(angles, jnp.float32).T)
    np.testing.assert_allclose(ours, Rotation.from_euler('xyz', angles).as_matrix(), atol=1e-6)
    gaze, top = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    assert (rotations.euler(0.1, 0.0, 0.0) @ gaze)[1] < 0  # nods down
    assert (rotations.euler(0.0, 0.1, 0.0) @ gaze)[0] > 0  # turns to the image's right
    assert (rotations.euler(0.0, 0.0, 0.1) @ top)[0] < 0  # tilts counter-clockwise


def test_transform_broadcasts_and_keeps_distances():
    v, t = (
        jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32),
        jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32),
    )
    points = jnp.asarray(RNG.normal(size=(7, 3)), jnp.float32)
    moved = rotations.transform(v, t, points)
    assert moved.shape == (4, 7, 3)
    expected = Rotation.from_rotvec(np.asarray(v[2])).apply(np.asarray(points)) + np.asarray(t[2])
    # Coordinates of order three in float32.
    np.testing.assert_allclose(moved[2], expected, atol=2e-6)


def test_products_ask_for_full_precision():
    text = jax.jit(rotations.transform).lower(jnp.zeros(3), jnp.zeros(3), jnp.zeros((5, 3))).as_text()
    products = [line for line in text.splitlines() if 'dot_general' in line]
    assert products and all('HIGHEST' in line for line in products)
