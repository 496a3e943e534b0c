"""The BRDF's physics: reciprocity, energy, its normalisation, and safety at grazing angles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.shading import brdf, sh, sphere

UP = jnp.array([0.0, 0.0, 1.0])
lobe = jax.jit(brdf.lobe)


def _view(degrees):
    angle = np.deg2rad(degrees)
    return jnp.array([np.sin(angle), 0.0, np.cos(angle)])


def _hemisphere(n=300):
    """Midpoints in (z, phi) over the upper hemisphere, equal areas."""
    z = (np.arange(n) + 0.5) / n
    phi = 2 * np.pi * (np.arange(2 * n) + 0.5) / (2 * n)
    r = np.sqrt(1 - z**2)[:, None]
    d = np.stack([r * np.cos(phi), r * np.sin(phi), z[:, None] + 0 * phi], -1).reshape(-1, 3)
    return jnp.asarray(d), 2 * np.pi / len(d)


def test_reciprocity():
    rng = np.random.default_rng(0)
    l, v = (d / np.linalg.norm(d, axis=-1, keepdims=True) for d in np.abs(rng.normal(size=(2, 50, 3))))
    l, v = jnp.asarray(l, jnp.float32), jnp.asarray(v, jnp.float32)
    # The same numbers in another order.
    np.testing.assert_allclose(lobe(UP, l, v, 0.4), lobe(UP, v, l, 0.4), rtol=1e-5)


@pytest.mark.parametrize('roughness', [0.3, 0.6, 1.0])
def test_microfacets_have_unit_projected_area(roughness):
    d, area = _hemisphere()
    alpha2 = brdf.squared_alpha(roughness)
    density = brdf.distribution(d[:, 2] ** 2, 1 - d[:, 2] ** 2, alpha2)
    # Midpoint rule with steps of 1/300 in z; the lobe at roughness 0.3 is alpha² / 2 = 0.004 wide in z, so
    # 5%.
    np.testing.assert_allclose(jnp.sum(density * d[:, 2]) * area, 1.0, rtol=0.05 if roughness == 0.3 else 1e-3)


@pytest.mark.parametrize('roughness', [0.35, 0.6, 1.0])
@pytest.mark.parametrize('degrees', [0, 40, 75, 88])
def test_white_furnace_never_gains_energy(roughness, degrees):
    d, area = _hemisphere()
    gathered = float(jnp.sum(lobe(UP, d, _view(degrees), roughness) * d[:, 2]) * area)
    # Single scattering only loses light; 1% for the midpoint rule.
    assert 0.1 < gathered < 1.01
    if degrees == 0 and roughness > 0.5:
        # Band 0 of the vertex renderer's kernel is the same integral; the midpoint rule again.
        np.testing.assert_allclose(gathered, sh.brdf_kernel(roughness, 1)[0], rtol=2e-3)


def test_diffuse_reflects_its_albedo():
    d, area = _hemisphere(60)
    albedo = jnp.array([0.2, 0.5, 0.9])
    f = brdf.evaluate(UP, d, _view(30), albedo, jnp.zeros(1), 0.5)
    # cos is linear in z: the midpoint rule is exact.
    np.testing.assert_allclose(jnp.sum(f * d[:, 2:], axis=0) * area, albedo, rtol=1e-4)


def test_specular_weight_blends_the_two_lobes():
    l, v, c, s = _view(-20), _view(35), jnp.array([0.2, 0.5, 0.9]), jnp.array([0.3])
    expected = 0.7 * c / np.pi + 0.3 * lobe(UP, l, v, 0.5)
    np.testing.assert_allclose(brdf.evaluate(UP, l, v, c, s, 0.5), expected, rtol=1e-6)


def test_closed_form_at_mirror_angles():
    # h = n there: D = 1 / (pi alpha²), and G1 at 60 degrees by hand.
    alpha2, cosine = 0.5**4, 0.5
    g1 = 2 * cosine / (cosine + np.sqrt(alpha2 + (1 - alpha2) * cosine**2))
    expected = g1**2 / (np.pi * alpha2) / (4 * cosine**2)
    np.testing.assert_allclose(lobe(UP, _view(-60), _view(60), 0.5), expected, rtol=1e-5)


def test_a_narrow_lobe_keeps_its_peak_in_single_precision():
    # 1 - cos² would be off by 1e-7 against alpha² = 8e-7 here.
    tilt = 5e-4
    l = jnp.array([np.sin(2 * tilt), 0.0, np.cos(2 * tilt)], jnp.float32)
    alpha2 = brdf.MIN_ROUGHNESS**4
    expected = alpha2 / (np.pi * (alpha2 * np.cos(tilt) ** 2 + np.sin(tilt) ** 2) ** 2) / 4
    # Shadowing and cosines depart from 1 by 1e-6.
    np.testing.assert_allclose(lobe(UP, l, UP, 0.0), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ('light', 'view'),
    [
        ([0, 0, 1], [0, 0, 1]),
        ([1, 0, 0], [0, 0, 1]),  # light at the horizon
        ([0, 0, 1], [1, 0, 0]),
        ([1, 0, 0], [1, 0, 0]),
        ([1, 0, 0], [-1, 0, 0]),  # no half vector
        ([0, 0, -1], [0, 0, 1]),
    ],
)
def test_finite_at_grazing_and_behind(light, view):
    light, view = jnp.array(light, jnp.float32), jnp.array(view, jnp.float32)

    def f(n, l, v, r):
        return brdf.evaluate(n, l, v, jnp.full(3, 0.5), jnp.full(1, 0.5), r).sum()

    for roughness in (0.0, 0.4):
        value, slopes = jax.jit(jax.value_and_grad(f, (0, 1, 2, 3)))(UP, light, view, roughness)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((value, slopes)))
        if light[2] <= 0 or view[2] <= 0:
            assert value == 0


def test_nothing_is_reflected_from_below_and_nothing_is_negative():
    d = jnp.asarray(sphere.latlong_directions(32, 32), jnp.float32)
    f = lobe(UP, d, _view(30), 0.7)
    assert bool(jnp.all((f > 0) == (d[..., 2] > 0)))
