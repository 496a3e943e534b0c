"""sRGB and linear light: the one conversion each way, used at the edges only (IEC 61966-2-1)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# Rec. 709 luminance of linear RGB; the three sum to one, so grey keeps its value.
_LUMINANCE = (0.2126, 0.7152, 0.0722)


def srgb_to_linear(srgb: jax.Array) -> jax.Array:
    """Decode sRGB values [...] in 0..1 to linear light.

    x / 12.92 up to 0.04045, ((x + 0.055) / 1.055)^2.4 above. Nothing is clamped: values above 1 follow the
    power, negative ones the straight toe, so that `linear_to_srgb` inverts it everywhere.
    """
    toe = srgb <= 0.04045
    # The power of a negative number is NaN and its gradient survives a plain `where`, hence the inner one.
    safe = jnp.where(toe, 0.5, srgb)
    return jnp.where(toe, srgb / 12.92, ((safe + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: jax.Array) -> jax.Array:
    """Encode linear light [...] as sRGB; inverse of `srgb_to_linear`, signed and unclamped.

    The slope is at most 12.92 (at and below 0), so gradients stay finite in black.
    """
    toe = linear <= 0.0031308
    safe = jnp.where(toe, 0.5, linear)
    return jnp.where(toe, 12.92 * linear, 1.055 * safe ** (1.0 / 2.4) - 0.055)


def luminance(linear: jax.Array) -> jax.Array:
    """Rec. 709 luminance [...] of linear RGB [..., 3]."""
    return jnp.sum(linear * jnp.asarray(_LUMINANCE, linear.dtype), axis=-1)
