"""Where a fit starts: the mean face at the pose that known landmarks say."""

from __future__ import annotations

import numpy as np

from jfrecon.geometry import alignment
from jfrecon.shading import sh
from jfrecon.types import FaceParameters, MorphableModel, Pinhole

TYPICAL_WIDTH = 250  # mm across a crop; where the search for a pose begins


def mean_face(model: MorphableModel, landmarks: np.ndarray, camera: Pinhole, bands: int, size: int) -> FaceParameters:
    """The mean face where its landmarks come closest to the training set's mean landmarks, one for each camera.

    landmarks: [68, 2] pixels, mean over the training crops; NaN where unknown. camera: of the crops to be judged,
    leaves [B], [B, 2]: the baseline stands at the same place in every crop, whatever its focal length. The light is
    white and uniform; image metrics fit one RGB gain per image on top (`fitted_gain`). Returns leaves [B, ...].
    """
    known = np.isfinite(landmarks).all(-1)
    points = np.asarray(model.mean)[np.asarray(model.landmark_ids)][known]
    landmarks = landmarks[known]
    poses = [
        alignment.pinhole_pose(points, landmarks, float(focal), principal, depth=float(focal) / size * TYPICAL_WIDTH)
        for focal, principal in zip(np.asarray(camera.focal), np.asarray(camera.principal))
    ]
    count = len(poses)
    light = np.zeros((count, bands**2, 3), np.float32)
    light[:, 0] = sh.GREY
    return FaceParameters(
        identity=np.zeros((count, model.identity_basis.shape[0]), np.float32),
        expression=np.zeros((count, model.expression_basis.shape[0]), np.float32),
        albedo=np.zeros((count, model.diffuse_basis.shape[0]), np.float32),
        rotation=np.stack([rotation for rotation, _ in poses]).astype(np.float32),
        translation=np.stack([translation for _, translation in poses]).astype(np.float32),
        light=light,
    )
