"""One photograph on the host, and sources of them that survive unreadable files."""

from __future__ import annotations

import dataclasses
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from absl import logging

from jfrecon.errors import UserError

TRUTH_FIELDS = ('vertices', 'face', 'diffuse', 'normal', 'light')
TRUTH_MAPS = ('face', 'diffuse', 'normal')  # one value per pixel of the image


class Unreadable(Exception):
    """This one sample cannot be used; a source counts it and goes on with the next."""


def _unknown_landmarks() -> np.ndarray:
    return np.full((68, 2), np.nan, np.float32)


def _unknown_principal() -> np.ndarray:
    return np.full(2, np.nan, np.float32)


@dataclasses.dataclass(frozen=True)
class Sample:
    """A photograph of one face and what is known about it, before cropping; NumPy, unbatched.

    Attributes:
      image: [H, W, 3] uint8 sRGB.
      landmarks: [68, 2] float32 pixels in the iBUG order, x right, y down, pixel centres at +0.5; NaN where
        unknown.
      confidence: [68] float32 in 0..1 of the landmarks, how much they count; None: all that are known count 1.
      mask: [H, W] uint8, 255 on the pixels where the face is seen, 0 elsewhere; None where nobody said.
      focal: pixels, NaN where unknown.
      principal: [2] float32 pixels, NaN for the centre of the image.
      truth: the unbatched fields of ``types.Truth`` by name, synthetic faces only, else None.
      name: for messages and results.
      group: the subject or the clip, '' where unknown.
      box: (x, y, side) in pixels, the square that `jfrecon.prepare` chose for the face; None where nobody did.
      scale: pixels of the image for one of the file that it was read from: less than 1 where it was reduced. All
        pixels here are the image's.
      notes: what a user may want to know of how it was read.
    """

    image: np.ndarray
    landmarks: np.ndarray = dataclasses.field(default_factory=_unknown_landmarks)
    mask: np.ndarray | None = None
    focal: float = float('nan')
    principal: np.ndarray = dataclasses.field(default_factory=_unknown_principal)
    truth: dict[str, np.ndarray] | None = None
    name: str = ''
    group: str = ''
    box: tuple[float, float, float] | None = None
    scale: float = 1.0
    notes: tuple[str, ...] = ()
    confidence: np.ndarray | None = None

    def replace(self, **changes) -> Sample:
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)


def check(sample: Sample) -> Sample:
    """The sample itself, or ``Unreadable`` where its arrays do not have the shapes of ``Sample``."""
    image, mask, truth = sample.image, sample.mask, sample.truth
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise Unreadable(f'image is {image.dtype} {image.shape}, not uint8 (H, W, 3)')
    if sample.landmarks.shape != (68, 2):
        raise Unreadable(f'landmarks are {sample.landmarks.shape}, not (68, 2)')
    confidence = sample.confidence
    if confidence is not None and not (confidence.shape == (68,) and ((confidence >= 0) & (confidence <= 1)).all()):
        raise Unreadable('the confidence of the landmarks is not (68,) in 0..1')
    if sample.principal.shape != (2,):
        raise Unreadable(f'principal point is {sample.principal.shape}, not (2,)')
    if sample.focal <= 0:
        raise Unreadable(f'focal length {sample.focal} is not positive')
    if sample.box is not None and not (np.isfinite(sample.box).all() and sample.box[2] > 0):
        raise Unreadable(f'{sample.box} is not a box')
    if mask is not None and (mask.dtype != np.uint8 or mask.shape != image.shape[:2]):
        raise Unreadable(f'mask is {mask.dtype} {mask.shape}, image is {image.shape[:2]}')
    if truth is not None:
        if missing := [field for field in TRUTH_FIELDS if field not in truth]:
            raise Unreadable(f'ground truth lacks {", ".join(missing)}')
        if wrong := [field for field in TRUTH_MAPS if truth[field].shape[:2] != image.shape[:2]]:
            raise Unreadable(f'ground truth {", ".join(wrong)} not at the size of the image')
    return sample


class Source(ABC):
    """Random access to samples. Indexing never fails for one bad file: the next readable index replaces it.

    The replacement depends on the index alone, never on the order of access, so a resumed run sees the same
    data. Reading is safe from several threads.
    """

    def __init__(self):
        self._skip: set[int] = set()
        self._reasons: dict[int, str] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples, unreadable ones included."""

    @abstractmethod
    def read(self, index: int) -> Sample:
        """The sample at an index in [0, len); raises ``Unreadable``."""

    def name(self, index: int) -> str:
        """What to call the sample in a message, without reading it."""
        return str(index)

    @property
    def groups(self) -> Sequence[str]:
        """The group of every sample, without reading the images; '' where unknown."""
        return [''] * len(self)

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """(name, reason) of the samples found unusable so far, in the order of their indices."""
        with self._lock:
            return [(self.name(i), reason) for i, reason in sorted(self._reasons.items())]

    def note(self, index: int, reason: str) -> None:
        """Count an unusable sample and log it, the first time."""
        with self._lock:
            if index in self._reasons:
                return
            self._reasons[index] = reason
            count = len(self._reasons)
        logging.warning('skipped %s: %s (%d unreadable so far)', self.name(index), reason, count)

    def attempt(self, index: int) -> Sample | None:
        """The sample, or None where it is unreadable."""
        if index in self._skip:
            return None
        try:
            return self.read(index)
        except Unreadable as error:
            self._skip.add(index)
            self.note(index, str(error))
            return None

    def at(self, index: int) -> tuple[int, Sample]:
        """The first readable sample at or after an index, cyclically, and where it was found."""
        for step in range(len(self)):
            found = (index + step) % len(self)
            if (sample := self.attempt(found)) is not None:
                return found, sample
        raise UserError(self.none_left())

    def none_left(self) -> str:
        """The message for a source without a single readable sample."""
        if not len(self):
            return 'there are no samples in the data source'
        name, reason = self.unreadable[0]
        return f'none of the {len(self)} samples is readable; the first, {name}: {reason}'

    def __getitem__(self, index: int) -> Sample:
        return self.at(index)[1]

    def __iter__(self) -> Iterator[Sample]:
        """Every readable sample once, in order."""
        for index in range(len(self)):
            if (sample := self.attempt(index)) is not None:
                yield sample


class InMemory(Source):
    """Samples that are already there: a list, or anything with ``__len__`` and ``__getitem__``."""

    def __init__(self, samples: Sequence[Sample]):
        super().__init__()
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def read(self, index: int) -> Sample:
        """The sample at an index, its shapes checked."""
        return check(self._samples[index])


class Subset(Source):
    """Some of the samples of a source, by their places in it."""

    def __init__(self, source: Source, places: Sequence[int]):
        super().__init__()
        self._source, self._places = source, list(places)

    def __len__(self) -> int:
        return len(self._places)

    def read(self, index: int) -> Sample:
        """The sample at an index among the chosen; raises ``Unreadable``."""
        return self._source.read(self._places[index])

    def name(self, index: int) -> str:
        """The source's name for it."""
        return self._source.name(self._places[index])

    @property
    def groups(self) -> Sequence[str]:
        """Those of the chosen."""
        groups = self._source.groups
        return [groups[place] for place in self._places]


class Joined(Source):
    """The samples of several sources, one source after another."""

    def __init__(self, *sources: Source):
        super().__init__()
        self._sources = sources

    def __len__(self) -> int:
        return sum(map(len, self._sources))

    def read(self, index: int) -> Sample:
        """The sample at an index of all; raises ``Unreadable``."""
        source, within = self._find(index)
        return source.read(within)

    def name(self, index: int) -> str:
        """Its source's name for it."""
        source, within = self._find(index)
        return source.name(within)

    @property
    def groups(self) -> Sequence[str]:
        """Those of all sources; groups of the same name in two sources are two."""
        return [f'{k}/{group}' if group else '' for k, source in enumerate(self._sources) for group in source.groups]

    def _find(self, index: int) -> tuple[Source, int]:
        for source in self._sources:
            if index < len(source):
                return source, index
            index -= len(source)
        raise IndexError(index)
