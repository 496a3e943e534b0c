"""Least-squares alignment of corresponding points."""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation


def similarity(source: np.ndarray, target: np.ndarray, scaled: bool = True) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and translation with target ~ scale * source @ rotation.T + translation.

    Umeyama 1991, eqs. 40-43, in any dimension D. source, target: [N, D]. Returns (scale, [D, D], [D]); the scale is 1
    unless ``scaled``.
    """
    centre_s, centre_t = source.mean(0), target.mean(0)
    s, t = source - centre_s, target - centre_t
    left, singular, right = np.linalg.svd(t.T @ s)
    sign = np.ones(len(singular))
    sign[-1] = np.sign(np.linalg.det(left @ right))  # a reflection is not an alignment
    rotation = (left * sign) @ right
    scale = float((singular * sign).sum() / np.square(s).sum()) if scaled else 1.0
    return scale, rotation, centre_t - scale * rotation @ centre_s


def apply(scale: float, rotation: np.ndarray, translation: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Scale, rotate, then translate points [..., D]."""
    return scale * points @ rotation.T + translation


def pinhole_pose(
    points: np.ndarray, pixels: np.ndarray, focal: float, principal: np.ndarray, depth: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rotation vector [3] and translation [3] mm that project points [N, 3] mm closest to pixels [N, 2].

    Minimises the squared reprojection error from a frontal start at ``depth`` mm in front of the camera.
    """

    def residual(pose: np.ndarray) -> np.ndarray:
        return (projected(points, pose[:3], pose[3:] * depth, focal, principal, 1e-3 * depth) - pixels).ravel()

    centre = (pixels.mean(0) - principal) / focal
    start = np.array([0, 0, 0, centre[0], -centre[1], -1.0])
    pose = least_squares(residual, start).x
    return pose[:3], pose[3:] * depth


def projected(
    points: np.ndarray, rotation: np.ndarray, translation: np.ndarray, focal: float, principal: np.ndarray,
    nearest: float = 1.0,
) -> np.ndarray:  # fmt: skip
    """Pixels [N, 2] of points [N, 3] mm, turned by a rotation vector and moved; none is nearer than ``nearest`` mm."""
    moved = Rotation.from_rotvec(rotation).apply(points) + translation
    z = np.maximum(-moved[:, 2], nearest)
    return principal + focal * np.stack([moved[:, 0] / z, -moved[:, 1] / z], -1)
