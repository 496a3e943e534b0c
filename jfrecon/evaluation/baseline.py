"""The floor that every method has to beat: the mean face at the training set's mean pose."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from jfrecon.evaluation import alignment
from jfrecon.types import FaceParameters, MorphableModel, Pinhole

TYPICAL_WIDTH = 250  # mm across a crop; where the search for a pose begins


def mean_face(model: MorphableModel, landmarks: np.ndarray, camera: Pinhole, bands: int, size: int) -> FaceParameters:
    """The mean face where its landmarks come closest to the training set's mean landmarks, one for each camera.

    landmarks: [68, 2] pixels, mean over the training crops. camera: of the crops to be judged, leaves [B], [B, 2]: the
    baseline stands at the same place in every crop, whatever its focal length. The light is white and uniform; image
    metrics fit one RGB gain per image on top (`fitted_gain`). Returns leaves [B, ...].
    """
    points = np.asarray(model.mean)[np.asarray(model.landmark_ids)]
    poses = [
        alignment.pinhole_pose(points, landmarks, float(focal), principal, depth=float(focal) / size * TYPICAL_WIDTH)
        for focal, principal in zip(np.asarray(camera.focal), np.asarray(camera.principal))
    ]
    count = len(poses)
    light = np.zeros((count, bands**2, 3), np.float32)
    light[:, 0] = np.sqrt(4 * np.pi)
    return FaceParameters(
        identity=np.zeros((count, model.identity_basis.shape[0]), np.float32),
        expression=np.zeros((count, model.expression_basis.shape[0]), np.float32),
        albedo=np.zeros((count, model.diffuse_basis.shape[0]), np.float32),
        rotation=np.stack([rotation for rotation, _ in poses]).astype(np.float32),
        translation=np.stack([translation for _, translation in poses]).astype(np.float32),
        light=light,
    )


def fitted_gain(linear: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The RGB gain [3] that brings a linear rendering [H, W, 3] closest, in squares, to a linear target in a mask."""
    inside = mask > 0.5
    rendered, wanted = linear[inside], target[inside]
    return (rendered * wanted).sum(0) / np.maximum(np.square(rendered).sum(0), 1e-12)


def aligned_mean_landmarks(model: MorphableModel, landmarks: np.ndarray, camera: Pinhole, size: int) -> np.ndarray:
    """The mean face's landmarks, posed to fit the given ones [68, 2] best: what pose alone can explain; [68, 2]."""
    points = np.asarray(model.mean)[np.asarray(model.landmark_ids)]
    focal, principal = float(camera.focal), np.asarray(camera.principal)
    depth = focal / size * TYPICAL_WIDTH
    rotation, translation = alignment.pinhole_pose(points, landmarks, focal, principal, depth)
    moved = Rotation.from_rotvec(rotation).apply(points) + translation
    return principal + focal * np.stack([moved[:, 0], -moved[:, 1]], -1) / -moved[:, 2:]
