"""sRGB against scikit-image, and black, where the power has an infinite slope."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.color import colorconv

from jfrecon.shading import colour

# skimage goes on to XYZ by a matrix; undoing that leaves its transfer curve alone.
_TO_XYZ = colorconv.xyz_from_rgb


def test_decoding_agrees_with_scikit_image():
    srgb = np.random.default_rng(0).uniform(size=(64, 3))
    expected = colorconv.rgb2xyz(srgb) @ np.linalg.inv(_TO_XYZ).T
    # float32 against float64.
    np.testing.assert_allclose(colour.srgb_to_linear(jnp.asarray(srgb)), expected, atol=1e-6)


def test_encoding_agrees_with_scikit_image():
    linear = np.random.default_rng(1).uniform(size=(64, 3))
    expected = colorconv.xyz2rgb(linear @ _TO_XYZ.T)
    # skimage switches to the power at the same 0.0031308; float32 against float64.
    np.testing.assert_allclose(colour.linear_to_srgb(jnp.asarray(linear)), expected, atol=1e-6)


def test_round_trip_outside_the_unit_interval():
    values = jnp.linspace(-0.5, 3.0, 701)
    # A dozen roundings of float32 at values up to 3.
    np.testing.assert_allclose(colour.srgb_to_linear(colour.linear_to_srgb(values)), values, rtol=5e-6, atol=1e-6)


@pytest.mark.parametrize('function', [colour.linear_to_srgb, colour.srgb_to_linear])
@pytest.mark.parametrize('value', [-1.0, -1e-12, 0.0, 1e-12, 0.0031308, 0.04045])
def test_gradients_are_finite_and_positive_in_black(function, value):
    slope = float(jax.grad(function)(value))
    assert np.isfinite(slope) and 0 < slope < 13  # the toe of the encoding is 12.92 x


def test_curves_are_continuous_where_toe_meets_power():
    for function, knee in ((colour.linear_to_srgb, 0.0031308), (colour.srgb_to_linear, 0.04045)):
        low, high = (float(function(jnp.float32(knee * (1 + e)))) for e in (-1e-6, 1e-6))
        # The standard's rounded constants leave a step of about 3e-8.
        assert abs(low - high) < 2e-7


def test_luminance_keeps_grey_and_orders_primaries():
    # 0.2126 + 0.7152 + 0.0722 = 1 up to float32.
    np.testing.assert_allclose(colour.luminance(jnp.full((4, 3), 0.3)), 0.3, rtol=1e-6)
    red, green, blue = colour.luminance(jnp.eye(3))
    assert green > red > blue
