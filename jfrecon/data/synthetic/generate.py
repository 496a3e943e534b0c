"""Random faces as batches: scenes drawn, posed, rendered and photographed, one after another on the device."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import struct

from jfrecon.data.synthetic import backdrop, formation, lighting, photograph, scenes, shadow, skins, stages
from jfrecon.data.synthetic.materials import Albedo
from jfrecon.data.synthetic.pose import pose
from jfrecon.data.synthetic.stages import Stage
from jfrecon.geometry import cameras
from jfrecon.morphable.heads import Head
from jfrecon.types import Batch, Pinhole, Truth

FOCAL = 4.5  # default focal length in crop widths
FILL = 1 / 1.8  # share of the crop that the landmarks' box takes
TEXTURE = 128


@struct.dataclass
class Shot:
    """One picture with all that is known about it; leaves may be batched.

    Attributes:
      image: [S, S, 3] sRGB in 0..1, before JPEG at `quality`.
      landmarks: [68, 2] pixels, hidden ones included.
      camera: of the picture.
      vertices: [Vf, 3] mm, camera space, of the face region.
      face: [S, S] 1 where unoccluded skin of the face region fills most of the pixel.
      diffuse, normal: [S, S, 3], zero outside `face`.
      light: [81, 3], exposure and white balance included.
    """

    image: jax.Array
    quality: jax.Array
    landmarks: jax.Array
    camera: Pinhole
    vertices: jax.Array
    face: jax.Array
    diffuse: jax.Array
    normal: jax.Array
    light: jax.Array


def prepare(head: Head) -> Stage:
    """A head made ready to be photographed; takes a second or two."""
    return shadow.prepare(stages.build(head))


def shoot(stage: Stage, worn: skins.Skins, view: scenes.Scene, size: int) -> Shot:
    """Take the picture of a scene, in one painted skin."""
    posed = pose(stage, view, size)
    albedo = Albedo(worn.texture.astype(jnp.float32), worn.vertices.astype(jnp.float32))
    seen = formation.form(stage, view, posed, albedo, size)
    ambient = jnp.mean(view.lamps.irradiance, 0) * 1.5
    behind = backdrop.paint(view.backdrop, size) * ambient
    radiance = seen.radiance + (1 - seen.cover)[..., None] * behind
    colour, opacity = backdrop.occlude(view.backdrop, size)
    radiance = radiance * (1 - opacity[..., None]) + colour * opacity[..., None]
    face = (seen.face * (1 - opacity) > 0.5).astype(jnp.float32)

    centred = jnp.exp(-4.0 * jnp.square(jnp.linspace(-1.0, 1.0, size)))
    gains = photograph.gains(view.photograph, radiance, centred[:, None] * centred[None, :] * (0.3 + seen.cover))
    landmarks, _ = cameras.project(posed.camera, posed.landmarks)
    return Shot(
        image=photograph.develop(view.photograph, radiance * gains),
        quality=view.photograph.quality,
        landmarks=landmarks,
        camera=posed.camera,
        vertices=posed.solid.vertices[stage.face_vertices],
        face=face,
        diffuse=seen.diffuse * face[..., None],
        normal=seen.normal * face[..., None],
        light=lighting.harmonics(view.lamps) * gains,
    )


def draw(
    stage: Stage, seed: int, index: jax.Array, skin: jax.Array, frames: int, focal: float, fill: float
) -> scenes.Scene:
    """The scene of picture `index` of a seed, in the skin of that index: a pure function of the three.

    `frames` pictures in a row share a person.
    """
    root = jax.random.key(seed)
    person_key = jax.random.fold_in(jax.random.fold_in(root, 0xFACE), index // frames)
    tone = jax.random.split(skins.key(seed, skin))[0]
    return scenes.sample(stage.model, jax.random.fold_in(root, index), person_key, tone, focal, fill)


def take(
    stage: Stage, painted: skins.Skins, seed, indices: jax.Array, size: int, frames: int, focal: float, fill: float
) -> Shot:
    """Pictures of indices [n], one after another; leaves of the result have a leading axis n."""
    skin = indices // frames % len(painted.texture)
    worn = jax.tree.map(lambda values: values[skin], painted)  # so that one program serves pools of any size
    return _take(stage, worn, skin, seed, indices, size, frames, focal, fill)


@functools.partial(jax.jit, static_argnames=('size', 'frames', 'focal', 'fill'))
def _take(stage, worn, skin, seed, indices, size, frames, focal, fill):
    def one(picture):
        index, skin, worn = picture
        return shoot(stage, worn, draw(stage, seed, index, skin, frames, focal, fill), size)

    return jax.lax.map(one, (indices, skin, worn))


def generate(
    head: Head, seed: int, count: int, size: int, focal: float = FOCAL, fill: float = FILL
) -> tuple[Batch, Truth]:
    """The first `count` faces of a seed as a batch of size x size crops, and their ground truth. No JPEG."""
    stage = prepare(head)
    painted = skins.paint(stage, seed, count, TEXTURE)
    shots = take(stage, painted, seed, jnp.arange(count), size, 1, focal, fill)
    batch = Batch(
        image=shots.image,
        landmarks=shots.landmarks,
        landmark_weight=jnp.ones(shots.landmarks.shape[:2]),
        mask=shots.face,
        camera=shots.camera,
        index=jnp.arange(count, dtype=jnp.int32),
    )
    return batch, Truth(shots.vertices, shots.face, shots.diffuse, shots.normal, shots.light)
