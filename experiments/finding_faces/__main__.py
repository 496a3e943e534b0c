"""How many faces a detector finds, how many that are none, and how far its landmarks are off.

    python -m experiments.finding_faces --out=runs/finding_faces

Photographs of several sets, those that are there: 188 studio portraits (`faces_cc_by`), 20 photographs in the wild
(`photos`), `aflw2000`, renderings and photographs of scanned heads (`real_heads`), every 32nd of 6,745 photographs
(`wild`, each with the box of its main face) and 40 clips (`clips`). All of them show a face. What is counted:

* found: photographs in which a face lies where the labels say; others: faces elsewhere, which are people in the
  background or false alarms (`others.txt` names the photographs, to be looked at);
* NME of the found ones' landmarks: over the outer eyes' distance to the manual points of the 20 people of `faces_cc_by`
  that no table was fitted to, and to the points that came with `photos`; over the square root of the landmarks' box in
  `aflw2000`, and of the inner points' box in `real_heads`. Photographs without an answer count as 1;
* the same for photographs that are turned (tilt), seen from the side (yaw: heads of `real_heads`, for the rest `wild`'s
  labels, which a face mesh made, too), and made small (size);
* of the clips the share of frames with a face: every 40th frame searched, and all frames of every eighth clip followed;
* presence: of the found faces the lowest hundredth, and that of the others in their middle;
* core_milliseconds: the time of all cores for a photograph, the median, all of its faces found; for a frame that is
  followed, reading it included.

The trivial answer is the mean face, upright, in the box of the labels. `--draw` writes overlays, which show people: for
looking, not for committing.
"""

from __future__ import annotations

import argparse
import csv
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from experiments import harness, photographs
from jfrecon import commands, files
from jfrecon.data import detection, images, landmark_layout, videos
from jfrecon.data.detection import overlay, tracking
from jfrecon.data.detection.detector import Detection, Detector

NAME = 'finding_faces'
MEAN_FACE = 'mean face'
QUALITY = 85  # of overlays
TILTS = (0, 15, 30, 45, 60, 90, 180)
SIZES = (16, 32, 64, 128)  # pixels from the lowest to the highest landmark
CANVAS = 640
YAWS = (0, 15, 30, 45, 90)
INNER = slice(17, 68)
POSES = {'frontal': 0.0, 'front': 0.0, 'yaw-30': 30.0, 'yaw45': 45.0, 'side_left': 60.0, 'side_right': 60.0}
THINNED = 32  # of `wild`

Answers = dict[Path, tuple[list[Detection], float]]
Find = Callable[[np.ndarray, np.ndarray], list[Detection]]  # image, and the labels' box, which only the mean face uses


class Photograph(NamedTuple):
    """A photograph of a face.

    Attributes:
      path: of its file.
      landmarks: [68, 2] pixels, NaN where unknown; None where only the box is known.
      box: [4] x0, y0, x1, y1 of the face.
      unit: pixels that an error of 1 is.
      yaw: degrees, where known.
    """

    path: Path
    landmarks: np.ndarray | None
    box: np.ndarray
    unit: float
    yaw: float = float('nan')


class View(NamedTuple):
    """What a detector is shown of a photograph, and what it should find there, as in `Photograph`."""

    image: np.ndarray
    landmarks: np.ndarray | None
    box: np.ndarray
    unit: float


def main(arguments: list[str] | None = None) -> None:
    """Count the faces that detectors find in photographs of several sets, and measure their landmarks."""
    parser = harness.parser(NAME, main.__doc__ or '')
    photographs.add_arguments(parser)
    parser.add_argument(
        '--detectors', type=lambda text: text.split(','), default=[detection.DEFAULT], help='names, with commas'
    )
    parser.add_argument('--draw', type=Path, metavar='DIR', help='write overlays')
    options = parser.parse_args(arguments)
    run = harness.start(NAME, options.out, options.overwrite)
    known = sets(options)
    turnable = [p for label in ('portraits', 'photos') for p in known.get(label, ())][:: 8 if options.quick else 5]
    heads, wild = known.get('real heads', []), known.get('wild', [])
    results: dict[str, dict[str, float]] = {}
    others: list[str] = []
    for name in [*options.detectors, MEAN_FACE]:
        find = finder(name)
        answers: Answers = {}
        for label, photos in known.items():
            if name != MEAN_FACE or photos[0].landmarks is not None:
                results[f'{name}, {label}'] = measured(
                    find, photos, seen, f'{name}, {label}', answers, others, options.draw
                )
        for tilt in TILTS:
            turned = functools.partial(tilted, degrees=tilt)
            results[f'{name}, tilt {tilt}'] = measured(find, turnable, turned, f'{name}, tilt {tilt}', {})
        for size in SIZES if name != MEAN_FACE else ():
            small = functools.partial(shrunk, size=size)
            results[f'{name}, size {size}'] = measured(find, turnable, small, f'{name}, size {size}', {})
        for yaw in sorted(set(POSES.values())) if heads else ():
            some = [photo for photo in heads if photo.yaw == yaw]
            results[f'{name}, heads, yaw {yaw:g}'] = measured(find, some, seen, f'{name}, yaw {yaw:g}', answers)
        for low, high in itertools.pairwise(YAWS) if wild and name != MEAN_FACE else ():
            some = [photo for photo in wild if low <= abs(photo.yaw) < high]
            results[f'{name}, wild, yaw {low} to {high}'] = measured(
                find, some, seen, f'{name}, yaw {low} to {high}', answers
            )
        if (options.data / 'clips').is_dir() and name != MEAN_FACE:
            clips = sorted((options.data / 'clips').glob('*.mp4'))
            results |= {f'{name}, {label}': row for label, row in in_clips(detection.load(name), clips).items()}
    files.write_text(options.out / 'others.txt', '\n'.join(others) + '\n')
    run.record(results, harness.table(results))


def finder(name: str) -> Find:
    """A detector by name, warmed up, or the mean face."""
    if name == MEAN_FACE:
        return lambda image, box: [Detection(in_box(box))]
    detector = detection.load(name)
    detector.ready()
    return lambda image, box: detector.find(image)


def in_box(box: np.ndarray) -> np.ndarray:
    """[68, 2] pixels: the mean face, upright, in a box [4] x0, y0, x1, y1."""
    points = landmark_layout.MEAN[:, :2] * [1, -1]
    low, high = points.min(0), points.max(0)
    return box[:2] + (points - low) / (high - low) * (box[2:] - box[:2])


def sets(options: argparse.Namespace) -> dict[str, list[Photograph]]:
    """Name -> photographs, of the sets that are there."""
    data, found = options.data, {}
    thin = 8 if options.quick else 1
    if (data / 'faces_cc_by').is_dir():
        with np.load(data / 'faces_cc_by' / 'landmarks.npz') as labels:
            held = photographs.of_validation(labels['subject'])
            rows = zip(labels['filename'], labels['lm68_manual'], labels['lm68_auto3d'][..., :2], held)
            every = [(data / 'faces_cc_by' / 'images' / n, m.astype(float), a.astype(float), h) for n, m, a, h in rows]
        found['portraits'] = [_by_eyes(p, m) for p, m, _, h in every if h and np.isfinite(m[36, 0])][::thin]
        found['portraits all'] = [_by_eyes(p, a) for p, _, a, _ in every][::thin]
    if (data / 'photos').is_dir():
        with np.load(data / 'photos' / 'landmarks.npz') as labels:
            given = np.isfinite(labels['lm68_reference']).all((1, 2))
            points = np.where(given[:, None, None], labels['lm68_reference'], labels['lm68_auto3d'][..., :2])
            found['photos'] = [_by_eyes(data / 'photos' / n, p) for n, p in zip(labels['filename'], points)][::thin]
    if (data / 'aflw2000').is_dir():
        with np.load(data / 'aflw2000' / 'landmarks.npz') as labels:
            rows = zip(labels['filename'], labels['pts68_2d_reannotated'], labels['yaw_deg'])
            found['aflw2000'] = [_by_box(data / 'aflw2000' / n, p, slice(None))._replace(yaw=y) for n, p, y in rows]
    if (data / 'real_heads').is_dir():
        with np.load(data / 'real_heads' / 'landmarks.npz') as labels:
            rows = zip(labels['filename'], labels['landmarks'])
            folder = data / 'real_heads' / 'photos'
            heads = [(_by_box(folder / Path(n).name, p, INNER), str(n).split('__')[1]) for n, p in rows]
            found['real heads'] = [photo._replace(yaw=POSES[pose]) for photo, pose in heads][::thin]
    if (data / 'wild').is_dir():
        with (data / 'wild' / 'split.csv').open(newline='') as file:
            split = {row['filename']: row['split'] for row in csv.DictReader(file)}
        with (data / 'wild' / 'faces.csv').open(newline='') as file:
            rows = sorted(csv.DictReader(file), key=lambda row: split[row['filename']] != 'validation')
        boxes = [np.array([float(row[key]) for key in ('x0', 'y0', 'x1', 'y1')]) for row in rows]
        found['wild'] = [
            Photograph(data / 'wild' / 'images' / row['filename'], None, box, 1.0, float(row['yaw_deg']))
            for row, box in zip(rows, boxes)
        ][:: 64 if options.quick else THINNED]
    if not found:
        harness.need(data / 'photos', 'photographs')
    return found


def _by_eyes(path: Path, points: np.ndarray) -> Photograph:
    return Photograph(path, points, _box(points), float(np.linalg.norm(points[36] - points[45])))


def _by_box(path: Path, points: np.ndarray, part: slice) -> Photograph:
    inner = np.full_like(points, np.nan)
    inner[part] = points[part]
    low, high = np.nanmin(inner, 0), np.nanmax(inner, 0)
    return Photograph(path, inner, _box(points), float(np.sqrt(np.prod(high - low))))


def _box(points: np.ndarray) -> np.ndarray:
    return np.concatenate([np.nanmin(points, 0), np.nanmax(points, 0)])


def seen(photo: Photograph) -> View:
    """A photograph as it is."""
    return View(images.read(photo.path).image, photo.landmarks, photo.box, photo.unit)


def tilted(photo: Photograph, degrees: float) -> View:
    """A photograph turned about the face, on a grey ground."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    image = images.read(photo.path).image
    centre = (photo.box[:2] + photo.box[2:]) / 2
    side = 2.2 * float((photo.box[2:] - photo.box[:2]).max())
    back = turn.T * side / CANVAS
    origin = centre - back @ np.full(2, CANVAS / 2)
    data = (*back[0], origin[0], *back[1], origin[1])
    picture = Image.fromarray(image).transform(
        (CANVAS, CANVAS), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128)
    )
    assert photo.landmarks is not None
    scale = CANVAS / side
    landmarks = (photo.landmarks - centre) @ turn.T * scale + CANVAS / 2
    return View(np.asarray(picture), landmarks, _box(landmarks), photo.unit * scale)


def shrunk(photo: Photograph, size: int) -> View:
    """A photograph made small, in the corner of a large grey picture."""
    image = images.read(photo.path).image
    assert photo.landmarks is not None
    scale = size / float((photo.box[2:] - photo.box[:2]).max())
    shape = [max(1, round(n * scale)) for n in image.shape[1::-1]]
    small = Image.fromarray(image).resize(shape, Image.Resampling.LANCZOS)
    picture = Image.new('RGB', (CANVAS, CANVAS), (128, 128, 128))
    picture.paste(small, (40, 60))
    landmarks = photo.landmarks * scale + [40, 60]
    return View(np.asarray(picture), landmarks, _box(landmarks), photo.unit * scale)


def measured(
    find: Find, photos: Sequence[Photograph], shown: Callable[[Photograph], View], label: str, answers: Answers,
    others: list[str] | None = None, draw: Path | None = None,
) -> dict[str, float]:  # fmt: skip
    """Shares and errors over photographs, shown in some way.

    answers: what was found before, and milliseconds; ``others`` gets the photographs with further faces.
    """
    errors, milliseconds, hit = [], [], []
    elsewhere: list[float] = []
    for photo in tqdm(photos, desc=label, unit='photo', disable=None):
        view = shown(photo)
        if photo.path not in answers:
            begun = time.process_time()
            found = find(view.image, view.box)
            answers[photo.path] = found, 1000 * (time.process_time() - begun)
        found, taken = answers[photo.path]
        milliseconds.append(taken)
        face, rest = chosen(found, view.box)
        hit += [] if face is None else [face.presence]
        elsewhere += [other.presence for other in rest]
        errors.append(error(face, view.landmarks, view.unit))
        if others is not None and (rest or face is None):
            others.append(f'{label}: {photo.path.name}: {len(rest)}{"" if face else ", not found"}')
        if draw is not None:
            picture = images.encode(overlay.drawn(view.image, found), QUALITY)
            files.write_bytes(draw / label / f'{photo.path.stem}.jpg', picture)
    values = np.array(errors)
    known = np.isfinite(values).any()
    return {
        'photographs': float(len(photos)),
        'found': len(hit) / max(len(photos), 1),
        'others': float(len(elsewhere)),
        **({'nme': float(values.mean()), 'nme_median': float(np.median(values))} if known else {}),
        **({'presence': float(np.percentile(hit, 1))} if hit else {}),
        **({'presence_others': float(np.median(elsewhere))} if elsewhere else {}),
        **({'core_milliseconds': float(np.median(milliseconds))} if milliseconds else {}),
    }


def chosen(found: Sequence[Detection], box: np.ndarray) -> tuple[Detection | None, list[Detection]]:
    """The face that lies in a box, the nearest to its centre, and the others."""
    centre, size = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max()
    away = [float(np.linalg.norm(tracking.centre(face) - centre)) / size for face in found]
    if not away or min(away) > 0.5:
        return None, list(found)
    nearest = int(np.argmin(away))
    return found[nearest], [face for k, face in enumerate(found) if k != nearest]


def error(face: Detection | None, landmarks: np.ndarray | None, unit: float) -> float:
    """NME: NaN where there is nothing to compare, 1 where there is no answer."""
    if landmarks is None:
        return float('nan')
    if face is None or not np.isfinite(face.landmarks).all():
        return 1.0
    return float(np.nanmean(np.linalg.norm(face.landmarks - landmarks, axis=-1)) / unit)


def _counted(path: Path, times: list[float]) -> Iterator[np.ndarray]:
    for _, _, image in videos.frames(path, 1):
        times.append(0.0)
        yield image


def in_clips(detector: Detector, paths: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Shares of frames with a face, found and followed."""
    searched: list[float] = []
    followed: list[float] = []
    hit = kept = 0
    for k, path in enumerate(tqdm(paths, desc='clips', unit='clip', disable=None)):
        for _, _, image in videos.frames(path, 40):
            begun = time.process_time()
            hit += bool(detector.find(image))
            searched.append(1000 * (time.process_time() - begun))
        if k % 8:
            continue
        begun, count = time.process_time(), len(followed)
        tracks = tracking.tracks(detector, _counted(path, followed))
        followed[count:] = [1000 * (time.process_time() - begun) / (len(followed) - count)] * (len(followed) - count)
        kept += len(tracks[0].faces) if tracks else 0
    return {
        'clips, frames searched': {
            'photographs': float(len(searched)), 'found': hit / max(len(searched), 1),
            'core_milliseconds': float(np.median(searched)),
        },
        'clips, all frames followed': {
            'photographs': float(len(followed)), 'found': kept / max(len(followed), 1),
            'core_milliseconds': float(np.median(followed)),
        },
    }  # fmt: skip


if __name__ == '__main__':
    commands.run(main)
