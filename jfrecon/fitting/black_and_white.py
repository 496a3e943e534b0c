"""Black-and-white photographs: their light is grey, and the hue of the skin is the morphable model's.

What a film or a conversion made of the three channels is not known, so a rendering is compared by their mean: with
equal weights, what is fitted to the picture has no hue. The colours of skin and light cannot be told apart in it: left
alone, the light turns blue until skin of any colour is grey.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jfrecon.types import Array

LEVELS = 2.5 / 255  # that channels may differ by: files of other colour models round


def found(image: Array) -> jax.Array:
    """Whether photographs [B, H, W, 3], sRGB in 0..1, have no colours anywhere; [B] bool."""
    return jnp.all(jnp.ptp(jnp.asarray(image), -1) < LEVELS, (1, 2))


def shown(values: Array, grey: jax.Array) -> jax.Array:
    """Linear colours [B, ..., 3]; where a photograph is ``grey`` [B], the mean of the three channels in each."""
    values = jnp.asarray(values)
    grey = grey.reshape(-1, *[1] * (values.ndim - 1))
    return jnp.where(grey, jnp.broadcast_to(values.mean(-1, keepdims=True), values.shape), values)
