"""Black-and-white photographs: their light is grey, and the hue of the skin is the morphable model's.

What a film or a conversion made of the three channels is not known, so a rendering is compared by their mean: with
equal weights, what is fitted to the picture has no hue. The colours of skin and light cannot be told apart in it: left
alone, the light turns blue until skin of any colour is grey.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jfrecon.types import Array

BLACK = 0.02  # linear albedo below which a colour has next to no hue
LEVELS = 2.5 / 255  # that channels may differ by: files of other colour models round


def found(image: Array) -> jax.Array:
    """Whether photographs [B, H, W, 3], sRGB in 0..1, have no colours anywhere; [B] bool."""
    return jnp.all(jnp.ptp(jnp.asarray(image), -1) < LEVELS, (1, 2))


def shown(values: Array, grey: jax.Array) -> jax.Array:
    """Linear colours [B, ..., 3]; where a photograph is ``grey`` [B], the mean of the three channels in each."""
    values = jnp.asarray(values)
    grey = grey.reshape(-1, *[1] * (values.ndim - 1))
    return jnp.where(grey, jnp.broadcast_to(values.mean(-1, keepdims=True), values.shape), values)


def hued(change: Array, like: Array, grey: jax.Array) -> jax.Array:
    """Changes of linear colours [..., 3]; where ``grey`` is true, their means alone, in the hue of ``like`` [..., 3].

    The mean of the channels, which is all that a black-and-white photograph tells of, stays. The same change of each
    channel would turn what gets darker to a pure red, or green: dark teeth, brows and nostrils.
    """
    change, like = jnp.asarray(change), jnp.asarray(like)
    hue = (like + BLACK) / (like.mean(-1, keepdims=True) + BLACK)
    return jnp.where(grey, change.mean(-1, keepdims=True) * hue, change)
