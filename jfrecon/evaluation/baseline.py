"""The floor that every method has to beat: the mean face at the training set's mean pose."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from jfrecon.evaluation import alignment
from jfrecon.types import FaceParameters, MorphableModel, Pinhole


def mean_face(
    model: MorphableModel, landmarks: np.ndarray, camera: Pinhole, bands: int, size: int
) -> FaceParameters:
    """The mean face where its landmarks come closest to the training set's mean landmarks; leaves [1, ...].

    landmarks: [68, 2] pixels, mean over the training crops. camera: the default camera of a crop, scalar leaves.
    The light is white and uniform; image metrics fit one RGB gain per image on top (`fitted_gain`).
    """
    points = np.asarray(model.mean)[np.asarray(model.landmark_ids)]
    focal, principal = float(camera.focal), np.asarray(camera.principal)
    rotation, translation = alignment.pinhole_pose(points, landmarks, focal, principal, depth=focal / size * 250)
    light = np.zeros((1, bands**2, 3), np.float32)
    light[:, 0] = np.sqrt(4 * np.pi)
    return FaceParameters(
        identity=np.zeros((1, model.identity_basis.shape[0]), np.float32),
        expression=np.zeros((1, model.expression_basis.shape[0]), np.float32),
        albedo=np.zeros((1, model.diffuse_basis.shape[0]), np.float32),
        rotation=rotation[None].astype(np.float32),
        translation=translation[None].astype(np.float32),
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
    rotation, translation = alignment.pinhole_pose(points, landmarks, focal, principal, depth=focal / size * 250)
    moved = Rotation.from_rotvec(rotation).apply(points) + translation
    return principal + focal * np.stack([moved[:, 0], -moved[:, 1]], -1) / -moved[:, 2:]
