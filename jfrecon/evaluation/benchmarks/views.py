"""Photographs of a scan that we take ourselves: textured, unlit, from given directions, by our own rasteriser."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.ndimage import map_coordinates

from jfrecon import morphable
from jfrecon.data.sample import Sample
from jfrecon.errors import UserError
from jfrecon.evaluation.benchmarks import scans
from jfrecon.geometry import alignment, cameras, rotations
from jfrecon.render import raster
from jfrecon.render.interpolation import interpolate
from jfrecon.types import Pinhole

HEAD = 'makehuman'  # stands scans upright: whatever model is judged, its pictures are the same
SIZE = 320  # pixels of a view
FOCAL = 4.5  # in widths of the view, as photographs of unknown focal length are read
FILL = 0.5  # share of the view's width that the frontal landmarks' box takes


class Painted(NamedTuple):
    """A scan with its colours, in the pose of `HEAD`.

    Attributes:
      vertices: [N, 3] mm, model space: y up, looking along +z.
      triangles: [T, 3].
      colours: [N, 3] 0..255, or [N, 2] texture coordinates of ``texture``.
      texture: [H, W, 3] uint8, or None.
      landmarks: [68, 3] mm: those of `HEAD`'s mean face, moved to the scan's seven.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colours: np.ndarray
    texture: np.ndarray | None
    landmarks: np.ndarray


def load(path: Path, landmarks: Path) -> Painted:
    """A scan by its files, upright: rotated and moved as takes its seven landmarks to `HEAD`'s mean, not scaled."""
    model = morphable.load(HEAD)
    mesh = scans.load_trimesh(path)
    mean = np.asarray(model.mean, np.float64)
    scale, rotation, translation = alignment.similarity(scans.read_landmarks(landmarks), scans.seven(model, mean))
    vertices = np.asarray(mesh.vertices) @ rotation.T + translation / scale
    if (paint := _paint(mesh)) is None:
        raise UserError(f'{path}: neither texture nor colours; is its .mtl, and the picture that it names, beside it?')
    colours, texture = paint
    placed = mean[np.asarray(model.landmark_ids)] / scale
    return Painted(vertices, np.asarray(mesh.faces, np.int32), colours, texture, placed)


def take(scan: Painted, pitch: float, yaw: float, name: str) -> Sample:
    """The scan nodded down by ``pitch``, then turned to the image's right by ``yaw``, in degrees.

    Its colours are shown as they are, over black; landmarks are the projections, hidden ones too.
    """
    middle = scan.landmarks.mean(0)
    width = np.ptp(scan.landmarks[:, :2], axis=0).max()
    turn = np.asarray(rotations.euler(jnp.radians(pitch), jnp.radians(yaw), jnp.float32(0)))
    away = np.array([0, 0, -FOCAL * width / FILL])  # where the box takes its share of the view
    camera = Pinhole(jnp.float32(FOCAL * SIZE), jnp.full(2, SIZE / 2, jnp.float32))
    vertices = _padded((scan.vertices - middle) @ turn.T + away)
    pixels, depth = cameras.project(camera, jnp.asarray(vertices, jnp.float32))
    triangles = jnp.asarray(_padded(scan.triangles))
    seen = raster.rasterise(pixels, depth, triangles, (SIZE, SIZE))
    drawn = np.asarray(interpolate(seen, triangles, jnp.asarray(_padded(scan.colours), jnp.float32)))
    covered = np.asarray(seen.triangle) >= 0
    image = drawn if scan.texture is None else _look_up(scan.texture, drawn)
    landmarks, _ = cameras.project(camera, jnp.asarray((scan.landmarks - middle) @ turn.T + away, jnp.float32))
    return Sample(
        np.where(covered[..., None], image.clip(0, 255), 0).round().astype(np.uint8),
        landmarks=np.asarray(landmarks),
        name=name,
    )


def _paint(mesh) -> tuple[np.ndarray, np.ndarray | None] | None:
    uv, material = getattr(mesh.visual, 'uv', None), getattr(mesh.visual, 'material', None)
    picture = getattr(material, 'image', None) or getattr(material, 'baseColorTexture', None)
    if uv is not None and picture is not None and len(uv) == len(mesh.vertices):
        return np.asarray(uv), np.asarray(picture.convert('RGB'))
    if mesh.visual.kind == 'vertex':
        return np.asarray(mesh.visual.vertex_colors)[:, :3].astype(np.float64), None
    return None


def _look_up(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    height, width = texture.shape[:2]
    at = np.stack([(1 - uv[..., 1]) * height - 0.5, uv[..., 0] * width - 0.5])
    channels = [map_coordinates(texture[..., c], at, np.float32, order=1, mode='nearest') for c in range(3)]
    return np.stack(channels, -1)


def _padded(rows: np.ndarray) -> np.ndarray:
    """Rows of zeros up to a power of two: scans of many sizes share few programs, and such triangles are empty."""
    count = 1 << max(len(rows) - 1, 1).bit_length()
    return np.concatenate([rows, np.zeros((count - len(rows), rows.shape[1]), rows.dtype)])
