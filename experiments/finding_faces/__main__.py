"""How many faces a detector finds, how many that are none, and how far its landmarks are off.

    python -m experiments.finding_faces --out=runs/finding_faces

Photographs of several sets, those that are there: 188 studio portraits (`faces_cc_by`), 20 photographs in the wild
(`photos`), `aflw2000`, renderings and photographs of scanned heads (`real_heads`), 6,745 photographs of 4,000 people
(`wild`, each with the box of its main face) and 40 clips (`clips`, every tenth frame). All of them show a face. What is
counted:

* found: photographs in which a face lies where the labels say; others: faces elsewhere, which are people in the
  background or false alarms (`others.txt` names the photographs, to be looked at);
* NME of the found ones' landmarks: over the outer eyes' distance to the manual points of the 20 people of `faces_cc_by`
  that no table was fitted to, and to the reference points of `photos`; over the square root of the landmarks' box in
  `aflw2000`, and of the inner points' box in `real_heads`. Photographs without an answer count as 1;
* the same for photographs that are turned (tilt), seen from the side (yaw), and made small (size).

`--draw` writes overlays, which show people: for looking, not for committing.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from experiments import harness, photographs
from jfrecon import commands, files
from jfrecon.data import detection, images, videos
from jfrecon.data.detection import overlay
from jfrecon.data.detection.detector import Detection

NAME = 'finding_faces'
QUALITY = 85  # of overlays
TILTS = (0, 15, 30, 45, 60, 75, 90, 120, 150, 180)
SIZES = (16, 24, 32, 48, 64, 96, 128, 256)  # pixels from the lowest to the highest landmark
CANVAS = 640
YAWS = (0, 15, 30, 45, 90)
INNER = slice(17, 68)
BEFORE = 681  # photographs of `wild` that slower detectors see

Find = Callable[[np.ndarray], list[Detection]]


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
    results: dict[str, dict[str, float]] = {}
    others: list[str] = []
    for name in options.detectors:
        find = finder(name)
        for label, photos in known.items():
            results[f'{name} {label}'] = counted(find, photos, f'{name} {label}', others, options.draw)
        turnable = [p for label in ('portraits', 'photos') for p in known.get(label, ()) if p.landmarks is not None]
        turnable = turnable[:: 4 if options.quick else 1]
        for tilt in TILTS:
            results[f'{name} tilt {tilt}'] = tilted(find, turnable, tilt)
        for size in SIZES:
            results[f'{name} size {size}'] = shrunk(find, turnable, size)
        if 'wild' in known:
            for low, high in itertools.pairwise(YAWS):
                some = [p for p in known['wild'] if low <= abs(p.yaw) < high][:BEFORE]
                results[f'{name} yaw {low} to {high}'] = counted(find, some, f'{name} yaw {low}', [], None)
    if (options.data / 'clips').is_dir():
        results['mesh clips'] = in_clips(finder('mesh'), options.data / 'clips', options.quick)
    files.write_text(options.out / 'others.txt', '\n'.join(others) + '\n')
    run.record(results, harness.table(results))


def finder(name: str) -> Find:
    """A detector by name, warmed up."""
    detector = detection.load(name)
    detector.ready()
    return detector.find


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
            found['real heads'] = [_by_box(data / 'real_heads' / 'photos' / Path(n).name, p, INNER) for n, p in rows]
    if (data / 'wild').is_dir():
        with (data / 'wild' / 'split.csv').open(newline='') as file:
            split = {row['filename']: row['split'] for row in csv.DictReader(file)}
        with (data / 'wild' / 'faces.csv').open(newline='') as file:
            rows = sorted(csv.DictReader(file), key=lambda row: split[row['filename']] != 'validation')
        boxes = [np.array([float(row[key]) for key in ('x0', 'y0', 'x1', 'y1')]) for row in rows]
        found['wild'] = [
            Photograph(data / 'wild' / 'images' / row['filename'], None, box, 1.0, float(row['yaw_deg']))
            for row, box in zip(rows, boxes)
        ][:: 64 if options.quick else 1]
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


def counted(
    find: Find, photos: Sequence[Photograph], label: str, others: list[str], draw: Path | None
) -> dict[str, float]:
    """Shares and errors over photographs as they are."""
    errors, milliseconds, elsewhere, hit = [], [], 0, 0
    for photo in tqdm(photos, desc=label, unit='photo', disable=None):
        image = images.read(photo.path).image
        begun = time.perf_counter()
        found = find(image)
        milliseconds.append(1000 * (time.perf_counter() - begun))
        face, rest = chosen(found, photo.box)
        hit += face is not None
        elsewhere += len(rest)
        if rest:
            others.append(f'{label}: {photo.path.name}: {len(rest)}')
        errors.append(error(face, photo.landmarks, photo.unit))
        if draw is not None:
            picture = images.encode(overlay.drawn(image, found), QUALITY)
            files.write_bytes(draw / label / f'{photo.path.stem}.jpg', picture)
    return _summary(hit, errors, len(photos)) | {
        'others': float(elsewhere), 'milliseconds': float(np.median(milliseconds)) if milliseconds else float('nan')
    }  # fmt: skip


def tilted(find: Find, photos: Sequence[Photograph], degrees: float) -> dict[str, float]:
    """The same with photographs turned about the face, on a grey ground."""
    errors, hit = [], 0
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    for photo in photos:
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
        face, _ = chosen(find(np.asarray(picture)), _box(landmarks))
        hit += face is not None
        errors.append(error(face, landmarks, photo.unit * scale))
    return _summary(hit, errors, len(photos))


def shrunk(find: Find, photos: Sequence[Photograph], size: int) -> dict[str, float]:
    """The same with photographs made small, in the corner of a large grey picture."""
    errors, hit = [], 0
    for photo in photos:
        image = images.read(photo.path).image
        assert photo.landmarks is not None
        scale = size / float((photo.box[2:] - photo.box[:2]).max())
        shape = [max(1, round(n * scale)) for n in image.shape[1::-1]]
        small = Image.fromarray(image).resize(shape, Image.Resampling.LANCZOS)
        picture = Image.new('RGB', (CANVAS, CANVAS), (128, 128, 128))
        picture.paste(small, (40, 60))
        landmarks = photo.landmarks * scale + [40, 60]
        face, _ = chosen(find(np.asarray(picture)), _box(landmarks))
        hit += face is not None
        errors.append(error(face, landmarks, photo.unit * scale))
    return _summary(hit, errors, len(photos))


def chosen(found: Sequence[Detection], box: np.ndarray) -> tuple[Detection | None, list[Detection]]:
    """The face that lies in a box, the nearest to its centre, and the others."""
    centre, size = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max()
    away = [float(np.linalg.norm(_centre(face) - centre)) / size for face in found]
    if not away or min(away) > 0.5:
        return None, list(found)
    nearest = int(np.argmin(away))
    return found[nearest], [face for k, face in enumerate(found) if k != nearest]


def _centre(face: Detection) -> np.ndarray:
    if np.isfinite(face.landmarks).any():
        return (np.nanmin(face.landmarks, 0) + np.nanmax(face.landmarks, 0)) / 2
    square = face.square(1.0)
    return np.array([square.x + square.side / 2, square.y + square.side / 2])


def error(face: Detection | None, landmarks: np.ndarray | None, unit: float) -> float:
    """NME: NaN where there is nothing to compare, 1 where there is no answer."""
    if landmarks is None:
        return float('nan')
    if face is None or not np.isfinite(face.landmarks).all():
        return 1.0
    return float(np.nanmean(np.linalg.norm(face.landmarks - landmarks, axis=-1)) / unit)


def _summary(hit: int, errors: Sequence[float], count: int) -> dict[str, float]:
    scores = {'photographs': float(count), 'found': hit / max(count, 1)}
    values = np.array(errors)
    if np.isfinite(values).any() and (values[np.isfinite(values)] < 1).any():
        scores |= {'nme': float(np.nanmean(values)), 'nme median': float(np.nanmedian(values))}
    return scores


def in_clips(find: Find, folder: Path, quick: bool) -> dict[str, float]:
    """Share of frames of clips with a face."""
    shown = hit = 0
    paths = sorted(folder.glob('*.mp4'))[:: 8 if quick else 1]
    for path in tqdm(paths, desc='clips', unit='clip', disable=None):
        for _, _, image in videos.frames(path, 10):
            shown += 1
            hit += bool(find(image))
    return {'photographs': float(shown), 'found': hit / max(shown, 1)}


if __name__ == '__main__':
    commands.run(main)
