"""Scans of heads, and how far a reconstruction is from one: what the benchmarks with scans share."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jfrecon.errors import UserError
from jfrecon.evaluation import icp, now, surface
from jfrecon.geometry import alignment
from jfrecon.geometry.closest import Surface
from jfrecon.morphable import linear, obj
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.types import MorphableModel

SUFFIXES = ('.obj', '.ply', '.stl', '.off')
POINTS = len(now.LANDMARKS)


class Scan(NamedTuple):
    """A scan and seven points picked on it.

    Attributes:
      vertices: [N, 3] mm, any frame.
      triangles: [T, 3].
      landmarks: [7, 3] mm, in the order of `jfrecon.evaluation.now.LANDMARKS`.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    landmarks: np.ndarray


@functools.lru_cache(maxsize=2)  # the photographs of a subject come one after another
def read(path: Path, landmarks: Path) -> Scan:
    """A scan by its mesh and its landmarks; raises `UserError`."""
    if path.suffix.lower() == '.obj':
        # the vertices as they are in the file: other readers double those on the seams of a texture
        mesh = obj.read(path)
        vertices, triangles = mesh.vertices, obj.triangulate(mesh.polygons, mesh.vertices)[0]
    else:
        loaded = load_trimesh(path)
        vertices, triangles = np.asarray(loaded.vertices), np.asarray(loaded.faces)
    if not len(triangles) or not np.isfinite(vertices).all():
        raise UserError(f'{path}: a scan needs triangles, and vertices that are finite numbers')
    return Scan(vertices, triangles, read_landmarks(landmarks))


def load_trimesh(path: Path):
    """One mesh with its texture or colours, as trimesh reads it; raises `UserError`."""
    try:
        import trimesh
    except ImportError as error:
        raise UserError(f"{path} needs trimesh: pip install 'jfrecon[export]'") from error
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f'{path}: not one of {", ".join(SUFFIXES)}; convert it, with MeshLab for example')
    try:
        loaded = trimesh.load(path, process=False, force='mesh')
    except Exception as error:  # a reader fed garbage fails in any way
        raise UserError(f'{path}: not a readable mesh ({type(error).__name__})') from error
    if not isinstance(loaded, trimesh.Trimesh) or not len(loaded.faces):
        raise UserError(f'{path}: no triangles in it')
    return loaded


def read_landmarks(path: Path) -> np.ndarray:
    """[7, 3] points: MeshLab's picked points ``.pp`` in the order of NoW, or text of 7 or 68 rows "x y z".

    Raises:
      UserError: it is not that.
    """
    try:
        text = path.read_text(encoding='utf-8', errors='replace')
        if path.suffix.lower() == '.pp':
            points = re.findall(r'<point\b[^>]*>', text)
            rows = [[re.search(rf'\b{axis}="([^"]*)"', point) for axis in 'xyz'] for point in points]
            table = np.array([[float(found[1]) if found else np.nan for found in row] for row in rows])
        else:
            table = np.array([line.split() for line in text.splitlines() if line.strip()], np.float64)
    except (OSError, ValueError) as error:
        raise UserError(f'{path}: not landmarks of a scan ({error})') from error
    if table.shape == (68, 3):
        table = table[list(now.LANDMARKS)]
    if table.shape != (POINTS, 3) or not np.isfinite(table).all():
        raise UserError(
            f'{path}: expected 7 points (corners of the right eye, of the left eye, from outside right to outside '
            'left, bottom of the nose, corners of the mouth, right first), or the 68 of iBUG'
        )
    return table


def seven(model: MorphableModel, vertices: np.ndarray) -> np.ndarray:
    """The seven landmarks [7, 3] of vertices in the topology of a model."""
    return np.asarray(vertices)[np.asarray(model.landmark_ids)[list(now.LANDMARKS)]]


def neutral(predictor: Predictor, identity: np.ndarray) -> np.ndarray:
    """The vertices [V, 3] of a face without its expression, mm, model space."""
    without = jnp.zeros(predictor.model.expression_basis.shape[0])
    return np.asarray(linear.shape(predictor.model, jnp.asarray(identity), without))


def region(model: MorphableModel) -> np.ndarray:
    """Mask [V] of the vertices that are measured: those of the mean face in NoW's ball."""
    mean = np.asarray(model.mean, np.float64)
    return now.face_region(mean, seven(model, mean))


def vertex_and_normal_error(predictor: Predictor, vertices: np.ndarray, scan: Scan) -> dict[str, float]:
    """``vertex_mm`` and ``normal_rad`` as dib21's appendix C has them, over `region`, aligned on seven points."""
    model = predictor.model
    position, normal = surface.vertex_and_normal_error(
        vertices,
        np.asarray(model.topology.triangles),
        seven(model, vertices),
        scan.vertices,
        scan.triangles,
        scan.landmarks,
        region(model),
    )
    return {'vertex_mm': position, 'normal_rad': normal}


def scan_to_mesh(predictor: Predictor, vertices: np.ndarray, scan: Scan) -> np.ndarray:
    """NoW's distances [M] in mm of the scan's face from the vertices of a prediction."""
    model = predictor.model
    triangles = np.asarray(model.topology.triangles)
    return now.scan_to_mesh(scan.vertices, scan.landmarks, vertices, triangles, seven(model, vertices))


def read_vertices(path: Path) -> np.ndarray:
    """Numbers [M] of vertices of a mesh, from 0, from a text file; raises `UserError`."""
    try:
        chosen = np.array(path.read_text(encoding='utf-8').split(), np.int64)
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f'{path}: not whole numbers of vertices, from 0 ({error})') from error
    if not len(chosen) or chosen.min() < 0:
        raise UserError(f'{path}: expected the numbers of vertices, from 0')
    return chosen


def nme_after_icp(predictor: Predictor, vertices: np.ndarray, scan: Scan, chosen: np.ndarray | None = None) -> float:
    """Cest's error in percent of the outer interocular distance.

    chosen: [M] vertices of the scan whose distances from the prediction are measured; None: those of the prediction's
    vertices in `region` from the scan.

    Raises:
      UserError: the scan has no such vertices.
    """
    model = predictor.model
    interocular = float(np.linalg.norm(scan.landmarks[0] - scan.landmarks[3]))  # the outer corners of the eyes
    if chosen is not None:
        if chosen.max() >= len(scan.vertices):
            raise UserError(f'vertex {chosen.max()} is to be measured on a mesh of {len(scan.vertices)} vertices')
        # to the truth's size first: what is scaled is the prediction
        sized = alignment.apply(*alignment.similarity(seven(model, vertices), scan.landmarks), np.asarray(vertices))
        points, triangles = scan.vertices[chosen], np.asarray(model.topology.triangles)
        _, rotation, translation = icp.align(sized, triangles, points)
        distance = Surface(sized, triangles).closest((points - translation) @ rotation)[0]
        return float(100 * distance.mean() / interocular)
    measured = np.asarray(vertices)[region(model)]
    return icp.nme_after_icp(
        measured, scan.vertices, scan.triangles, seven(model, vertices), scan.landmarks, interocular
    )
