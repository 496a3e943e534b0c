"""Faces and their landmarks by MediaPipe's detectors and face mesh, run in JAX: offline, and the default.

`jfrecon.assets` brings the networks' files the first time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jfrecon.data.detection import face_mesh
from jfrecon.data.detection.detector import Detection, Detector
from jfrecon.data.detection.face_mesh import Mesh


def find(image: np.ndarray) -> list[Detection]:
    """Return the faces in an image [H, W, 3] uint8, the largest first; ``dense`` are the mesh's 478 points."""
    return [detection(mesh) for mesh in face_mesh.find(image)]


def find_in(image: np.ndarray, boxes: np.ndarray) -> list[Detection | None]:
    """Return the face in each box [K, 4] (x, y, w, h), None where none is seen."""
    return [None if mesh is None else detection(mesh) for mesh in face_mesh.find_in(image, boxes)]


def find_many(images: Sequence[np.ndarray]) -> list[list[Detection]]:
    """The same as `find` for each of many images."""
    return [[detection(mesh) for mesh in meshes] for meshes in face_mesh.find_each(images)]


def follow(image: np.ndarray, before: Sequence[Detection]) -> list[Detection | None]:
    """Return the faces of the frame before where they are now, each looked at once, around where it was."""
    found = face_mesh.follow(image, [face.dense for face in before if face.dense is not None])
    return [None if mesh is None else detection(mesh) for mesh in found]


def detection(mesh: Mesh) -> Detection:
    """A face of the mesh as all detectors give it."""
    points = mesh.points
    return Detection(
        face_mesh.landmarks68(points), confidence=face_mesh.confidence68(points), presence=mesh.presence,
        dense=points, openings=face_mesh.openings(points), gaze=face_mesh.gaze(points),
    )  # fmt: skip


def ready() -> None:
    """Bring the networks' files and compile their programs, once for all processes."""
    find(np.zeros((256, 256, 3), np.uint8))


DETECTOR = Detector(find, find_in, ready=ready, libraries=('jax', 'jaxlib'), find_many=find_many, follow=follow)
