"""Hair, and what covers it: a shell over the scalp and a curtain that falls from it, cut out strand by strand.

The shell follows the scalp's grid of `Stage`. A pixel of it is hair where its polar angle lies above the hairline, give
or take the noise of strands; the strands run from the crown outwards.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.data.synthetic.dice import Dice
from jfrecon.data.synthetic.stages import COLUMNS, ROWS, Stage
from jfrecon.geometry import vectors

FALL, SHEET = 10, 40  # rows and columns of the curtain
_KNOTS = np.radians([0, 22, 42, 62, 76, 92, 112, 180.0])
# The hairline's polar angle at these azimuths relative to its angle over the nose, in degrees.
_NATURAL = np.array([0, 1, 3, 16, 40, 52, 66, 84.0])

# Per style: share, volume on top and at the sides (mm), hairline shifts at the knots (degrees, downwards), how ragged
# (degrees), opacity, length of the curtain (mm), its opening (degrees of azimuth), cloth (1: a hat or scarf).
_STYLES = {
    'bald': (0.05, 1, 1, (-90,) * 8, 2, 0.0, 0, 90, 0),
    'shaved': (0.07, 2, 1.5, (0, 0, 0, 0, 0, 0, 0, -8), 3, 0.75, 0, 90, 0),
    'short': (0.2, 20, 10, (-1, 0, 0, 0, 0, -2, 0, -6), 3, 1.0, 0, 90, 0),
    'quiff': (0.11, 38, 12, (-2, 0, 0, 0, 0, 0, 0, 0), 4, 1.0, 0, 90, 0),
    'receding': (0.08, 9, 9, (-9, -22, -24, -10, 0, 0, 0, 0), 4, 0.95, 0, 90, 0),
    'crown': (0.03, 4, 10, (-60, -60, -50, -12, 0, 0, 0, 0), 4, 0.95, 0, 90, 0),
    'fringe': (0.09, 28, 18, (22, 24, 26, 18, 6, 4, 4, 0), 4.5, 1.0, 0, 90, 0),
    'tied': (0.1, 12, 6, (-2, -1, 0, 0, -6, -8, -6, -4), 2, 1.0, 0, 90, 0),
    'bob': (0.09, 28, 24, (0, 0, 2, 6, 12, 14, 14, 0), 4, 1.0, 90, 62, 0),
    'long': (0.17, 26, 20, (0, 0, 2, 6, 10, 12, 14, 0), 4, 1.0, 230, 60, 0),
    'long with fringe': (0.06, 26, 20, (23, 24, 26, 20, 14, 14, 14, 0), 4.5, 1.0, 200, 58, 0),
    'curls': (0.07, 50, 42, (4, 4, 4, 4, 6, 6, 6, 0), 7, 1.0, 70, 75, 0),
    'hat': (0.045, 12, 10, (12, 13, 12, 4, -16, -26, -30, -24), 0.6, 1.0, 0, 90, 1),
    'scarf': (0.02, 10, 9, (7, 8, 10, 14, 30, 40, 40, 30), 0.6, 1.0, 190, 58, 1),
}
_TABLE = np.array([(*s[:3], *s[3], *s[4:]) for s in _STYLES.values()], np.float32)


@struct.dataclass
class Hair:
    """One head of hair.

    Attributes:
      volume: [2] mm, on top and at the sides.
      hairline: [8] polar angles at fixed azimuths, radians, relative to the head's natural hairline over the nose.
      ragged: radians by which strands miss the hairline.
      opacity: 0 none .. 1 opaque.
      length: mm that the curtain falls, 0 without one.
      opening: azimuth of the curtain's edges, radians.
      cloth: 1 for a hat or scarf: no strands.
      colour: [3] linear RGB.
      gloss: strength of the highlight.
      grain: contrast of the strands.
      tufts: [6, 4] waves over the shell: amplitude, counts along azimuth and polar angle, phase.
      lean: how far strands lean sideways.
      part: [2] where the fringe parts: azimuth, and radians that it lifts there.
      seed: [2] offset into the noise.
    """

    volume: jax.Array
    hairline: jax.Array
    ragged: jax.Array
    opacity: jax.Array
    length: jax.Array
    opening: jax.Array
    cloth: jax.Array
    colour: jax.Array
    gloss: jax.Array
    grain: jax.Array
    tufts: jax.Array
    lean: jax.Array
    part: jax.Array
    seed: jax.Array


def sample(colour: jax.Array, dice: Dice) -> Hair:
    """A random style for hair of a colour [3]; cloth gets a colour of its own."""
    share, top, side, *line, ragged, opacity, length, opening, cloth = _TABLE.T
    style = dice.choice(share)
    pick = lambda column: jnp.asarray(column)[style]
    woven = pick(cloth)
    shift = 2.5 * dice.normal() + 2.0 * dice.normal(8) * (1.0 - 0.8 * woven)
    dye = dice.uniform(3, low=0.02, high=0.6)
    dye = jnp.where(dice.chance(0.4) > 0, jnp.mean(dye), dye)
    waves = jnp.round(jnp.stack([dice.uniform(6, low=2.0, high=14.0), dice.uniform(6, low=1.0, high=9.0)], 1))
    amplitude = 0.06 * jnp.abs(dice.normal(6)) * (1.0 - 0.8 * woven)
    return Hair(
        volume=jnp.stack([pick(top), pick(side)]) * jnp.exp(0.25 * dice.normal(2)),
        hairline=jnp.radians(jnp.asarray(_NATURAL) + jnp.stack([pick(column) for column in line]) + shift),
        ragged=jnp.radians(pick(ragged)) * jnp.exp(0.3 * dice.normal()),
        opacity=pick(opacity),
        length=pick(length) * jnp.exp(0.3 * dice.normal()),
        opening=jnp.radians(pick(opening) + 6.0 * dice.normal()),
        cloth=woven,
        colour=jnp.where(woven > 0, dye, colour),
        gloss=0.35 * dice.uniform() * (1.0 - woven),
        grain=jnp.where(woven > 0, 0.12, dice.uniform(low=0.2, high=0.5)),
        tufts=jnp.concatenate([amplitude[:, None], waves, 2 * np.pi * dice.uniform(6, 1)], 1),
        lean=dice.uniform(low=-1.0),
        part=jnp.stack([jnp.radians(dice.uniform(low=-35.0, high=35.0)), 0.12 * (1.0 - woven)]),
        seed=dice.uniform(2),
    )


def triangles() -> np.ndarray:
    """[T, 3] int32 of the shell's grid and then the curtain's, outside counter-clockwise."""
    return np.concatenate([_grid(ROWS, COLUMNS), _grid(FALL, SHEET) + ROWS * COLUMNS]).astype(np.int32)


def _grid(rows: int, columns: int) -> np.ndarray:
    i = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    down, right = i + columns, i + 1
    return np.concatenate([np.stack([i, down, right], -1), np.stack([right, down, down + 1], -1)])


def hairline(hair: Hair, stage: Stage, azimuth: jax.Array) -> jax.Array:
    """The polar angle at which hair ends, at azimuths [...]."""
    line = jnp.interp(jnp.abs(azimuth), jnp.asarray(_KNOTS), hair.hairline)
    parted = hair.part[1] * jnp.exp(-jnp.square((azimuth - hair.part[0]) / 0.2))
    return stage.hairline + line - parted


def skull(stage: Stage, head: jax.Array) -> jax.Array:
    """The scalp's grid [G, 3] on a head's vertices [V, 3], model space, ears smoothed away."""
    points = jnp.einsum('gk,gkc->gc', stage.scalp_weights, head[stage.scalp_ids])
    outward = vectors.normalise(points - stage.scalp_origin)
    return points + outward * stage.scalp_lift[:, None]


def vertices(hair: Hair, stage: Stage, grid: jax.Array) -> jax.Array:
    """Shell and curtain [Vh, 3], model space, over the skull's grid [G, 3]."""
    polar, azimuth = stage.scalp_angles.T
    outward = vectors.normalise(grid - stage.scalp_origin)
    amplitude, across, along, phase = hair.tufts.T
    waves = jnp.sum(amplitude * jnp.sin(across * azimuth[:, None] + along * 2.0 * polar[:, None] + phase), -1)
    on_top = jnp.square(jnp.cos(jnp.minimum(polar, np.pi / 2)))
    volume = (hair.volume[1] + (hair.volume[0] - hair.volume[1]) * on_top) * (1.0 + waves)
    # Hair rises from the skin behind the hairline; before it, the shell hides in the head.
    inside = hairline(hair, stage, azimuth) - polar
    rise = jnp.clip(inside / 0.22, 0.0, 1.0)
    lift = jnp.where(inside > -hair.ragged, 1.5 + volume * rise * (2.0 - rise), -4.0)
    lift = jnp.where(hair.opacity > 0, lift, -4.0)
    return jnp.concatenate([grid + outward * lift[:, None], _curtain(hair, grid)])


def _curtain(hair: Hair, grid: jax.Array) -> jax.Array:
    """[FALL * SHEET, 3] from the sides and the back of the skull downwards; a point below the head without one."""
    a = jnp.linspace(hair.opening, 2 * np.pi - hair.opening, SHEET)
    azimuth = jnp.where(a > np.pi, a - 2 * np.pi, a)
    column = (azimuth / np.pi + 1.0) * 0.5 * (COLUMNS - 1)
    left = jnp.clip(jnp.floor(column).astype(jnp.int32), 0, COLUMNS - 2)
    share = (column - left)[:, None]
    row = 13  # the polar angle of the temples
    ring = grid[row * COLUMNS + left] * (1 - share) + grid[row * COLUMNS + left + 1] * share
    centre = jnp.mean(ring, 0)
    away = vectors.normalise((ring - centre) * jnp.array([1.0, 0.0, 1.0]))
    t = jnp.linspace(0.0, 1.0, FALL)[:, None, None]
    amplitude, across, along, phase = hair.tufts.T
    waves = jnp.sum(amplitude * jnp.sin(across * a[None, :, None] + along * t + phase), -1)[..., None]
    out = hair.volume[1] * (0.75 + 0.5 * jnp.sin(jnp.minimum(2.2 * t, 1.6))) * (1.0 + waves) + 4.0
    fall = hair.length * t * jnp.array([0.0, -1.0, 0.0])
    # Towards the neck it hangs a little inwards, so that shoulders stay free.
    sheet = ring + away * (out - 10.0 * t) + fall
    sheet = jnp.where(hair.length > 0, sheet, centre + jnp.array([0.0, -20.0, 0.0]))
    return sheet.reshape(-1, 3)


def coordinates(hair: Hair, stage: Stage) -> jax.Array:
    """[Vh, 3] to be interpolated: across strands, along strands, margin to the hairline (radians)."""
    polar, azimuth = stage.scalp_angles.T
    shell = jnp.stack([azimuth + hair.lean * polar, polar, hairline(hair, stage, azimuth) - polar], -1)
    a, t = jnp.meshgrid(jnp.linspace(0.0, 1.0, SHEET), jnp.linspace(0.0, 1.0, FALL))
    edge = jnp.minimum(jnp.minimum(a, 1 - a) * 2 * (np.pi - hair.opening), (1 - t) * hair.length / 80.0)
    around = hair.opening + a * 2 * (np.pi - hair.opening)
    sheet = jnp.stack([around, 1.2 + t * hair.length / 90.0, jnp.where(hair.length > 0, edge, -1.0)], -1)
    return jnp.concatenate([shell, sheet.reshape(-1, 3)])
