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


@functools.lru_cache(maxsize=8)
def _table(height: int, width: int, bands: int) -> np.ndarray:
    """The basis at the texel centres [H, W, L²]; a constant of the program, never recomputed by it."""
    x, y, z = np.moveaxis(sphere.latlong_directions(height, width), -1, 0)
    return np.stack(sh.polynomials(x, y, z, range(bands)), axis=-1).astype(np.float32)
