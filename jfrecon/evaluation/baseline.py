"""The floor that every method has to beat: the mean face at the training set's mean pose."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from absl import logging
from ml_collections import ConfigDict
from scipy.spatial.transform import Rotation

from jfrecon.data import build
from jfrecon.errors import UserError
from jfrecon.fitting import start
from jfrecon.geometry import alignment
from jfrecon.morphable import linear
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.types import MorphableModel, Pinhole


def predictor(network: Predictor, landmarks: np.ndarray, bands: int) -> Predictor:
    """The floor: the mean face where its landmarks come closest to [68, 2] pixels of any crop, uniformly lit."""
    return dataclasses.replace(
        network,
        infer=lambda image, camera: start.mean_face(network.model, landmarks, camera, bands, network.size),
    )


def typical_landmarks(network: Predictor, config: ConfigDict, directory: Path) -> np.ndarray:
    """[68, 2] pixels: the mean over the crops that a run in ``directory`` was trained with.

    Where its training data are gone, those of a frontal mean face in the middle of the crop.
    """
    made = directory / 'synthetic'
    try:
        if config.data.source != 'synthetic' or (made / 'train').is_dir():
            return build.mean_landmarks(config, build.source(config, made))
    except UserError as error:
        logging.info('%s', error)
    logging.warning('the training data are gone: the mean face stands upright in the middle of the crop')
    points = np.asarray(linear.landmarks(network.model, network.model.mean))[:, :2] * [1, -1]
    low, high = points.min(0), points.max(0)
    return network.size / 2 + (points - (low + high) / 2) * network.size / network.crop_scale / (high - low).max()


def fitted_gain(linear: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The RGB gain [3] that brings a linear rendering [H, W, 3] closest, in squares, to a linear target in a mask."""
    inside = mask > 0.5
    rendered, wanted = linear[inside], target[inside]
    return (rendered * wanted).sum(0) / np.maximum(np.square(rendered).sum(0), 1e-12)


def aligned_mean_landmarks(model: MorphableModel, landmarks: np.ndarray, camera: Pinhole, size: int) -> np.ndarray:
    """The mean face's landmarks, posed to fit the given ones [68, 2] best: what pose alone can explain; [68, 2]."""
    points = np.asarray(model.mean)[np.asarray(model.landmark_ids)]
    focal, principal = float(camera.focal), np.asarray(camera.principal)
    depth = focal / size * start.TYPICAL_WIDTH
    rotation, translation = alignment.pinhole_pose(points, landmarks, focal, principal, depth)
    moved = Rotation.from_rotvec(rotation).apply(points) + translation
    return principal + focal * np.stack([moved[:, 0], -moved[:, 1]], -1) / -moved[:, 2:]
