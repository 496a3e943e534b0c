"""Pictures of faces without gloss, and files of pictures."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jfrecon import files
from jfrecon.data import images
from jfrecon.export import report
from jfrecon.methods.yang21 import relit
from jfrecon.render import surface
from jfrecon.render.surface import Layers
from jfrecon.shading import colour
from jfrecon.types import FaceParameters, MorphableModel, Pinhole

QUALITY = 90  # of JPEGs


@functools.partial(jax.jit, static_argnums=3)
def layers(model: MorphableModel, chi: FaceParameters, camera: Pinhole, size: tuple[int, int]) -> Layers:
    """What a camera sees of matte faces, [B, H, W, ...]."""
    face = surface.posed(model, chi, camera)
    return surface.layers(model, face, chi.light, chi.maps, surface.rasterise(model, face, size), roughness=1.0)


def rendered(
    model: MorphableModel, chi: FaceParameters, camera: Pinhole, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """sRGB renderings [B, H, W, 3] in 0..1 of matte faces, and [B, H, W] where they show them."""
    found = layers(model, chi, camera, size)
    return srgb(found.radiance), np.asarray(found.coverage)


def crossed(chi: FaceParameters) -> FaceParameters:
    """Each face under the light, and the light map, of the face before it in the batch."""
    assert chi.maps is not None
    before = lambda values: None if values is None else jnp.roll(jnp.asarray(values), 1, axis=0)
    return dataclasses.replace(chi, light=before(chi.light), maps=relit(chi.maps, before(chi.maps.light)))


def srgb(linear: jax.Array | np.ndarray) -> np.ndarray:
    """Linear colours as sRGB in 0..1."""
    return np.asarray(colour.linear_to_srgb(jnp.asarray(linear))).clip(0, 1)


def encoded(picture: np.ndarray) -> np.ndarray:
    """uint8 of sRGB in 0..1."""
    return np.round(255 * picture).astype(np.uint8)


def save(path: Path, rows: np.ndarray, scale: float = 1) -> None:
    """Write rows of pictures [N, H, W, 3], uint8 or sRGB in 0..1, one below the other; .png or .jpg.

    scale: of the file to the pictures.
    """
    sheet = report.montage(rows if rows.dtype == np.uint8 else encoded(rows))
    if scale != 1:
        size = round(scale * sheet.shape[1]), round(scale * sheet.shape[0])
        sheet = np.asarray(Image.fromarray(sheet).resize(size, Image.Resampling.BICUBIC))
    files.write_bytes(path, images.encode(sheet, QUALITY if path.suffix == '.jpg' else None))
