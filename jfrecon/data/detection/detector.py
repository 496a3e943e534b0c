"""What a detector is, and what it finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jfrecon.data import cropping
from jfrecon.data.cropping import Box

BATCH, PIXELS = 16, 50e6  # images that a detector sees at once, where it can, and pixels of all of them together


@dataclasses.dataclass(frozen=True)
class Detection:
    """A face in an image. In pixels, x right, y down, the first one's centre at (0.5, 0.5).

    Attributes:
      landmarks: [68, 2] in the iBUG order, NaN where their place is not known.
      confidence: [68] of the landmarks, in 0..1: what they weigh; None: 1.
      presence: in 0..1, that it is a face.
      dense: [M, 2] or [M, 3] further points in an order of the detector's own, z in pixels too, negative towards the
        camera; None where it has none.
      openings: [7, 2] from the lower to the upper point of each pair of `landmark_layout.OPENINGS`, None where the
        detector knows no more of it than its landmarks say.
      gaze: [2, 2] from the middle of the corners of the subject's right and left eye to the iris, None where unknown.
    """

    landmarks: np.ndarray
    confidence: np.ndarray | None = None
    presence: float = 1.0
    dense: np.ndarray | None = None
    openings: np.ndarray | None = None
    gaze: np.ndarray | None = None

    @property
    def known(self) -> np.ndarray:
        """[68, 2] the landmarks, NaN where their confidence is 0."""
        if self.confidence is None:
            return self.landmarks
        return np.where(np.asarray(self.confidence)[:, None] > 0, self.landmarks, np.nan)

    def scaled(self, scale: float) -> Detection:
        """The face in an image that is ``scale`` times as wide."""
        times = lambda values: None if values is None else values * scale
        points: Any = {name: times(getattr(self, name)) for name in ('landmarks', 'dense', 'openings', 'gaze')}
        return dataclasses.replace(self, **points)

    def square(self, scale: float) -> Box:
        """The square of a crop: ``scale`` times the bounding box of the known landmarks.

        Raises:
          Unreadable: no landmark is known.
        """
        return cropping.box_from_landmarks(self.known, scale)


Find = Callable[[np.ndarray], list[Detection]]
FindIn = Callable[[np.ndarray, np.ndarray], list[Detection | None]]
Follow = Callable[[np.ndarray, Sequence[Detection]], list[Detection | None]]
FindMany = Callable[[Sequence[np.ndarray]], list[list[Detection]]]


@dataclasses.dataclass(frozen=True)
class Detector:
    """Functions that find faces, and what to know before they are called.

    Attributes:
      find: image [H, W, 3] uint8 sRGB -> the faces in it, the largest first, the same each time.
      find_in: image and boxes [K, 4] (x, y, w, h) -> the face in each box, in their order; None where it sees none.
      missing: what to do before it can be used (install a package), '' where nothing is missing.
      ready: called once before several processes look for faces; may fetch weights.
      libraries: packages whose versions decide what it finds.
      find_many: the same as ``find`` for many images at once, where that is faster.
      follow: image and faces of the frame before -> each of them now, None where it is lost, where that is faster.
    """

    find: Find
    find_in: FindIn
    missing: Callable[[], str] = lambda: ''
    ready: Callable[[], object] = lambda: None
    libraries: tuple[str, ...] = ()
    find_many: FindMany | None = None
    follow: Follow | None = None

    def each(self, images: Iterable[np.ndarray]) -> Iterator[list[Detection]]:
        """The faces in each of many images, the frames of a video for example."""
        if self.find_many is None:
            yield from map(self.find, images)
            return
        some: list[np.ndarray] = []
        for image in images:
            some.append(image)
            if len(some) == BATCH or sum(one.shape[0] * one.shape[1] for one in some) >= PIXELS:
                yield from self.find_many(some)
                some = []
        if some:
            yield from self.find_many(some)
