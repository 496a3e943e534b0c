"""Texture coordinates for models that come without: the mean shape unrolled from a cylinder (cest 3.3)."""

from __future__ import annotations

import numpy as np


def cylindrical(mean: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angle about an upright axis -> u, height -> v, stretched to the unit square.

        theta = atan2(x, z - z0),   u = 1/2 + theta / (2 max |theta|),   v = (y - min y) / (max y - min y)

    u is 1/2 straight ahead and grows towards the subject's left; where the mesh is symmetric about x = 0 the
    layout is symmetric about u = 1/2. z0 is half the depth of a whole head, and the hindmost point of a mask
    that has no back. A triangle at the back of a head, across theta = ±180 degrees, stays in one piece, on
    the side of its centre: its corners from across the seam get coordinates of their own, so every u stays in
    [0, 1].

    What folds behind itself seen from the axis (nostrils, ears, eyeballs behind lids) overlaps.

    Args:
      mean: [V, 3] mm, model space.
      triangles: [T, 3].

    Returns:
      uv [U, 2] float32 and uv_triangles [T, 3] int32.
    """
    x, y, z = (mean - [0.0, 0.0, _axis(mean, triangles)]).T
    theta = np.arctan2(x, z)
    corners = np.stack([x, z], -1)[triangles]
    middle = np.arctan2(*corners.mean(1).T)
    # Whole turns that bring each corner next to the middle of its triangle.
    turns = np.round((middle[:, None] - theta[triangles]) / (2 * np.pi)).astype(np.int64)
    pairs, uv_triangles = np.unique(np.stack([triangles, turns], -1).reshape(-1, 2), axis=0, return_inverse=True)
    vertex, turn = pairs.T
    angle = theta[vertex] + 2 * np.pi * turn
    span = max(np.abs(angle).max(), 1e-6)
    height = y[vertex]
    v = (height - height.min()) / max(np.ptp(height), 1e-6)
    uv = np.stack([0.5 + angle / (2 * span), v], -1)
    return uv.astype(np.float32), uv_triangles.reshape(-1, 3).astype(np.int32)


def _axis(mean: np.ndarray, triangles: np.ndarray) -> float:
    """Depth z0 of the axis. As much of a head's surface faces back as front; of a mask's, little does."""
    a, b, c = (mean[triangles[:, k]] for k in range(3))
    forward = np.cross(b - a, c - a)[:, 2]
    back, front = mean[:, 2].min(), mean[:, 2].max()
    whole = abs(forward.sum()) < 0.5 * np.abs(forward).sum()
    return float((back + front) / 2 if whole else back)
