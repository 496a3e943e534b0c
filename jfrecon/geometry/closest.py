"""Closest points on a triangle mesh: exact, on the host, for what is built once and for metrics."""

from __future__ import annotations

import igl
import numpy as np


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


class Surface:
    """A triangle mesh that answers for the closest point, libigl's bounding-box tree behind it.

    Attributes:
      vertices: [V, 3] float64, any unit.
      triangles: [T, 3] int64.
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        self.vertices = np.ascontiguousarray(vertices, np.float64)
        self.triangles = np.ascontiguousarray(triangles, np.int64)
        # libigl checks neither: an id out of range is read all the same, and a NaN makes a tree without leaves
        if not len(self.triangles) or self.triangles.min() < 0 or self.triangles.max() >= len(self.vertices):
            raise ValueError('a mesh without triangles, or with triangles whose vertices it does not have')
        if not np.isfinite(self.vertices).all():
            raise ValueError('a mesh with vertices that are not finite')
        self._tree = igl.AABB()
        self._tree.init(self.vertices, self.triangles)

    def closest(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For points [N, 3]: the distance [N], the triangle [N] int32, and the closest point [N, 3]; float64."""
        points = np.ascontiguousarray(points, np.float64)
        if not np.isfinite(points).all():
            raise ValueError('points that are not finite have no closest point')
        squared, triangle, foot = self._tree.squared_distance(self.vertices, self.triangles, points)
        return np.sqrt(np.maximum(squared, 0)), triangle.astype(np.int32), foot

    def first_hit(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where rays [N, 3] meet the surface first, from either side; single precision inside libigl.

        Returns the triangle [N] int32, -1 where there is none, the distance in lengths of the direction [N], +inf
        there, and barycentric coordinates [N, 3], 0 there.
        """
        origins, directions = (np.ascontiguousarray(a, np.float64) for a in (origins, directions))
        triangle, distance, uv = self._tree.intersect_ray_first(self.vertices, self.triangles, origins, directions)
        missed = triangle < 0  # where libigl leaves memory as it finds it
        uv = np.where(missed[:, None], 0, uv)
        weights = np.concatenate([1 - uv.sum(-1, keepdims=True) - missed[:, None], uv], -1)
        return triangle.astype(np.int32), np.where(missed, np.inf, distance), weights


def closest_points(
    points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The closest point of a mesh to each of N points; exact.

    Args:
      points: [N, 3].
      vertices: [V, 3], same unit.
      triangles: [T, 3] int32.

    Returns:
      distance [N], triangle [N] int32, and barycentric [N, 3]; float64.
    """
    surface = Surface(vertices, triangles)
    distance, triangle, foot = surface.closest(points)
    return distance, triangle, on_triangles(foot, surface.vertices[surface.triangles[triangle]])
