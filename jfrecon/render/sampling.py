"""Where the ray tracer looks for light: samplers of directions, by default in proportion to the light's radiance.

A sampler is a function of the light, called once for the images of a batch, that returns a function of their pixels:

    draw = sampler(light, keys)
    l, L, p = draw(pixel, n, samples)

`jfrecon.render.raytrace` takes any other: only the noise of its pictures depends on it, provided that the density is
positive wherever light may come from.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jfrecon.shading import environment

TABLE = 4096  # directions that the pixels of an image share
FLOOR = 0.01  # share of the mean radiance with which even black directions are drawn


class Draws(NamedTuple):
    """S directions of light for each of N points.

    Attributes:
      direction: [S, B, N, 3] l_s, unit, towards the light.
      radiance: [S, B, N, 3] L(l_s) that comes from there.
      density: [S, B, N] p(l_s) > 0 with which the direction was drawn, 1/sr.
    """

    direction: jax.Array
    radiance: jax.Array
    density: jax.Array


class Draw(Protocol):
    """Draws light for pixels of the images that it was made for."""

    def __call__(self, pixel: jax.Array, n: jax.Array, samples: int) -> Draws:
        """Draws of points.

        The ray tracer lets a gradient through the radiance alone.

        Args:
          pixel: [B, N] int32, numbers of the pixels that show the points, row by row.
          n: [B, N, 3] their normals, unit where they show a surface; no gradient.
          samples: S.
        """


class Sampler(Protocol):
    """Makes a `Draw` for B images, with what is worked out once for each."""

    def __call__(self, light: jax.Array, keys: jax.Array) -> Draw:
        """The draw of a batch.

        Args:
          light: [B, h, w, 3] environment maps, `jfrecon.shading.environment`; radiance may be negative.
          keys: [B] of the draws: another key is another, independent estimate.
        """


class Table(NamedTuple):
    """Directions drawn from an environment map, to be shared by the pixels of an image; leaves [B, K, ...].

    Attributes:
      direction: [B, K, 3] unit, towards the light. No gradient.
      radiance: [B, K, 3] of its texel.
      density: [B, K] 1/sr. No gradient.
    """

    direction: jax.Array
    radiance: jax.Array
    density: jax.Array


def by_radiance(light: jax.Array, keys: jax.Array, guide: jax.Array | None = None) -> Draw:
    """Draws in proportion to radiance; a `Sampler`.

    Each pixel takes its directions from a table for its image, one from each of S equal parts of it: that costs far
    less than to search the light for each of them. Pixels that share a table share its noise, so many samples need many
    tables, see `raytrace.final`.

    guide: another light of the same shape, whose radiance decides in place of the light's.
    """
    shared = table(light, keys, guide)

    def draw(pixel: jax.Array, n: jax.Array, samples: int) -> Draws:
        part = jnp.arange(samples, dtype=jnp.float32)[:, None, None]
        place = (part + uniforms(keys, pixel, samples)) * (TABLE / samples)
        entry = jnp.minimum(place.astype(jnp.int32), TABLE - 1)
        return Draws(*(jax.vmap(lambda v, i: v[i], (0, 1), 1)(values, entry) for values in shared))

    return draw


def table(light: jax.Array, keys: jax.Array, guide: jax.Array | None = None) -> Table:
    """`TABLE` directions for each light [B, h, w, 3], as likely as they are bright.

    Texels are drawn systematically (one random number, evenly spaced steps through the cumulative density along a curve
    that keeps neighbours together, so that equal parts of the table are patches of light), a direction evenly within
    its texel: over the keys the mean of any function of the entries, weighed by their radiance over their density, is
    its integral over the sphere. The density follows the absolute mean of the channels, plus `FLOOR`.

    guide: as in `by_radiance`.
    """
    height, width = light.shape[1:3]
    along = curve(height, width)
    flat = lambda maps: maps.reshape(len(maps), height * width, 3)[:, along]
    angles = jnp.asarray(environment.solid_angles(height, width).reshape(-1)[along])

    def one(radiance, guide, key):
        spread, down, across = jax.random.split(key, 3)
        bright = jnp.abs(lax.stop_gradient(guide)).mean(-1)
        bright = jnp.where(jnp.isfinite(bright), bright, 0)
        mean = (bright * angles).sum() / (4 * jnp.pi)
        weight = bright + jnp.where(mean > 0, FLOOR * mean, 1)
        share = weight * angles / (weight * angles).sum()
        steps = (jnp.arange(TABLE) + jax.random.uniform(spread)) / TABLE
        total = jnp.cumsum(share)
        texel = jnp.minimum(jnp.searchsorted(total, steps * total[-1], method='sort'), height * width - 1)
        row, column = jnp.asarray(along // width)[texel], jnp.asarray(along % width)[texel]
        # evenly in area: evenly in the cosine of the polar angle
        top, bottom = jnp.cos(row * (jnp.pi / height)), jnp.cos((row + 1) * (jnp.pi / height))
        y = top + (bottom - top) * jax.random.uniform(down, (TABLE,))
        phi = (column + jax.random.uniform(across, (TABLE,))) * (2 * jnp.pi / width)
        radius = jnp.sqrt(jnp.maximum(1 - y * y, 0))
        direction = jnp.stack([radius * jnp.sin(phi), y, -radius * jnp.cos(phi)], -1)
        return Table(direction, radiance[texel], (share / angles)[texel])

    return jax.vmap(one)(flat(light), flat(light if guide is None else guide), keys)


def radiance(light: jax.Array, direction: jax.Array) -> jax.Array:
    """L of maps [B, h, w, 3] in directions [S, B, N, 3], [S, B, N, 3]: that of the texel, as in `table`.

    For samplers that know where they look, but not what they see. No gradient in the direction.
    """
    images, height, width, _ = light.shape
    x, y, z = jnp.moveaxis(direction, -1, 0)
    row = jnp.clip(jnp.arccos(jnp.clip(y, -1, 1)) * (height / jnp.pi), 0, height - 1).astype(jnp.int32)
    column = jnp.floor(jnp.arctan2(x, -z) * (width / (2 * jnp.pi))).astype(jnp.int32) % width
    return jax.vmap(lambda texels, i: texels[i], (0, 1), 1)(light.reshape(images, -1, 3), row * width + column)


def uniforms(keys: jax.Array, pixel: jax.Array, samples: int, stream: int = 1) -> jax.Array:
    """Random numbers in [0, 1), [S, B, N], for pixels [B, N]: the same for a pixel in whatever company it is drawn.

    Args:
      keys: [B].
      pixel: [B, N] int32.
      samples: S.
      stream: another number gives other, independent ones.
    """
    seeds = jax.vmap(lambda key: jax.random.bits(jax.random.fold_in(key, stream), (), jnp.uint32))(keys)
    sample = jnp.arange(samples, dtype=jnp.uint32)[:, None, None]
    noise = _hash(_hash(pixel.astype(jnp.uint32) * jnp.uint32(samples) + sample) ^ seeds[:, None])
    return (noise >> 8).astype(jnp.float32) * 2.0**-24


def curve(height: int, width: int) -> np.ndarray:
    """The numbers of the texels or pixels of a map in Morton's order, which keeps neighbours together, [h w] int32."""
    row, column = np.divmod(np.arange(height * width), width)
    spread = lambda x: sum(((x >> bit) & 1) << (2 * bit) for bit in range(16))
    return np.argsort(spread(row) * 2 + spread(column), kind='stable').astype(np.int32)


def _hash(x: jax.Array) -> jax.Array:
    """PCG's output permutation of one step of its generator (O'Neill 2014; Jarzynski and Olano 2020), uint32."""
    x = x * jnp.uint32(747796405) + jnp.uint32(2891336453)
    x = ((x >> ((x >> 28) + 4)) ^ x) * jnp.uint32(277803737)
    return (x >> 22) ^ x
