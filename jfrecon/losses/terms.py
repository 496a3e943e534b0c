"""Loss terms, unreduced: one value per pixel, texel, landmark or coefficient.

The papers sum where most code averages; how a term is reduced, and in which domain (linear or sRGB) its
images are, stands in each method's config beside the weight (`masked_mean` is the mean). Gradients are finite
everywhere and 0 at the kinks of absolute values.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

# Rounds off the tip of the Euclidean distance; pixels, far below a detector's noise.
_LANDMARK_TIP = 0.01


def photometric(rendered: jax.Array, image: jax.Array) -> jax.Array:
    """|p - q|_1 over RGB, [..., 3] -> [...] (dib21 eq. 1; cest eq. 6)."""
    return jnp.sum(_absolute(rendered - image), axis=-1)


def photometric_squared(rendered: jax.Array, image: jax.Array) -> jax.Array:
    """|p - q|² over RGB, [..., 3] -> [...] (yang21 eq. 16)."""
    return jnp.sum(jnp.square(rendered - image), axis=-1)


def landmark_distance(projected: jax.Array, target: jax.Array) -> jax.Array:
    """Euclidean distance of projected landmarks [..., 68, 2] to detected ones, pixels, [..., 68].

    dib21 3.2's E_land, whose norm is not printed; sqrt(d² + e²) - e with e = 0.01 pixels, smooth where they
    coincide. Divide by the image's side, so that the weight survives a change of resolution.
    """
    squared = jnp.sum(jnp.square(projected - target), axis=-1)
    return jnp.sqrt(squared + _LANDMARK_TIP**2) - _LANDMARK_TIP


def landmark_l1(projected: jax.Array, target: jax.Array) -> jax.Array:
    """|Q - q|_1 of landmarks [..., 68, 2], pixels, [..., 68] (cest's L_kp, after eq. 8)."""
    return jnp.sum(_absolute(projected - target), axis=-1)


def prior(coefficients: jax.Array) -> jax.Array:
    """(coefficient / sigma)² of [..., K] in standard deviations, [..., K] (dib21 eq. 2, E_p; cest's L_rg)."""
    return jnp.square(coefficients)


def soft_box(values: jax.Array) -> jax.Array:
    """max(0, -x) + max(0, x - 1), same shape: how far outside [0, 1] (dib21 eqs. 2 and 3, E_b)."""
    return jax.nn.relu(-values) + jax.nn.relu(values - 1.0)


def symmetry(texture: jax.Array, flipped: jax.Array) -> jax.Array:
    """|A - flip A|_1 over channels, [..., C] -> [...] (dib21 3.2, E_s); `flipped` from `geometry.uv.flip`."""
    return jnp.sum(_absolute(texture - flipped), axis=-1)


def symmetry_squared(texture: jax.Array, flipped: jax.Array) -> jax.Array:
    """|A - flip A|² over channels, [..., C] -> [...] (yang21 eq. 7)."""
    return jnp.sum(jnp.square(texture - flipped), axis=-1)


def chromaticity(albedo: jax.Array, eps: float = 1e-2) -> jax.Array:
    """kappa = c / (r + g + b + eps) of linear RGB [..., 3], same shape; dib21 3.2 leaves it undefined, this
    is ours.

    Negative channels count as 0, so the denominator is never below eps, and the slope never above 1 / eps.
    Without a hue (one channel) kappa is constant but for eps: see `consistency`.
    """
    positive = jnp.maximum(albedo, 0.0)
    return positive / (jnp.sum(positive, axis=-1, keepdims=True) + eps)


def consistency(albedo: jax.Array, prior: jax.Array) -> jax.Array:
    """|kappa(A^) - kappa(A)|_1, [..., 3] -> [...] (dib21 3.2, E_c); pulls hue, not brightness, to the
    prior's.

    A specular albedo of one channel has no chromaticity: there, [..., 1], it is |A^ - A|, our reading of
    E_c(S^, S). With A^ = A + increment the gradients through A nearly cancel, so it is the increment that
    yields.
    """
    if albedo.shape[-1] == 1:
        return _absolute(albedo - prior)[..., 0]
    return jnp.sum(_absolute(chromaticity(albedo) - chromaticity(prior)), axis=-1)


def smoothness(texture: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Sum over the 4 neighbours in UV of |A_j - A_i|², [..., H, W, C] -> [..., H, W] (dib21 3.2, E_m).

    Neighbours beyond the border, or outside mask [..., H, W], do not count. Also s2f2's on normal maps.
    """
    return jnp.sum(_squared_differences(texture, mask), axis=-1)


def guided_smoothness(
    texture: jax.Array, guide: jax.Array, sharpness: float, mask: jax.Array | None = None
) -> jax.Array:
    """Smoothness weighted by exp(-sharpness |G_j - G_i|²), [..., H, W, C] -> [..., H, W] (yang21 eqs. 8, 9).

    The guide [..., H, W, C], the prior albedo, keeps its edges and gets no gradient.
    """
    weights = jnp.exp(-sharpness * _squared_differences(jax.lax.stop_gradient(guide), None))
    return jnp.sum(weights * _squared_differences(texture, mask), axis=-1)


def _absolute(values: jax.Array) -> jax.Array:
    """|x| with gradient 0 at 0, where `jnp.abs` has 1: a decoder that starts at zero must not be pushed."""
    return values * jnp.sign(values)


def _squared_differences(texture: jax.Array, mask: jax.Array | None) -> jax.Array:
    """|A_j - A_i|² to the neighbours above, below, left and right, [..., H, W, 4]; 0 where there is none."""
    vertical = jnp.sum(jnp.square(texture[..., 1:, :, :] - texture[..., :-1, :, :]), axis=-1)
    horizontal = jnp.sum(jnp.square(texture[..., :, 1:, :] - texture[..., :, :-1, :]), axis=-1)
    if mask is not None:
        vertical = vertical * (mask[..., 1:, :] * mask[..., :-1, :])
        horizontal = horizontal * (mask[..., :, 1:] * mask[..., :, :-1])

    def shifted(pairs: jax.Array, before: tuple[int, int], after: tuple[int, int]) -> jax.Array:
        return jnp.pad(pairs, [(0, 0)] * (pairs.ndim - 2) + [before, after])

    return jnp.stack(
        [
            shifted(vertical, (1, 0), (0, 0)),
            shifted(vertical, (0, 1), (0, 0)),
            shifted(horizontal, (0, 0), (1, 0)),
            shifted(horizontal, (0, 0), (0, 1)),
        ],
        axis=-1,
    )


def masked_mean(
    values: jax.Array, weight: jax.Array | None = None, axis: int | tuple[int, ...] | None = None
) -> jax.Array:
    """Weighted mean over `axis` (default: all), sum w x / sum w; 0, with gradient 0, where all weights are 0.

    `weight` broadcasts against the values. Where it is 0 a value may be anything, NaN included. Over all axes
    but the batch it is the same on one device and on many; over a shard's pixels all together it is not.
    """
    if weight is None:
        return jnp.mean(values, axis=axis)
    weight = jnp.broadcast_to(jnp.asarray(weight).astype(values.dtype), values.shape)
    total = jnp.sum(weight, axis=axis)
    kept = jnp.where(weight > 0, values, 0.0)
    return jnp.sum(weight * kept, axis=axis) / jnp.where(total > 0, total, 1.0)
