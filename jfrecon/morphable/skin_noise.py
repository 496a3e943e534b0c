"""Random fields on a surface, as functions of 3D position: no texture coordinates, no seams, any resolution.

`waves` for what is slow, `lattice` for what is fine, `spots` for what is scattered. Points and wavelengths
share a unit.

Cells around a point come one after another in a loop. As an axis of arrays they are memory to go through, 200 times
(eight times for spots) as slow on a CPU; and with jaxlib 0.10.2 a `vmap` then mixes up its seeds: of eight people all
but two had the `lattice` of another.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.types import Array

_CORNERS = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], np.int32)
_NEIGHBOURS = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)], np.int32)
FEATURES = 64  # weights of one field of waves: a cosine and a sine for each of half as many frequencies


def waves(points: Array, wavelength: float, weights: jax.Array) -> jax.Array:
    """Gaussian field [N] of unit variance: random waves (Rahimi and Recht 2007).

    The frequencies are fixed and only the weights [FEATURES] ~ N(0, 1) change from person to person, so under
    `vmap` the waves are computed once, and each further field of this wavelength costs one small product.
    """
    draws = np.random.default_rng(0)
    frequency = draws.normal(size=(3, FEATURES // 2))
    frequency *= draws.uniform(0.5, 1.3, FEATURES // 2) / np.linalg.norm(frequency, axis=0)
    phase = jnp.matmul(
        points, (2 * np.pi / wavelength * frequency).astype(np.float32), precision=jax.lax.Precision.HIGHEST
    )
    features = jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], -1)
    return jnp.matmul(features, weights, precision=jax.lax.Precision.HIGHEST) * np.float32((2 / FEATURES) ** 0.5)


def lattice(points: Array, wavelength: float, seed: jax.Array) -> jax.Array:
    """Gradient noise [N], about unit variance: random slopes at integer points, quintic blending (Perlin
    2002).

    ``seed`` is [3] uint32.
    """
    x = points @ _tilt() / wavelength * 2
    cell = jnp.floor(x)
    inside = x - cell
    fade = inside**3 * (inside * (inside * 6 - 15) + 10)

    def add(total: jax.Array, corner: jax.Array) -> tuple[jax.Array, None]:
        slope = _hash(cell.astype(jnp.int32), corner, seed)
        weight, rise = jnp.ones(len(x)), jnp.zeros(len(x))
        for k in range(3):
            weight *= jnp.where(corner[k] == 1, fade[:, k], 1 - fade[:, k])
            rise += (slope[k] * 2 - 1) * (inside[:, k] - corner[k])
        return total + weight * rise, None

    # 5.25 brings the measured standard deviation to one.
    return 5.25 * jax.lax.scan(add, jnp.zeros(len(x)), jnp.asarray(_CORNERS))[0]


def spots(points: Array, spacing: float, share: Array, seed: jax.Array) -> jax.Array:
    """Scattered soft spots [N] in 0..1 (cellular noise, Worley 1996): at most one to a cell of edge
    ``spacing``.

    Args:
      share: [N] chance of a cell to carry one; a spot that straddles a change of the share may be cut.
      seed: [3] uint32.
    """
    x = points @ _tilt() / spacing
    cell = jnp.floor(x).astype(jnp.int32)

    def strongest(best: jax.Array, neighbour: jax.Array) -> tuple[jax.Array, None]:
        centre = _hash(cell, neighbour, seed)
        draw = _hash(cell, neighbour, seed + np.uint32(1))
        radius = 0.18 + 0.32 * draw[0] ** 2
        distance = sum((x[:, k] - (cell[:, k] + neighbour[k] + centre[k])) ** 2 for k in range(3))
        strength = (0.4 + 0.6 * draw[1]) * jnp.clip((share - draw[2]) * 20, 0, 1)
        return jnp.maximum(best, strength * jnp.exp(-((distance / radius**2) ** 1.5))), None

    return jax.lax.scan(strongest, jnp.zeros(len(x)), jnp.asarray(_NEIGHBOURS))[0]


def _tilt() -> np.ndarray:
    """A rotation that keeps the lattice off the planes of the face."""
    return np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0].astype(np.float32)


def _hash(cell: jax.Array, offset: jax.Array, seed: jax.Array) -> list[jax.Array]:
    """Three times [N] uniform in [0, 1) from integer cells [N, 3] + offset [3]: multiply, xor and shift, twice over."""
    v = (jax.lax.bitcast_convert_type(cell[:, k] + offset[k], jnp.uint32) for k in range(3))
    x, y, z = (value * np.uint32(1664525) + seed[k] for k, value in enumerate(v))
    for _ in range(2):
        x = x + y * z
        y = y + z * x
        z = z + x * y
        x, y, z = x ^ (x >> 16), y ^ (y >> 16), z ^ (z >> 16)
    return [value.astype(jnp.float32) * np.float32(2.0**-32) for value in (x, y, z)]
