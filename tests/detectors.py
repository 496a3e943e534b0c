"""Detectors in place of the mesh, for tests that need no networks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from jfrecon.data import landmark_layout
from jfrecon.data.detection.detector import Detection, Detector

GUIDE = Path(__file__).parents[1] / 'docs' / 'adding.md'
BRIGHTEST = 'brightest'
COARSE = 8  # pixels of the astronaut's picture to one that is compared
PLACE, SIDE = (145, 65), 160  # of her head in her picture, 512 x 512
EYES = (223, 113)  # between them


def install(folder: Path) -> Path:
    """Put the guide's detector, `BRIGHTEST`, where an installed package would be, and return the folder."""
    file = r'# jfrecon/data/detection/detectors/brightest\.py'
    (code,) = re.findall(rf'```python\n{file}\n(.*?)```', GUIDE.read_text(encoding='utf-8'), re.S)
    folder.mkdir(exist_ok=True)
    (folder / 'my_detector.py').write_text(code)
    installed = folder / 'my_project-1.dist-info'
    installed.mkdir()
    (installed / 'METADATA').write_text('Metadata-Version: 2.1\nName: my-project\nVersion: 1\n')
    (installed / 'entry_points.txt').write_text(f'[jfrecon.data.detection.detectors]\n{BRIGHTEST} = my_detector\n')
    return folder


def find(image: np.ndarray) -> list[Detection]:
    """Return scikit-image's astronaut wherever she is in a picture, upright and in her own size, mirrored or not."""
    grey = _coarse(image)
    x, y = (value // COARSE for value in PLACE)
    side = SIDE // COARSE
    head = _coarse(skimage.data.astronaut())[y : y + side, x : x + side]
    if min(grey.shape) < side:
        return []
    found = []
    windows = np.lib.stride_tricks.sliding_window_view(grey, head.shape)
    for patch, flipped in ((head, False), (head[:, ::-1], True)):
        off = np.abs(windows - patch).mean((-1, -2))
        while off.min() < 0.5 * patch.std():
            y0, x0 = np.unravel_index(off.argmin(), off.shape)
            off[max(0, y0 - side) : y0 + side, max(0, x0 - side) : x0 + side] = np.inf
            across = EYES[0] - PLACE[0]
            eyes = np.array([x0 * COARSE + (SIDE - across if flipped else across), y0 * COARSE + EYES[1] - PLACE[1]])
            found.append(Detection(points(eyes)))
    return found


def points(place: np.ndarray, eyes: float = 62.0) -> np.ndarray:
    """Return the landmarks [68, 2] of an upright face; its eyes' middle, and pixels between their outer corners."""
    mean = landmark_layout.MEAN[:, :2] * [1, -1]
    return (mean - mean[36:48].mean(0)) * eyes / np.ptp(mean[36:48, 0]) + place


def find_in(image: np.ndarray, boxes: np.ndarray) -> list[Detection | None]:
    """Return an upright face as wide as each box."""
    found: list[Detection | None] = []
    for x, y, width, height in boxes:
        face = points(np.zeros(2))
        face = (face - face.mean(0)) * width / np.ptp(face[:, 0])
        found.append(Detection(face + np.array([x + width / 2, y + height / 2])))
    return found


def _coarse(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert('L').reduce(COARSE), np.float32)


ASTRONAUT = Detector(find, find_in)
