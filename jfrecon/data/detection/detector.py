"""What a detector is, and what it finds."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from jfrecon.data import cropping
from jfrecon.data.cropping import Box
from jfrecon.data.sample import Unreadable

BATCH = 16  # images that a detector sees at once, where it can


@dataclasses.dataclass(frozen=True)
class Detection:
    """A face in an image: its landmarks, a box, or both. In pixels, x right, y down, the first one's centre at +0.5.

    Attributes:
      landmarks: [68, 2] in the iBUG order, NaN where unknown.
      box: a square as face detectors draw it, 1.1 times as wide as the landmarks' bounding box and higher up, see
        `jfrecon.data.cropping.box_from_detection`; None where there is none.
      confidence: [68] of the landmarks, in 0..1; those of confidence 0 are unknown, whatever their place. None: 1.
      presence: in 0..1, that it is a face.
      dense: [M, 2] further points in an order of the detector's own, None where it has none.
    """

    landmarks: np.ndarray = dataclasses.field(default_factory=lambda: np.full((68, 2), np.nan))
    box: Box | None = None
    confidence: np.ndarray | None = None
    presence: float = 1.0
    dense: np.ndarray | None = None

    def __post_init__(self):
        if self.confidence is not None:
            known = np.asarray(self.confidence)[:, None] > 0
            object.__setattr__(self, 'landmarks', np.where(known, self.landmarks, np.nan))

    def square(self, scale: float) -> Box:
        """The square of a crop: ``scale`` times the landmarks' bounding box, or what the box says that it is.

        Raises:
          Unreadable: no landmark is known and there is no box, or one that is not finite.
        """
        if self.box is None or np.isfinite(self.landmarks).all(axis=1).any():
            return cropping.box_from_landmarks(self.landmarks, scale)
        if not (np.isfinite(self.box).all() and self.box.side > 0):
            raise Unreadable('the given box is not a box')
        return cropping.box_from_detection(self.box, scale)


Find = Callable[[np.ndarray, np.ndarray | None], list[Detection]]
FindMany = Callable[[Sequence[np.ndarray]], list[list[Detection]]]


@dataclasses.dataclass(frozen=True)
class Detector:
    """A function that finds faces, and what to know before it is called.

    Attributes:
      find: image [H, W, 3] uint8 sRGB and boxes [K, 4] (x, y, w, h) or None -> the faces in the image, the same each
        time. With boxes one for each of them, in their order; without landmarks where it sees none.
      landmarks: whether it finds landmarks; where it does not, it is never given boxes.
      missing: what to do before it can be used (install a package), '' where nothing is missing.
      ready: called once before several processes look for faces; may fetch weights.
      libraries: packages whose versions decide what it finds.
      find_many: the same for many images at once, where that is faster.
    """

    find: Find
    landmarks: bool
    missing: Callable[[], str] = lambda: ''
    ready: Callable[[], object] = lambda: None
    libraries: tuple[str, ...] = ()
    find_many: FindMany | None = None

    def each(self, images: Iterable[np.ndarray]) -> Iterator[list[Detection]]:
        """The faces in each of many images, the frames of a video for example."""
        if self.find_many is None:
            yield from (self.find(image, None) for image in images)
            return
        images = iter(images)
        while some := list(itertools.islice(images, BATCH)):
            yield from self.find_many(some)
