"""Where eyes look in photographs: the way from the corners of the eyes to the irises, both known to a face mesh."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.data import landmark_layout
from jfrecon.data.detection import face_mesh
from jfrecon.geometry import cameras, rotations
from jfrecon.morphable import linear
from jfrecon.render.surface import Surface
from jfrecon.types import Array, FaceParameters, MorphableModel

Bases = tuple[Array, Array, Array]  # `jfrecon.morphable.heads.irises`
SHUT, AJAR = 0.1, 0.2  # lids' distance over the eye's width, up to where there is no iris, from where on there is


@struct.dataclass
class Gaze:
    """What is known of the eyes in B photographs.

    Attributes:
      way: [B, 2] from the middle of an eye's corners to its iris, in widths of the crop, the mean of both eyes: they
        turn together.
      share: [B] in 0..1, how far the irises are seen; 0 where nothing is known.
    """

    way: Array
    share: Array


def nothing(count: int) -> Gaze:
    """Return what is known of ``count`` photographs without a mesh."""
    return Gaze(np.zeros((count, 2), np.float32), np.zeros(count, np.float32))


def of_meshes(meshes: Sequence[np.ndarray | None], sides: Sequence[float]) -> Gaze:
    """Return where faces look that have mesh points [478, 3] in pixels, or None; sides: pixels of their squares."""
    found = nothing(len(meshes))
    for k, (points, side) in enumerate(zip(meshes, sides)):
        if points is not None and points.shape == (face_mesh.POINTS, 3):
            found.way[k] = face_mesh.gaze(points).mean(0) / side
            found.share[k] = open_share(face_mesh.openings(points), face_mesh.landmarks68(points))
    return found


def open_share(openings: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return how far irises are seen between lids, [...] in 0..1.

    openings: [..., 7, 2] of lids and lips, and ``landmarks``: [..., 68, 2], in the same pixels; NaN counts as shut.
    """
    corners = landmarks[..., np.array(landmark_layout.CORNERS), :]
    width = np.linalg.norm(np.diff(corners, axis=-2), axis=-1).mean((-2, -1))
    lids = np.linalg.norm(openings[..., : landmark_layout.OF_EYES, :], axis=-1).mean(-1)
    return np.clip((np.nan_to_num(lids / np.maximum(width, 1e-6)) - SHUT) / (AJAR - SHUT), 0, 1)


def distance(
    model: MorphableModel, irises: Bases, chi: FaceParameters, face: Surface, gaze: Gaze, width: int
) -> jax.Array:
    """Return how far faces look past where they should, in widths of the image, [B]; a gradient in expressions only.

    Shape and pose would follow the errors of the irises: heads came out less true (`experiments.real_heads --quick`).

    Args:
      model: the face's; of the irises' modes only those count that it has.
      irises: their middles, mean [2, 3], identity and expression bases [K, 2, 3], mm.
      chi: leaves [B, ...], and ``face``: posed by it.
      gaze: what is known.
      width: pixels of the image.
    """
    mean, identity, expression = (jnp.asarray(basis) for basis in irises)
    moved = lambda values, basis: jnp.tensordot(values, basis[: values.shape[-1]], 1)
    still = jax.lax.stop_gradient
    middles = mean + moved(still(chi.identity), identity) + moved(chi.expression, expression)
    pixels, _ = cameras.project(face.camera, rotations.transform(still(chi.rotation), still(chi.translation), middles))
    corners = still(linear.landmarks(model, face.pixels)[:, np.array(landmark_layout.CORNERS)].mean(-2))
    way = (pixels - corners).mean(-2) / width
    return gaze.share * jnp.sum(jnp.abs(way - gaze.way), -1)
