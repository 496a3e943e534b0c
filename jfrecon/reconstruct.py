"""python -m jfrecon.reconstruct PHOTOS... --out=DIR: photographs and videos in, relightable faces out."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from jfrecon import commands, outputs, pretrained
from jfrecon.data import detection, images, landmark_files, listing, videos
from jfrecon.data.sample import Unreadable
from jfrecon.errors import UserError
from jfrecon.export import requirements
from jfrecon.files import digest, shown
from jfrecon.fitting.fitter import FREEZABLE, Fitter
from jfrecon.reconstruction import photograph, plan, prediction, residual, result, video
from jfrecon.reconstruction.photograph import Face, Reconstructor
from jfrecon.reconstruction.plan import Existing, Job
from jfrecon.reconstruction.residual import Confidence, Residual
from jfrecon.reconstruction.result import Reconstruction

SMALLEST, LARGEST = 64, 4096  # texels of the side of a head's texture
BLACK_AND_WHITE = "black and white: the light is grey, the skin's hue is the morphable model's"


class Found(NamedTuple):
    """A face in a photograph.

    Attributes:
      job: the photograph.
      face: where it is.
      number: of ``faces`` in it, from 0 on.
      folder: of the face, relative to the output.
    """

    job: Job
    face: Face
    number: int
    faces: int
    folder: str


@dataclasses.dataclass
class Tally:
    """What has become of a batch so far; each failure is said when it happens.

    Attributes:
      done, skipped, failed: so many faces, or files where it did not come to faces.
      doubtful: names of faces that may not fit.
      worst: 'landmarks', 'presence' and 'skin' of the faces (`residual`), of each the worst that there is.
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    doubtful: list[str] = dataclasses.field(default_factory=list)
    worst: dict[str, float] = dataclasses.field(default_factory=dict)

    def fail(self, name: str, error: Exception | str) -> None:
        """Count a failure."""
        self.failed += 1
        if isinstance(error, OSError):
            named = '' if error.filename is None else f'{shown(error.filename)}: '
            error = f'{named}{error.strerror}'
        say(f'failed: {name}: {error}')

    def add(self, folder: str, residual: Residual, confidence: Confidence, doubts: list[str]) -> None:
        """Count a face that is done."""
        self.done += 1
        for name, value, worse in (
            ('landmarks', residual.landmarks, max),
            ('presence', confidence.presence, min),
            ('skin', confidence.skin, min),
        ):
            if value is not None:
                self.worst[name] = worse(self.worst.get(name, value), value)
        if doubts:
            self.doubtful.append(folder)
            say(f'doubtful: {folder}: {"; ".join(doubts)}')

    def so_far(self) -> str:
        """What is done, where it ends early."""
        return f'{self.done} face{" is" if self.done == 1 else "s are"} done'

    def line(self, what: str, out: Path) -> str:
        """The last line."""
        faces = f'{plan.counted("face", self.done)} of {what}'
        counts = {'failed': self.failed, 'skipped': self.skipped, 'doubtful': len(self.doubtful)}
        more = [f'{count} {kind}' for kind, count in counts.items() if count]
        named = f' ({plan.listed(self.doubtful)})' if self.doubtful else ''
        worst = ', '.join(f'{name} {value:.2f}' for name, value in self.worst.items())
        fit = f' ({"at worst " if self.done > 1 else ""}{worst})' if worst else ''
        return f'{", ".join([faces, *more])}{named}: {shown(out)}{fit}'

    def code(self) -> int:
        """2 where nothing is there in the end, 1 where something failed."""
        return 2 if not self.done + self.skipped else 1 if self.failed else 0


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
    tally = Tally(skipped=len(todo.skipped))
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
    scale = photograph.SCALE if network is None else network.crop_scale  # a network knows crops as it was trained with
    if landmarker:
        detection.load(landmarker).ready()

    def seen(job: Job) -> list[Face | Unreadable]:
        photo = images.read(job.path).sample(name=job.name)
        if options.focal is not None:
            photo = photograph.with_focal(photo, options.focal)
        return photograph.search(photo, job.given, landmarker, network, scale)

    if photos:
        make = photograph.reconstructor(network, options.refine)
        for person in _people(photos, seen, options, tally):
            label = person[0].folder if len(person) == 1 else f'{len(person)} photographs'
            try:
                with _bar(make, label) as bar:
                    made = make([found.face for found in person], bar.update)
            except Unreadable as error:
                tally.fail(label, error)
                continue
            for found, face in zip(person, made):
                _write(options, found, make, face, tally, [other.job.name for other in person])
    if clips:
        if network is None:
            network, options.refine = prediction.load(pretrained.NETWORK)[0], True
        make = photograph.reconstructor(network, options.refine)
        for job in tqdm(clips, desc='videos', unit='video', disable=None):
            try:
                if missing := _video(job, make, landmarker, options, tally):
                    tally.fail(job.name, f'{missing}; the face is of these')
            except Unreadable as error:
                tally.fail(job.name, error)


def _bar(make: Reconstructor, label: str) -> tqdm:
    return tqdm(total=make.fitter.total if make.fitter else 0, desc=label, leave=False, disable=None)


def _people(
    photos: list[Job],
    seen: Callable[[Job], list[Face | Unreadable]],
    options: argparse.Namespace,
    tally: Tally,
) -> Iterator[list[Found]]:
    """Each face by itself, one photograph after another; or one face of each photograph, all together."""
    together: list[Found] = []
    for job in tqdm(photos, desc='photographs', unit='photo', disable=None):
        try:
            faces = seen(job)
        except Unreadable as error:
            tally.fail(job.name, error)
            continue
        found = []
        for k, face in enumerate(faces):
            folder = job.folder if len(faces) == 1 or options.same_person else f'{job.folder}_{k}'
            if isinstance(face, Unreadable):
                tally.fail(job.name if len(faces) == 1 else f'{job.name}, face {k}', face)
            else:
                found.append(Found(job, face, k, len(faces), folder))
        if options.same_person:
            together += sorted(found, key=lambda one: -one.face.box.side)[:1]
            continue
        for one in found:
            if options.existing is Existing.SKIP and outputs.complete(options.out / one.folder):
                tally.skipped += 1
            else:
                yield [one]
    if together:
        yield together


def _write(
    options: argparse.Namespace,
    found: Found,
    make: Reconstructor,
    face: Reconstruction,
    tally: Tally,
    person: list[str],
    moving: Any = None,
) -> None:
    """Write a face's folder; say where it fails, what was kept aside and whether the face is doubtful."""
    from jfrecon.export import asset

    if options.existing is Existing.SKIP and outputs.complete(options.out / found.folder):
        tally.skipped += 1  # of a person in several photographs
        return
    layers = result.layers(make.portrait, face)
    measured = residual.measure(make.model, face, found.face, layers)
    sure = residual.confidence(found.face)
    doubts = residual.doubts(measured, sure, make.fitter is not None)
    square = np.round(found.face.cut(asset.PHOTOGRAPH).image[0] * 255).astype(np.uint8)
    photo = found.face.sample
    notes = [*photo.notes, *([BLACK_AND_WHITE] if found.face.black_and_white else [])]
    facts = {
        'photograph': found.job.name,
        **({'photograph_scale': photo.scale} if photo.scale != 1 else {}),
        **({'notes': notes} if notes else {}),
        'face': found.number,
        'faces': found.faces,
        **({'person': person} if len(person) > 1 else {}),
        'residual': measured._asdict(),
        'confidence': sure._asdict(),
        'doubts': doubts,
    }
    try:
        facts['sha256'] = digest(found.job.path)
        kept = asset.write(
            options.out / found.folder, make.model, make.portrait, face, make.atlas, square, facts, moving, layers,
            options.existing, options.texture,
        )  # fmt: skip
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.errno in commands.FULL:
            raise
        tally.fail(found.folder, error)
        return
    for name in kept:
        say(f'{shown(options.out / found.folder)}: what you had put there is kept as {name}')
    tally.add(found.folder, measured, sure, doubts)


def _video(job: Job, make: Reconstructor, landmarker: str, options: argparse.Namespace, tally: Tally) -> str:
    """Write the face of a video; say what is wrong with one of which only some frames could be read, '' for nothing."""
    from jfrecon.export import asset

    with _bar(make, job.name) as bar:
        clip = video.reconstruct(
            lambda: videos.frames(job.path, options.every or 1),
            make,
            None if options.box is None else options.box[0],
            options.focal or float('nan'),
            bar.update,
            landmarker or detection.DEFAULT,
        )
    moving = asset.Video(clip.motion, clip.numbers, clip.times, clip.pictures)
    _write(options, Found(job, clip.face, 0, 1, job.folder), make, clip.result, tally, [job.name], moving)
    return clip.missing


def _go_on(options: argparse.Namespace) -> int:
    """Fits a face that was reconstructed before, and perhaps edited, on to its photograph."""
    from jfrecon.export import asset

    if len(options.inputs) != 1 or not options.inputs[0].is_file():
        raise UserError('--start goes on with one face: name its photograph')
    ((name, path),) = listing.find(options.inputs, ()).files
    folder = options.start.resolve().name
    plan.require_free(options.out / folder, options.existing)
    tally = Tally()
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
    with tqdm(total=fitter.steps[-1], desc=name, disable=None) as bar:
        made = make.go_on(face, before, bar.update)
    number, count = (int(about.get(key, default)) for key, default in (('face', 0), ('faces', 1)))
    _write(options, Found(Job(name, path, folder), face, number, count, folder), make, made, tally, [name])
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
        help=f"texels of the side of the head's texture, {SMALLEST} to {LARGEST}; default: 1024",
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
    if options.texture is not None and not SMALLEST <= options.texture <= LARGEST:
        raise UserError(f'--texture={options.texture}: {SMALLEST} to {LARGEST} texels')
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
