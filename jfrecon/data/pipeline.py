"""Sources to batches, as Grain ``MapDataset``s: any step's batch can be computed from its number alone.

Shuffling and jitter depend on the seed and on the sample's place in the endless global order; the processes
take their parts of it last. So a checkpoint holds just the step, and a run resumes exactly on another number
of processes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import grain
import numpy as np
from absl import logging

from jfrecon.data.cropping import (
    FOREHEAD,
    Box,
    Jitter,
    below_brows,
    box_from_landmarks,
    crop,
    flip,
    jitter_box,
    jitter_colour,
    require_face,
    shrink,
    shut_lips,
    whole_image,
)
from jfrecon.data.sample import TRUTH_FIELDS, Sample, Source, Unreadable
from jfrecon.errors import UserError
from jfrecon.types import Batch, Pinhole, Truth

BoxRule = Callable[[Sample], Box]
MEMORY = 2**29  # bytes of decoded images that a training run keeps


def landmark_box(scale: float = 1.6) -> BoxRule:
    """The rule that cuts around the landmarks; samples without any are unreadable."""
    return lambda sample: box_from_landmarks(sample.landmarks, scale)


def whole_box() -> BoxRule:
    """The rule for photos that are cropped to the face already."""
    return lambda sample: whole_image(sample.image)


def prepared_box() -> BoxRule:
    """The rule that takes the square which `jfrecon.prepare` chose; samples without one are unreadable."""

    def rule(sample: Sample) -> Box:
        if sample.box is None:
            raise Unreadable('it has no box: not prepared by jfrecon.prepare')
        return Box(*sample.box)

    return rule


class Boxed(Source):
    """A source in which samples that the box rule cannot cut are unreadable too.

    If ``size`` is given, samples are prepared for training on square crops of ``size`` pixels. A sample with neither
    landmarks nor a mask is then unreadable, since both of its terms would be zero. Samples are shrunk to what crops
    need (`crop.shrink`), without ground truth, and the first `MEMORY` bytes of images are remembered. To decode a
    small set anew in every epoch and to cut its photos at full resolution costs a small network on a CPU as much as
    half a step.
    """

    def __init__(
        self,
        source: Source,
        rule: BoxRule,
        size: int | None = None,
        forehead: float = FOREHEAD,
        anywhere: bool = False,
    ):
        super().__init__()
        self._forehead, self._anywhere = forehead, anywhere
        self._source, self.rule = source, rule
        self._size, self._room = size, MEMORY
        self._kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self._source)

    def read(self, index: int) -> Sample:
        """The sample; raises ``Unreadable``."""
        if (kept := self._kept.get(index)) is not None:
            return kept
        sample = self._source.read(index)
        require_face(self.rule(sample), sample.image)
        if self._size is None:
            return sample
        known = np.isfinite(sample.landmarks).all(axis=-1).any()
        if sample.mask is None and not (known or self._anywhere):
            raise Unreadable('it has neither landmarks nor a mask: nothing says where the face is')
        if not (self._forehead or known):
            raise Unreadable('without landmarks nothing says where its forehead begins: set config.data.forehead=0.2')
        sample = shrink(sample, self.rule(sample), self._size)
        with self._lock:
            if sample.image.nbytes <= self._room and index not in self._kept:
                self._kept[index] = sample
                self._room -= sample.image.nbytes
        return sample

    def name(self, index: int) -> str:
        """The source's name for it."""
        return self._source.name(index)

    @property
    def groups(self) -> Sequence[str]:
        """The source's groups."""
        return self._source.groups

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Those of the source, which counts for both."""
        return self._source.unreadable

    def note(self, index: int, reason: str) -> None:
        """Count it in the source."""
        self._source.note(index, reason)


def batches(
    source: Source,
    *,
    size: int,
    batch_size: int,
    seed: int,
    default_focal: float,
    rule: BoxRule = landmark_box(),  # noqa: B008 (a pure function)
    jitter: Jitter | None = None,
    forehead: float = FOREHEAD,
    detected: bool = False,
    anywhere: bool = False,
    frames: int = 1,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.MapDataset:
    """An endless ``MapDataset`` of training batches; element s is this process's part of global step s.

    The parts of all processes, in order, are the batch of a single process. Ground truth is left behind.

    Args:
      source: where samples come from; ``source.unreadable`` lists what had to be replaced.
      size: pixels of the side of a crop.
      batch_size: of all processes together.
      seed: of the order and the jitter, in [0, 2^32).
      default_focal: focal length in crop sides, for photos that do not know theirs.
      rule: photo -> square.
      jitter: random changes of each crop, or None.
      forehead: see ``crop.hull_mask``; 0 takes the forehead from masks that are given, too.
      detected: whether a detector found the landmarks, see ``crop.shut_lips``.
      anywhere: whether the mask of a sample with neither landmarks nor a mask is all of it; else it is unreadable.
      frames: so many consecutive rows come from one group (clip), drawn anew each time; cest needs several.
      process_index, process_count: of ``jax.process_index()`` and ``jax.process_count()``.

    Raises:
      UserError: the batch cannot be divided, there are no samples, or no group has enough frames.
    """
    if batch_size % (process_count * frames):
        raise UserError(f'batch size {batch_size} is not divisible by {process_count} processes x {frames} frames')
    clips = _clips(source, frames)
    boxed = Boxed(source, rule, size, forehead, anywhere)

    def load(clip: int, rng: np.random.Generator) -> list[tuple[int, Sample]]:
        rows, mirrored = [], None  # a clip is mirrored whole: what a person keeps is the same in all frames
        for index, sample in _readable_frames(boxed, clips, clip, frames, rng):
            box = rule(sample) if jitter is None else jitter_box(rule(sample), jitter, rng)
            cut = crop(sample, box, size, default_focal, forehead)
            if not forehead and sample.mask is not None:
                cut = below_brows(cut)
            if detected:
                cut = cut.replace(landmarks=shut_lips(cut.landmarks))
            if jitter is not None:
                cut = cut.replace(image=jitter_colour(cut.image, jitter, rng))
                mirrored = rng.random() < jitter.flip if mirrored is None else mirrored
                cut = flip(cut) if mirrored else cut
            rows.append((index, cut))
        return rows

    local = batch_size // process_count
    endless = grain.MapDataset.range(len(clips)).seed(seed).shuffle().repeat().random_map(load)
    parts = endless.batch(local // frames, drop_remainder=True, batch_fn=_flat_batch)
    return parts.slice(slice(process_index, None, process_count))


def examples(
    source: Source,
    *,
    size: int,
    batch_size: int,
    default_focal: float,
    rule: BoxRule = landmark_box(),  # noqa: B008
    forehead: float = 0.0,
) -> Iterator[tuple[Batch, int]]:
    """(batch, count) over all readable samples once, in order, for evaluation.

    The last batch repeats its last row up to ``batch_size`` (one compiled shape); only ``count`` rows are
    new.
    """
    for cuts in chunks(source, size, batch_size, default_focal, rule, forehead):
        yield stack(cuts, batch_size), len(cuts)


def with_truth(
    source: Source,
    *,
    size: int,
    batch_size: int,
    default_focal: float,
    rule: BoxRule = landmark_box(),  # noqa: B008
    forehead: float = 0.0,
) -> Iterator[tuple[Batch, Truth, int]]:
    """``examples`` of synthetic faces with their ground truth; raises ``UserError`` where there is none."""
    for cuts in chunks(source, size, batch_size, default_focal, rule, forehead):
        truths = [cut.crop.truth for cut in _pad(cuts, batch_size)]
        if any(truth is None for truth in truths):
            raise UserError('this evaluation needs ground truth, which only synthetic faces have')
        fields = {k: np.stack([truth[k].astype(np.float32) for truth in truths if truth]) for k in TRUTH_FIELDS}
        yield stack(cuts, batch_size), Truth(**fields), len(cuts)


def _clips(source: Source, frames: int) -> list[list[int]]:
    """Which samples may stand together: each alone, or those of a group that has enough of them."""
    if not len(source):
        raise UserError('there are no samples in the data source')
    if frames == 1:
        return [[index] for index in range(len(source))]
    members: dict[str, list[int]] = {}
    for index, group in enumerate(source.groups):
        members.setdefault(group, []).append(index)
    members.pop('', None)  # unknown: not known to show the same person
    clips = [indices for indices in members.values() if len(indices) >= frames]
    if not clips:
        raise UserError(f'no subject or clip in the data source has {frames} images')
    if len(clips) < len(members):
        logging.info('%d of %d groups have %d images or more', len(clips), len(members), frames)
    return clips


def _readable_frames(
    source: Source, clips: list[list[int]], clip: int, frames: int, rng: np.random.Generator
) -> list[tuple[int, Sample]]:
    """Frames drawn from a clip; where too few are readable, from the next clip that has enough."""
    for step in range(len(clips)):
        rows = []
        for index in rng.permutation(clips[(clip + step) % len(clips)]):
            if (sample := source.attempt(int(index))) is not None:
                rows.append((int(index), sample))
            if len(rows) == frames:
                return rows
    raise UserError(source.none_left())


@dataclasses.dataclass(frozen=True)
class Cut:
    """A crop and where it comes from.

    Attributes:
      index: position in the source.
      box: where it lies in the photo.
      size: (H, W) of the photo.
      crop: the sample, cut and resampled.
    """

    index: int
    box: Box
    size: tuple[int, int]
    crop: Sample


def chunks(
    source: Source, size: int, batch_size: int, default_focal: float, rule: BoxRule, forehead: float = 0.0
) -> Iterator[list[Cut]]:
    """The crops of all readable samples once, in order, up to ``batch_size`` at a time; see `examples`."""
    boxed = Boxed(source, rule)
    cuts, found = [], False
    for index in range(len(boxed)):
        if (sample := boxed.attempt(index)) is not None:
            found, box = True, rule(sample)
            height, width = sample.image.shape[:2]
            cuts.append(Cut(index, box, (height, width), crop(sample, box, size, default_focal, forehead)))
        if len(cuts) == batch_size:
            yield cuts
            cuts = []
    if cuts:
        yield cuts
    if not found:
        raise UserError(boxed.none_left())


def stack(cuts: Sequence[Cut], batch_size: int) -> Batch:
    """A batch of crops, the last of them repeated up to ``batch_size``: one compiled shape."""
    return _batch([(cut.index, cut.crop) for cut in _pad(cuts, batch_size)])


def _confidence(sample: Sample) -> np.ndarray:
    return np.ones(68, np.float32) if sample.confidence is None else sample.confidence.astype(np.float32)


def _pad(cuts: Sequence[Cut], batch_size: int) -> list[Cut]:
    return [*cuts, *[cuts[-1]] * (batch_size - len(cuts))]


def _batch(rows: Sequence[tuple[int, Sample]]) -> Batch:
    samples = [sample for _, sample in rows]
    landmarks = np.stack([sample.landmarks for sample in samples])
    known = np.isfinite(landmarks).all(axis=-1)
    return Batch(
        image=np.stack([sample.image for sample in samples]).astype(np.float32) / np.float32(255),
        landmarks=np.where(known[..., None], landmarks, np.float32(0)),
        landmark_weight=known * np.stack([_confidence(sample) for sample in samples]),
        mask=np.stack([_mask(sample) for sample in samples]).astype(np.float32) / np.float32(255),
        camera=Pinhole(
            focal=np.array([sample.focal for sample in samples], np.float32),
            principal=np.stack([sample.principal for sample in samples]),
        ),
        index=np.array([index for index, _ in rows], np.int32),
    )


def _flat_batch(clips: Sequence[list[tuple[int, Sample]]]) -> Batch:
    return _batch([row for rows in clips for row in rows])


def _mask(sample: Sample) -> np.ndarray:
    assert sample.mask is not None, 'crop gives every sample a mask'
    return sample.mask
