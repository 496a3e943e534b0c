"""Latitude-longitude maps: directions, areas, round trips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.shading import environment, sh, sphere


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


def test_from_sh_is_signed():
    light = jnp.zeros((4, 3)).at[0].set(-sh.GREY)
    np.testing.assert_allclose(environment.from_sh(light, 4, 8), -1.0, rtol=1e-6)
