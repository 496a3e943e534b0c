"""Whose face it is, as far as a detector's mesh says so: a mean of the identity's coefficients, and how sure it is.

The points of the face mesh are turned and scaled onto their mean, which leaves shape (and perspective, expression and
the network's own errors). A ridge regression from there to the coefficients, learned from synthetic people whose
coefficients are known (`python -m experiments.dense_points`), gives the mean; the covariance of its errors on people
that it has not seen gives the precision. Wood et al. 2022 (ECCV, "3D face reconstruction with dense landmarks") fit a
face to such points as landmarks, with the network's own variance for each; here the points have errors that are large,
smooth over the face and towards everybody's mean, which a variance for each point does not say.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from flax import struct

from jfrecon import pretrained
from jfrecon.data.detection import face_mesh
from jfrecon.geometry import alignment
from jfrecon.types import Array, MorphableModel

FRAME = 1, -1, -1  # from pixels to x right, y up, z towards the camera
# The part of their weight that the mesh's own landmarks keep: they repeat the errors of the mesh. Chosen, as was that
# shades leave the identity alone, by comparing fits to the photographs of `experiments.real_heads`, not measured by a
# command.
LANDMARKS = 0.3


@struct.dataclass
class Expected:
    """A normal distribution of identity.

    Attributes:
      mean: [D] standard deviations.
      precision: [D, D] inverse of the covariance.
      landmarks: what landmarks weigh beside it: 1, less where they are points of the same mesh.
      shading: 1 where the photograph's shades say more of it once landmarks have been fitted, else 0.
    """

    mean: Array
    precision: Array
    landmarks: Array
    shading: Array

    def kept(self, identity: jax.Array) -> jax.Array:
        """Return the identity [B, D], without a gradient where `shading` is 0."""
        return self.shading * identity + (1 - self.shading) * jax.lax.stop_gradient(identity)

    def distance(self, identity: jax.Array) -> jax.Array:
        """Return the squared Mahalanobis distances [B] of identities [B, D] from the mean."""
        away = identity - self.mean
        return jnp.sum(away * (away @ jnp.asarray(self.precision)), -1)


def anybody(count: int) -> Expected:
    """The morphable model's own prior of its ``count`` coefficients."""
    return Expected(np.zeros(count, np.float32), np.eye(count, dtype=np.float32), np.float32(1), np.float32(1))


def expected(model: MorphableModel, meshes: Sequence[np.ndarray]) -> Expected | None:
    """Return the identity that meshes [M, 3] in pixels of one person suggest; None for a model without a regression.

    Several meshes of a person share their errors: their mean is no surer than one of them.
    """
    known = _regression()
    same = model.name == known.model and len(model.identity_basis) == len(known.precision)
    if not same or any(mesh.shape != (face_mesh.POINTS, 3) for mesh in meshes):
        return None
    mean = np.mean([known(mesh) for mesh in meshes], 0)
    return Expected(mean.astype(np.float32), known.precision, np.float32(LANDMARKS), np.float32(0))


def standard(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the first K of mesh points [M, 3] in pixels, turned, moved and scaled onto a reference [K, 3]."""
    points = points[: len(reference)] * FRAME
    return alignment.apply(*alignment.similarity(points, reference), points)


class Regression(NamedTuple):
    """A linear map from mesh points to coefficients of identity.

    Attributes:
      model: name of the morphable model.
      reference: [K, 3] mean of the points, centred, with a root mean square distance of 1 from the origin.
      weights: [3 K, D] coefficients, in standard deviations, of how far the points are from the reference.
      precision: [D, D] inverse of the covariance of the errors.
    """

    model: str
    reference: np.ndarray
    weights: np.ndarray
    precision: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Return the coefficients [D] that mesh points [M, 3] in pixels suggest."""
        return (standard(points, self.reference) - self.reference).ravel() @ self.weights


@functools.cache
def _regression() -> Regression:
    with safetensors.safe_open(pretrained.SHAPE, 'numpy') as file:
        model = file.metadata()['model']
        tensor = lambda name: file.get_tensor(name).astype(np.float32)
        return Regression(model, tensor('reference'), tensor('left') @ tensor('right'), tensor('precision'))
