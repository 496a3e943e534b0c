"""Things around a face: glasses built from the landmarks, strands of hair across it, a torso in clothes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.data.synthetic.dice import Dice
from jfrecon.data.synthetic.stages import COLUMNS, LOWEST, ROWS, TORSO_ANGLES, TORSO_COLUMNS, Stage
from jfrecon.geometry import vectors

RING = 28  # points around a lens
BAR = 9  # points along a bridge or a temple
STRANDS, LINKS = 4, 14
TORSO_ROWS = 14
# mm below the neck's ring; close together where the neck turns into the shoulders.
DOWN = np.concatenate([[0.0, 4.0, 10.0, 18.0], 18.0 + 300.0 * np.linspace(0.05, 1.0, TORSO_ROWS - 4) ** 1.4])


@struct.dataclass
class Glasses:
    """Spectacles, from reading glasses to sunglasses.

    Attributes:
      worn: 1 or 0.
      size: [2] mm, width and height of a lens.
      power: exponent of the lens' outline: 2 an ellipse, 6 nearly a rectangle.
      rim: mm, and the temples' height.
      colour: [3] linear RGB of the frame.
      metal: how much the frame shines.
      tint: [3] what the lens lets through, and how much of the sky it mirrors.
      drop: mm, lenses below the pupils.
    """

    worn: jax.Array
    size: jax.Array
    power: jax.Array
    rim: jax.Array
    colour: jax.Array
    metal: jax.Array
    tint: jax.Array
    mirror: jax.Array
    drop: jax.Array


@struct.dataclass
class Strands:
    """A few wisps of hair across the face.

    Attributes:
      width: [STRANDS] mm, 0 for those that are not there.
      start: [STRANDS, 2] polar angle past the hairline and azimuth, radians; `sweep`: how these change to the tip.
    """

    width: jax.Array
    start: jax.Array
    sweep: jax.Array


@struct.dataclass
class Clothes:
    """A torso below the neck.

    Attributes:
      colours: [2, 3] linear RGB of the pattern.
      stripes: [3] count around, count down, sharpness.
      neckline: mm below the neck at which cloth begins at the back, and how much deeper at the front.
      width: mm, half of the shoulders; `slope`: mm over which the neck turns into them.
      turn: [3] how much of the head's pitch, yaw and roll the torso shares.
    """

    colours: jax.Array
    stripes: jax.Array
    neckline: jax.Array
    width: jax.Array
    slope: jax.Array
    turn: jax.Array


def sample_glasses(dice: Dice) -> Glasses:
    """Worn by one in five; one in six of those are sunglasses."""
    thick = dice.uniform()
    colour = dice.uniform(3, high=0.35) ** 1.5
    clear = 0.97 - 0.12 * dice.uniform(3) ** 2
    shade = 0.02 + 0.25 * dice.uniform() ** 2 * jnp.array([1.1, 0.9, 0.8])
    return Glasses(
        worn=dice.chance(0.2),
        size=jnp.stack([dice.uniform(low=42.0, high=58.0), dice.uniform(low=28.0, high=48.0)]),
        power=dice.uniform(low=2.0, high=6.0),
        rim=1.0 + 4.5 * thick**2,
        colour=jnp.where(dice.chance(0.6) > 0, 0.015 + 0.1 * colour[0], colour),
        metal=jnp.where(thick < 0.4, 0.8, 0.2),
        tint=jnp.where(dice.chance(0.17) > 0, shade, clear),
        mirror=0.02 + 0.1 * dice.uniform() ** 2,
        drop=6.0 * dice.uniform(),
    )


def sample_strands(hairy: jax.Array, dice: Dice) -> Strands:
    """On one face in six where `hairy`."""
    there = dice.chance(0.16) * hairy * dice.chance(0.6, STRANDS)
    side = dice.sign()
    bend = jnp.stack([dice.uniform(STRANDS, low=0.4, high=1.3), side * dice.uniform(STRANDS, low=-0.3, high=0.6)], -1)
    azimuth = side * jnp.radians(dice.uniform(STRANDS, low=5.0, high=60.0))
    return Strands(
        width=there * dice.uniform(STRANDS, low=0.8, high=7.0),
        start=jnp.stack([jnp.full(STRANDS, -0.15), azimuth], -1),
        sweep=bend,
    )


def sample_clothes(dice: Dice) -> Clothes:
    """Plain, striped or checked."""
    colours = dice.uniform(2, 3) ** 2 * 0.8 + 0.01
    grey = jnp.mean(colours, -1, keepdims=True)
    colours = grey + (colours - grey) * dice.uniform()
    return Clothes(
        colours=jnp.where(dice.chance(0.65) > 0, colours[:1], colours),
        stripes=jnp.stack([jnp.round(30.0 * dice.uniform()), 40.0 * dice.uniform(), dice.uniform(low=0.5, high=4.0)]),
        neckline=jnp.stack([15.0 * dice.uniform(), 90.0 * dice.uniform() ** 2]),
        width=dice.uniform(low=150.0, high=220.0),
        slope=dice.uniform(low=45.0, high=90.0),
        turn=jnp.array([0.2, 0.35, 0.1]) + dice.uniform(3) * jnp.array([0.4, 0.6, 0.4]),
    )


def _tube(path: jax.Array, side: jax.Array, half: jax.Array) -> jax.Array:
    """A flat bar of 4 edges along path [N, 3]: `side` [N, 3] across it, half width; [N, 4, 3]."""
    along = vectors.normalise(jnp.roll(path, -1, 0) - jnp.roll(path, 1, 0))
    depth = vectors.normalise(jnp.cross(along, side)) * jnp.minimum(half, 1.6)
    edges = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    return jnp.stack([path + across * side * half + forward * depth for across, forward in edges], 1)


def _tube_triangles(points: int, closed: bool) -> np.ndarray:
    i = np.arange(points if closed else points - 1)
    quads = []
    for k in range(4):
        a, b = i * 4 + k, i * 4 + (k + 1) % 4
        c, d = (i + 1) % points * 4 + (k + 1) % 4, (i + 1) % points * 4 + k
        quads += [np.stack([a, b, c], -1), np.stack([a, c, d], -1)]
    return np.concatenate(quads)


def glasses_vertices(glasses: Glasses, landmarks: jax.Array) -> jax.Array:
    """[Vg, 3] model space, of frame (two rings, bridge, two temples) and then the two lenses; far away if not worn."""
    right, left = jnp.mean(landmarks[36:42], 0), jnp.mean(landmarks[42:48], 0)
    ears = landmarks[jnp.array([0, 16])] + jnp.array([0.0, 22.0, -25.0])
    bridge = landmarks[27]
    angle = jnp.linspace(0.0, 2 * np.pi, RING, endpoint=False)
    c, s = jnp.cos(angle), jnp.sin(angle)
    radius = (jnp.abs(c) ** glasses.power + jnp.abs(s) ** glasses.power) ** (-1 / glasses.power)
    outline = jnp.stack([c, s], -1) * radius[:, None]
    front = bridge[2] + 5.0
    rings, lenses, corners = [], [], []
    for eye, sign in ((right, -1.0), (left, 1.0)):
        # The lens must leave room for the nose, and follows the face around.
        inner = jnp.maximum(jnp.abs(eye[0]) + 2.0, 8.0 + glasses.size[0] / 2)
        flat = outline * glasses.size / 2
        x = sign * inner + flat[:, 0]
        z = front - 0.0011 * jnp.square(x) - 0.02 * flat[:, 1]
        path = jnp.stack([x, eye[1] - glasses.drop + flat[:, 1], z], -1)
        centre = jnp.mean(path, 0)
        rings.append(_tube(path, vectors.normalise(path - centre), glasses.rim / 2))
        lenses.append(jnp.concatenate([centre[None] + jnp.array([0.0, 0.0, 1.5]), path]))
        outer = z[RING // 2] if sign < 0 else z[0]
        height = centre[1] + glasses.size[1] * 0.25
        corners.append(jnp.stack([sign * (inner + glasses.size[0] / 2), height, outer]))
    t = jnp.linspace(0.0, 1.0, BAR)[:, None]
    up = jnp.broadcast_to(jnp.array([0.0, 1.0, 0.0]), (BAR, 3))
    ends = [
        jnp.stack([sign * jnp.min(jnp.abs(ring[:, 0, 0])), ring[0, 0, 1] + 2.0, front])
        for ring, sign in zip(rings, (-1.0, 1.0))
    ]
    over = ends[0] + (ends[1] - ends[0]) * t + jnp.array([0.0, 3.0, 1.5]) * jnp.sin(np.pi * t)
    bars = [_tube(over, up, glasses.rim * 0.4)]
    for corner, ear in zip(corners, ears):
        out = jnp.sign(corner[0]) * jnp.maximum(jnp.abs(corner[0]), jnp.abs(ear[0]) + 3.0)
        elbow = jnp.array([out, corner[1], corner[2] - 12.0])
        first = corner + (elbow - corner) * jnp.minimum(4 * t, 1.0)
        path = first + (ear.at[0].set(out) - elbow) * jnp.maximum((4 * t - 1.0) / 3.0, 0.0)
        bars.append(_tube(path, up, glasses.rim * 0.45))
    parts = [part.reshape(-1, 3) for part in (*rings, *bars, *lenses)]
    return jnp.concatenate(parts) + jnp.where(glasses.worn > 0, 0.0, 1e5)


def glasses_triangles() -> tuple[np.ndarray, np.ndarray]:
    """[T, 3] int32 of the frame, [T', 3] int32 of the lenses."""
    ring, bar = _tube_triangles(RING, True), _tube_triangles(BAR, False)
    frame, start = [], 0
    for part, count in ((ring, RING * 4), (ring, RING * 4), (bar, BAR * 4), (bar, BAR * 4), (bar, BAR * 4)):
        frame.append(part + start)
        start += count
    i = np.arange(RING)
    fan = np.stack([np.zeros_like(i), 1 + i, 1 + (i + 1) % RING], -1)
    lenses = np.concatenate([fan + start, fan + start + RING + 1])
    return np.concatenate(frame).astype(np.int32), lenses.astype(np.int32)


def strand_vertices(strands: Strands, stage: Stage, grid: jax.Array) -> jax.Array:
    """[STRANDS * LINKS * 2, 3] ribbons that float over the skull's grid [G, 3], model space."""
    t = jnp.linspace(0.0, 1.0, LINKS)
    angles = strands.start[:, None, :] + strands.sweep[:, None, :] * jnp.stack([t, t * t], -1)
    polar = jnp.clip(stage.hairline + angles[..., 0], 0.1, LOWEST - 0.05)
    row, column = polar / LOWEST * (ROWS - 1), (angles[..., 1] / np.pi + 1.0) * 0.5 * (COLUMNS - 1)
    i, j = jnp.floor(row).astype(jnp.int32), jnp.clip(jnp.floor(column).astype(jnp.int32), 0, COLUMNS - 2)
    fi, fj = (row - i)[..., None], (column - j)[..., None]
    at = lambda a, b: grid[jnp.minimum(a, ROWS - 1) * COLUMNS + b]
    path = (at(i, j) * (1 - fj) + at(i, j + 1) * fj) * (1 - fi) + (at(i + 1, j) * (1 - fj) + at(i + 1, j + 1) * fj) * fi
    outward = vectors.normalise(path - stage.scalp_origin)
    path = path + outward * (4.0 + 10.0 * jnp.sin(np.pi * t))[None, :, None]
    ahead = jnp.diff(path, axis=1)
    along = vectors.normalise(jnp.concatenate([ahead, ahead[:, -1:]], 1))
    across = vectors.normalise(jnp.cross(along, outward)) * (strands.width[:, None] * (1.0 - 0.8 * t**2))[..., None] / 2
    return jnp.stack([path - across, path + across], 2).reshape(-1, 3)


def strand_triangles() -> np.ndarray:
    """[T, 3] int32."""
    i = np.arange(LINKS - 1) * 2
    one = np.concatenate([np.stack([i, i + 1, i + 2], -1), np.stack([i + 1, i + 3, i + 2], -1)])
    return np.concatenate([one + s * LINKS * 2 for s in range(STRANDS)]).astype(np.int32)


def torso_vertices(clothes: Clothes, ring: jax.Array, head: jax.Array, upright: jax.Array) -> jax.Array:
    """The neck goes on into shoulders: [TORSO_ROWS * TORSO_COLUMNS, 3] relative to the middle of the neck's ring.

    ring: [TORSO_COLUMNS, 3] mm where the torso leaves the skin of the neck, model space. Its upper rows follow the
    rotation `head` [3, 3], its lower ones `upright`.
    """
    offset = ring - jnp.mean(ring[:-1], 0)
    down = jnp.asarray(DOWN)[:, None]
    spread = jnp.clip((down - 8.0) / clothes.slope, 0.0, 1.0)
    spread = (spread * spread * (3 - 2 * spread))[..., None]
    c, s = jnp.cos(TORSO_ANGLES), jnp.sin(TORSO_ANGLES)
    shoulders = jnp.stack([clothes.width * s, -0.3 * clothes.width * jnp.square(s), 90.0 * c - 15.0], -1)
    # The chest comes forward, the neck's ring stays where the skin is.
    points = (offset + 0.6 * jnp.minimum(down, 1.0)[..., None] * jnp.sign(offset)) * (1 - spread) + shoulders * spread
    points = points - down[..., None] * jnp.array([0.0, 1.0, 0.0])
    late = jnp.clip(down / 60.0, 0.0, 1.0)[..., None]
    turned = lambda matrix: jnp.einsum('ij,rcj->rci', matrix, points)
    return ((1 - late) * turned(head) + late * turned(upright)).reshape(-1, 3)


def torso_coordinates() -> np.ndarray:
    """[Vt, 2] to be interpolated: mm below the ring, angle from the front."""
    return np.stack(np.broadcast_arrays(DOWN[:, None], TORSO_ANGLES), -1).reshape(-1, 2)


def torso_triangles() -> np.ndarray:
    """[T, 3] int32."""
    i = (np.arange(TORSO_ROWS - 1)[:, None] * TORSO_COLUMNS + np.arange(TORSO_COLUMNS - 1)).ravel()
    down, right = i + TORSO_COLUMNS, i + 1
    return np.concatenate([np.stack([i, down, right], -1), np.stack([right, down, down + 1], -1)]).astype(np.int32)
