"""Closest points on a triangle mesh: exact, in NumPy, for what is built once and for metrics."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

CHUNK = 8192  # points at a time, which bounds the memory


def on_triangles(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric coordinates of the point of each triangle that is closest to each point.

    The foot of the perpendicular where it falls inside, else the best point of the three edges. Triangles
    without area are their edges.

    Args:
      points: [..., D], D = 2 or 3.
      corners: [..., 3, D].

    Returns:
      [..., 3], non-negative, summing to one.
    """
    a, b, c = (corners[..., k, :] for k in range(3))
    u, v, w = b - a, c - a, points - a
    uu, uv, vv, wu, wv = ((x * y).sum(-1) for x, y in ((u, u), (u, v), (v, v), (w, u), (w, v)))
    det = uu * vv - uv * uv  # four times the squared area
    solid = det > 1e-12 * uu * vv
    safe = np.where(solid, det, 1)
    best = np.stack([np.zeros_like(det), (vv * wu - uv * wv) / safe, (uu * wv - uv * wu) / safe], -1)
    best[..., 0] = 1 - best[..., 1] - best[..., 2]
    inside = solid & (best >= 0).all(-1)
    nearest = np.where(inside, -1.0, np.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        edge, offset = corners[..., j, :] - corners[..., i, :], points - corners[..., i, :]
        length = (edge * edge).sum(-1)
        t = np.clip((offset * edge).sum(-1) / np.where(length > 0, length, 1), 0, 1)
        distance = ((offset - t[..., None] * edge) ** 2).sum(-1)
        better = distance < nearest
        nearest = np.where(better, distance, nearest)
        weights = np.zeros_like(best)
        weights[..., i], weights[..., j] = 1 - t, t
        best = np.where(better[..., None], weights, best)
    return best


def closest_points(
    points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The closest point of a mesh to each of N points; exact.

    Triangles are grouped by size, with a k-d tree of centroids per group. The k nearest centroids are tried,
    and k doubles for the points whose k-th centroid is not yet farther than the best distance plus the
    group's largest circumradius: nothing beyond it can be closer.

    Args:
      points: [N, 3].
      vertices: [V, 3], same unit.
      triangles: [T, 3] int32.

    Returns:
      distance [N], triangle [N] int32, and barycentric [N, 3]; float64.
    """
    points = np.asarray(points, np.float64)
    corners = np.asarray(vertices, np.float64)[np.asarray(triangles)]
    centroids = corners.mean(1)
    radius = np.linalg.norm(corners - centroids[:, None], axis=-1).max(1)
    octave = np.floor(np.log2(np.maximum(radius, 1e-12)))

    distance = np.full(len(points), np.inf)
    triangle = np.zeros(len(points), np.int32)
    weights = np.zeros((len(points), 3))
    sizes, counts = np.unique(octave, return_counts=True)
    first = 8
    for size in sizes[np.argsort(-counts)]:
        group = np.flatnonzero(octave == size)
        tree, reach = cKDTree(centroids[group]), radius[group].max()
        for start in range(0, len(points), CHUNK):
            todo = np.arange(start, min(start + CHUNK, len(points)))
            k = min(first, len(group))
            while len(todo):
                far, near = (x.reshape(len(todo), k) for x in tree.query(points[todo], k))
                ids = group[near]
                bary = on_triangles(points[todo, None], corners[ids])
                gap = np.linalg.norm((bary[..., None] * corners[ids]).sum(-2) - points[todo, None], axis=-1)
                row, best = np.arange(len(todo)), gap.argmin(1)
                better = gap[row, best] < distance[todo]
                keep, row, best = todo[better], row[better], best[better]
                distance[keep], triangle[keep] = gap[row, best], ids[row, best]
                weights[keep] = bary[row, best]
                todo = todo[far[:, -1] < distance[todo] + reach] if k < len(group) else todo[:0]
                k = min(2 * k, len(group))
        first = 1  # a bound is known by now, and one centroid shows most other groups to be too far
    return distance, triangle, weights
