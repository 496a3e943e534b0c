"""How the 68 iBUG points lie on a face: missing ones are estimated, and points that lie otherwise are refused."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jfrecon.data.sample import Unreadable
from jfrecon.geometry import alignment

# Of the mean MakeHuman head (`jfrecon.morphable`), mm from their mean: x to the subject's left, y up, z to the front.
MEAN = np.array([
    (-68, 38, -53), (-67, 16, -44), (-64, -4, -42), (-63, -19, -48), (-56, -40, -41), (-45, -53, -30), (-33, -62, -21),
    (-20, -68, -10), (0, -68, 3), (20, -68, -10), (33, -62, -21), (45, -53, -30), (56, -40, -41), (63, -19, -48),
    (64, -4, -42), (67, 16, -44), (68, 38, -53),
    (-57, 52, -17), (-47, 59, 0), (-32, 59, 12), (-24, 60, 15), (-15, 60, 16),
    (15, 60, 16), (24, 60, 15), (32, 59, 12), (47, 59, 0), (57, 52, -17),
    (0, 38, 13), (0, 25, 18), (0, 15, 23), (0, 2, 32), (-13, -9, 14), (-6, -9, 19), (0, -9, 21), (6, -9, 19),
    (13, -9, 14),
    (-42, 37, -1), (-33, 41, 5), (-26, 41, 5), (-17, 36, 2), (-26, 33, 4), (-33, 33, 4),
    (17, 36, 2), (26, 41, 5), (33, 41, 5), (42, 37, -1), (33, 33, 4), (26, 33, 4),
    (-23, -30, 9), (-14, -22, 19), (-5, -20, 22), (0, -20, 22), (5, -20, 22), (14, -22, 19), (23, -30, 9),
    (12, -39, 15), (6, -41, 17), (0, -41, 18), (-6, -41, 17), (-12, -39, 15),
    (-21, -30, 7), (-8, -29, 16), (0, -29, 17), (8, -29, 16), (21, -30, 7), (11, -30, 15), (0, -30, 18), (-11, -30, 15),
], np.float64)  # fmt: skip

ENOUGH = 12  # points that say where the others are
FRACTIONS = 1.5  # pixels; no landmark of a face is further from the corner where they are fractions
APART = 0.3  # see `Fit`; more is no face
BEHIND = -0.25  # see `Fit`; less is a mirrored face
DISTANCE = 8.0  # of the camera, in sizes of the face: about a metre and a half


def completed(landmarks: np.ndarray) -> np.ndarray:
    """Return landmarks [68, 2] with those that are NaN where the mean head at the pose of the others has them.

    Fewer than `ENOUGH` known points say nothing of the others, which stay unknown.
    """
    known = np.isfinite(landmarks).all(-1)
    if known.all() or known.sum() < ENOUGH:
        return landmarks
    seen = np.asarray(landmarks, np.float64)[known]
    scale = np.ptp(seen, 0).max() / np.ptp(MEAN[known, :2], 0).max()  # pixels a millimetre
    if not scale > 0:
        return landmarks
    centre = seen.mean(0)
    depth = DISTANCE * np.ptp(MEAN[:, 0])
    focal = scale * depth
    rotation, translation = alignment.pinhole_pose(MEAN[known], seen, focal, centre, depth)
    estimated = alignment.projected(MEAN, rotation, translation, focal, centre)
    return np.where(known[:, None], landmarks, estimated).astype(landmarks.dtype)


class Fit(NamedTuple):
    """How landmarks are an affine image of `MEAN`.

    Attributes:
      apart: root of the squared distances that are left, over that to the landmarks' mean: their spread.
      facing: cosine of the angle between the face's front and the way to the camera, negative for a mirrored face.
      down: [2] pixels for a millimetre from the brow to the chin.
    """

    apart: float
    facing: float
    down: np.ndarray


def fitted(landmarks: np.ndarray) -> Fit:
    """Return the affine map of `MEAN` to landmarks [68, 2], NaN where unknown, with the least squares that are left."""
    known = np.isfinite(landmarks).all(-1)
    seen = np.asarray(landmarks, np.float64)[known]
    face = np.c_[MEAN[known], np.ones(len(seen))]
    affine = np.linalg.lstsq(face, seen, rcond=None)[0]
    left = np.square(face @ affine - seen).sum() / max(np.square(seen - seen.mean(0)).sum(), np.finfo(float).tiny)
    right, up = affine[:3].T * [[1], [-1]]  # of the picture, along the head's axes
    length = max(np.linalg.norm(right) * np.linalg.norm(up), np.finfo(float).tiny)
    return Fit(float(np.sqrt(left)), float(np.linalg.det([right[:2], up[:2]]) / length), -affine[1, :2])


def require(landmarks: np.ndarray, height: int, width: int) -> None:
    """Refuse landmarks [68, 2] that are no face's, of the wrong pixels, or of a face inside out.

    `experiments/landmark_layout` says how far photographs lie from the two limits, `APART` and `BEHIND`.

    Raises:
      Unreadable: what is wrong, where the known points are enough to say so.
    """
    known = np.isfinite(landmarks).all(-1)
    if known.sum() < ENOUGH:
        return
    seen = np.asarray(landmarks, np.float64)[known]
    if np.abs(seen).max() <= FRACTIONS < min(height, width):
        raise Unreadable('its landmarks lie between 0 and 1: pixels are wanted, not fractions of the photograph')
    fit = fitted(landmarks)
    if fit.apart > APART:
        raise Unreadable('its landmarks do not lie as those of a face do: are they the 68 of iBUG, in their order?')
    if fit.facing < BEHIND:
        x, y = fit.down
        what = (
            'x and y exchanged' if abs(x) > abs(y) else 'y counted from below' if y < 0 else 'left and right exchanged'
        )
        raise Unreadable(f'its landmarks are those of a mirrored face, with {what}')
    outside = ((seen < 0) | (seen > [width, height])).any(-1)
    if 2 * outside.sum() > len(seen):
        raise Unreadable(
            f'{outside.sum()} of {len(seen)} landmarks lie outside of its {width} x {height} pixels: are they of '
            'another size of the photograph?'
        )
