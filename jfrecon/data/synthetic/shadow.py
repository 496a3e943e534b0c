"""The key lamp's shadow, by rays: from what the camera sees towards random places of the lamp (`render.trace`)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.data.synthetic import hair, props
from jfrecon.data.synthetic.pose import Posed
from jfrecon.data.synthetic.scenes import Scene
from jfrecon.data.synthetic.stages import Stage, aside
from jfrecon.geometry import rotations, vectors
from jfrecon.morphable.coat import SKIN
from jfrecon.render import trace, tree

TILE = 3  # pixels of its sides: each pixel has one ray, into one of TILE² parts of the lamp, and the mean of its tile
LOWEST = 0.05  # cosine to the surface of the flattest ray
POOL = trace.Pool(256, 8)  # few rays for so long a walk: more lanes would wait for the last of them


def prepare(stage: Stage) -> Stage:
    """The stage with what casts shadows: skin, torso and hair, in the order of a tree over them (`tree.order`)."""
    mean = np.asarray(stage.model.mean)
    ring = np.einsum('gk,gkc->gc', stage.neck_weights, mean[stage.neck_ids])
    scalp = np.einsum('gk,gkc->gc', stage.scalp_weights, mean[stage.scalp_ids])
    # Torso and curtain where they roughly are: a tree that fits badly is slow, not wrong.
    down, angle = props.torso_coordinates().T
    torso = ring.mean(0) + np.stack([150 * np.sin(angle), -down, 80 * np.cos(angle)], -1)
    row, column = np.divmod(np.arange(hair.FALL * hair.SHEET), hair.SHEET)
    angle = 2 * np.pi * column / hair.SHEET
    curtain = np.stack([90 * np.sin(angle), -15 * row, 90 * np.cos(angle)], -1) + stage.scalp_origin
    skin = np.asarray(stage.opaque)[np.asarray(stage.part) == SKIN]
    casters = [skin, props.torso_triangles() + len(mean), hair.triangles() + len(mean) + len(torso)]
    triangles = np.concatenate(casters).astype(np.int32)
    order = tree.order(np.concatenate([mean, torso, scalp, curtain]), triangles)
    return dataclasses.replace(stage, casters=jnp.asarray(triangles), leaves=jnp.asarray(order))


def visible(
    stage: Stage,
    scene: Scene,
    posed: Posed,
    key: jax.Array,
    points: jax.Array,
    normals: jax.Array,
    active: jax.Array,
) -> jax.Array:
    """[L, N, N] the share of the key lamp that arrives at the pixels of L pictures; 1 where not active.

    Interleaved sampling (Keller and Heidrich 2001): neighbours look at different parts of the lamp and share what they
    find. Rays that start below the surface are bent up to it: the light that goes round a soft edge is not in its own
    shadow.

    Args:
      key: of the draws.
      points: [L, N, N, 3] mm, camera space, where the rays start; normals: likewise, unit.
      active: [L, N, N] bool.
    """
    lamp, softness = scene.lamps.direction[0], scene.lamps.softness[0]
    # Hair gets light from further behind than skin: 0.35 + 0.65 cos, see `strands`.
    active &= normals @ lamp > -0.55 - softness
    radius, turn = jax.random.uniform(key, (2, *active.shape))
    at = jnp.arange(active.shape[1]) % TILE
    part = (at[:, None] * TILE + at) * 4 % TILE**2
    # The lamp is a Gaussian of its softness on the sphere, in TILE² rings of equal shares.
    angle = softness * jnp.sqrt(-2.0 * jnp.log1p(-(part + radius) / TILE**2))
    angle = jnp.minimum(angle, np.pi / 2)
    turn = 2 * np.pi * (turn / TILE**2 + part * 0.618034)
    right = aside(lamp)
    axes = [jnp.broadcast_to(axis, normals.shape) for axis in (lamp, right, jnp.cross(lamp, right))]
    shares = jnp.cos(angle), jnp.sin(angle) * jnp.cos(turn), jnp.sin(angle) * jnp.sin(turn)
    towards = vectors.combine(shares, axes)
    rise = jnp.maximum(LOWEST - vectors.dot(towards, normals), 0.0)
    towards = towards + vectors.scale(rise, normals)

    # Where no hair grows the shell hides under the skin, but not everywhere: there it is drawn together in the head.
    grows = (posed.hair.attributes[:, 2] > -scene.hair.ragged) & (scene.hair.opacity > 0)
    middle = rotations.transform(posed.rotation, posed.translation, stage.scalp_origin[None])
    vertices = jnp.concatenate([posed.solid.vertices, jnp.where(grows[:, None], posed.hair.vertices, middle)])
    boxes = tree.refit(stage.leaves, stage.casters, vertices[None])
    flat = lambda x: x.reshape(1, -1, 3)
    blocked = trace.occluded(boxes, flat(points), flat(towards), active.reshape(1, -1), POOL).reshape(active.shape)

    around = lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, TILE, TILE), (1, 1, 1), 'SAME')
    # Each ray counts as much as it would light its point.
    weight = jnp.maximum(vectors.dot(towards, normals), LOWEST) * active
    return jnp.where(active, 1.0 - around(weight * blocked) / jnp.maximum(around(weight), LOWEST), 1.0)
