"""A face's landmarks, by a network, where no more is known than a box: looked at again and again, closer and upright.

A detector's box is a third too wide or too narrow at times, and a network knows tilted heads less well than upright
ones. What it finds in squares around a box says where the next squares should lie and how they should be turned.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from jfrecon.data import cropping, pipeline
from jfrecon.data.cropping import Box
from jfrecon.data.sample import Sample
from jfrecon.reconstruction import result
from jfrecon.reconstruction.prediction import Predictor

# Sides of the squares of each round, over that of the best known one. The cascade's boxes are too large rather than too
# small, and faces are tilted.
ROUNDS = ((0.8, 0.9, 1.0, 1.1), (0.925, 0.975, 1.025, 1.075), (0.925, 0.975, 1.025, 1.075))
OUTER_EYES = 36, 45  # iBUG
AROUND, FINER = 1.5, 2  # the part of a photograph that is turned: its side in squares, its pixels in a square's


class View(NamedTuple):
    """A square of a photograph, turned.

    Attributes:
      square: before it is turned about its centre.
      angle: by which the photograph turns, counter-clockwise, radians.
    """

    square: Box
    angle: float

    def cut(self, photo: Sample, size: int, focal: float) -> pipeline.Cut:
        """Its ``size`` x ``size`` pixels, seen by a camera of so many sides that looks at its centre."""
        wide = int(size * FINER * AROUND)
        unknown = photo.replace(focal=float('nan'), landmarks=np.full((68, 2), np.nan, np.float32), mask=None)
        part = cropping.crop(unknown, scaled(self.square, AROUND), wide, focal)
        turned = Image.fromarray(part.image).rotate(np.rad2deg(self.angle), Image.Resampling.BILINEAR)
        inner = Box((wide - size * FINER) / 2, (wide - size * FINER) / 2, size * FINER)
        whole = Sample(np.asarray(turned), name=photo.name)
        return pipeline.Cut(0, self.square, photo.image.shape[:2], cropping.crop(whole, inner, size, focal))

    def back(self, points: np.ndarray, size: int) -> np.ndarray:
        """Pixels [..., 2] of what was cut -> pixels of the photograph."""
        x, y, side = self.square
        return (points / size - 0.5) @ _turn(self.angle) * side + [x + side / 2, y + side / 2]


def landmarks(network: Predictor, photo: Sample, box: Box) -> np.ndarray:
    """[68, 2] pixels of a photograph. box: the square that the network would be shown."""
    view = View(box, 0.0)
    for sides in ROUNDS:
        views = [view._replace(square=scaled(view.square, side)) for side in sides]
        batch = pipeline.stack([v.cut(photo, network.size, network.focal) for v in views], len(views))
        chi = network.infer(batch.image, batch.camera)
        whole = np.array([[0, 0, network.size]] * len(views), np.float32)
        points = np.asarray(result.placed(network.model, chi, batch.camera, whole, network.size)[1])
        found = np.median([v.back(p, network.size) for v, p in zip(views, points)], axis=0)
        view = around(found, network.crop_scale)
    return found.astype(np.float32)


def around(points: np.ndarray, scale: float) -> View:
    """The view in which the outer corners of the eyes lie level; scale: see `crop.box_from_landmarks`."""
    right, left = points[list(OUTER_EYES)]
    angle = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
    turn = _turn(angle)
    x, y, side = cropping.box_from_landmarks(points @ turn.T, scale)
    x, y = np.array([x + side / 2, y + side / 2]) @ turn - side / 2
    return View(Box(float(x), float(y), side), angle)


def scaled(square: Box, factor: float) -> Box:
    """A square of another size with the same centre."""
    border = square.side * (1 - factor) / 2
    return Box(square.x + border, square.y + border, square.side * factor)


def _turn(angle: float) -> np.ndarray:
    """[2, 2] what a photograph's pixels are multiplied with as it turns counter-clockwise (y points down)."""
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
