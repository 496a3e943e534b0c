"""python -m jfrecon.prepare PHOTOS_FOLDERS_OR_VIDEOS... --out=DIR: faces, cut out and ready to train on."""

from __future__ import annotations

import argparse
import collections
import os
import re
import sys
from pathlib import Path

from jfrecon import commands, files
from jfrecon.data import detection, landmark_files, listing, shards
from jfrecon.data.prepare import inputs, run, share, tables
from jfrecon.data.prepare.extract import CROPS, Rejected, Settings
from jfrecon.errors import UserError
from jfrecon.export import contact

PAGE = 'contact.html'


def main(arguments: list[str] | None = None) -> None:
    """Find the faces in photos and videos, cut them out and write them to shards, which training reads.

    Train with --config.data.source=shards --config.data.path=DIR and --config.data.crop=landmarks or
    =prepared. rejected.csv lists what was left out and why; contact.html shows the faces. Stopped or killed,
    the same command goes on. The jobs of an array share the work with --part=1/N to --part=N/N; training reads what
    they leave with --config.data.path='DIR/*'.
    """
    # Several processes look for faces: where there is a GPU, none may take most of its memory, as JAX does by default.
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
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
    out = share.place(options.out, options.part)
    with run.lock(out):
        plan = inputs.plan(
            options.inputs, landmarks, boxes, options.masks, options.mask_suffix or '', run.hashed(out),
            options.shard_size, share.WHOLE if options.part is None else options.part,
        )  # fmt: skip
        if plan.passed_over:
            print(plan.passed_over, file=sys.stderr)
        if options.every is not None and not plan.clips:
            raise commands.no_effect('--every', 'without a video')
        if plan.blocks < plan.share.number:
            print(
                f'{plan.files} files are {plan.blocks} shards: part {options.part} is empty; a --shard-size smaller '
                f'than {plan.shard_size}, for all parts, makes more',
                file=sys.stderr,
            )
        for line in _unmatched(plan, 'landmarks' if landmarks is not None else 'boxes'):
            print(line, file=sys.stderr)
        if settings.landmarker:
            detection.load(settings.landmarker).ready()
        recorded = run.record(plan, settings, hashes)
        rejected = run.prepare(plan, out, settings, recorded, options.processes)
        faces = shards.Shards(out)
        reasons = by_reason(rejected)
        line = f'{len(faces)} faces from {len(plan.inputs)} files, {len(rejected)} rejected'
        if not (out / PAGE).exists():
            contact.write(out, faces, f'Prepared faces: {line}', _notes(settings), reasons)
    listed = ', '.join(f'{times} {reason}' for reason, times in reasons.items())
    print(f'{line}{f" ({listed})" if listed else ""}: {files.shown(out)}')


def _unmatched(plan: inputs.Plan, what: str) -> list[str]:
    """Rows without files and files without rows, and what to do."""
    lines = []
    if plan.unused:
        lines.append(
            f'{len(plan.unused)} names in --{what} fit no file: {listing.first(plan.unused)}; a name is that of a '
            'file, with as many of its folders as it takes'
        )
    if plan.unmatched:
        lines.append(
            f'{len(plan.unmatched)} files have no row in --{what}: {listing.first(plan.unmatched)}; add rows, or '
            f'prepare these files without --{what}, when their faces are looked for'
        )
    return lines


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
        help='npz with filename and landmarks (N, 68, 2); a file may come several times',
    )
    parser.add_argument('--landmarks-key', help='name of the landmarks in the npz; default: landmarks')
    parser.add_argument(
        '--boxes',
        type=Path,
        help='csv with filename, x, y, w, h, or npz with filename and boxes: the faces are looked for inside of them',
    )
    parser.add_argument('--landmarker', metavar='NAME', help=detection.HELP)
    parser.add_argument('--masks', type=Path, help='folder of <stem><suffix>.png, bright on the face')
    parser.add_argument('--mask-suffix', help='of the files in --masks; default: none')
    parser.add_argument('--parse', action='store_true', help='masks by the embedded network where none are given')
    parser.add_argument(
        '--crop',
        choices=CROPS,
        default=CROPS[0],
        help='around the landmarks, or each picture as it is, with its largest face; default: landmarks',
    )
    parser.add_argument('--scale', type=float, help=f"of the crop to the landmarks' box; default: {Settings.scale}")
    parser.add_argument('--size', type=int, default=512, help='pixels of the crop at most; larger ones are reduced')
    parser.add_argument(
        '--every', type=int, help=f'frames of a video from one that is used to the next; default: {Settings.every}'
    )
    parser.add_argument('--shard-size', type=int, default=inputs.SHARD_SIZE, help='photos whose faces share a file')
    parser.add_argument(
        '--part',
        metavar='I/N',
        help='make part I (from 1 on) of N, in a folder of its own below --out: for the jobs of an array',
    )
    parser.add_argument('--processes', type=int, default=commands.cores(), help='default: one for each core')
    options = parser.parse_args(arguments)
    for flag, value, other in (
        ('--landmarks-key', options.landmarks_key, 'landmarks'), ('--mask-suffix', options.mask_suffix, 'masks')
    ):  # fmt: skip
        if value is not None and getattr(options, other) is None:
            raise commands.no_effect(flag, f'without --{other}')
    options.landmarks_key = options.landmarks_key or landmark_files.KEY
    if options.scale is not None and options.crop == 'whole':
        raise commands.no_effect('--scale', 'with --crop=whole')
    options.scale = Settings.scale if options.scale is None else options.scale
    every = Settings.every if options.every is None else options.every
    if min(options.size, every, options.shard_size, options.processes) < 1 or not 0.5 <= options.scale <= 10:
        raise UserError('--size, --every, --shard-size and --processes must be positive, --scale from 0.5 to 10')
    options.part = None if options.part is None else share.read(options.part)
    return options


def _settings(options: argparse.Namespace) -> Settings:
    landmarks, boxes = options.landmarks is not None, options.boxes is not None
    if landmarks and boxes:
        raise UserError('--landmarks and --boxes both say where the faces are: leave one out')
    if options.crop == 'whole' and boxes:
        raise UserError('--crop=whole takes each picture as one face: leave out --boxes, or --crop')
    return Settings(
        crop=options.crop,
        landmarker=detection.choose(options.landmarker, landmarks),
        scale=options.scale,
        size=options.size,
        every=options.every or Settings.every,
        parse=options.parse,
    )


def _notes(settings: Settings) -> list[str]:
    return [
        f'The square is the crop ({settings.crop}, {settings.scale:g}); the margin is for the jitter of '
        f'training. Landmarks: {settings.landmarker or "given"}. What a mask leaves out is red.',
        'These pages show people: keep them where the photographs may be kept.',
    ]


if __name__ == '__main__':
    commands.run(main)
