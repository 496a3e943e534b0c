"""Requests to reconstruct photographs, worked off one at a time, and everything deleted that was handed in or made."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jfrecon.data import detection
from jfrecon.errors import UserError
from jfrecon.export import folders
from jfrecon.export.folders import Settings, Tally
from jfrecon.files import shown
from jfrecon.reconstruction import plan
from jfrecon.reconstruction.photograph import Reconstructor

PATIENCE = 10  # seconds that `Desk.close` waits for the step of a fit
Progress = Callable[[float, str], object]


class Left(Exception):
    """Stop a request whose page was closed, or whose command ends."""


class Made(NamedTuple):
    """What came of a request.

    Attributes:
      faces: folders of the faces, beside each a zip of it.
      notes: lines to be read: what failed, what is doubtful.
    """

    faces: list[Path]
    notes: list[str]


class Desk:
    """Works off requests, one at a time, and deletes what it was given and what it made of it.

    Attributes:
      folder: gets a folder for each person at the page, whose name cannot be guessed.
      make: reconstructs a face.
      texture: texels of the side of the head's texture; None: the default of `reconstruct`.
    """

    def __init__(self, folder: Path, make: Reconstructor, texture: int | None = None):
        self.folder, self.make, self.texture = folder, make, texture
        self._work = threading.Lock()
        self._change = threading.Lock()
        self._own: dict[str, Path] = {}
        self._held: dict[str, set[Path]] = {}
        self._left: set[str] = set()
        self._closed = False

    def reconstruct(self, session: str, uploads: Sequence[Path], same_person: bool, progress: Progress) -> Made:
        """Reconstruct the faces in photographs, as `python -m jfrecon.reconstruct` does.

        What the same person had made before is deleted, and so are the uploads, whatever happens.

        Args:
          session: the name of the browser session that asks.
          uploads: the photographs.
          same_person: all photographs show one person.
          progress: is called with a share of 1 and what is done.

        Raises:
          UserError: no face came of it.
          Left: the person has left.
        """
        self.hold(session, uploads)
        try:
            with self._work:
                own = self._fresh(session)
                try:
                    photos = _copied(uploads, own / 'photographs')
                    made = self._made(session, photos, own / 'faces', same_person, progress)
                    self._require_here(session)
                    return made
                except BaseException as error:
                    self._forget(session)
                    shutil.rmtree(own, ignore_errors=True)  # once more, of what was written meanwhile
                    if self._unwanted(session):
                        raise Left from error
                    raise
                finally:
                    shutil.rmtree(own / 'photographs', ignore_errors=True)
        finally:
            self._release(session, uploads)

    def hold(self, session: str, uploads: Iterable[Path]) -> None:
        """Keep what a person has uploaded as long as they need it: a file of two people is the same for both."""
        with self._change:
            if session not in self._left:
                self._held.setdefault(session, set()).update(uploads)

    def leave(self, session: str) -> None:
        """Delete what a person has; what is in work for them ends with the next step of its fit."""
        with self._change:
            self._left.add(session)
            uploads = self._held.get(session, set()).copy()
        self._release(session, uploads)
        self._forget(session)

    def close(self) -> None:
        """End all work and delete everything."""
        self._closed = True
        free = self._work.acquire(timeout=PATIENCE)
        for session in list(self._own):
            self._forget(session)
        if free:
            self._work.release()

    def _made(self, session: str, photos: list[Path], out: Path, same_person: bool, progress: Progress) -> Made:
        if not photos:
            raise UserError('there is no photograph: drop one, or use the camera')
        todo = plan.make(photos, out, same_person=same_person)
        if todo.clips:
            raise UserError('videos are made into heads by python -m jfrecon.reconstruct: drop photographs here')
        notes: list[str] = []
        tally = Tally(notes.append)
        for name, reason in todo.failed:
            tally.fail(name, reason)

        @contextlib.contextmanager
        def bar(label: str, total: int) -> Iterator[Callable[[], None]]:
            steps = 0

            def step() -> None:
                nonlocal steps
                self._require_here(session)
                steps += 1
                progress(steps / max(total, 1), f'{label}: step {steps} of {total}')

            self._require_here(session)
            progress(0, f'{label}: begins')
            yield step
            self._require_here(session)
            progress(1, f'{label}: writing files')

        progress(0, 'finding faces')
        settings = Settings(out, detection.DEFAULT, texture=self.texture, same_person=same_person)
        folders.photographs(todo.jobs, self.make, settings, tally, bar)
        if not tally.made:
            raise UserError('; '.join(line.removeprefix('failed: ') for line in notes))
        faces = [out / name for name in tally.made]
        for face in faces:
            shutil.make_archive(str(face), 'zip', face.parent, face.name)
        return Made(faces, notes)

    def _fresh(self, session: str) -> Path:
        """An empty folder for a person who is there; the one before is deleted."""
        self._forget(session)
        with self._change:
            self._require_here(session)
            own = self._own[session] = self.folder / secrets.token_urlsafe(16)
            own.mkdir(parents=True)
        return own

    def _forget(self, session: str) -> None:
        with self._change:
            own = self._own.pop(session, None)
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)

    def _release(self, session: str, uploads: Iterable[Path]) -> None:
        """Let go of a session's uploads, and delete those that no other session holds."""
        with self._change:
            self._held.get(session, set()).difference_update(uploads)
            for upload in set(uploads).difference(*self._held.values()):
                upload.unlink(missing_ok=True)

    def _require_here(self, session: str) -> None:
        if self._unwanted(session):
            raise Left

    def _unwanted(self, session: str) -> bool:
        return self._closed or session in self._left


def _copied(uploads: Sequence[Path], folder: Path) -> list[Path]:
    """Copies of the uploads in a folder of their own, under names that differ."""
    folder.mkdir(parents=True)
    copied = []
    for upload in uploads:
        if not upload.is_file():
            raise UserError(f'{shown(upload.name)} was deleted, since it waited for too long: drop it again')
        target, number = folder / upload.name, 1
        while target.exists():
            number += 1
            target = folder / f'{upload.stem}-{number}{upload.suffix}'
        copied.append(Path(shutil.copyfile(upload, target)))
    return copied
