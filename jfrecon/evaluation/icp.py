"""Iterative closest points: the motion that brings a surface closest to points, and what is left then."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from jfrecon.geometry import alignment
from jfrecon.geometry.closest import Surface

Motion = tuple[float, np.ndarray, np.ndarray]  # scale, rotation [3, 3], translation [3]: see `alignment.apply`

STAY: Motion = (1.0, np.eye(3), np.zeros(3))
STEPS = 200
TOLERANCE = 1e-7  # of the extent of the points: 10 nm on a face
STUCK = 1e6


class _Pairs(NamedTuple):
    """Kept pairs: closest points on the moved surface [M, 3], unit directions to the points [M, 3], gaps [M]."""

    foot: np.ndarray
    direction: np.ndarray
    gap: np.ndarray


def align(
    vertices: np.ndarray,
    triangles: np.ndarray,
    points: np.ndarray,
    start: Motion = STAY,
    scaled: bool = False,
    keep: float = 1.0,
) -> Motion:
    """The motion of a surface that minimises the squared distances of points from it.

        min over s, R, t of the sum over i of |x_i - y_i|², y_i the closest point to x_i of s R M + t

    Besl and McKay 1992, with Gauss-Newton steps on the distances (inside a triangle: Chen and Medioni's point to
    plane), damped until the sum falls. It is the surface that moves: points that may shrink collapse onto a surface. It
    ends when a step moves nothing by more than 1e-7 of the points' extent, when no step helps any more, or after 200.

    Args:
      vertices, triangles: [V, 3], [T, 3] the surface M.
      points: [N, 3].
      start: the motion to begin with; what is found is the nearest local minimum.
      scaled: whether s is free; else it stays as it starts.
      keep: the share of the points that counts, those with the smallest distances, chosen anew at every step (trimmed
        ICP, Chetverikov et al. 2002).
    """
    surface, points = Surface(vertices, triangles), np.asarray(points, np.float64)
    count = max(1, round(keep * len(points)))
    centre = points.mean(0)
    extent = np.linalg.norm(points - centre, axis=-1).max()
    motion, pairs, damping = start, _match(surface, points, start, count), 1e-4
    for _ in range(STEPS):
        step = _step(pairs, centre, extent, damping, scaled)
        moved = _compose(step, centre, extent, motion)
        found = _match(surface, points, moved, count)
        ended = np.abs(step).sum() < TOLERANCE and damping < 1  # small by itself, not by damping
        if np.square(found.gap).sum() <= np.square(pairs.gap).sum():
            motion, pairs, damping = moved, found, max(damping / 10, 1e-7)
        else:
            damping *= 10
        if ended or damping > STUCK:
            break
    return motion


def nme_after_icp(
    predicted: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    predicted_keypoints: np.ndarray,
    true_keypoints: np.ndarray,
    interocular: float,
    keep: float = 1.0,
) -> float:
    """Normalised mean error in percent, correspondences by ICP (cest 4.2, after Jackson et al. 2017).

        100 / N times the sum over i of |x_i - y_i| / d

    x_i: predicted points; y_i: the closest points of the true surface; d: the outer 3D interocular distance of the
    truth. The prediction first comes to the truth by keypoints, scale included, then rigidly by ICP: the paper does
    not say whether its ICP may scale. Points that ``keep`` trims from the alignment still count in the error.

    Args:
      predicted: [N, 3] the vertices that count, any unit.
      vertices, triangles: [V, 3], [T, 3] the true surface.
      predicted_keypoints, true_keypoints: [K, 3] in the frames of the two, corresponding.
      interocular: d, in the unit of the truth.
    """
    moved = alignment.apply(*alignment.similarity(predicted_keypoints, true_keypoints), predicted)
    _, rotation, translation = align(vertices, triangles, moved, keep=keep)
    distance = Surface(vertices, triangles).closest((moved - translation) @ rotation)[0]
    return float(100 * distance.mean() / interocular)


def _match(surface: Surface, points: np.ndarray, motion: Motion, count: int) -> _Pairs:
    scale, rotation, translation = motion
    gap, triangle, foot = surface.closest((points - translation) @ rotation / scale)
    kept = np.argpartition(gap, count - 1)[:count]
    foot = alignment.apply(*motion, foot[kept])
    offset = points[kept] - foot
    gap = np.linalg.norm(offset, axis=-1)
    # on the surface itself the offset has no direction, and the distance is measured along the normal
    a, b, c = (surface.vertices[surface.triangles[triangle[kept], k]] for k in range(3))
    normal = np.cross(b - a, c - a) @ rotation.T
    touching = gap < 1e-9 * max(np.abs(points).max(), 1e-30)
    direction = np.where(touching[:, None], normal, offset)
    return _Pairs(foot, direction / np.maximum(np.linalg.norm(direction, axis=-1, keepdims=True), 1e-300), gap)


def _step(pairs: _Pairs, centre: np.ndarray, extent: float, damping: float, scaled: bool) -> np.ndarray:
    """Rotation vector, translation and log scale [7] that lower the gaps to first order; lengths over extent."""
    arm = (pairs.foot - centre) / extent
    stretch = (arm * pairs.direction).sum(-1, keepdims=True)
    jacobian = np.concatenate([np.cross(arm, pairs.direction), pairs.direction, stretch if scaled else 0 * stretch], 1)
    squared = jacobian.T @ jacobian
    # what no distance depends on, like a sphere's turns, is damped as the rest and so stays
    damped = squared + damping * (np.trace(squared) + 1e-30) * np.eye(7)
    return np.linalg.solve(damped, jacobian.T @ (pairs.gap / extent))


def _compose(step: np.ndarray, centre: np.ndarray, extent: float, motion: Motion) -> Motion:
    scale, rotation, translation = motion
    turn, growth = Rotation.from_rotvec(step[:3]).as_matrix(), float(np.exp(step[6]))
    shift = centre + extent * step[3:6] + growth * turn @ (translation - centre)
    return scale * growth, turn @ rotation, shift
