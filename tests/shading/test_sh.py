"""Spherical harmonics against SciPy, brute-force integration and their own symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.spatial.transform import Rotation
from scipy.special import eval_legendre, sph_harm_y

from jfrecon.shading import brdf, sh, sphere

BANDS = 9

# Compiled whole: op by op, the recurrences cost more than the tests.
basis, brdf_kernel, project = (jax.jit(f, static_argnums=1) for f in (sh.basis, sh.brdf_kernel, sh.project))
evaluate = jax.jit(lambda c, d: sh.evaluate(c, d))


def _random_directions(count, seed=0):
    d = np.random.default_rng(seed).normal(size=(count, 3))
    return d / np.linalg.norm(d, axis=-1, keepdims=True)


def _random_light(*shape, bands=BANDS, seed=1):
    return np.random.default_rng(seed).normal(size=(*shape, bands * bands, 3))


def _scipy_basis(d, bands):
    theta, phi = np.arccos(d[..., 2]), np.arctan2(d[..., 1], d[..., 0])
    columns = []
    for l in range(bands):
        for m in range(-l, l + 1):
            # SciPy is complex and carries the Condon-Shortley sign (-1)^m.
            y = (-1) ** m * sph_harm_y(l, abs(m), theta, phi)
            columns.append(y.real if m == 0 else np.sqrt(2) * (y.imag if m < 0 else y.real))
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize('bands', [1, 2, 9, 12])
def test_basis_agrees_with_scipy(bands):
    d = _random_directions(300)
    # Values reach 1.9 at 12 bands; a stable recurrence loses a few ulp of float32 per band.
    np.testing.assert_allclose(basis(jnp.asarray(d, jnp.float32), bands), _scipy_basis(d, bands), atol=1e-5)


def test_first_bands_follow_the_convention():
    x, y, z = 0.36, 0.48, 0.8
    a, b = np.sqrt(1 / (4 * np.pi)), np.sqrt(3 / (4 * np.pi))
    np.testing.assert_allclose(basis(jnp.array([x, y, z]), 2), [a, b * y, b * z, b * x], rtol=1e-6)
    assert sh.GREY == pytest.approx(1 / a)


def test_basis_is_orthonormal():
    # A midpoint rule in z and phi, unrelated to the quadratures in `sphere`: error O(1 / n²), here about 1e-4
    # x l².
    n = 400
    z = -1 + 2 * (np.arange(n) + 0.5) / n
    phi = 2 * np.pi * (np.arange(40) + 0.5) / 40
    r = np.sqrt(1 - z**2)[:, None]
    d = np.stack([r * np.cos(phi), r * np.sin(phi), z[:, None] + 0 * phi], -1).reshape(-1, 3)
    values = np.asarray(basis(jnp.asarray(d, jnp.float32), BANDS), np.float64)
    gram = values.T @ values * (4 * np.pi / len(d))
    np.testing.assert_allclose(gram, np.eye(BANDS**2), atol=3e-3)


def test_gradient_is_finite_and_right_at_the_poles():
    with jax.enable_x64(True):
        for pole in (1.0, -1.0):
            d = np.array([0.0, 0.0, pole])
            jacobian = np.asarray(jax.jacobian(lambda d: basis(d, BANDS))(jnp.asarray(d)))
            assert np.isfinite(jacobian).all()
            step = 1e-5
            for axis in (0, 1):  # along the sphere
                e = np.zeros(3)
                e[axis] = step
                plus, minus = (v / np.linalg.norm(v) for v in (d + e, d - e))
                difference = (_scipy_basis(plus, BANDS) - _scipy_basis(minus, BANDS)) / (2 * step)
                # Central differences: third derivatives up to about 1e3 times step² = 1e-7, plus 1e-16 /
                # 1e-5.
                np.testing.assert_allclose(jacobian[:, axis], difference, atol=1e-6)


def test_evaluate_is_the_basis_times_the_coefficients_for_any_batch():
    d, light = _random_directions(24).reshape(2, 3, 4, 3), _random_light(2, 1)
    got = evaluate(jnp.asarray(light, jnp.float32), jnp.asarray(d, jnp.float32))
    # Eighty-one products of size about 1 in float32.
    np.testing.assert_allclose(got, _scipy_basis(d, BANDS) @ light, atol=3e-5)


def test_evaluate_with_a_kernel_is_evaluate_after_convolution():
    d, light = jnp.asarray(_random_directions(50), jnp.float32), jnp.asarray(_random_light(), jnp.float32)
    kernel = sh.cosine_kernel(BANDS)
    # The same sums less the terms that are zero.
    np.testing.assert_allclose(
        jax.jit(lambda: sh.evaluate(light, d, kernel))(),
        evaluate(sh.convolve(light, kernel), d),
        rtol=1e-4,
        atol=1e-5,
    )


def test_grey_is_uniform_unit_radiance():
    light = jnp.zeros((BANDS**2, 3)).at[0].set(sh.GREY)
    np.testing.assert_allclose(evaluate(light, jnp.asarray(_random_directions(9), jnp.float32)), 1.0, rtol=1e-6)


@pytest.mark.parametrize('bands', [1, 2, 5, 9])
def test_cosine_kernel_is_the_integral_of_the_clamped_cosine(bands):
    expected = [2 * quad(lambda mu, l=l: mu * eval_legendre(l, mu), 0, 1)[0] for l in range(bands)]
    # Smooth integrands, float64 on both sides.
    np.testing.assert_allclose(sh.cosine_kernel(bands), expected, atol=1e-12)


@pytest.mark.parametrize('roughness', [0.1, 0.3, 0.5, 0.8, 1.0])
def test_brdf_kernel_is_the_legendre_transform_of_the_lobe(roughness):
    with jax.enable_x64(True):
        # Angles graded towards the peak: theta = t³ pi / 2, midpoint rule, error below 1e-6 for alpha = 0.01.
        t = (np.arange(20000) + 0.5) / 20000
        theta, step = t**3 * np.pi / 2, 3 * t**2 * np.pi / 2 / 20000
        zeros = np.zeros_like(theta)
        light = jnp.asarray(np.stack([np.sin(theta), zeros, np.cos(theta)], -1))
        normal = jnp.asarray([0.0, 0.0, 1.0])
        f = np.asarray(brdf.lobe(normal, light, normal, roughness)) * np.cos(theta) * np.sin(theta) * step
        expected = [2 * np.pi * np.sum(f * eval_legendre(l, np.cos(theta))) for l in range(BANDS)]
        got = brdf_kernel(jnp.asarray(roughness), BANDS)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    # In single precision, as training runs it.
    np.testing.assert_allclose(brdf_kernel(roughness, BANDS), expected, atol=1e-5)


def test_brdf_kernel_is_differentiable_and_batched_in_roughness():
    with jax.enable_x64(True):

        def at(r):
            return brdf_kernel(jnp.asarray(r), BANDS)

        difference = (at(0.4 + 1e-5) - at(0.4 - 1e-5)) / 2e-5
        np.testing.assert_allclose(jax.jacobian(at)(0.4), difference, atol=1e-7)  # smooth in roughness
    batch = brdf_kernel(jnp.array([0.2, 0.4]), BANDS)
    # Another order of summing 96 float32 terms.
    np.testing.assert_allclose(batch[1], brdf_kernel(0.4, BANDS), atol=2e-6)
    assert np.isfinite(jax.jacobian(lambda r: brdf_kernel(r, BANDS))(0.0)).all()


def test_convolving_gathers_the_lobe_over_a_band_limited_light():
    """Funk-Hecke at n = v = r against integration over the hemisphere with the BRDF itself."""
    roughness, light, pole = 0.6, _random_light(), _random_directions(1, seed=5)[0]
    turn = Rotation.align_vectors([pole], [[0, 0, 1]])[0].as_matrix()
    # Gauss nodes in z on (0, 1): the lobe at alpha = 0.36 is smooth, so 200 of them are exact to float64
    # rounding.
    z, w = np.polynomial.legendre.leggauss(200)
    z, w = 0.5 * (z + 1), 0.5 * w
    phi = 2 * np.pi * np.arange(32) / 32
    r = np.sqrt(1 - z**2)[:, None]
    d = np.stack([r * np.cos(phi), r * np.sin(phi), z[:, None] + 0 * phi], -1).reshape(-1, 3) @ turn.T
    weights = np.repeat(w * 2 * np.pi / 32, 32)
    with jax.enable_x64(True):
        n = jnp.asarray(pole)
        f = np.asarray(brdf.lobe(n, jnp.asarray(d), n, roughness))
        expected = np.sum((f * weights * (d @ pole))[:, None] * (_scipy_basis(d, BANDS) @ light), axis=0)
        got = evaluate(sh.convolve(jnp.asarray(light), brdf_kernel(roughness, BANDS)), n[None])[0]
    np.testing.assert_allclose(got, expected, atol=1e-7)


def test_directional_light_lights_like_a_lamp():
    bands, d = 12, jnp.array([0.0, 0.6, 0.8])
    kernel = sh.cosine_kernel(bands)
    normals = jnp.asarray(_random_directions(40), jnp.float32)
    colour = jnp.array([1.0, 2.0, 3.0])
    got = jax.jit(lambda n: sh.evaluate(sh.directional(d, colour, bands), n, kernel))(normals) * np.pi
    # What 12 bands miss of the clamped cosine is largest at the terminator, where all terms have one sign:
    # sum k_l (2 l + 1) / 4 |P_l(0)|, here 0.026 per unit.
    l = np.arange(bands, 400)
    tail = np.sum(np.abs(sh.cosine_kernel(400)[bands:] * eval_legendre(l, 0.0)) * (2 * l + 1) / 4)
    assert tail < 0.03
    assert np.all(np.abs(got - jnp.maximum(normals @ d, 0)[:, None] * colour) < tail * colour + 1e-5)


def test_softness_is_a_wider_lamp_of_the_same_power():
    d = jnp.array([0.0, 0.0, 1.0])
    hard, soft = (sh.directional(d, jnp.ones(3), BANDS, s) for s in (0.0, 0.5))
    np.testing.assert_allclose(soft[0], hard[0], rtol=1e-6)  # band 0 is untouched
    around = jnp.asarray(_random_directions(400), jnp.float32)
    # The truncated delta rings down to a fifth of its peak, the softened lamp by less than a hundredth.
    assert evaluate(hard, around).min() < -0.1 * evaluate(hard, d[None]).max()
    assert evaluate(soft, around).min() > -0.01 * evaluate(soft, d[None]).max()


def test_project_of_a_large_map_equals_one_sum():
    environment = np.random.default_rng(2).uniform(size=(2, 40, 80, 3))
    weights = sphere.latlong_weights(40, 80)
    expected = np.einsum('hwk,hw,bhwc->bkc', _scipy_basis(sphere.latlong_directions(40, 80), 5), weights, environment)
    got = project(jnp.asarray(environment, jnp.float32), 5)
    np.testing.assert_allclose(got, expected, atol=2e-5)  # 3,200 terms of float32, total weight 4 pi


def test_wrong_number_of_coefficients_is_named():
    with pytest.raises(ValueError, match='80 spherical-harmonics coefficients'):
        sh.bands_of(jnp.zeros((80, 3)))
