"""One face of one photograph: what it is, where it lies, and what is seen of it."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.data.cropping import Box
from jfrecon.geometry import cameras
from jfrecon.morphable import linear
from jfrecon.render import portraits, surface
from jfrecon.render.portraits import Portrait
from jfrecon.shading import colour
from jfrecon.types import Camera, FaceParameters, MorphableModel, Pinhole

WINDOW = 256  # pixels; windows of large photographs are multiples of it, so that few programs are compiled


@struct.dataclass
class Reconstruction:
    """One face of one photograph; leaves are NumPy arrays without batch axes.

    Attributes:
      parameters: its semantic code.
      vertices: [V, 3] mm, camera space, in the topology of the predictor's model.
      landmarks2d: [68, 2] pixels of the photograph.
      camera: of the photograph.
      box: the square of the photograph that the network saw.
      size: (H, W) of the photograph.
    """

    parameters: FaceParameters
    vertices: np.ndarray
    landmarks2d: np.ndarray
    camera: Pinhole
    box: Box = struct.field(pytree_node=False)
    size: tuple[int, int] = struct.field(pytree_node=False)


@functools.partial(jax.jit, static_argnames='size')
def placed(
    model: MorphableModel, chi: FaceParameters, camera: Pinhole, boxes: jax.Array, size: int
) -> tuple[jax.Array, jax.Array, Camera]:
    """Vertices, landmarks in the photographs and the photographs' cameras, from crops [x, y, side] of them."""
    scale = size / boxes[:, 2]
    whole = cameras.crop(camera, -boxes[:, :2] * scale[:, None], 1 / scale)
    face = surface.posed(model, chi, whole)
    return face.vertices, linear.landmarks(model, face.pixels), whole


def layers(portrait: Portrait, face: Reconstruction, size: int | None = None) -> dict[str, np.ndarray]:
    """What is seen of a face, at the size of its photograph; or of its crop at ``size`` pixels.

    Returns:
      ``normal`` [H, W, 3] unit, camera space; ``albedo`` [H, W, 3] linear; ``specular`` [H, W] weight of the lobe;
      ``photo`` [H, W, 3] the re-rendering, sRGB in 0..1; ``coverage`` [H, W] 1 where the face is, 0 where all the
      others are 0 too. float32.
    """
    if size is not None:
        return _draw(portrait, face, np.array(face.box[:2]), size / face.box.side, (size, size))
    (height, width), window = face.size, face.size
    start = np.zeros(2, int)
    if max(height, width) > 2 * WINDOW:
        camera = surface.seen_by(face.parameters, face.camera)
        pixels = np.asarray(cameras.project(camera, jnp.asarray(face.vertices))[0])
        start = np.clip(np.floor(pixels.min(0)), 0, [width - 1, height - 1]).astype(int)
        extent = np.clip(np.ceil(pixels.max(0)), start + 1, [width, height]) - start
        side = WINDOW * int(np.ceil(extent.max() / WINDOW))
        window = (side, side)
    drawn = _draw(portrait, face, start, 1.0, window)
    rows, columns = min(window[0], height - start[1]), min(window[1], width - start[0])
    place = np.s_[start[1] : start[1] + rows, start[0] : start[0] + columns]
    whole = {name: np.zeros((height, width, *layer.shape[2:]), np.float32) for name, layer in drawn.items()}
    for name, layer in drawn.items():
        whole[name][place] = layer[:rows, :columns]
    return whole


def _draw(
    portrait: Portrait, face: Reconstruction, origin: np.ndarray, scale: float, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    camera = cameras.crop(face.camera, jnp.asarray(origin, jnp.float32), jnp.float32(scale))
    chi, camera = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (face.parameters, camera))
    drawn = _layers(portrait, chi, camera, size)
    return {name: np.asarray(layer[0]) for name, layer in drawn.items()}


@functools.partial(jax.jit, static_argnames='size')
def _layers(portrait: Portrait, chi: FaceParameters, camera: Pinhole, size: tuple[int, int]) -> dict[str, jax.Array]:
    _, drawn = portraits.draw(portrait, chi, camera, size)
    return {
        'normal': drawn.normal,
        'albedo': drawn.diffuse,
        'specular': drawn.specular[..., 0],
        'photo': jnp.clip(colour.linear_to_srgb(drawn.radiance), 0, 1) * drawn.coverage[..., None],
        'coverage': drawn.coverage,
    }
