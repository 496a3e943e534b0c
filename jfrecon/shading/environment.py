"""Light from far away as latitude-longitude maps [..., H, W, C] of linear radiance, in camera space.

Row 0 is up (+y), the middle of the map is +z (where the camera is), the left half +x; `sphere` has the
formula.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.shading import sh, sphere


def directions(height: int, width: int) -> np.ndarray:
    """Unit directions [H, W, 3] of the texel centres, float32."""
    return sphere.latlong_directions(height, width).astype(np.float32)


def solid_angles(height: int, width: int) -> np.ndarray:
    """Areas [H, W] of the texels on the unit sphere, steradians, float32; normalised to sum to 4 pi."""
    return sphere.latlong_solid_angles(height, width).astype(np.float32)


def from_sh(coefficients: jax.Array, height: int, width: int) -> jax.Array:
    """Radiance [..., H, W, C] at the texel centres from coefficients [..., L², C]; signed, never clamped.

    dib21 3.1 derives a 64 x 64 map so. `sh.project` inverts it exactly when 2 (L - 1) < min(H, W).
    """
    table = jnp.asarray(_table(height, width, sh.bands_of(coefficients)), coefficients.dtype)
    return jnp.einsum('hwk,...kc->...hwc', table, coefficients, precision=jax.lax.Precision.HIGHEST)


def lookup(environment: jax.Array, dirs: jax.Array) -> jax.Array:
    """Bilinear radiance [..., N, C] of a map [..., H, W, C] in directions [..., N, 3], not zero.

    Columns wrap around; beyond the first and the last row the row itself is repeated. Differentiable in both
    (piecewise linear); straight up and straight down the gradient in the direction is zero.
    """
    height, width, channels = environment.shape[-3:]
    x, y, z = dirs[..., 0], dirs[..., 1], dirs[..., 2]
    flat = x * x + z * z
    pole = flat < 1e-12 * (flat + y * y)
    radius = jnp.sqrt(jnp.where(pole, 1.0, flat))
    theta = jnp.where(pole, jnp.where(y > 0, 0.0, jnp.pi), jnp.arctan2(radius, y))
    phi = jnp.arctan2(jnp.where(pole, 0.0, x), jnp.where(pole, 1.0, -z))

    row = jnp.clip(theta * (height / jnp.pi) - 0.5, 0.0, height - 1.0)
    column = phi * (width / (2.0 * jnp.pi)) - 0.5
    top = jnp.clip(jnp.floor(row), 0.0, max(height - 2.0, 0.0))
    left = jnp.floor(column)
    down, right = (row - top)[..., None], (column - left)[..., None]
    top, left = top.astype(jnp.int32), left.astype(jnp.int32)

    batch = jnp.broadcast_shapes(environment.shape[:-3], dirs.shape[:-2])
    texels = jnp.broadcast_to(
        environment.reshape(*environment.shape[:-3], height * width, channels),
        (*batch, height * width, channels),
    )

    def fetch(i: jax.Array, j: jax.Array) -> jax.Array:
        index = jnp.minimum(i, height - 1) * width + jnp.mod(j, width)
        return jnp.take_along_axis(texels, jnp.broadcast_to(index, (*batch, index.shape[-1]))[..., None], axis=-2)

    upper = fetch(top, left) * (1 - right) + fetch(top, left + 1) * right
    lower = fetch(top + 1, left) * (1 - right) + fetch(top + 1, left + 1) * right
    return upper * (1 - down) + lower * down


@functools.lru_cache(maxsize=8)
def _table(height: int, width: int, bands: int) -> np.ndarray:
    """The basis at the texel centres [H, W, L²]; a constant of the program, never recomputed by it."""
    x, y, z = np.moveaxis(sphere.latlong_directions(height, width), -1, 0)
    return np.stack(sh.polynomials(x, y, z, range(bands)), axis=-1).astype(np.float32)
