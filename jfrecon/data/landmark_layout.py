"""How the 68 iBUG points lie on a face: missing ones are estimated, and points that lie otherwise are refused."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jfrecon.data.sample import Unreadable
from jfrecon.geometry import alignment

# Of the mean MakeHuman head (`jfrecon.morphable`), mm from their mean: x to the subject's left, y up, z to the front.
MEAN = np.array([
    (-73, 42, -52), (-72, 22, -55), (-69, -1, -48), (-66, -12, -44), (-59, -39, -40), (-41, -61, -25),
    (-28, -69, -14), (-16, -69, 4), (0, -73, 5), (16, -69, 4), (28, -69, -14), (41, -61, -25), (59, -39, -40),
    (66, -12, -44), (69, -1, -48), (72, 22, -55), (73, 42, -52), (-57, 57, -10), (-51, 62, -2), (-34, 64, 11),
    (-25, 65, 15), (-16, 60, 17), (16, 60, 17), (25, 65, 15), (34, 64, 11), (51, 62, -2), (57, 57, -10), (0, 39, 16),
    (0, 27, 23), (0, 17, 30), (0, 4, 37), (-13, -10, 14), (-6, -10, 20), (0, -11, 21), (6, -10, 20), (13, -10, 14),
    (-45, 38, -5), (-38, 42, 3), (-28, 42, 4), (-18, 35, 1), (-28, 33, 3), (-39, 32, 2), (18, 35, 1), (28, 42, 4),
    (38, 42, 3), (45, 38, -5), (39, 32, 2), (28, 33, 3), (-26, -33, 5), (-17, -26, 17), (-7, -23, 22), (0, -24, 22),
    (7, -23, 22), (17, -26, 17), (26, -33, 5), (19, -38, 11), (12, -42, 14), (0, -43, 17), (-12, -42, 14),
    (-19, -38, 11), (-23, -33, 4), (-9, -32, 15), (0, -33, 16), (9, -32, 15), (23, -33, 4), (11, -32, 13),
    (0, -32, 15), (-11, -32, 13),
], np.float64)  # fmt: skip

# Upper and lower points of the right eye, the left eye and the lips; corners of the right and the left eye.
OPENINGS = (37, 41), (38, 40), (43, 47), (44, 46), (61, 67), (62, 66), (63, 65)
OF_EYES = 4  # of these
CORNERS = (36, 39), (42, 45)

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


def opened(landmarks: np.ndarray, openings: np.ndarray) -> np.ndarray:
    """Return landmarks [68, 2] whose lids and lips are as far apart as ``openings`` [7, 2] say (`OPENINGS`)."""
    moved = landmarks.copy()
    upper, lower = np.array(OPENINGS).T
    middle = (landmarks[upper] + landmarks[lower]) / 2
    moved[upper], moved[lower] = middle + openings / 2, middle - openings / 2
    return moved


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
