"""Landmarks by face-alignment (Bulat and Tzimiropoulos 2017, arXiv:1703.07332), where it is installed."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np

from jfrecon.errors import UserError

PACKAGE = 'face_alignment'


def installed() -> bool:
    """Whether the extra ``landmarks`` is there."""
    return importlib.util.find_spec(PACKAGE) is not None


def landmarks(image: np.ndarray, boxes: np.ndarray | None = None) -> np.ndarray:
    """[K, 68, 2] points of the faces in an image [H, W, 3] uint8: in boxes (x, y, w, h), or those it
    detects."""
    detected = None
    if boxes is not None:
        detected = [np.array([x, y, x + w, y + h, 1.0]) for x, y, w, h in boxes if np.isfinite([x, y, w, h]).all()]
        if not detected:
            return np.zeros((0, 68, 2))
    found = network().get_landmarks_from_image(image, detected_faces=detected)
    return np.array(found if found is not None else [], np.float64).reshape(-1, 68, 2)


@functools.lru_cache(maxsize=1)
def network() -> Any:
    """The networks, on the CPU, where a photo gives the same points each time; fetches weights the first
    time.

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
            f'face-alignment cannot fetch its weights ({error}): give --landmarks=FILE.npz or --crop=box'
        ) from error
