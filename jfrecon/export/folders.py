"""Photographs in, a folder for each face out: what the command `reconstruct` and the page of `jfrecon.demo` share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jfrecon import commands, outputs
from jfrecon.data import images
from jfrecon.data.sample import Unreadable
from jfrecon.errors import UserError
from jfrecon.files import digest, shown
from jfrecon.reconstruction import photograph, plan, residual, result
from jfrecon.reconstruction.photograph import Face, Reconstructor
from jfrecon.reconstruction.plan import Existing, Job
from jfrecon.reconstruction.residual import Confidence, Residual
from jfrecon.reconstruction.result import Reconstruction

if TYPE_CHECKING:
    from jfrecon.export.asset import Video

SMALLEST, LARGEST = 64, 4096  # texels of the side of a head's texture
BLACK_AND_WHITE = "black and white: the light is grey, the skin's hue is the morphable model's"
Bar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


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


@dataclasses.dataclass(frozen=True)
class Settings:
    """How faces are made, and where they go.

    Attributes:
      out: gets a folder for each face.
      landmarker: the detector that finds what is not given (`jfrecon.data.detection`).
      existing: what becomes of folders that are there.
      texture: texels of the side of the head's texture; None: `jfrecon.export.head.TEXTURE`.
      focal: pixels of the photographs' files; None: by EXIF, else that of `jfrecon.reconstruction.photograph.locate`.
      same_person: all photographs show one person, of each the largest face counts.
    """

    out: Path
    landmarker: str
    existing: Existing = Existing.REFUSE
    texture: int | None = None
    focal: float | None = None
    same_person: bool = False


@dataclasses.dataclass
class Tally:
    """What has become of a batch so far; each failure is said when it happens.

    Attributes:
      say: is called with each line.
      made: folders of faces that are done, relative to the output.
      skipped, failed: numbers of faces, or of files that did not come to faces.
      doubtful: folders of faces that may not fit.
      worst: 'landmarks', 'presence' and 'skin' of the faces (`residual`), of each the worst that there is.
    """

    say: Callable[[str], object]
    made: list[str] = dataclasses.field(default_factory=list)
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
        self.say(f'failed: {name}: {error}')

    def add(self, folder: str, residual: Residual, confidence: Confidence, doubts: list[str]) -> None:
        """Count a face that is done."""
        self.made.append(folder)
        for name, value, worse in (
            ('landmarks', residual.landmarks, max),
            ('presence', confidence.presence, min),
            ('skin', confidence.skin, min),
        ):
            if value is not None:
                self.worst[name] = worse(self.worst.get(name, value), value)
        if doubts:
            self.doubtful.append(folder)
            self.say(f'doubtful: {folder}: {"; ".join(doubts)}')

    def so_far(self) -> str:
        """What is done, where it ends early."""
        return f'{len(self.made)} face{" is" if len(self.made) == 1 else "s are"} done'

    def line(self, what: str, out: Path) -> str:
        """The last line."""
        faces = f'{plan.counted("face", len(self.made))} of {what}'
        counts = {'failed': self.failed, 'skipped': self.skipped, 'doubtful': len(self.doubtful)}
        more = [f'{count} {kind}' for kind, count in counts.items() if count]
        named = f' ({plan.listed(self.doubtful)})' if self.doubtful else ''
        worst = ', '.join(f'{name} {value:.2f}' for name, value in self.worst.items())
        fit = f' ({"at worst " if len(self.made) > 1 else ""}{worst})' if worst else ''
        return f'{", ".join([faces, *more])}{named}: {shown(out)}{fit}'

    def code(self) -> int:
        """2 where nothing is there in the end, 1 where something failed."""
        return 2 if not self.made and not self.skipped else 1 if self.failed else 0


def require_texture(texels: int | None) -> None:
    """Refuse a texture of a size that no head gets.

    Raises:
      UserError: it is given, and too small or too large.
    """
    if texels is not None and not SMALLEST <= texels <= LARGEST:
        raise UserError(f'--texture={texels}: {SMALLEST} to {LARGEST} texels')


def photographs(jobs: Iterable[Job], make: Reconstructor, settings: Settings, tally: Tally, bar: Bar) -> None:
    """Reconstruct the faces in photographs, and write a folder for each.

    Args:
      jobs: the photographs.
      make: reconstructs a face.
      settings: how, and where to.
      tally: counts what has become of them, and names what failed.
      bar: is told what is reconstructed next and how many steps that takes, and gives what is called at each step.

    Raises:
      OSError: the disk is full.
    """
    for person in _people(jobs, make, settings, tally):
        label = person[0].folder if len(person) == 1 else f'{len(person)} photographs'
        try:
            with bar(label, make.fitter.total if make.fitter else 0) as step:
                made = make([found.face for found in person], step)
        except Unreadable as error:
            tally.fail(label, error)
            continue
        for found, face in zip(person, made):
            write(found, make, face, settings, tally, [other.job.name for other in person])


def _people(jobs: Iterable[Job], make: Reconstructor, settings: Settings, tally: Tally) -> Iterator[list[Found]]:
    """Each face by itself, one photograph after another; or one face of each photograph, all together."""
    together: list[Found] = []
    for job in jobs:
        try:
            faces = _seen(job, make, settings)
        except Unreadable as error:
            tally.fail(job.name, error)
            continue
        found = []
        for k, face in enumerate(faces):
            folder = job.folder if len(faces) == 1 or settings.same_person else f'{job.folder}_{k}'
            if isinstance(face, Unreadable):
                tally.fail(job.name if len(faces) == 1 else f'{job.name}, face {k}', face)
            else:
                found.append(Found(job, face, k, len(faces), folder))
        if settings.same_person:
            together += sorted(found, key=lambda one: -one.face.box.side)[:1]
            continue
        for one in found:
            if settings.existing is Existing.SKIP and outputs.complete(settings.out / one.folder):
                tally.skipped += 1
            else:
                yield [one]
    if together:
        yield together


def _seen(job: Job, make: Reconstructor, settings: Settings) -> list[Face | Unreadable]:
    photo = images.read(job.path).sample(name=job.name)
    if settings.focal is not None:
        photo = photograph.with_focal(photo, settings.focal)
    # a network knows crops as it was trained with
    scale = photograph.SCALE if make.network is None else make.network.crop_scale
    return photograph.search(photo, job.given, settings.landmarker, make.network, scale)


def write(
    found: Found,
    make: Reconstructor,
    face: Reconstruction,
    settings: Settings,
    tally: Tally,
    person: Sequence[str],
    video: Video | None = None,
) -> None:
    """Write a face's folder; say where it fails, what was kept aside and whether the face is doubtful.

    Args:
      found: the face in its photograph.
      make: has reconstructed it.
      face: what was made of it.
      settings: where to.
      tally: counts it.
      person: names of all photographs of the person.
      video: where the photograph is a frame of one.

    Raises:
      OSError: the disk is full.
    """
    from jfrecon.export import asset  # which needs the packages of `jfrecon.export.requirements`

    if settings.existing is Existing.SKIP and outputs.complete(settings.out / found.folder):
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
        **({'person': list(person)} if len(person) > 1 else {}),
        'residual': measured._asdict(),
        'confidence': sure._asdict(),
        'doubts': doubts,
    }
    try:
        facts['sha256'] = digest(found.job.path)
        kept = asset.write(
            settings.out / found.folder, make.model, make.portrait, face, make.atlas, square, facts, video, layers,
            settings.existing, settings.texture,
        )  # fmt: skip
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.errno in commands.FULL:
            raise
        tally.fail(found.folder, error)
        return
    for name in kept:
        tally.say(f'{shown(settings.out / found.folder)}: what you had put there is kept as {name}')
    tally.add(found.folder, measured, sure, doubts)
