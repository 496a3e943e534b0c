"""How well reconstructions of short videos follow the faces in them.

    python -m experiments.clips --out=runs/clips

Of each validation clip of `clips` (at most `MOST` frames) `jfrecon.reconstruction.video` makes a moving face, which is
compared with what the detector sees in each frame:

* lips, lids: correlation over time of the distance of the inner lips, and of the lids, with that of the mesh's own
  points, both along the face and over the distance of the outer corners of the eyes;
* NME: mean distance of the 68 landmarks over the same, the median of the frames;
* jitter: root mean square of the second differences in time of landmarks that do not move in the face (bridge of the
  nose, corners of the eyes), in thousandths of the same;
* identity: root mean square over the frames of how far vertices of the unposed, expressionless face are from their
  mean in time, mm;
* seconds a frame, of detection, fit and pictures; of the first clip with the time that compiling takes.

Rows beside it: the small network's prediction in each frame, smoothed by a Gaussian of 0.08 s; the same face with the
mean of its expressions, which only its pose moves; and the detector's points themselves. The tables' rows are medians
over the clips.

Clips that were scored before by this command in the same folder are not made again without `--overwrite`.

The sheets of frames (photograph and overlay) show people: they are for looking, not for committing.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from tqdm import tqdm

from experiments import harness
from jfrecon import commands, files, pretrained
from jfrecon.data import cropping, landmark_layout, videos
from jfrecon.data.sample import Sample
from jfrecon.data.videos import Frame
from jfrecon.errors import UserError
from jfrecon.geometry import cameras, rotations
from jfrecon.morphable import linear
from jfrecon.reconstruction import photograph, prediction, video
from jfrecon.reconstruction.photograph import Face, Reconstructor
from jfrecon.reconstruction.video import Clip
from jfrecon.render import surface
from jfrecon.types import Camera, FaceParameters, MorphableModel

NAME = 'clips'
MOST = 100  # frames of a clip
QUICK, FEWER = 2, 60  # clips and frames of `--quick`
STEADY = 0.08  # seconds: the Gaussian that smooths the network's predictions
RIGID = [27, 28, 29, 30, 36, 39, 42, 45]  # landmarks that expressions hardly move
OURS, NETWORK, STILL, RAW = 'reconstruction', 'network', 'mean expression', 'detections'
COLUMNS = 'lips', 'lids', 'nme', 'jitter', 'identity_mm', 'seconds_a_frame'

Scores = dict[str, float]


def main(arguments: list[str] | None = None) -> None:
    """Reconstruct short videos, and compare how mouths and eyes open with what the detector sees."""
    parser = harness.parser(NAME, main.__doc__ or '')
    parser.add_argument('--data', type=Path, default=harness.SHARED / NAME, help='folder of the clips')
    parser.add_argument('--clips', help='names of validation clips, between commas; by default all of them')
    options = parser.parse_args(arguments)
    folder = harness.need(options.data, 'the clips')
    run = harness.start(NAME, options.out, options.overwrite, adds=True)
    with (folder / 'clips.csv').open(encoding='utf-8') as table:
        names = [row['filename'] for row in csv.DictReader(table) if row['split'] == 'validation']
    names, most = (names[1 : 1 + QUICK], FEWER) if options.quick else (names, MOST)
    if options.clips is not None:
        wanted = options.clips.split(',')
        if unknown := sorted(set(wanted) - {Path(name).stem for name in names}):
            raise UserError(f'--clips: {unknown[0]} is none of {", ".join(Path(name).stem for name in names)}')
        names = [name for name in names if Path(name).stem in wanted]
    make = photograph.reconstructor(prediction.load(pretrained.NETWORK)[0], refine=True)
    results: dict[str, Any] = {}
    for name in tqdm(names, desc='clips', unit='clip', disable=None):
        done = options.out / ('quick' if options.quick else 'scores') / f'{name}.json'
        if options.overwrite or not done.exists():
            files.write_json(done, scored(folder / name, most, make, options.out))
        results[name] = json.loads(done.read_text(encoding='utf-8'))
    rows = {row: median([scores[row] for scores in results.values()]) for row in (OURS, NETWORK, STILL, RAW)}
    by_clip = {name: scores[OURS] for name, scores in results.items()}
    run.record(
        {'median': rows, 'clips': results}, harness.table(rows, COLUMNS) + '\n' + harness.table(by_clip, COLUMNS)
    )


def scored(path: Path, most: int, make: Reconstructor, out: Path) -> dict[str, Scores]:
    """The rows of one clip; a sheet of its frames is left in ``out``."""
    frames = lambda: itertools.islice(videos.frames(path, 1), most)
    began = time.perf_counter()
    clip = video.reconstruct(frames, make)
    seconds = (time.perf_counter() - began) / len(clip.times)
    out_of = out / 'sheets' / f'{path.stem}.jpg'
    out_of.parent.mkdir(exist_ok=True)
    Image.fromarray(sheet(clip)).save(out_of, quality=90)

    model, camera = make.model, clip.result.camera
    mean = np.broadcast_to(clip.motion.expression.mean(0), clip.motion.expression.shape)
    rows = {
        OURS: clip.motion,
        NETWORK: by_network(frames(), clip, make),
        STILL: dataclasses.replace(clip.motion, expression=mean),
    }
    found = {
        row: measured(projected(model, chi, camera), clip) | {'identity_mm': trembling(model, chi.identity)}
        for row, chi in rows.items()
    }
    found[OURS]['seconds_a_frame'] = seconds
    found[RAW] = {'jitter': jitter(clip.seen.landmarks, clip)}
    return found


def by_network(frames: Iterator[Frame], clip: Clip, make: Reconstructor) -> FaceParameters:
    """What the network predicts in each frame, smoothed, leaves [F, ...]."""
    network = make.network
    assert network is not None
    faces = []
    for frame, landmarks in zip(frames, between(clip.seen.landmarks, clip.times)):
        sample = Sample(frame.image, focal=float(clip.result.camera.focal), principal=clip.result.camera.principal)
        faces.append(Face(sample, cropping.box_from_landmarks(landmarks, network.crop_scale)))
    found = []
    for start in range(0, len(faces), video.BATCH):
        some = faces[start : start + video.BATCH]
        batch = photograph.cut([*some, *some[-1:] * (video.BATCH - len(some))], network.size)
        found.append(jax.tree.map(lambda leaf, some=some: np.asarray(leaf)[: len(some)], make.predicted(batch)))
    chi = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
    steady = {
        name: video.smooth(getattr(chi, name), clip.times, STEADY) for name in ('rotation', 'translation', 'expression')
    }
    return dataclasses.replace(chi, maps=None, **steady)


def between(landmarks: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Landmarks [F, 68, 2], those of frames without any from the frames around."""
    known = np.isfinite(landmarks).all((1, 2))
    flat = [np.interp(times, times[known], column) for column in landmarks[known].reshape(known.sum(), -1).T]
    return np.stack(flat, -1).reshape(landmarks.shape)


def projected(model: MorphableModel, chi: FaceParameters, camera: Camera) -> np.ndarray:
    """[F, 68, 2] pixels of the landmarks of faces with leaves [F, ...]."""
    shape = linear.landmarks(model, linear.shape(model, jnp.asarray(chi.identity), jnp.asarray(chi.expression)))
    space = rotations.transform(jnp.asarray(chi.rotation), jnp.asarray(chi.translation), shape)
    return np.asarray(cameras.project(surface.seen_by(chi, camera), space)[0])


def measured(pixels: np.ndarray, clip: Clip) -> Scores:
    """Scores of landmarks [F, 68, 2] against what was seen."""
    seen = clip.seen
    upper, lower = np.array(landmark_layout.OPENINGS).T
    eyes = outer_eyes(seen.landmarks)
    along = seen.landmarks[:, 27] - seen.landmarks[:, 8]  # from the chin to the bridge of the nose
    along = (along / np.linalg.norm(along, axis=-1, keepdims=True))[:, None]
    ours = ((pixels[:, upper] - pixels[:, lower]) * along).sum(-1) / eyes[:, None]
    theirs = (seen.openings * along).sum(-1) / eyes[:, None]
    lids, lips = slice(None, landmark_layout.OF_EYES), slice(landmark_layout.OF_EYES, None)
    off = np.linalg.norm(pixels - seen.landmarks, axis=-1).mean(-1) / eyes
    return {
        'lips': correlation(ours[:, lips].mean(-1), theirs[:, lips].mean(-1)),
        'lids': correlation(ours[:, lids].mean(-1), theirs[:, lids].mean(-1)),
        'nme': float(np.nanmedian(off)),
        'jitter': jitter(pixels, clip),
    }


def outer_eyes(landmarks: np.ndarray) -> np.ndarray:
    """[F] the distance of the outer corners of the eyes."""
    return np.linalg.norm(landmarks[:, 36] - landmarks[:, 45], axis=-1)


def correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Pearson's, over the frames in which the face was seen; 0 where nothing moves."""
    known = np.isfinite(ours) & np.isfinite(theirs)
    ours, theirs = ours[known] - ours[known].mean(), theirs[known] - theirs[known].mean()
    spread = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    return float(ours @ theirs) / spread if spread > 1e-9 else 0.0


def jitter(pixels: np.ndarray, clip: Clip) -> float:
    """See the module; over the frames around which the face was seen."""
    rigid = pixels[:, RIGID] / np.nanmedian(outer_eyes(clip.seen.landmarks))
    return float(1000 * np.sqrt(np.nanmean(np.square(rigid[2:] - 2 * rigid[1:-1] + rigid[:-2]).sum(-1))))


def trembling(model: MorphableModel, identity: np.ndarray) -> float:
    """How far vertices are from their mean in time, mm, identity [F, I]."""
    away = np.tensordot(identity - identity.mean(0), np.asarray(model.identity_basis), 1)
    return float(np.sqrt(np.square(away).sum(-1).mean()))


def sheet(clip: Clip) -> np.ndarray:
    """Frames of a clip, photograph and overlay: widest mouths, shut eyes, and some evenly spread."""
    eyes = outer_eyes(clip.seen.landmarks)[:, None]
    open_ = np.nan_to_num(np.linalg.norm(clip.seen.openings, axis=-1) / eyes, nan=0.05)
    lids, lips = (open_[:, : landmark_layout.OF_EYES].mean(-1), open_[:, landmark_layout.OF_EYES :].mean(-1))
    chosen: list[int] = []
    for order, count in (
        (np.argsort(-lips), 4),
        (np.argsort(lids), 4),
        (np.linspace(0, len(lips) - 1, 60).astype(int), 4),
    ):
        fresh = (int(k) for k in order if all(abs(int(k) - other) > 4 for other in chosen))
        chosen += list(itertools.islice(fresh, count))
    pictures = clip.pictures[sorted(chosen)]
    if len(pictures) % 2:
        pictures = np.concatenate([pictures, np.zeros_like(pictures[:1])])
    return np.concatenate([np.concatenate(list(pictures[k::2]), 0) for k in range(2)], 1)


def median(rows: list[Scores]) -> Scores:
    """The median of each score."""
    return {name: float(np.median([row[name] for row in rows])) for name in rows[0]}


if __name__ == '__main__':
    commands.run(main)
