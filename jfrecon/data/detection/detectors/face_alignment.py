"""Landmarks by face-alignment (Bulat and Tzimiropoulos 2017, arXiv:1703.07332), where it is installed."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np

from jfrecon.data.detection.detector import Detection, Detector
from jfrecon.errors import UserError

PACKAGE = 'face_alignment'


def find(image: np.ndarray) -> list[Detection]:
    """The faces in an image [H, W, 3] uint8 that its own detector finds.

    A landmark's confidence is the peak of its heat map; the presence is that of its detector.
    """
    return _landmarks(image, None)


def find_in(image: np.ndarray, boxes: np.ndarray) -> list[Detection | None]:
    """The face in each box [K, 4] (x, y, w, h): it takes every box for one."""
    return [*_landmarks(image, [np.array([x, y, x + w, y + h, 1.0]) for x, y, w, h in boxes])]


def _landmarks(image: np.ndarray, told: list[np.ndarray] | None) -> list[Detection]:
    landmarks, scores, corners = network().get_landmarks_from_image(
        image, detected_faces=told, return_bboxes=True, return_landmark_score=True
    )
    if landmarks is None:
        return []
    return [
        Detection(
            np.asarray(points, np.float64).reshape(68, 2),
            confidence=np.clip(np.asarray(peaks, np.float64).reshape(68), 0, 1),
            presence=float(np.clip(box[4], 0, 1)),
        )
        for points, peaks, box in zip(landmarks, scores, corners, strict=True)
    ]


@functools.lru_cache(maxsize=1)
def network() -> Any:
    """The networks, on the CPU, where a photo gives the same points each time; fetches weights the first time.

    Raises:
      UserError: the weights cannot be had.
    """
    import face_alignment
    import torch

    torch.set_num_threads(1)  # each process has a core of its own
    try:
        return face_alignment.FaceAlignment(face_alignment.LandmarksType.TWO_D, device='cpu', flip_input=False)
    except OSError as error:  # urllib's URLError is one
        raise UserError(
            f'face-alignment cannot fetch its weights ({error}): give --landmarks=FILE.npz or leave --landmarker out'
        ) from error


def _missing() -> str:
    return '' if importlib.util.find_spec(PACKAGE) is not None else "pip install 'jfrecon[landmarks]'"


DETECTOR = Detector(find, find_in, missing=_missing, ready=lambda: network(), libraries=('face-alignment', 'torch'))
