"""Albedo maps beside what was photographed and beside what the face was painted with."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.data.synthetic import generate, skins
from jfrecon.geometry import uv
from jfrecon.render import surface
from jfrecon.shading import colour
from jfrecon.types import Batch, FaceParameters, MorphableModel, Pinhole


@jax.jit
def unwrapped(
    model: MorphableModel, chi: FaceParameters, camera: Pinhole, image: jax.Array, texels: uv.TexelMap
) -> tuple[jax.Array, jax.Array]:
    """A picture [B, H, W, C] in UV, [B, S, S, C], as the face lies in it, and [B, S, S] 1 where the face is seen."""
    face = surface.posed(model, chi, camera)
    seen = surface.rasterise(model, face, image.shape[1:3])
    return surface.unwrapped(model, face, seen, image, texels)


def photographed(
    model: MorphableModel, chi: FaceParameters, batch: Batch, texels: uv.TexelMap
) -> tuple[np.ndarray, np.ndarray]:
    """Photographs in UV, linear [B, S, S, 3], and [B, S, S] 1 where they show the skin of the face."""
    layers = jnp.concatenate([batch.image, jnp.asarray(batch.mask)[..., None]], -1)
    texture, shown = unwrapped(model, chi, batch.camera, layers, texels)
    linear = colour.srgb_to_linear(texture[..., :3])
    return np.asarray(linear), np.asarray(shown * (texture[..., 3] > 0.5))


def painted(worn: skins.Skins, side: int) -> np.ndarray:
    """Albedo [N, side, side, 3], linear, of painted skins; 0 where there is none."""
    fine = np.square(np.asarray(worn.texture[..., :3], np.float32))
    block = generate.TEXTURE // side
    blocks = fine.reshape(len(fine), side, block, side, block, 3)
    return blocks.sum((2, 4)) / np.maximum((blocks.sum(-1, keepdims=True) > 0).sum((2, 4)), 1)


def apart(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    """Mean absolute difference of linear maps [S, S, 3] over the mean of the second, after one gain for all colours."""
    a, b = a[weight > 0.5], b[weight > 0.5]
    if not len(a):
        return float('nan')
    return float(np.abs(a * (np.sum(a * b) / np.sum(a * a)) - b).mean() / b.mean())
