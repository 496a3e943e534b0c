"""Pictures of what a detector found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from jfrecon.data.detection.detector import Detection

RADIUS = 1 / 120  # of a point, in sizes of its face


def drawn(image: np.ndarray, faces: Sequence[Detection]) -> np.ndarray:
    """Return a photograph [H, W, 3] uint8 with the faces' landmarks: green, and red where they are hidden."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for face in faces:
        points = face.landmarks[np.isfinite(face.landmarks).all(-1)]
        if not len(points):
            continue
        radius = max(1.0, float(np.ptp(points, axis=0).max()) * RADIUS)
        shares = np.ones(len(face.landmarks)) if face.confidence is None else face.confidence
        for (x, y), share in zip(face.landmarks, shares, strict=True):
            if np.isfinite([x, y]).all():
                colour = (round(255 * (1 - share)), round(255 * share), 64)
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.asarray(picture)
