"""How far one surface is from another, where no vertex of one is a vertex of the other."""

from __future__ import annotations

import igl
import numpy as np

from jfrecon.geometry import alignment, closest

STEEPEST = 2.0  # a plane at the distance d, tilted by 60 degrees, is met by the ray after 2 d


def distances(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Distance in mm of points [N, 3] from the triangles [T, 3] of vertices [V, 3]; exact, [N]."""
    return closest.Surface(vertices, triangles).closest(points)[0]


def vertex_and_normal_error(
    predicted_vertices: np.ndarray,
    predicted_triangles: np.ndarray,
    predicted_keypoints: np.ndarray,
    true_vertices: np.ndarray,
    true_triangles: np.ndarray,
    true_keypoints: np.ndarray,
    region: np.ndarray | None = None,
) -> tuple[float, float]:
    """Mean vertex position error (mm) and normal error (radians) of a predicted mesh (dib21, appendix C, table 1).

    The prediction is aligned to the truth on sparse correspondences by least squares; each of its vertices is then as
    far from the truth as a ray from it travels to the truth's triangles. The paper's mean and standard deviation are
    over meshes of this number.

    What the paper leaves open, and what is done: the alignment may scale (Umeyama 1991); vertices of the prediction are
    measured against the truth; the ray follows the vertex normal to either side and the nearer hit counts; a ray that
    misses, or that meets another sheet first (one facing the other way, or over twice as far as the closest point),
    gives way to the closest point; normals are area-weighted at vertices, and interpolated where the ray hits.

    Args:
      predicted_vertices, predicted_triangles: [V, 3] any unit, [T, 3].
      predicted_keypoints: [K, 3] in the frame of the prediction.
      true_vertices, true_triangles: [W, 3] mm, [S, 3].
      true_keypoints: [K, 3] mm, in the frame of the truth, corresponding.
      region: ids or mask of the predicted vertices that count; all of them if left out.
    """
    fit = alignment.similarity(predicted_keypoints, true_keypoints)
    moved = alignment.apply(*fit, np.asarray(predicted_vertices, np.float64))
    normals = _normals(moved, predicted_triangles)
    if region is not None:
        moved, normals = moved[region], normals[region]
    truth = closest.Surface(true_vertices, true_triangles)
    true_normals = _normals(truth.vertices, truth.triangles)

    def normals_at(triangle: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return (weights[..., None] * true_normals[truth.triangles[triangle]]).sum(-2)

    distance, triangle, foot = truth.closest(moved)
    met = normals_at(triangle, closest.on_triangles(foot, truth.vertices[truth.triangles[triangle]]))
    along = np.full(len(moved), np.inf)
    for side in (1, -1):
        hit, length, weights = truth.first_hit(moved, side * normals)
        there = normals_at(hit, weights)
        same_sheet = ((there * normals).sum(-1) > 0) & (length <= STEEPEST * distance)
        nearer = (hit >= 0) & same_sheet & (length < along)
        along[nearer], met[nearer] = length[nearer], there[nearer]
    return float(np.where(np.isfinite(along), along, distance).mean()), float(angles(normals, met).mean())


def angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle in radians [...] between directions [..., 3] of any length; accurate at 0 and pi, 0 for a zero vector."""
    return np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1))


def _normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    # `geometry.mesh.vertex_normals` in float64, and without a compilation for each scan's number of vertices
    weighting = igl.PerVertexNormalsWeightingType.PER_VERTEX_NORMALS_WEIGHTING_TYPE_AREA
    normals = igl.per_vertex_normals(vertices, np.ascontiguousarray(triangles, np.int64), weighting)
    return np.nan_to_num(normals)  # a vertex that no triangle uses has none
