"""What is behind a head, out of focus, and now and then a thing in front of the face; all in image space."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.data.synthetic.dice import Dice

OCTAVES = (2, 3, 5, 9)
BOXES, DISCS = 5, 16


@struct.dataclass
class Backdrop:
    """A painted background and a foreground occluder; lengths in picture widths, colours linear RGB.

    Attributes:
      base: [3].
      octaves: for each of OCTAVES a grid [n, n, 3] of log factors to be stretched over the picture.
      boxes: [BOXES, 8] centre, half size, softness, and RGB of soft rectangles: walls, windows, shelves.
      discs: [DISCS, 6] centre, radius and RGB of blurred lights.
      occluder: [8] centre, half size, angle, roundness, 1 if there is one, softness.
      occluder_colour: [2, 3].
    """

    base: jax.Array
    octaves: tuple[jax.Array, ...]
    boxes: jax.Array
    discs: jax.Array
    occluder: jax.Array
    occluder_colour: jax.Array


def sample(dice: Dice) -> Backdrop:
    """Plain studio walls, gradients, foliage, rooms made of soft boxes, lights out of focus."""
    busy = dice.chance(0.65)
    # How strong each octave is: a wall has a gradient at most.
    strength = dice.uniform(len(OCTAVES)) * jnp.array([0.9, 0.7, 0.6, 0.35]) * dice.chance(0.6, len(OCTAVES))
    strength = jnp.where(busy > 0, strength, strength * jnp.array([0.35, 0.1, 0.0, 0.0]))
    octaves = tuple(share * (dice.normal(n, n, 1) + 0.25 * dice.normal(n, n, 3)) for n, share in zip(OCTAVES, strength))
    level = jnp.exp(0.7 * dice.normal() - 0.7)
    boxes = jnp.concatenate(
        [
            dice.uniform(BOXES, 2),
            0.03 + 0.35 * dice.uniform(BOXES, 2) ** 2 - 2.0 * (1.0 - busy * dice.chance(0.4, BOXES, 1)),
            0.01 + 0.06 * dice.uniform(BOXES, 1),
            level * 1.5 * _colours(dice, BOXES),
        ],
        1,
    )
    lit = busy * dice.chance(0.3)
    discs = jnp.concatenate(
        [
            dice.uniform(DISCS, 2),
            dice.uniform(low=0.03, high=0.12) * dice.uniform(DISCS, 1, low=0.7, high=1.2),
            lit * dice.chance(0.7, DISCS, 1) * 2.0 * level * _colours(dice, DISCS),
        ],
        1,
    )
    # From the side or below; hands and microphones seldom come from above.
    around = jnp.radians(dice.uniform(low=-20.0, high=200.0))
    reach = dice.uniform(low=0.36, high=0.58)
    occluder = jnp.stack(
        [
            0.5 + reach * jnp.cos(around),
            0.5 + reach * jnp.sin(around),
            dice.uniform(low=0.05, high=0.17),
            dice.uniform(low=0.05, high=0.25),
            np.pi * dice.uniform(),
            dice.uniform(low=2.0, high=6.0),
            dice.chance(0.07),
            0.004 + 0.02 * dice.uniform() ** 2,
        ]
    )
    # Studio walls are often white or light grey.
    white = (1.0 - busy) * dice.chance(0.5)
    base = jnp.where(white > 0, dice.uniform(low=0.35, high=0.9), level * _colours(dice, 1)[0])
    return Backdrop(base, octaves, boxes, discs, occluder, _colours(dice, 2))


def _colours(dice: Dice, count: int) -> jax.Array:
    """[count, 3] linear colours, mostly of low saturation."""
    grey = dice.uniform(count, 1, low=0.05, high=0.9)
    return grey * (1.0 + dice.uniform(count, 3, low=-1.0) * 0.9 * dice.uniform(count, 1) ** 2)


def paint(backdrop: Backdrop, size: int) -> jax.Array:
    """The background [size, size, 3] in linear RGB, under light of level one."""
    factors = sum(_stretch(grid, size) for grid in backdrop.octaves)
    picture = backdrop.base * jnp.exp(jnp.clip(factors, -2.5, 1.5))
    at = (jnp.arange(size) + 0.5) / size
    for x, y, half_width, half_height, soft, *colour in backdrop.boxes:
        across = jax.nn.sigmoid((half_width - jnp.abs(at - x)) / soft)
        along = jax.nn.sigmoid((half_height - jnp.abs(at - y)) / soft)
        cover = (along[:, None] * across[None, :])[..., None]
        picture = picture * (1 - cover) + cover * jnp.stack(colour)
    x, y, radius = (backdrop.discs[:, k, None, None] for k in range(3))
    distance = jnp.sqrt(jnp.square(at[None, None, :] - x) + jnp.square(at[None, :, None] - y))
    glow = jax.nn.sigmoid((radius - distance) / 0.012)
    return picture + jnp.einsum('dyx,dc->yxc', glow, backdrop.discs[:, 3:])


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
