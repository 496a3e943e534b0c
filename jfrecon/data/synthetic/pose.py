"""A scene's geometry: everything that is drawn, posed in camera space, in three layers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.data.synthetic import framing, hair, lighting, props
from jfrecon.data.synthetic.scenes import Scene
from jfrecon.data.synthetic.stages import Stage
from jfrecon.geometry import mesh, rotations
from jfrecon.morphable import linear
from jfrecon.types import Pinhole


@struct.dataclass
class Layer:
    """Triangles that are drawn together; camera space.

    Attributes:
      vertices: [V, 3] mm.
      normals: [V, 3] unit.
      triangles: [T, 3] int32.
      attributes: [V, C] what the layer's shading wants to know.
    """

    vertices: jax.Array
    normals: jax.Array
    triangles: jax.Array
    attributes: jax.Array


@struct.dataclass
class Posed:
    """A scene ready to be drawn.

    Attributes:
      solid: head without hair, then torso. Attributes: light of all lamps but the key that reaches a white surface
        there [3], the share of the key that the head at rest leaves [1], and for the torso mm below the neck and the
        angle around it [2].
      hair: shell and curtain, attributes of `hair.coordinates`.
      front: frame, lenses, strands, lashes; attribute: 0 frame, 1 lens, 2 strand, 3 lash.
      rotation, translation, camera: of the head.
      landmarks: [68, 3] camera space.
      eyes: [2, 3] centres, and `gaze` [3], camera space; `eye_radius`: mm.
    """

    solid: Layer
    hair: Layer
    front: Layer
    rotation: jax.Array
    translation: jax.Array
    camera: Pinhole
    landmarks: jax.Array
    eyes: jax.Array
    gaze: jax.Array
    eye_radius: jax.Array


HAIR_TRIANGLES = hair.triangles()
TORSO_TRIANGLES = props.torso_triangles()
FRAME_TRIANGLES, LENS_TRIANGLES = props.glasses_triangles()
STRAND_TRIANGLES = props.strand_triangles()


def pose(stage: Stage, scene: Scene, size: int) -> Posed:
    """Build and place everything for a picture of `size` pixels."""
    model, person = stage.model, scene.person
    head = linear.shape(model, person.identity, person.expression)
    at_rest = linear.landmarks(model, model.mean) + jnp.einsum(
        'i,ilc->lc', person.identity, model.identity_basis[:, model.landmark_ids]
    )
    landmarks = linear.landmarks(model, head)
    rotation, translation, camera = framing.place(scene.framing, landmarks, size)
    matrix = rotations.matrix(rotation)
    to_camera = lambda points: rotations.rotate(matrix, points) + translation

    grid = hair.skull(stage, head)
    shell = hair.vertices(scene.hair, stage, grid)
    ring = jnp.einsum('gk,gkc->gc', stage.neck_weights, head[stage.neck_ids])
    upright = rotations.euler(*(scene.framing.angles * scene.clothes.turn))
    torso = props.torso_vertices(scene.clothes, ring, matrix, upright) + to_camera(jnp.mean(ring[:-1], 0)[None])

    vertices = jnp.concatenate([to_camera(head), torso])
    triangles = jnp.concatenate([stage.opaque, TORSO_TRIANGLES + len(head)])
    normals = mesh.vertex_normals(vertices, triangles)
    soft, key = _light(stage, scene.lamps, normals[: len(head)], normals[len(head) :], matrix)
    about = jnp.concatenate([jnp.zeros((len(head), 2)), props.torso_coordinates()])
    solid = Layer(vertices, normals, triangles, jnp.concatenate([soft, key[:, None], about], -1))

    shell_vertices = to_camera(shell)
    shell_layer = Layer(
        shell_vertices,
        mesh.vertex_normals(shell_vertices, HAIR_TRIANGLES),
        jnp.asarray(HAIR_TRIANGLES),
        hair.coordinates(scene.hair, stage),
    )
    spectacles = props.glasses_vertices(scene.glasses, at_rest)
    wisps = props.strand_vertices(scene.strands, stage, grid)
    front = to_camera(jnp.concatenate([spectacles, wisps]))
    front = jnp.concatenate([front, vertices[: len(head)]])
    offset = len(spectacles)
    front_triangles = jnp.concatenate(
        [FRAME_TRIANGLES, LENS_TRIANGLES, STRAND_TRIANGLES + offset, stage.lashes + offset + len(wisps)]
    )
    first_lens = int(LENS_TRIANGLES.min())
    counts = (first_lens, offset - first_lens, len(wisps), len(head))
    kind = jnp.asarray(np.repeat([0.0, 1.0, 2.0, 3.0], counts), jnp.float32)
    front_layer = Layer(front, mesh.vertex_normals(front, front_triangles), front_triangles, kind[:, None])

    balls = jnp.stack([head[ids] for ids in stage.eyeballs])
    centres = (jnp.max(balls, 1) + jnp.min(balls, 1)) / 2
    yaw, pitch = person.gaze
    gaze = jnp.stack([jnp.sin(yaw) * jnp.cos(pitch), jnp.sin(pitch), jnp.cos(yaw) * jnp.cos(pitch)])
    return Posed(
        solid=solid,
        hair=shell_layer,
        front=front_layer,
        rotation=rotation,
        translation=translation,
        camera=camera,
        landmarks=to_camera(landmarks),
        eyes=to_camera(centres),
        gaze=matrix @ gaze,
        eye_radius=jnp.mean((jnp.max(balls, 1) - jnp.min(balls, 1))[:, :2]) / 2,
    )


def _light(
    stage: Stage, lamps: lighting.Lamps, head: jax.Array, torso: jax.Array, matrix: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What the soft lamps (all but the key) give to head and torso normals [V, 3], and the key's share [V].

    The head shadows itself as its mean does: of a lamp's directions, weighted by lamp and cosine, those that are free.
    """
    directions = stage.directions @ matrix.T
    spread = jnp.maximum(lamps.softness, 0.45)
    weight = jnp.exp((lamps.direction @ directions.T - 1.0) / jnp.square(spread)[:, None])
    cosine = jnp.maximum(head @ directions.T, 0.0) + 0.02
    free = (cosine * stage.unoccluded) @ weight.T / (cosine @ weight.T + 1e-6)
    mouth = stage.mouth[:, None]
    free = jnp.where(mouth > 0, mouth, free)
    white = lighting.received(head @ lamps.direction.T, lamps.softness)
    soft_head = (white * free)[:, 1:] @ lamps.irradiance[1:]
    # The neck's shade goes on below the ring and ends at the shoulders.
    below = jnp.einsum('ck,ckl->cl', stage.neck_weights, free[stage.neck_ids])
    fade = jnp.asarray(np.clip(props.DOWN / 70.0, 0.0, 1.0), jnp.float32)[:, None, None]
    free_torso = (below * (1 - fade) + 0.85 * fade).reshape(len(torso), -1)
    white_torso = lighting.received(torso @ lamps.direction.T, lamps.softness)
    soft_torso = (white_torso * free_torso)[:, 1:] @ lamps.irradiance[1:]
    share = jnp.concatenate([free[:, 0], free_torso[:, 0]])
    return jnp.concatenate([soft_head, soft_torso]), share
