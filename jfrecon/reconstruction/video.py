"""A face in a video: one person in all frames, and a pose, an expression and a light that move steadily."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from jfrecon.data import detection
from jfrecon.data.cropping import Box
from jfrecon.data.detection import tracking
from jfrecon.data.detection.detector import Detection
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.data.videos import BreaksOff, Frame
from jfrecon.reconstruction import photograph
from jfrecon.reconstruction.photograph import Face, Reconstructor
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.render import panel
from jfrecon.types import FaceParameters

Frames = Callable[[], Iterator[Frame]]  # from the first on

STEADY = 0.08  # seconds: standard deviation of the Gaussian that smooths boxes and faces in time
KEYS = 6  # frames that a fit looks at
PICTURE = 256  # pixels of the side of the pictures
MOVING = ('expression', 'rotation', 'translation', 'light')


class Clip(NamedTuple):
    """A video reconstructed: the face in its middle frame, and how it moves.

    Attributes:
      face: where it was found in that frame, and ``result``: what it is.
      motion: the face in every frame, leaves [F, ...]; identity, albedo and maps are those of ``result``.
      numbers: [F] of the frames, and ``times``: [F] seconds, when each is shown.
      pictures: [F, PICTURE, 2 PICTURE, 3] uint8: the frame around the face, and the face over it.
      missing: what is wrong with the video, of which only some frames could be read; '' for nothing.
    """

    face: Face
    result: Reconstruction
    motion: FaceParameters
    numbers: np.ndarray
    times: np.ndarray
    pictures: np.ndarray
    missing: str


def reconstruct(
    frames: Frames, make: Reconstructor, box: np.ndarray | None = None, focal: float = float('nan'),
    progress: Callable[[], None] | None = None, landmarker: str = detection.DEFAULT,
) -> Clip:  # fmt: skip
    """Reconstructs the largest face of a video, by a network and, where there is a fitter, by a fit to some frames.

    What the fit changes in the frames that it has seen is spread over those in between. Of a video that breaks off it
    takes the frames before that.

    Args:
      frames: reads the video; called twice, as its frames are not kept.
      make: with a network.
      box: [4] x, y, w, h: the face lies in it in all frames; by default the person with the largest
        face area, over all frames, is followed.
      focal: pixels; by default the network's, in sides of the face's square.
      progress: called after every step of the fit.
      landmarker: the detector that looks for the face.

    Raises:
      Unreadable: half of the frames or more show no face.
    """
    network = make.network
    assert network is not None
    missing: list[str] = []
    if np.isfinite(focal):
        for *_, image in frames():
            photograph.with_focal(Sample(image), focal)
            break
    numbers, times, boxes, presence = _follow(_readable(frames, missing), box, landmarker, network.crop_scale)
    if not np.isfinite(focal):
        focal = network.focal * float(np.median([place.side for place in boxes]))
    keys = set(np.linspace(0, len(boxes) - 1, KEYS).round().astype(int).tolist()) | {len(boxes) // 2}

    kept: dict[int, Face] = {}
    around = _union(boxes)
    found, shown = [], []
    for k, frame in enumerate(_readable(frames, [])):
        height, width = frame.image.shape[:2]
        principal = np.array([width / 2, height / 2], np.float32)
        sample = Sample(frame.image, focal=focal, principal=principal, notes=tuple(missing))
        face = Face(sample, boxes[k], presence[k])
        batch = face.cut(network.size)
        found.append(jax.tree.map(np.asarray, make.predicted(batch)))
        shown.append(photograph.cut([Face(sample, around)], PICTURE))
        if k in keys:
            kept[k] = face
    steady = _steady(jax.tree.map(lambda *leaves: np.concatenate(leaves), *found), times)

    places = sorted(kept)
    results = make([kept[k] for k in places], progress)
    middle = places.index(len(boxes) // 2)
    person = results[middle].parameters
    bands = person.light.shape[-2]
    steady = dataclasses.replace(
        steady, light=np.pad(steady.light, ((0, 0), (0, bands - steady.light.shape[-2]), (0, 0)))
    )
    moving = {}
    for name in MOVING:
        ours = getattr(steady, name)
        change = np.stack([getattr(result.parameters, name) for result in results]) - ours[places]
        moving[name] = ours + _between(times[places], change, times)
    motion = dataclasses.replace(steady, **{name: value.astype(np.float32) for name, value in moving.items()})
    every = lambda leaf: np.broadcast_to(leaf, (len(boxes), *np.shape(leaf)))
    motion = dataclasses.replace(motion, identity=every(person.identity), albedo=every(person.albedo), maps=None)
    centre = kept[places[middle]]
    chi = dataclasses.replace(at(motion, places[middle]), maps=person.maps)
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[None], chi)
    result = make.placed([centre], one, centre.cut(PICTURE))[0]

    pictures = []
    for k, batch in enumerate(shown):
        chi = dataclasses.replace(at(motion, k), maps=person.maps)
        one = jax.tree.map(lambda leaf: np.asarray(leaf)[None], chi)
        pictures.append(panel.rows(make.portrait, one, batch.image, batch.camera, ('input', 'overlay'))[0])
    return Clip(centre, result, motion, numbers, times, np.stack(pictures), ''.join(missing))


def at(motion: FaceParameters, k: int) -> FaceParameters:
    """The face in one frame."""
    return jax.tree.map(lambda leaf: leaf[k], motion)


def _readable(frames: Frames, missing: list[str]) -> Iterator[Frame]:
    """The frames of a video as far as they can be read; where it breaks off, ``missing`` gets to know."""
    try:
        yield from frames()
    except BreaksOff as error:
        missing.append(str(error))


def _follow(
    frames: Iterator[Frame], box: np.ndarray | None, landmarker: str, scale: float
) -> tuple[np.ndarray, np.ndarray, list[Box], list[float]]:
    """Numbers and times of the frames, a steady square around the face in each, and its presence, 0 where not found."""
    numbers: list[int] = []
    times: list[float] = []

    def images() -> Iterator[np.ndarray]:
        for frame in frames:
            numbers.append(frame.number)
            times.append(frame.time)
            yield frame.image

    tracks = tracking.tracks(detection.load(landmarker), images())
    if box is not None:
        inside = [sum(_inside(face, box) for face in track.faces.values()) for track in tracks]
        tracks = [tracks[int(np.argmax(inside))]] if max(inside, default=0) else []
    centres = np.full((len(numbers), 3), np.nan)
    presence = [0.0] * len(numbers)
    for k, face in tracks[0].faces.items() if tracks else ():
        square, presence[k] = face.square(scale), face.presence
        centres[k] = *_centre(square), np.log(square.side)
    seen = np.isfinite(centres).all(-1)
    if 2 * seen.sum() <= len(seen):
        where = '' if box is None else ' in the given box'
        raise Unreadable(f'a face is found{where} in {seen.sum()} of {len(seen)} frames')
    when = np.array(times)
    path = smooth(_between(when[seen], centres[seen], when), when, STEADY)
    sides = np.exp(path[:, 2])
    boxes = [Box(float(x - s / 2), float(y - s / 2), float(s)) for (x, y, _), s in zip(path, sides)]
    return np.array(numbers), when, boxes, presence


def _inside(face: Detection, box: np.ndarray) -> bool:
    x, y = tracking.centre(face) - box[:2]
    return bool(0 <= x < box[2] and 0 <= y < box[3])


def _centre(box: Box) -> np.ndarray:
    return np.array([box.x + box.side / 2, box.y + box.side / 2])


def _union(boxes: list[Box]) -> Box:
    """The square around all of them."""
    corners = np.array([[b.x, b.y, b.x + b.side, b.y + b.side] for b in boxes])
    low, high = corners[:, :2].min(0), corners[:, 2:].max(0)
    side = float((high - low).max())
    x, y = (low + high) / 2 - side / 2
    return Box(float(x), float(y), side)


def smooth(values: np.ndarray, times: np.ndarray, sigma: float) -> np.ndarray:
    """Values [F, ...] at increasing times [F], each the mean of all, weighted by a Gaussian of their distance in time.

    A frame counts for as long as it is shown: from halfway to the one before to halfway to the one behind. Before the
    first and after the last frame both are repeated, at the distance of their neighbours. At a constant rate this is
    `scipy.ndimage.gaussian_filter1d` with its mode 'nearest'.
    """
    times, values = np.asarray(times, np.float64), np.asarray(values, np.float64)
    if len(times) == 1:
        return values
    reach = 4 * sigma
    first, last = (max(gap, sigma / 100) for gap in (times[1] - times[0], times[-1] - times[-2]))
    more = int(reach / first) + 1, int(reach / last) + 1
    before = times[0] - first * np.arange(more[0], 0, -1)
    behind = times[-1] + last * np.arange(1, more[1] + 1)
    when = np.concatenate([before, times, behind])
    flat = np.pad(values.reshape(len(times), -1), (more, (0, 0)), mode='edge')
    shown = np.gradient(when)
    ends = zip(np.searchsorted(when, times - reach), np.searchsorted(when, times + reach, 'right'))
    smoothed = np.empty((len(times), flat.shape[1]))
    for k, (start, end) in enumerate(ends):
        weight = shown[start:end] * np.exp(-0.5 * np.square((when[start:end] - times[k]) / sigma))
        smoothed[k] = weight @ flat[start:end] / weight.sum()
    return smoothed.reshape(values.shape)


def _steady(chi: FaceParameters, times: np.ndarray) -> FaceParameters:
    """Smoothed in time, leaves [F, ...]."""
    moving: Any = {name: smooth(np.asarray(getattr(chi, name)), times, STEADY) for name in MOVING}
    return dataclasses.replace(chi, maps=None, **moving)


def _between(known: np.ndarray, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Values [K, ...] at ``known`` times [K], linearly in between, at all ``times`` [F]."""
    flat = values.reshape(len(known), -1)
    columns = [np.interp(times, known, column) for column in flat.T]
    return np.stack(columns, -1).reshape(len(times), *values.shape[1:])
