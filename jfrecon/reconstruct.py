"""python -m jfrecon.reconstruct PHOTOS... --out=DIR: photographs and videos in, relightable faces out."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jfrecon import commands, outputs, pretrained
from jfrecon.data import detection, images, landmark_files, listing, videos
from jfrecon.data.sample import Unreadable
from jfrecon.errors import UserError
from jfrecon.export import folders, requirements
from jfrecon.export.folders import Found, Settings, Tally
from jfrecon.files import digest, shown
from jfrecon.fitting.fitter import FREEZABLE, Fitter
from jfrecon.reconstruction import photograph, plan, prediction, video
from jfrecon.reconstruction.photograph import Face, Reconstructor
from jfrecon.reconstruction.plan import Existing, Job


def main(arguments: list[str] | None = None) -> int:
    """Reconstruct every face in photographs: for each a folder with meshes, textures, light and a page to look at.

    Faces and their landmarks are found, or given, and the mean face is fitted to each. With a checkpoint its network
    predicts the face, and --refine fits from there. Of a video the largest face is followed; its fit begins with what a
    small network predicts, which comes with jfrecon. --start goes on from a face that was reconstructed before.

    Folders mirror the inputs: PHOTOS/a/1.jpg becomes DIR/a/1, its faces DIR/a/1_0, DIR/a/1_1 where it shows several.
    Nothing that is there is lost: see --skip-existing and --overwrite.
    """
    options = _parse(arguments)
    requirements.check()
    _require_writable(options.out)
    if options.start is not None:
        return _go_on(options)
    if options.landmarks is not None and options.box is not None:
        raise UserError('--landmarks and --box both say where the face is: leave one out')
    landmarker = detection.choose(options.landmarker, options.landmarks is not None)
    known = None if options.landmarks is None else landmark_files.read(options.landmarks, options.landmarks_key)
    todo = plan.make(options.inputs, options.out, options.existing, known, options.box, options.same_person)
    if options.every is not None and not todo.clips:
        raise commands.no_effect('--every', 'without a video')
    if options.same_person and todo.total == todo.clips:
        raise commands.no_effect('--same-person', 'on videos, whose faces are made one by one')
    tally = Tally(say, skipped=len(todo.skipped))
    for line in todo.notes:
        say(line)
    for name, reason in todo.failed:
        tally.fail(name, reason)
    photos, clips = ([job for job in todo.jobs if job.clip == clip] for clip in (False, True))
    if clips:
        videos.require()
    if todo.jobs:
        try:
            _reconstruct(photos, clips, landmarker, options, tally)
        except OSError as error:
            if error.errno not in commands.FULL:
                raise
            raise UserError(
                f'no space is left for {shown(options.out)}: {tally.so_far()}; make room, and the same command with '
                '--skip-existing goes on'
            ) from error
        except KeyboardInterrupt:
            say(f'{tally.so_far()}: the same command with --skip-existing goes on')
            raise
    counts = {'photograph': todo.total - todo.clips, 'video': todo.clips}
    print(tally.line(' and '.join(plan.counted(*count) for count in counts.items() if count[1]), options.out))
    return tally.code()


def say(line: str) -> None:
    """Print a line on stderr, above the progress bars."""
    tqdm.write(line, file=sys.stderr)


def _reconstruct(
    photos: list[Job], clips: list[Job], landmarker: str, options: argparse.Namespace, tally: Tally
) -> None:
    network = None
    if options.checkpoint is not None:
        network = prediction.load(options.checkpoint)[0]
    if landmarker:
        detection.load(landmarker).ready()
    settings = _settings(options, landmarker)
    if photos:
        make = photograph.reconstructor(network, options.refine)
        bar = tqdm(photos, desc='photographs', unit='photo', disable=None)
        folders.photographs(bar, make, settings, tally, _bar)
    if clips:
        if network is None:
            network, options.refine = prediction.load(pretrained.NETWORK)[0], True
        make = photograph.reconstructor(network, options.refine)
        for job in tqdm(clips, desc='videos', unit='video', disable=None):
            try:
                if missing := _video(job, make, options, settings, tally):
                    tally.fail(job.name, f'{missing}; the face is of these')
            except Unreadable as error:
                tally.fail(job.name, error)


@contextlib.contextmanager
def _bar(label: str, total: int) -> Iterator[Callable[[], None]]:
    with tqdm(total=total, desc=label, leave=False, disable=None) as bar:
        yield bar.update


def _settings(options: argparse.Namespace, landmarker: str = '') -> Settings:
    return Settings(options.out, landmarker, options.existing, options.texture, options.focal, options.same_person)


def _video(job: Job, make: Reconstructor, options: argparse.Namespace, settings: Settings, tally: Tally) -> str:
    """Write the face of a video; say what is wrong with one of which only some frames could be read, '' for nothing."""
    from jfrecon.export import asset

    with _bar(job.name, make.fitter.total if make.fitter else 0) as step:
        clip = video.reconstruct(
            lambda: videos.frames(job.path, options.every or 1),
            make,
            None if options.box is None else options.box[0],
            options.focal or float('nan'),
            step,
            settings.landmarker or detection.DEFAULT,
        )
    moving = asset.Video(clip.motion, clip.numbers, clip.times, clip.pictures)
    found = Found(job, clip.face, 0, 1, job.folder)
    folders.write(found, make, clip.result, settings, tally, [job.name], moving)
    return clip.missing


def _go_on(options: argparse.Namespace) -> int:
    """Fits a face that was reconstructed before, and perhaps edited, on to its photograph."""
    from jfrecon.export import asset

    if len(options.inputs) != 1 or not options.inputs[0].is_file():
        raise UserError('--start goes on with one face: name its photograph')
    ((name, path),) = listing.find(options.inputs, ()).files
    folder = options.start.resolve().name
    plan.require_free(options.out / folder, options.existing)
    tally = Tally(say)
    if options.existing is Existing.SKIP and outputs.complete(options.out / folder):
        tally.skipped += 1
        print(tally.line('1 photograph', options.out))
        return 0
    before, about = asset.read(options.start)
    maps = before.parameters.maps
    assert maps is not None
    model, portrait = asset.models(before, about, options.model_path)
    bands = round(len(before.parameters.light) ** 0.5)
    fitter = Fitter.of(model, portrait.model, bands, len(maps.diffuse))
    fitter = dataclasses.replace(fitter, frozen=tuple(options.freeze))
    try:
        photo = images.read(path).sample(name=name)
    except Unreadable as error:
        raise UserError(f'{path}: {error}') from error
    if photo.image.shape[:2] != before.size:
        raise UserError(f'{path} has another size than the photograph of {options.start}: is it another one?')
    if about.get('sha256', digest(path)) != digest(path):
        say(f'{name} has changed since {shown(options.start)} was made of {about.get("photograph")}, or is another one')
    make = Reconstructor(model, fitter.portrait, fitter.atlas, None, fitter)
    face = Face.again(photo, before)
    with _bar(name, fitter.steps[-1]) as step:
        made = make.go_on(face, before, step)
    number, count = (int(about.get(key, default)) for key, default in (('face', 0), ('faces', 1)))
    found = Found(Job(name, path, folder), face, number, count, folder)
    folders.write(found, make, made, _settings(options), tally, [name])
    print(tally.line('1 photograph', options.out))
    return tally.code()


def _require_writable(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise UserError(f'{shown(out)} cannot be written to')


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = commands.Parser(
        prog='python -m jfrecon.reconstruct',
        description=main.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='examples:\n'
        '  python -m jfrecon.reconstruct ME.jpg --out=faces\n'
        '  python -m jfrecon.reconstruct PHOTOS --out=faces --landmarks=LANDMARKS.npz --skip-existing\n'
        '  python -m jfrecon.reconstruct ME.jpg --start=faces/ME --freeze=diffuse --out=faces2',
    )
    parser.add_argument('inputs', type=Path, nargs='+', metavar='INPUT', help='photographs, videos, folders of them')
    parser.add_argument('--out', type=Path, required=True, help='gets a folder for each face')
    again = parser.add_mutually_exclusive_group()
    again.add_argument('--skip-existing', action='store_true', help='go on: faces whose folders are complete stay')
    again.add_argument(
        '--overwrite',
        action='store_true',
        help="replace the files in faces' folders that jfrecon wrote; edited ones are kept as NAME.yours.png",
    )
    parser.add_argument(
        '--checkpoint', type=Path, help='of a network: the working directory of a training, or a file of jfrecon.pack'
    )
    parser.add_argument('--refine', action='store_true', help="fit from the network's prediction")
    parser.add_argument(
        '--same-person',
        action='store_true',
        help='all photographs show one person: identity, albedo and maps are shared (of each the largest face)',
    )
    parser.add_argument(
        '--landmarks',
        type=Path,
        help='npz with filename and landmarks (N, 68, 2), csv with filename, x0, y0 to x67, y67, .pts, or a folder of '
        'those; 51 points are those without the jaw, NaN and (0, 0) unknown ones. Several rows with one name are '
        'several faces',
    )
    parser.add_argument('--landmarks-key', help='name of the landmarks in the npz; default: landmarks')
    parser.add_argument('--box', type=_box, metavar='X,Y,W,H', help='the face in every photograph lies in it')
    parser.add_argument('--landmarker', metavar='NAME', help=detection.HELP)
    parser.add_argument('--focal', type=float, help='pixels; default: by EXIF, else 4.5 times the width of the face')
    parser.add_argument('--every', type=int, help='every so many frames of a video; default: 1')
    parser.add_argument(
        '--texture',
        type=int,
        help=f"texels of the side of the head's texture, {folders.SMALLEST} to {folders.LARGEST}; default: 1024",
    )
    parser.add_argument('--start', type=Path, metavar='FACE', help='a folder that this command left: fit on from there')
    parser.add_argument(
        '--freeze',
        type=lambda text: text.split(','),
        default=[],
        help=f'with --start: what stays as it is, with commas between: {", ".join(FREEZABLE)}',
    )
    parser.add_argument('--model-path', type=Path, help='with --start: of a morphable model that is not embedded')
    options = parser.parse_args(arguments)
    if options.focal is not None and not 0 < options.focal < float('inf'):
        raise UserError(f'--focal={options.focal:g} is not a focal length in pixels')
    if options.every is not None and options.every < 1:
        raise UserError('--every is at least 1')
    if options.refine and options.checkpoint is None:
        raise UserError('without --checkpoint every face is fitted: leave --refine out')
    if unknown := set(options.freeze) - set(FREEZABLE):
        raise UserError(f'--freeze={",".join(sorted(unknown))}: there are {", ".join(FREEZABLE)}')
    if options.start is None and (options.freeze or options.model_path):
        raise UserError('--freeze and --model-path go with --start=FACE')
    if options.landmarks is None and options.landmarks_key is not None:
        raise commands.no_effect('--landmarks-key', 'without --landmarks')
    options.landmarks_key = options.landmarks_key or landmark_files.KEY
    before = ('checkpoint', 'landmarks', 'box', 'focal', 'every', 'same_person', 'landmarker')
    given = [name for name in before if getattr(options, name) is not parser.get_default(name)]
    if options.start is not None and given:
        flags = ', '.join(f'--{name.replace("_", "-")}' for name in given)
        raise UserError(f'--start knows the face, its place and its camera: leave {flags} out')
    folders.require_texture(options.texture)
    options.existing = (
        Existing.OVERWRITE if options.overwrite else Existing.SKIP if options.skip_existing else Existing.REFUSE
    )
    return options


def _box(text: str) -> np.ndarray:
    try:
        values = np.array([float(part) for part in text.split(',')])
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r} is not X,Y,W,H') from error
    if values.shape != (4,) or not np.isfinite(values).all() or min(values[2:]) <= 0:
        raise argparse.ArgumentTypeError(f'{text!r} is not X,Y,W,H')
    return values[None]


if __name__ == '__main__':
    commands.run(main)
