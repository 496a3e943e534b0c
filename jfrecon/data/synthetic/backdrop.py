"""What is behind a head, out of focus, and now and then a thing in front of the face; all in image space."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

OCTAVES = (2, 4, 9, 24)
BOXES = 5


@struct.dataclass
class Backdrop:
    """A painted background and a foreground occluder.

    Attributes:
      base: [3] linear RGB.
      octaves: for each of OCTAVES a grid [n, n, 3] of linear colours to be stretched over the picture and added.
      boxes: [BOXES, 8] centre, half size, softness (all in picture widths), and RGB of soft rectangles: walls, windows.
      occluder: [8] centre, half size, angle, roundness (picture widths, radians), 1 if there is one, softness.
      occluder_colour: [2, 3].
    """

    base: jax.Array
    octaves: tuple[jax.Array, ...]
    boxes: jax.Array
    occluder: jax.Array
    occluder_colour: jax.Array


def sample(key: jax.Array) -> Backdrop:
    """Plain studio walls, gradients, bokeh, foliage-like noise, rooms made of soft boxes."""
    keys = iter(jax.random.split(key, 24))
    colours = lambda shape: _colours(next(keys), shape)
    plain = jax.random.uniform(next(keys)) < 0.3
    strength = jax.random.uniform(next(keys), (len(OCTAVES) + 1,)) ** 1.5
    strength = jnp.where(plain, strength * jnp.array([0.3, 0.05, 0.02, 0.01, 0.0]), strength)
    level = jnp.exp(0.8 * jax.random.normal(next(keys)) - 1.2)
    octaves = []
    for n, share in zip(OCTAVES, strength, strict=False):
        noise = jax.random.normal(next(keys), (n, n, 1)) + 0.35 * jax.random.normal(next(keys), (n, n, 3))
        octaves.append(0.5 * share * level * noise)
    place = jax.random.uniform(next(keys), (BOXES, 5))
    box_colours = colours((BOXES, 3)) * level * 2.5
    shown = jax.random.uniform(next(keys), (BOXES, 1)) < strength[-1]
    boxes = jnp.concatenate(
        [
            place[:, :2],
            0.03 + 0.35 * place[:, 2:4] ** 2 + jnp.where(shown, 0.0, -2.0),
            0.01 + 0.08 * place[:, 4:],
            box_colours,
        ],
        1,
    )
    draw = jax.random.uniform(next(keys), (9,))
    # From the side or below; hands and microphones seldom come from above.
    around = jnp.radians(-20.0 + 220.0 * draw[0])
    reach = 0.36 + 0.22 * draw[1]
    occluder = jnp.stack(
        [
            0.5 + reach * jnp.cos(around),
            0.5 + reach * jnp.sin(around),
            0.05 + 0.12 * draw[2],
            0.05 + 0.2 * draw[3],
            np.pi * draw[4],
            2.0 + 4.0 * draw[5],
            jnp.where(draw[6] < 0.07, 1.0, 0.0),
            0.004 + 0.02 * draw[7] ** 2,
        ]
    )
    return Backdrop(colours((3,)) * level * 1.5, tuple(octaves), boxes, occluder, colours((2, 3)))


def _colours(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Linear colours, mostly of low saturation."""
    a, b, c = jax.random.split(key, 3)
    grey = jax.random.uniform(a, (*shape[:-1], 1), minval=0.05, maxval=0.8)
    tint = jax.random.uniform(b, shape, minval=-1.0)
    return grey * (1.0 + tint * jax.random.uniform(c, (*shape[:-1], 1)) ** 1.5 * 0.9)


def paint(backdrop: Backdrop, size: int) -> jax.Array:
    """The background [size, size, 3] in linear RGB, under light of level one."""
    picture = jnp.broadcast_to(backdrop.base, (size, size, 3))
    for grid in backdrop.octaves:
        picture += _stretch(grid, size)
    at = (jnp.arange(size) + 0.5) / size
    for x, y, half_width, half_height, soft, *colour in backdrop.boxes:
        across = jax.nn.sigmoid((half_width - jnp.abs(at - x)) / soft)
        along = jax.nn.sigmoid((half_height - jnp.abs(at - y)) / soft)
        cover = (along[:, None] * across[None, :])[..., None]
        picture = picture * (1 - cover) + cover * jnp.stack(colour)
    return jnp.maximum(picture, 0.004)


def _stretch(grid: jax.Array, size: int) -> jax.Array:
    """A grid [n, n, 3] over [size, size, 3] with smooth interpolation, as two small matrix products."""
    n = grid.shape[0]
    at = (np.arange(size) + 0.5) / size * (n - 1)
    low = np.minimum(at.astype(int), n - 2)
    t = at - low
    t = t * t * (3 - 2 * t)
    weights = np.zeros((size, n), np.float32)
    weights[np.arange(size), low] = 1 - t
    weights[np.arange(size), low + 1] = t
    return jnp.einsum('yi,xj,ijc->yxc', weights, weights, grid)


def occlude(backdrop: Backdrop, size: int) -> tuple[jax.Array, jax.Array]:
    """The foreground thing: colour [size, size, 3] linear, opacity [size, size]."""
    x0, y0, half_width, half_height, angle, power, there, soft = backdrop.occluder
    at = (jnp.arange(size) + 0.5) / size
    x, y = at[None, :] - x0, at[:, None] - y0
    c, s = jnp.cos(angle), jnp.sin(angle)
    u, v = (c * x + s * y) / half_width, (c * y - s * x) / half_height
    radius = (jnp.abs(u) ** power + jnp.abs(v) ** power + 1e-9) ** (1 / power)
    opacity = there * jax.nn.sigmoid((1 - radius) * jnp.minimum(half_width, half_height) / soft)
    mix = jnp.clip(0.5 + 0.5 * u + 0.2 * jnp.sin(9.0 * v + 4.0 * u), 0.0, 1.0)[..., None]
    shade = (1.0 - 0.35 * jnp.square(jnp.clip(u - 0.3, -1.5, 1.5)))[..., None]
    colour = (backdrop.occluder_colour[0] * mix + backdrop.occluder_colour[1] * (1 - mix)) * shade
    return jnp.maximum(colour, 0.0), opacity
