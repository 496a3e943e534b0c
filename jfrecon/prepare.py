"""python -m jfrecon.prepare PHOTOS_FOLDERS_OR_VIDEOS... --out=DIR: faces, cut out and ready to train on."""

from __future__ import annotations

import argparse
import collections
import os
import re
import sys
from pathlib import Path

from jfrecon import commands, files
from jfrecon.data import landmark_files, shards
from jfrecon.data.detection import face_alignment
from jfrecon.data.prepare import inputs, run, tables
from jfrecon.data.prepare.extract import CROPS, Rejected, Settings
from jfrecon.errors import UserError
from jfrecon.export import contact

PAGE = 'contact.html'


def main(arguments: list[str] | None = None) -> None:
    """Find the faces in photos and videos, cut them out and write them to shards, which training reads.

    Train with --config.data.source=shards --config.data.path=DIR and --config.data.crop=landmarks or
    =prepared. rejected.csv lists what was left out and why; contact.html shows the faces. Stopped or killed,
    the same command goes on.
    """
    options = _parse(arguments)
    settings = _settings(options)
    landmarks = None if options.landmarks is None else landmark_files.read(options.landmarks, options.landmarks_key)
    boxes = None if options.boxes is None else tables.read_boxes(options.boxes)
    hashes = {
        f'{name}_sha256': files.digest(path)
        for name in ('landmarks', 'boxes')
        if (path := getattr(options, name)) is not None
    }
    for path in options.inputs:
        if path.is_dir() and options.out.resolve().is_relative_to(path.resolve()):
            raise UserError(f'--out={options.out} lies in {path}, whose files are prepared: choose another')
    with run.lock(options.out):
        plan = inputs.plan(
            options.inputs, landmarks, boxes, options.masks, options.mask_suffix, run.hashed(options.out)
        )
        if plan.passed_over:
            print(plan.passed_over, file=sys.stderr)
        if plan.unused:
            print(f'{len(plan.unused)} given names fit no file, {plan.unused[0]!r} the first', file=sys.stderr)
        if settings.align:
            face_alignment.network()  # fetches the weights once, before several processes want them
        recorded = run.record(plan, settings, options.shard_size, hashes)
        rejected = run.prepare(plan, options.out, settings, recorded, options.processes)
        faces = shards.Shards(options.out)
        reasons = by_reason(rejected)
        line = f'{len(faces)} faces from {len(plan.inputs)} files, {len(rejected)} rejected'
        if not (options.out / PAGE).exists():
            contact.write(options.out, faces, f'Prepared faces: {line}', _notes(settings), reasons)
    listed = ', '.join(f'{times} {reason}' for reason, times in reasons.items())
    print(f'{line}{f" ({listed})" if listed else ""}: {options.out}')


def by_reason(rejected: list[Rejected]) -> dict[str, int]:
    """How often each reason came, most frequent first, without its numbers and brackets."""
    plain = (re.sub(r'\d[\d,]*', 'N', re.sub(r' \([^)]*\)', '', row.reason)) for row in rejected)
    return dict(collections.Counter(plain).most_common())


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = commands.Parser(
        prog='python -m jfrecon.prepare',
        description=main.__doc__,
        epilog='example: python -m jfrecon.prepare PHOTOS CLIP.mp4 --out=data/mine --boxes=FACES.csv',
    )
    parser.add_argument('inputs', type=Path, nargs='+', metavar='INPUT', help='photos, videos and folders of them')
    parser.add_argument('--out', type=Path, required=True, help='folder of the shards')
    parser.add_argument(
        '--landmarks',
        type=Path,
        help='npz with filename and landmarks (N, 68, 2); a file may come several times. Default: by '
        "face-alignment where it is installed (pip install 'jfrecon[landmarks]'), else unknown",
    )
    parser.add_argument('--landmarks-key', default='landmarks', help='name of the landmarks in the npz')
    parser.add_argument(
        '--boxes',
        type=Path,
        help='csv with filename, x, y, w, h, or npz with filename and boxes: faces, not detected',
    )
    parser.add_argument('--masks', type=Path, help='folder of <stem><suffix>.png, bright on the face')
    parser.add_argument('--mask-suffix', default='')
    parser.add_argument('--parse', action='store_true', help='masks by the embedded network where none are given')
    parser.add_argument(
        '--crop',
        choices=CROPS,
        help="around the landmarks, around the detector's box, or the picture as it is; default: landmarks if "
        'there are any, else box',
    )
    parser.add_argument('--scale', type=float, default=1.6, help="of the crop to the landmarks' box")
    parser.add_argument('--size', type=int, default=512, help='pixels of the crop at most; larger ones are reduced')
    parser.add_argument('--every', type=int, default=5, help='frames of a video from one that is used to the next')
    parser.add_argument('--shard-size', type=int, default=1024, help='photos whose faces share a file')
    parser.add_argument('--processes', type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args(arguments)
    if min(options.size, options.every, options.shard_size, options.processes) < 1 or not 0.5 <= options.scale <= 10:
        raise UserError('--size, --every, --shard-size and --processes must be positive, --scale from 0.5 to 10')
    return options


def _settings(options: argparse.Namespace) -> Settings:
    given, installed = options.landmarks is not None, face_alignment.installed()
    crop = options.crop or ('landmarks' if given or (installed and options.boxes is None) else 'box')
    if crop == 'landmarks' and not (given or installed):
        raise UserError(
            "--crop=landmarks needs --landmarks=FILE.npz or face-alignment (pip install 'jfrecon[landmarks]')"
        )
    if crop == 'box' and given:
        raise UserError('--crop=box goes by boxes alone: leave out --landmarks, or --crop')
    return Settings(
        crop=crop,
        align=crop != 'box' and not given and installed,
        scale=options.scale,
        size=options.size,
        every=options.every,
        parse=options.parse,
    )


def _notes(settings: Settings) -> list[str]:
    source = 'face-alignment' if settings.align else 'given or unknown'
    return [
        f'The square is the crop ({settings.crop}, {settings.scale:g}); the margin is for the jitter of '
        f'training. Landmarks: {source}. What a mask leaves out is red.',
        'These pages show people: keep them where the photographs may be kept.',
    ]


if __name__ == '__main__':
    commands.run(main)
