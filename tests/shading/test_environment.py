"""Latitude-longitude maps: directions, areas, round trips, lookups at the seam and the poles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.shading import environment, sh, sphere

lookup = jax.jit(environment.lookup)


def _light(bands, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(2, bands * bands, 3)), jnp.float32)


def test_layout_is_the_documented_one():
    d = environment.directions(64, 128)
    assert d[0, 5, 1] > 0.99 and d[-1, 5, 1] < -0.99  # row 0 is up
    np.testing.assert_allclose(d[31:33, 63:65].mean((0, 1)), [0, 0, 1], atol=1e-3)  # the middle is +z
    np.testing.assert_allclose(d[31:33, 31:33].mean((0, 1)), [1, 0, 0], atol=1e-3)  # a quarter from the left is +x
    np.testing.assert_allclose(np.linalg.norm(d, axis=-1), 1.0, atol=1e-6)


@pytest.mark.parametrize(('height', 'width'), [(1, 1), (2, 3), (64, 64), (33, 80)])
def test_solid_angles_and_weights_cover_the_sphere(height, width):
    # float32 sum; the double one is exact to rounding.
    np.testing.assert_allclose(environment.solid_angles(height, width).sum(dtype=np.float64), 4 * np.pi, rtol=1e-6)
    np.testing.assert_allclose(sphere.latlong_weights(height, width).sum(), 4 * np.pi, rtol=1e-12)


def test_solid_angles_are_the_papers_up_to_normalisation():
    theta = np.pi * (np.arange(64) + 0.5) / 64
    papers = (2 * np.pi / 64) * (np.pi / 64) * np.sin(theta)
    # 1 + pi² / (24 x 64²) = 1.0001.
    np.testing.assert_allclose(environment.solid_angles(64, 64)[:, 0], papers, rtol=1.1e-4)


@pytest.mark.parametrize(('height', 'width', 'bands'), [(64, 64, 9), (17, 18, 9), (5, 9, 2)])
def test_round_trip_through_a_map_is_exact(height, width, bands):
    light = _light(bands)
    back = jax.jit(sh.project, static_argnums=1)(environment.from_sh(light, height, width), bands)
    # The quadrature is exact here; what is left is float32 over up to 4,096 texels.
    np.testing.assert_allclose(back, light, atol=3e-5)


def test_gauss_points_integrate_harmonics():
    points, weights = sphere.gauss_points(8)
    integral = weights @ np.asarray(
        jax.jit(sh.basis, static_argnums=1)(jnp.asarray(points, jnp.float32), 9), np.float64
    )
    np.testing.assert_allclose(integral, sh.GREY * (np.arange(81) == 0), atol=1e-5)  # float32 basis


def test_from_sh_is_signed():
    light = jnp.zeros((4, 3)).at[0].set(-sh.GREY)
    np.testing.assert_allclose(environment.from_sh(light, 4, 8), -1.0, rtol=1e-6)


def test_lookup_at_texel_centres_returns_the_texels():
    env = np.random.default_rng(3).uniform(size=(2, 6, 10, 3)).astype(np.float32)
    dirs = 7.0 * environment.directions(6, 10).reshape(-1, 3)  # any length
    got = lookup(jnp.asarray(env), jnp.asarray(dirs))
    # Angles in float32 are off by 1e-6 rad, a few 1e-6 of a texel.
    np.testing.assert_allclose(got, env.reshape(2, 60, 3), atol=2e-5)


def test_lookup_wraps_around_the_seam():
    env = jnp.zeros((4, 8, 1)).at[:, 0].set(1.0).at[:, -1].set(3.0)
    seam = jnp.array([[0.0, 0.0, -1.0]])  # phi = 0, half-way between the last and the first column
    np.testing.assert_allclose(lookup(env, seam), [[2.0]], rtol=1e-5)
    beside = jnp.array([[1e-3, 0.0, -1.0], [-1e-3, 0.0, -1.0]])
    # One thousandth of a radian is 0.0013 columns, times the difference of 2.
    np.testing.assert_allclose(lookup(env, beside), [[2.0], [2.0]], atol=4e-3)


def test_lookup_agrees_with_the_light_that_made_the_map():
    light = _light(3)[0]
    d = np.random.default_rng(1).normal(size=(200, 3))
    d /= np.linalg.norm(d, axis=-1, keepdims=True)
    keep = np.abs(d[:, 1]) < 0.99  # rows beyond the first centre are repeated, so the pole's cap is cruder
    d = jnp.asarray(d[keep], jnp.float32)
    got = lookup(environment.from_sh(light, 128, 256), d)
    # Bilinear error h² / 8 |f''| with h = pi / 128 and second derivatives up to about 20.
    np.testing.assert_allclose(got, jax.jit(lambda: sh.evaluate(light, d))(), atol=2e-3)


@pytest.mark.parametrize('direction', [[0, 1, 0], [0, -1, 0], [0, 0, -1], [0, 0, 1], [1e-20, 1, 0]])
def test_lookup_has_finite_values_and_gradients_at_poles_and_seam(direction):
    env = jnp.asarray(np.random.default_rng(4).uniform(size=(4, 8, 3)), jnp.float32)

    def value(e, d):
        return lookup(e, d[None]).sum()

    for result in jax.tree.leaves(jax.value_and_grad(value, (0, 1))(env, jnp.array(direction, jnp.float32))):
        assert np.isfinite(result).all()


def test_lookup_gradient_in_the_map_is_the_bilinear_weights():
    env = jnp.asarray(np.random.default_rng(5).uniform(size=(4, 8, 1)), jnp.float32)
    d = jnp.array([[0.3, -0.2, 0.9]])
    weights = jax.grad(lambda e: lookup(e, d).sum())(env)
    assert int((weights > 0).sum()) == 4
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-6)
    np.testing.assert_allclose((weights * env).sum(), lookup(env, d)[0, 0], rtol=1e-6)
