"""Photographs of a benchmark, and what is asked of the benchmark itself."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jfrecon.data import cropping, detection, images, landmark_files
from jfrecon.data.cropping import Box
from jfrecon.data.pipeline import BoxRule, landmark_box
from jfrecon.data.sample import Sample, Source, Unreadable
from jfrecon.errors import UserError
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.reconstruction.result import Reconstruction

Row = dict[str, Any]  # a number by its name, or an array [M] of numbers that are pooled over the images
LANDMARKS = 'landmarks.npz'


class Pictures(Source):
    """Pictures with a face in each, and where it is."""

    def rule(self, crop_scale: float) -> BoxRule:
        """Photo -> square, for a network whose crops are so many times as large as the landmarks' box."""
        return landmark_box(crop_scale)


class Benchmark(ABC):
    """Photographs with a truth, read from a folder whose layout has been checked.

    Attributes:
      source: the photographs.
      note: what keeps all numbers from being the official score; '' where nothing does. See `unofficial`.
      curve: the metric, in percent, whose cumulative distribution is drawn, and the end of its axis; or None.
    """

    source: Pictures
    note: str = ''
    curve: tuple[str, float] | None = None

    def unofficial(self, metric: str) -> str:
        """Return what keeps a metric of `summary` from being the official score; '' where nothing does."""
        del metric
        return self.note

    @abstractmethod
    def score(self, index: int, predictor: Predictor, face: Reconstruction) -> Row:
        """How far the face of one photograph is from its truth."""

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """One number per metric over all photographs."""
        return means(rows)

    def export(self, folder: Path, index: int, predictor: Predictor, face: Reconstruction) -> None:  # noqa: B027
        """Write what the benchmark's own server or program wants to see of one photograph, if it wants anything."""


@dataclasses.dataclass(frozen=True)
class Photo:
    """Where a photograph is, and where in it the face is, as far as somebody said.

    Attributes:
      path: of the picture.
      name: for tables.
      landmarks: [68, 2] pixels, or None.
      box: about where the box of the landmarks is, or None.
    """

    path: Path
    name: str
    landmarks: np.ndarray | None = None
    box: Box | None = None


class Photos(Pictures):
    """Photographs by their paths; the face is where landmarks or a box say, else the largest that is found."""

    def __init__(self, photos: Sequence[Photo]):
        super().__init__()
        self._photos = list(photos)
        self._boxes: dict[str, Box] = {}  # in pixels of what was read

    def __len__(self) -> int:
        return len(self._photos)

    def name(self, index: int) -> str:
        """See `Photo`."""
        return self._photos[index].name

    def read(self, index: int) -> Sample:
        """The photograph; raises ``Unreadable``."""
        photo = self._photos[index]
        sample = images.read(photo.path).sample(photo.landmarks, name=photo.name)
        if photo.landmarks is not None:
            return sample
        if photo.box is not None:
            self._boxes[photo.name] = Box(*(sample.scale * value for value in photo.box))
        elif photo.name not in self._boxes:
            if not (found := detection.load(detection.DEFAULT).find(sample.image)):
                raise Unreadable(f'no face was found; {LANDMARKS} can say where its landmarks are')
            self._boxes[photo.name] = found[0].square(1.0)
        return sample

    def rule(self, crop_scale: float) -> BoxRule:
        """Around the landmarks, or around the box where they should be."""

        def square(sample: Sample) -> Box:
            if (box := self._boxes.get(sample.name)) is None:
                return cropping.box_from_landmarks(sample.landmarks, crop_scale)
            margin = (crop_scale - 1) * box.side / 2
            return Box(box.x - margin, box.y - margin, crop_scale * box.side)

        return square


def known_landmarks(folder: Path) -> Mapping[str, np.ndarray]:
    """File name -> [68, 2] pixels of ``folder/landmarks.npz``, empty where there is none."""
    path = folder / LANDMARKS
    if not path.exists():
        return {}
    table = landmark_files.read(path)
    return dict(zip(table.names, table.landmarks))


def need(path: Path, missing: str) -> Path:
    """The path; or a UserError that names it and ``missing``, which says where to get it."""
    if not path.exists():
        raise UserError(f'{path} is not there: {" ".join(missing.split())}')
    return path


def means(rows: Sequence[Row]) -> dict[str, float]:
    """The mean over the images of every metric that is a number."""
    return {
        name: float(np.mean([row[name] for row in rows]))
        for name, value in rows[0].items()
        if not isinstance(value, np.ndarray)
    }
