"""A generic skin model for heads that come without one: many painted people, reduced to principal components.

`skin_tone` turns pigments into colour, `skin_canvas` says where lips, brows and beards are, `skin_person` whom
we paint, and `skin_paint` paints.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.morphable.skin_canvas import Canvas, canvas
from jfrecon.morphable.skin_paint import paint
from jfrecon.morphable.skin_person import sample
from jfrecon.types import Topology

SPECULAR_WEIGHT = 3.0  # how much a unit of specular counts against a unit of diffuse in the joint PCA
FINEST = 0.2  # eye distances, about 13 mm: finer marks do not repeat from person to person


def skin_basis(
    mean: np.ndarray,
    topology: Topology,
    landmark_ids: np.ndarray,
    modes: int = 80,
    samples: int = 600,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Linear albedo model of a head: diffuse and specular driven by one coefficient vector, as Smith et al.
    2020.

    Args:
      mean: [V, 3] mm, model space.
      topology, landmark_ids: of the head; only its triangles and the 68 vertices count.
      modes: A, at most samples - 1.

    Returns:
      diffuse_mean [V, 3], diffuse_basis [A, V, 3], specular_mean [V, 1], specular_basis [A, V, 1]: float32,
      scaled so that coefficients are about N(0, 1) over the population; signs are such that a mode brightens
      on the whole.
    """
    mean = np.asarray(mean, np.float32)
    surface = canvas(mean, mean[np.asarray(landmark_ids)], _normals(mean, np.asarray(topology.triangles)))
    diffuse, specular = smooth_people(surface, jax.random.split(jax.random.key(seed), samples))
    stacked = np.concatenate([diffuse.reshape(samples, -1), SPECULAR_WEIGHT * specular[..., 0]], axis=1)
    centre, basis = _principal_components(stacked, modes)
    cut = 3 * len(mean)
    return (
        centre[:cut].reshape(-1, 3),
        basis[:, :cut].reshape(modes, -1, 3),
        centre[cut:, None] / SPECULAR_WEIGHT,
        basis[:, cut:, None] / SPECULAR_WEIGHT,
    )


def smooth_people(surface: Canvas, keys: jax.Array, batch: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Diffuse [n, N, 3] and specular [n, N, 1] of people with what a linear basis can carry.

    No fine marks and no hair of the head, which is an occluder rather than skin.
    """
    count = len(keys)
    pad = -count % batch
    keys = jnp.concatenate([keys, keys[:pad]])
    painted = [_paint_smooth(surface, keys[i : i + batch]) for i in range(0, count + pad, batch)]
    diffuse, specular = (np.concatenate([np.asarray(p) for p in part])[:count] for part in zip(*painted))
    return diffuse, specular


@jax.jit
def _paint_smooth(surface: Canvas, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    def one(key):
        person, place = jax.random.split(key)
        skin = sample(person).replace(scalp=jnp.zeros(()))
        return paint(surface, skin, place, finest=FINEST)

    return jax.vmap(one)(keys)


def _principal_components(rows: np.ndarray, modes: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean [D] and modes [A, D] times their units, through the small Gram matrix.

    The unit of a mode is its standard deviation, or, where its scores have thinner tails than a Gaussian,
    what puts the 1% most extreme people beyond 2.33. Overall tone is such a mode: it is spread evenly between
    bounds, and a Gaussian of the same deviation would draw skin darker than black.
    """
    centre = rows.mean(0, dtype=np.float64).astype(np.float32)
    rows = rows - centre
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
    values, vectors = values[::-1][:modes], vectors[:, ::-1][:, :modes]
    direction = (vectors.T.astype(np.float32) @ rows) / np.sqrt(values, dtype=np.float32)[:, None]
    scores = vectors * np.sqrt(values)
    unit = np.minimum(scores.std(0), np.quantile(np.abs(scores), 0.99, axis=0) / 2.33)
    sign = np.where(direction.sum(1) < 0, -1, 1)
    return centre, direction * (unit * sign).astype(np.float32)[:, None]


def _normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], face)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
