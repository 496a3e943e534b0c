"""A face in a video: one person in all frames, and a pose, an expression and a light that move steadily."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon import morphable
from jfrecon.data import cropping, detection, landmark_layout
from jfrecon.data.cropping import Box
from jfrecon.data.detection import tracking
from jfrecon.data.detection.detector import Detection
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.data.videos import BreaksOff, Frame
from jfrecon.fitting import motion
from jfrecon.morphable import heads
from jfrecon.reconstruction import photograph
from jfrecon.reconstruction.photograph import Face, Reconstructor
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.render import panel
from jfrecon.types import FaceParameters, Pinhole

Frames = Callable[[], Iterator[Frame]]  # from the first on

STEADY, DIM = 0.08, 0.5  # seconds: standard deviations of the Gaussians that smooth boxes and light in time
KEYS = 5  # frames that a fit looks at
BATCH = 8  # frames that one call of a program sees: one shape for all videos
PICTURE = 256  # pixels of the side of the pictures
MOVING = ('expression', 'rotation', 'translation', 'light')  # what differs from frame to frame


class Clip(NamedTuple):
    """A video reconstructed: the face in its middle frame, and how it moves.

    Attributes:
      face: where it was found in that frame, and ``result``: what it is.
      motion: the face in every frame, leaves [F, ...]; identity, albedo and maps are those of ``result``.
      numbers: [F] of the frames, and ``times``: [F] seconds, when each is shown.
      pictures: [F, PICTURE, 2 PICTURE, 3] uint8: the frame around the face, and the face over it.
      seen: what the detector saw.
      missing: what is wrong with the video, of which only some frames could be read; '' for nothing.
    """

    face: Face
    result: Reconstruction
    motion: FaceParameters
    numbers: np.ndarray
    times: np.ndarray
    pictures: np.ndarray
    seen: motion.Seen
    missing: str


def reconstruct(
    frames: Frames, make: Reconstructor, box: np.ndarray | None = None, focal: float = float('nan'),
    progress: Callable[[], None] | None = None, landmarker: str = detection.DEFAULT,
) -> Clip:  # fmt: skip
    """Reconstructs the largest face of a video.

    Identity, albedo and maps are those of a fit to `KEYS` of its frames together, or of a network alone where there is
    no fitter; pose, expression and gaze follow the points that the detector sees in each frame
    (`jfrecon.fitting.motion`). The light of a frame is the network's, changed as the fit changed that of the key
    frames. Of a video that breaks off it takes the frames before that.

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
    numbers, times, faces = _follow(_readable(frames, missing), box, landmarker)
    seen = _seen(times, faces)
    scenes = _scenes(seen)
    boxes = _boxes(faces, times, scenes, network.crop_scale)
    if not np.isfinite(focal):
        focal = network.focal * float(np.median([place.side for place in boxes]))
    places = _keys(faces)

    kept: dict[int, Face] = {}
    around = _union(boxes)
    light: list[np.ndarray] = []
    shown: list[np.ndarray] = []
    waiting: list[Face] = []
    for k, frame in enumerate(_readable(frames, [])):
        face = _face(frame.image, faces[k], boxes[k], focal, tuple(missing))
        if k in places:
            kept[k] = face
        square = face._replace(box=around).cut(PICTURE)
        shown.append(np.round(255 * square.image[0]).astype(np.uint8))
        waiting.append(face)
        if len(waiting) == BATCH or k + 1 == len(boxes):
            batch = photograph.cut([*waiting, *waiting[-1:] * (BATCH - len(waiting))], network.size)
            light += [*np.asarray(make.predicted(batch).light)[: len(waiting)]]
            waiting = []

    results = make([kept[k] for k in places], progress)
    person = results[KEYS // 2].parameters
    head = morphable.head_around(make.portrait.model)
    irises = None if head is None else heads.irises(head)
    moved = motion.follow(make.model, person, results[KEYS // 2].camera, seen, irises)
    steady = np.stack(light)
    bands = person.light.shape[-2]
    steady = np.pad(steady, ((0, 0), (0, bands - steady.shape[-2]), (0, 0)))
    steady = _by_scene(steady, times, scenes, DIM)
    change = np.stack([found.parameters.light for found in results]) - steady[places]
    steady = steady + _between(times[places], change, times)
    every = lambda leaf: np.broadcast_to(leaf, (len(boxes), *np.shape(leaf)))
    moving = dataclasses.replace(
        person,
        identity=every(person.identity), albedo=every(person.albedo), light=steady.astype(np.float32), maps=None,
        **moved._asdict(),
    )  # fmt: skip
    centre = kept[places[KEYS // 2]]
    chi = dataclasses.replace(at(moving, places[KEYS // 2]), maps=person.maps)
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[None], chi)
    result = make.placed([centre], one, centre.cut(PICTURE))[0]
    pictures = _pictures(make, moving, person, shown, square.camera)
    return Clip(centre, result, moving, numbers, times, pictures, seen, ''.join(missing))


def at(moving: FaceParameters, k: int) -> FaceParameters:
    """The face in one frame."""
    return jax.tree.map(lambda leaf: leaf[k], moving)


def _readable(frames: Frames, missing: list[str]) -> Iterator[Frame]:
    """The frames of a video as far as they can be read; where it breaks off, ``missing`` gets to know."""
    try:
        yield from frames()
    except BreaksOff as error:
        missing.append(str(error))


def _follow(
    frames: Iterator[Frame], box: np.ndarray | None, landmarker: str
) -> tuple[np.ndarray, np.ndarray, list[Detection | None]]:
    """Numbers and times of the frames, and the face in each, None where too little of it is found."""
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
    known = lambda face: np.isfinite(face.known).all(-1).sum() >= landmark_layout.ENOUGH
    found = {k: face for k, face in tracks[0].faces.items() if known(face)} if tracks else {}
    if 2 * len(found) <= len(numbers):
        where = '' if box is None else ' in the given box'
        raise Unreadable(f'a face is found{where} in {len(found)} of {len(numbers)} frames')
    return np.array(numbers), np.array(times), [found.get(k) for k in range(len(numbers))]


def _landmarks(face: Detection) -> np.ndarray:
    """[68, 2] where they are known, lips and lids as far apart as the detector says."""
    if face.openings is None:
        return cropping.shut_lips(face.known)
    return landmark_layout.opened(face.known, face.openings)


def _seen(times: np.ndarray, faces: list[Detection | None]) -> motion.Seen:
    """What the detector saw of a face, NaN where it saw none."""
    upper, lower = np.array(landmark_layout.OPENINGS).T
    unknown = np.full((68, 2), np.nan)
    landmarks = np.stack([unknown if face is None else _landmarks(face) for face in faces])
    shares = [
        np.zeros(68) if face is None else np.ones(68) if face.confidence is None else face.confidence for face in faces
    ]
    gaze = [np.full(2, np.nan) if face is None or face.gaze is None else face.gaze.mean(0) for face in faces]
    return motion.Seen(
        times, landmarks, np.stack(shares), landmarks[:, upper] - landmarks[:, lower], np.stack(gaze)
    )  # fmt: skip


def _scenes(seen: motion.Seen) -> list[slice]:
    """The frames between cuts."""
    starts = [0, *(np.flatnonzero(motion.cuts(seen)) + 1).tolist(), len(seen.times)]
    return [slice(start, end) for start, end in itertools.pairwise(starts)]


def _boxes(faces: list[Detection | None], times: np.ndarray, scenes: list[slice], scale: float) -> list[Box]:
    """A steady square around the face in each frame."""
    centres = np.full((len(faces), 3), np.nan)
    for k, face in enumerate(faces):
        if face is not None:
            square = face.square(scale)
            centres[k] = *_centre(square), np.log(square.side)
    known = np.isfinite(centres).all(-1)
    path = _by_scene(_between(times[known], centres[known], times), times, scenes, STEADY)
    return [Box(float(x - s / 2), float(y - s / 2), float(s)) for (x, y, _), s in zip(path, np.exp(path[:, 2]))]


def _keys(faces: list[Detection | None]) -> list[int]:
    """`KEYS` frames that show the face, evenly over the video and in its middle; some twice in a short one."""
    found = np.flatnonzero([face is not None for face in faces])
    places = found[np.linspace(0, len(found) - 1, KEYS).round().astype(int)]
    places[KEYS // 2] = found[np.abs(found - len(faces) // 2).argmin()]
    return places.tolist()


def _face(image: np.ndarray, found: Detection | None, box: Box, focal: float, notes: tuple[str, ...]) -> Face:
    """The face in a frame, with what the detector knows of it."""
    height, width = image.shape[:2]
    principal = np.array([width / 2, height / 2], np.float32)
    sample = Sample(image, focal=focal, principal=principal, notes=notes)
    if found is None:
        return Face(sample, box, 0.0)
    share = None if found.confidence is None else np.asarray(found.confidence, np.float32)
    sample = sample.replace(landmarks=_landmarks(found).astype(np.float32), confidence=share)
    return Face(sample, box, found.presence, found.dense)


def _pictures(
    make: Reconstructor, moving: FaceParameters, person: FaceParameters, shown: list[np.ndarray], camera: Pinhole
) -> np.ndarray:
    """[F, PICTURE, 2 PICTURE, 3] uint8: what is shown, and the face over it. camera: of each, leaves [1, ...]."""
    pictures = []
    maps = jax.tree.map(lambda leaf: np.asarray(leaf)[None], person.maps)
    camera, maps = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf), BATCH, 0), (camera, maps))
    for start in range(0, len(shown), BATCH):
        frames = np.minimum(np.arange(start, start + BATCH), len(shown) - 1)
        chi = dataclasses.replace(jax.tree.map(lambda leaf, frames=frames: leaf[frames], moving), maps=maps)
        images = jnp.asarray(np.stack([shown[k] for k in frames]) / np.float32(255))
        drawn = panel.rows(make.portrait, chi, images, camera, ('input', 'overlay'))
        pictures.append(drawn[: len(shown) - start])
    return np.concatenate(pictures)


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


def _by_scene(values: np.ndarray, times: np.ndarray, scenes: list[slice], sigma: float) -> np.ndarray:
    """Values [F, ...] smoothed in time, but not across cuts."""
    return np.concatenate([smooth(values[scene], times[scene], sigma) for scene in scenes])


def _between(known: np.ndarray, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Values [K, ...] at ``known`` times [K], linearly in between, at all ``times`` [F]."""
    flat = values.reshape(len(known), -1)
    columns = [np.interp(times, known, column) for column in flat.T]
    return np.stack(columns, -1).reshape(len(times), *values.shape[1:])
