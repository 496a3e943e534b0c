"""Export for the REALY benchmark (Chai et al. 2022), which scores nose, mouth, forehead and cheek one by one.

The format follows the public evaluator (its README and its readers): a folder with one ``NAME.obj`` per image, all in
one topology, and in the evaluator's own data folder a template ``TOPOLOGY.obj`` with ``TOPOLOGY.txt``, a JSON list of
85 keypoints [triangle, w0, w1]: an index from 0 into the template's triangles and the weights of their first two
corners. The first 68 keypoints are the iBUG landmarks; no text defines the other 17, on the cheeks, so they are carried
over from a template that the benchmark ships. The benchmark aligns and scales by keypoints: frame and unit are free.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.interpolate import RBFInterpolator

from jfrecon import files
from jfrecon.errors import UserError
from jfrecon.geometry import closest
from jfrecon.morphable import obj

KEYPOINTS = 85


def write_prediction(folder: str | Path, image: str, vertices: np.ndarray, triangles: np.ndarray) -> None:
    """``NAME.obj`` of the image ``NAME.png``: vertices [V, 3] and triangles [T, 3] in the order of the template."""
    obj.write(Path(folder) / f'{Path(image).stem}.obj', vertices, triangles)


def write_template(
    folder: str | Path, topology: str, vertices: np.ndarray, triangles: np.ndarray, keypoints: np.ndarray
) -> None:
    """``TOPOLOGY.obj`` and ``TOPOLOGY.txt``; keypoints [85, 3] as `read_keypoints` and `transfer` give them."""
    entries = [[int(triangle), float(first), float(second)] for triangle, first, second in keypoints]
    obj.write(Path(folder) / f'{topology}.obj', vertices, triangles)
    files.write_text(Path(folder) / f'{topology}.txt', json.dumps(entries))


def read_keypoints(path: str | Path, triangle_count: int) -> np.ndarray:
    """A template's keypoints [85, 3]: triangle, weight of its first corner, weight of its second.

    Raises:
      UserError: not such a file, or it names triangles that the template of so many triangles does not have.
    """
    try:
        keypoints = np.array(files.read_json(path), np.float64)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f'{path}: not a readable list of REALY keypoints ({error})') from error
    if keypoints.shape != (KEYPOINTS, 3) or not np.isfinite(keypoints).all():
        raise UserError(f'{path}: expected {KEYPOINTS} entries [triangle, weight, weight], as REALY ships them')
    if keypoints[:, 0].min() < 0 or keypoints[:, 0].max() >= triangle_count:
        raise UserError(f'{path}: names triangles that its template does not have; do the two belong together?')
    return keypoints


def positions(keypoints: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Where the keypoints [K, 3] lie on a mesh: [K, 3], in the unit of the vertices."""
    weights = np.concatenate([keypoints[:, 1:], 1 - keypoints[:, 1:].sum(-1, keepdims=True)], -1)
    return (weights[..., None] * vertices[triangles[keypoints[:, 0].astype(int)]]).sum(-2)


def transfer(
    keypoints: np.ndarray,
    template_vertices: np.ndarray,
    template_triangles: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    landmark_ids: np.ndarray,
) -> np.ndarray:
    """The 85 keypoints on our topology.

    The 68 landmarks are our own vertices. The thin-plate spline that takes the template's landmarks to ours carries the
    other 17, which then move to the closest point of our mean face.

    Args:
      keypoints, template_vertices, template_triangles: [85, 3], [W, 3], [S, 3] as the benchmark ships them.
      vertices, triangles: [V, 3] mm and [T, 3], our mean face, neutral.
      landmark_ids: [68].
    """
    landmarks = vertices[landmark_ids]
    shipped = positions(keypoints, template_vertices, template_triangles)
    warp = RBFInterpolator(shipped[:68], landmarks, kernel='thin_plate_spline')
    wanted = np.concatenate([landmarks, warp(shipped[68:])])
    _, triangle, weights = closest.closest_points(wanted, vertices, triangles)
    return np.concatenate([triangle[:, None], weights[:, :2]], -1)
