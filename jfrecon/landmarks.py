"""python -m jfrecon.landmarks PHOTOS_OR_VIDEOS... --out=FILE.npz: the landmarks that `--landmarks` reads."""

from __future__ import annotations

import argparse
import collections
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from jfrecon import commands, files, outputs
from jfrecon.data import detection, images, listing, scan, videos
from jfrecon.data.detection import overlay
from jfrecon.data.detection.detector import Detection
from jfrecon.data.sample import Unreadable
from jfrecon.errors import UserError

SUFFIXES = images.SUFFIXES + videos.SUFFIXES
QUALITY = 88  # of the JPEG files with landmarks in them


def main(arguments: list[str] | None = None) -> int:
    """Find the faces in photographs and videos, and write their 68 landmarks to one file.

    FILE.npz holds, a row for each face: `filename`, the path below the folder that holds all inputs (of a frame of a
    video, `CLIP.mp4_000120`); `landmarks` [N, 68, 2] pixels of the file, x right, y down; `confidence` [N, 68] in 0..1,
    near 0 for points behind a turned head, 0 for those that are not known; `boxes` [N, 4] x, y, w, h around the
    landmarks; `presence` [N]; with --dense `dense` [N, 478, 2], the points of the mesh. Files without a face have no
    row and are listed. reconstruct, prepare and training read the file by --landmarks and --config.data.landmarks.
    """
    options = _parse(arguments)
    outputs.require_free([path for path in (options.out, options.draw) if path is not None], options.overwrite)
    name = detection.choose(options.landmarker)
    detector = detection.load(name)
    found = listing.find(options.inputs, SUFFIXES)
    wanted = [(shown, path) for shown, path in found.files if path.suffix.lower() in SUFFIXES]
    if over := scan.passed_over([path for _, path in found.files if path.suffix.lower() not in SUFFIXES]):
        print(over, file=sys.stderr)
    if not wanted:
        raise UserError(f'there are no photographs and no videos in {", ".join(map(files.shown, options.inputs[:3]))}')
    if any(path.suffix.lower() in videos.SUFFIXES for _, path in wanted):
        videos.require()
    elif options.every is not None:
        raise commands.no_effect('--every', 'without a video')
    detector.ready()

    rows: list[tuple[str, Detection]] = []
    failed: dict[str, str] = {}
    pending: collections.deque[Picture] = collections.deque()

    def read() -> Iterator[np.ndarray]:
        for picture in _pictures(wanted, options.every or 1, failed):
            pending.append(picture)
            yield picture.image

    with_face = set()
    for seen in detector.each(read()):
        picture, seen = pending.popleft(), [face for face in seen if np.isfinite(face.known).any()]
        rows += [(picture.name, face.scaled(1 / picture.scale)) for face in seen]
        if seen:
            with_face.add(picture.file)
        if options.dense and any(face.dense is None for face in seen):
            raise UserError(f'--dense: {name} has no further points; leave --dense or --landmarker out')
        if options.draw is not None:
            drawn = images.encode(overlay.drawn(picture.image, seen), QUALITY)
            files.write_bytes(options.draw / f'{picture.name}.jpg', drawn)
    empty = [shown for shown, _ in wanted if shown not in with_face and shown not in failed]
    if not rows:
        first = ''.join(f' ({shown}: {reason})' for shown, reason in [*failed.items()][:1])
        raise UserError(f'no face in any of {len(wanted)} files{first}')
    files.write_bytes(options.out, _packed(rows, options.dense))
    for line in (f'no face: {shown}' for shown in empty):
        print(line, file=sys.stderr)
    for shown, reason in failed.items():
        print(f'failed: {shown}: {reason}', file=sys.stderr)
    print(f'{len(rows)} faces of {len(wanted)} files, {len(empty)} without a face, {len(failed)} failed: {options.out}')
    return 1 if failed else 0


class Picture(NamedTuple):
    """A photograph, or a frame of a video.

    Attributes:
      file: that it comes from, as it is shown; ``name``: of its rows.
      image: [H, W, 3] uint8, ``scale`` of its pixels for one of the file.
    """

    file: str
    name: str
    image: np.ndarray
    scale: float


def _pictures(wanted: Sequence[tuple[str, Path]], every: int, failed: dict[str, str]) -> Iterator[Picture]:
    """What can be read; ``failed`` gets the reasons for the rest."""
    for shown, path in tqdm(wanted, desc='files', unit='file', disable=None):
        try:
            if path.suffix.lower() in videos.SUFFIXES:
                for frame in videos.frames(path, every):
                    yield Picture(shown, f'{shown}_{frame.number:06d}', frame.image, 1.0)
            else:
                photo = images.read(path)
                yield Picture(shown, shown, photo.image, photo.scale)
        except Unreadable as error:
            failed[shown] = str(error)


def _packed(rows: list[tuple[str, Detection]], dense: bool) -> bytes:
    faces = [face for _, face in rows]
    known = np.stack([face.known for face in faces])
    low, high = np.nanmin(known, 1), np.nanmax(known, 1)
    landmarks = np.stack([face.landmarks for face in faces])
    placed = np.isfinite(landmarks).all(-1)
    confidence = np.stack([np.ones(68) if face.confidence is None else face.confidence for face in faces])
    arrays = {
        'filename': np.array([name for name, _ in rows]),
        'landmarks': np.where(placed[..., None], landmarks, 0).astype(np.float32),
        'confidence': np.where(placed, confidence, 0).astype(np.float32),
        'boxes': np.concatenate([low, high - low], 1).astype(np.float32),
        'presence': np.array([face.presence for face in faces], np.float32),
    }
    if dense:
        arrays['dense'] = np.stack([face.dense[:, :2] for face in faces if face.dense is not None]).astype(np.float32)
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return content.getvalue()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = commands.Parser(
        prog='python -m jfrecon.landmarks',
        description=main.__doc__,
        epilog='example: python -m jfrecon.landmarks PHOTOS CLIP.mp4 --out=landmarks.npz --draw=overlays',
    )
    parser.add_argument('inputs', type=Path, nargs='+', metavar='INPUT', help='photographs, videos, folders of them')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='*.npz')
    parser.add_argument('--draw', type=Path, metavar='DIR', help='write the photographs with their landmarks')
    parser.add_argument('--dense', action='store_true', help="the mesh's 478 points as well")
    parser.add_argument('--every', type=int, metavar='N', help='look at each N-th frame of a video; default: 1')
    parser.add_argument('--landmarker', metavar='NAME', help=detection.HELP)
    parser.add_argument('--overwrite', action='store_true', help='replace FILE, and pictures in DIR')
    options = parser.parse_args(arguments)
    if options.every is not None and options.every < 1:
        raise UserError('--every is at least 1')
    if options.out.suffix != '.npz':
        raise UserError(f'--out={options.out}: name a file that ends in .npz')
    return options


if __name__ == '__main__':
    commands.run(main)
