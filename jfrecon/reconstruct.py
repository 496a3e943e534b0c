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

from jfrecon import commands, pretrained
from jfrecon.data import detection, images, landmark_files, scan, videos
from jfrecon.data.sample import Unreadable
from jfrecon.errors import UserError
from jfrecon.export import requirements
from jfrecon.fitting.fitter import FREEZABLE, Fitter
from jfrecon.reconstruction import photograph, prediction, video
from jfrecon.reconstruction.photograph import Face, Reconstructor
from jfrecon.reconstruction.result import Reconstruction

SUFFIXES = images.SUFFIXES + videos.SUFFIXES
BLACK_AND_WHITE = "black and white: the light is grey, the skin's hue is the morphable model's"


class Found(NamedTuple):
    """A face, the photograph that it was found in, and the name of its folder."""

    name: str
    path: Path
    face: Face


def main(arguments: list[str] | None = None) -> int:
    """Reconstruct every face in photographs: for each a folder with meshes, textures, light and a page to look at.

    Where landmarks are known, the mean face is fitted to each photograph; where only a box is, the fit begins with what
    a small network predicts, which comes with jfrecon. With a checkpoint its network predicts the face, and --refine
    fits from there. --start goes on from a face that was reconstructed before.
    """
    options = _parse(arguments)
    requirements.check()
    options.out.mkdir(parents=True, exist_ok=True)
    if not os.access(options.out, os.W_OK):
        raise UserError(f'{options.out} cannot be written to')
    if options.start is not None:
        return _go_on(options)
    if options.landmarks is not None and options.box is not None:
        raise UserError('--landmarks and --box both say where the face is: leave one out')
    landmarker = detection.choose(options.landmarker, options.landmarks is not None, options.box is not None)
    known = None if options.landmarks is None else landmark_files.read(options.landmarks, options.landmarks_key)
    network = None
    if options.checkpoint is not None:
        network = prediction.load(options.checkpoint)[0]
    elif known is None and not detection.finds_landmarks(landmarker):
        network, options.refine = prediction.load(pretrained.NETWORK)[0], True
    scale = photograph.SCALE if network is None else network.crop_scale  # a network knows crops as it was trained with
    if landmarker:
        detection.load(landmarker).ready()
    paths = _listed(options.inputs)
    names = _named(paths)
    clips = [path for path in paths if path.suffix.lower() in videos.SUFFIXES]
    photos = [path for path in paths if path not in clips]
    failed: list[str] = []
    done = 0

    def seen(path: Path) -> list[Face]:
        photo = images.read(path).sample(name=path.name)
        if options.focal is not None:
            photo = photo.replace(focal=options.focal * photo.scale)
        return photograph.find(photo, _given(path, known, options.box), landmarker, network, scale)

    if photos:
        make = photograph.reconstructor(network, options.refine)
        for person in _people(photos, names, seen, options.same_person, failed):
            label = person[0].name if len(person) == 1 else f'{len(person)} photographs'
            try:
                with _bar(make, label) as bar:
                    made = make([found.face for found in person], bar.update)
                for found, result in zip(person, made):
                    _write(options.out, found, make, result, [other.path.name for other in person])
                    done += 1
            except Unreadable as error:
                failed.append(f'{label}: {error}')
    if clips:
        videos.require()
        if network is None:
            network, options.refine = prediction.load(pretrained.NETWORK)[0], True
        make = photograph.reconstructor(network, options.refine)
        for path in tqdm(clips, desc='videos', unit='video', disable=None):
            try:
                missing = _video(path, names[path], make, landmarker, options)
                done += 1
                if missing:
                    failed.append(f'{path}: {missing}; the face is of these')
            except Unreadable as error:
                failed.append(f'{path}: {error}')
    for line in failed:
        print(f'failed: {line}', file=sys.stderr)
    what = 'photographs and videos' if clips else 'photographs'
    print(f'{done} faces of {len(paths)} {what}: {options.out}')
    return 2 if not done else 1 if failed else 0


def _bar(make: Reconstructor, label: str) -> tqdm:
    return tqdm(total=make.fitter.total if make.fitter else 0, desc=label, leave=False, disable=None)


def _people(
    paths: list[Path],
    names: dict[Path, str],
    seen: Callable[[Path], list[Face]],
    same_person: bool,
    failed: list[str],
) -> Iterator[list[Found]]:
    """Each face by itself, one photograph after another; or one face of each photograph, all together."""
    together: list[Found] = []
    for path in tqdm(paths, desc='photographs', unit='photo', disable=None):
        try:
            found = seen(path)
        except Unreadable as error:
            failed.append(f'{path}: {error}')
            continue
        if same_person:
            largest = max(found, key=lambda face: face.box.side)
            together.append(Found(names[path], path, largest))
            continue
        for k, face in enumerate(found):
            yield [Found(names[path] if len(found) == 1 else f'{names[path]}_{k}', path, face)]
    if together:
        yield together


def _write(
    out: Path, found: Found, make: Reconstructor, result: Reconstruction, person: list[str], moving: Any = None
) -> None:
    from jfrecon.export import asset

    square = np.round(found.face.cut(asset.PHOTOGRAPH).image[0] * 255).astype(np.uint8)
    photo = found.face.sample
    notes = [*photo.notes, *([BLACK_AND_WHITE] if found.face.black_and_white else [])]
    facts = {
        'photograph': found.path.name,
        **({'photograph_scale': photo.scale} if photo.scale != 1 else {}),
        **({'notes': notes} if notes else {}),
        **({'person': person} if len(person) > 1 else {}),
    }
    asset.write(out / found.name, make.model, make.portrait, result, make.atlas, square, facts, moving)


def _video(path: Path, name: str, make: Reconstructor, landmarker: str, options: argparse.Namespace) -> str:
    """Returns what is wrong with a video of which only some frames could be read; '' for nothing."""
    from jfrecon.export import asset

    box = None if options.box is None else detection.square(options.box[0])
    with _bar(make, name) as bar:
        clip = video.reconstruct(
            lambda: videos.frames(path, options.every),
            make,
            box,
            options.focal or float('nan'),
            bar.update,
            landmarker or detection.choose(),
        )
    moving = asset.Video(clip.motion, clip.numbers, clip.times, clip.pictures)
    _write(options.out, Found(name, path, clip.face), make, clip.result, [path.name], moving)
    return clip.missing


def _go_on(options: argparse.Namespace) -> int:
    """Fits a face that was reconstructed before, and perhaps edited, on to its photograph."""
    from jfrecon.export import asset

    if len(options.inputs) != 1 or not options.inputs[0].is_file():
        raise UserError('--start goes on with one face: name its photograph')
    path = options.inputs[0]
    before, about = asset.read(options.start)
    maps = before.parameters.maps
    assert maps is not None
    model, portrait = asset.models(before, about, options.model_path)
    bands = round(len(before.parameters.light) ** 0.5)
    fitter = Fitter.of(model, portrait.model, bands, len(maps.diffuse))
    fitter = dataclasses.replace(fitter, frozen=tuple(options.freeze))
    try:
        photo = images.read(path).sample(name=path.name)
    except Unreadable as error:
        raise UserError(f'{path}: {error}') from error
    if photo.image.shape[:2] != before.size:
        raise UserError(f'{path} has another size than the photograph of {options.start}: is it another one?')
    make = Reconstructor(model, fitter.portrait, fitter.atlas, None, fitter)
    face = Face.again(photo, before)
    with tqdm(total=fitter.steps[-1], desc=path.name, disable=None) as bar:
        result = make.go_on(face, before, bar.update)
    _write(options.out, Found(options.start.resolve().name, path, face), make, result, [path.name])
    print(f'1 face of 1 photograph: {options.out}')
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = commands.Parser(
        prog='python -m jfrecon.reconstruct',
        description=main.__doc__,
        epilog='example: python -m jfrecon.reconstruct ME.jpg --out=faces --landmarks=ME.npz',
    )
    parser.add_argument('inputs', type=Path, nargs='+', metavar='INPUT', help='photographs, videos, folders of them')
    parser.add_argument('--out', type=Path, required=True, help='gets a folder for each face')
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
        help='npz with filename and landmarks (N, 68, 2); several rows with one name are several faces',
    )
    parser.add_argument('--landmarks-key', default='landmarks', help='name of the landmarks in the npz')
    parser.add_argument('--box', type=_box, metavar='X,Y,W,H', help='the face in every photograph, not detected')
    parser.add_argument('--landmarker', default=detection.AUTO, metavar='NAME', help=detection.HELP)
    parser.add_argument('--focal', type=float, help='pixels; default: by EXIF, else 4.5 times the width of the face')
    parser.add_argument('--every', type=int, default=1, help='every so many frames of a video')
    parser.add_argument('--start', type=Path, metavar='FACE', help='a folder that this command left: fit on from there')
    parser.add_argument(
        '--freeze',
        type=lambda text: text.split(','),
        default=[],
        help=f'with --start: what stays as it is, with commas between: {", ".join(FREEZABLE)}',
    )
    parser.add_argument('--model-path', type=Path, help='with --start: of a morphable model that is not embedded')
    options = parser.parse_args(arguments)
    if options.focal is not None and not options.focal > 0:
        raise UserError(f'--focal={options.focal} is not a focal length')
    if options.every < 1:
        raise UserError('--every is at least 1')
    if options.refine and options.checkpoint is None:
        raise UserError('without --checkpoint every face is fitted: leave --refine out')
    if unknown := set(options.freeze) - set(FREEZABLE):
        raise UserError(f'--freeze={",".join(sorted(unknown))}: there are {", ".join(FREEZABLE)}')
    if options.start is None and (options.freeze or options.model_path):
        raise UserError('--freeze and --model-path go with --start=FACE')
    told = options.landmarks or options.box is not None or options.landmarker != detection.AUTO
    if options.start is not None and (options.checkpoint or told or options.same_person):
        raise UserError(
            '--start knows where the face is: leave --checkpoint, --landmarks, --landmarker, --box, --same-person out'
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


def _given(path: Path, known: landmark_files.LandmarkFile | None, box: np.ndarray | None) -> detection.Given:
    if known is None:
        return detection.Given(boxes=box)
    rows = [k for k, name in enumerate(known.names) if Path(name).name == path.name]
    return detection.Given(landmarks=known.landmarks[rows])


def _listed(paths: list[Path]) -> list[Path]:
    """The photographs and videos among files and folders, those of a folder by name; says what it passes over."""
    found: dict[Path, None] = {}
    others: list[Path] = []
    for path in paths:
        if path.is_dir():
            below = scan.scan(path, SUFFIXES)
            found |= dict.fromkeys(below.wanted)
            others += below.others
            for closed, why in below.closed:
                print(f'passed over {closed}: {why}', file=sys.stderr)
        elif path.exists():
            found[path] = None
        else:
            raise UserError(f'no such file or folder: {path}')
    passed = scan.passed_over(others)
    if not found:
        named = ', '.join(map(str, paths[:3]))
        raise UserError(f'there are no photographs and no videos in {named}{f"; {passed}" if passed else ""}')
    if passed:
        print(passed, file=sys.stderr)
    return list(found)


def _named(paths: list[Path]) -> dict[Path, str]:
    """A folder's name for each photograph: its stem, and a number where that is taken."""
    names: dict[Path, str] = {}
    for path in paths:
        name, number = path.stem, 1
        while name in names.values():
            number += 1
            name = f'{path.stem}-{number}'
        names[path] = name
    return names


if __name__ == '__main__':
    commands.run(main)
