"""The NoW protocol (Sanyal et al. 2019, section 5): distances from a head scan to a predicted neutral mesh.

Written anew from the paper and the behaviour of the benchmark's public evaluator, for validation scans and for our own
tables. It is not the official score: that comes from the benchmark's own server and code, whose optimiser differs.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from jfrecon import files
from jfrecon.errors import UserError
from jfrecon.evaluation import icp, surface
from jfrecon.geometry import alignment
from jfrecon.morphable import obj

#: The seven landmarks in the benchmark's order, as iBUG ids from 0: outer and inner corner of the right eye, inner and
#: outer corner of the left eye, bottom of the nose, right and left corner of the mouth (the subject's right).
LANDMARKS = (36, 39, 42, 45, 33, 48, 54)


def face_region(scan_vertices: np.ndarray, scan_landmarks: np.ndarray) -> np.ndarray:
    """Mask [N] of the scan's vertices that are measured: a ball around the middle of the face.

    Its centre lies 0.3 of the way from the bottom of the nose to the bridge (the middle of the inner eye corners), its
    radius is 0.7 times the sum of the outer eye distance and the nose's length.
    """
    right, inner_right, inner_left, left, nose = scan_landmarks[:5]
    bridge = (inner_right + inner_left) / 2
    radius = 0.7 * (np.linalg.norm(left - right) + np.linalg.norm(bridge - nose))
    return np.linalg.norm(scan_vertices - (nose + 0.3 * (bridge - nose)), axis=-1) <= radius


def scan_to_mesh(
    scan_vertices: np.ndarray,
    scan_landmarks: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    landmarks: np.ndarray,
    metrical: bool = False,
) -> np.ndarray:
    """Distances in mm of the scan's face from a prediction, after the alignment that the protocol allows.

    The prediction is brought to the scan by the seven landmarks, then by minimising the squared distances of the
    scan's points from its triangles; both motions may scale. The official evaluator's first step may also reflect; ours
    never does.

    Args:
      scan_vertices: [N, 3] mm; its triangles play no part.
      scan_landmarks: [7, 3] mm, in the order of `LANDMARKS`.
      vertices, triangles: [V, 3] any unit, [T, 3] the predicted mesh, neutral.
      landmarks: [7, 3] on the predicted mesh.
      metrical: the benchmark's second table, for meshes in mm: no motion may scale.

    Returns:
      [M] mm, one for each of the scan's vertices inside `face_region`, in their order.

    Raises:
      UserError: there is none.
    """
    scan_vertices, scan_landmarks = (np.asarray(a, np.float64) for a in (scan_vertices, scan_landmarks))
    scan = scan_vertices[face_region(scan_vertices, scan_landmarks)]
    if not len(scan):
        raise UserError('no point of the scan lies near its seven landmarks; are both in mm and of one subject?')
    fit = alignment.similarity(np.asarray(landmarks, np.float64), scan_landmarks, scaled=not metrical)
    fit = icp.align(vertices, triangles, scan, start=fit, scaled=not metrical)
    return surface.distances(scan, alignment.apply(*fit, np.asarray(vertices, np.float64)), triangles)


def summary(distances: Iterable[np.ndarray]) -> dict[str, float]:
    """Median, mean and standard deviation in mm over all points of all scans, each scan's distances [M] given."""
    every = np.concatenate(list(distances))
    return {'median': float(np.median(every)), 'mean': float(every.mean()), 'std': float(every.std())}


def write_submission(
    folder: str | Path, image: str, vertices: np.ndarray, triangles: np.ndarray, landmarks: np.ndarray
) -> None:
    """One image's share of a submission: ``SUBJECT/CHALLENGE/NAME.obj`` and ``NAME.npy`` with the seven landmarks.

    Args:
      folder: of the submission.
      image: a line of the benchmark's list of images, ``.../SUBJECT/CHALLENGE/NAME.jpg``.
      vertices, triangles: [V, 3] and [T, 3], the neutral face.
      landmarks: [7, 3], in the order of `LANDMARKS` and in the frame of the vertices.

    Raises:
      UserError: the line does not name a subject, a challenge and an image.
    """
    parts = PurePosixPath(image.strip()).parts[-3:]
    if len(parts) != 3 or any(part in ('..', '/') for part in parts) or '\\' in image:
        raise UserError(f"{image!r}: expected SUBJECT/CHALLENGE/NAME.jpg, a line of the benchmark's list of images")
    target = Path(folder, *parts).with_suffix('')
    array = io.BytesIO()
    np.save(array, np.asarray(landmarks, np.float32).reshape(7, 3))
    files.write_bytes(target.with_name(target.name + '.npy'), array.getvalue())
    # the mesh last: an image with a mesh is complete
    obj.write(target.with_name(target.name + '.obj'), vertices, triangles)
