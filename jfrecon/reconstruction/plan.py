"""What there is to reconstruct: photographs and videos, each with a folder of its own, known before the work begins.

Folders mirror the tree of the inputs: `a/1.jpg` becomes `a/1`, and the faces of a group `a/1_0`, `a/1_1`, ...
"""

from __future__ import annotations

import collections
import contextlib
import enum
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from jfrecon import outputs
from jfrecon.data import images, listing, matching, scan, videos
from jfrecon.data.detection import Given
from jfrecon.data.landmark_files import LandmarkFile
from jfrecon.errors import UserError
from jfrecon.files import digest, shown

SUFFIXES = images.SUFFIXES + videos.SUFFIXES
FACE = re.compile(r'(.*)_\d+', re.S)  # the folder of one of several faces
ROOM = len('_999')  # bytes in a folder's name
NAMED = 5  # files in a line that speaks of many


class Existing(enum.Enum):
    """What becomes of folders that are there: nothing begins, they are left out, or what we wrote is replaced."""

    REFUSE, SKIP, OVERWRITE = range(3)


class Job(NamedTuple):
    """A photograph or a video.

    Attributes:
      name: relative to the folder that holds all inputs, see `jfrecon.data.listing.find`.
      path: where it is.
      folder: of its face, relative to the output; those of several faces end in _0, _1, ...
      clip: whether it is a video.
      given: what is known of its faces.
    """

    name: str
    path: Path
    folder: str
    clip: bool = False
    given: Given = Given()


class Plan(NamedTuple):
    """What there is to do.

    Attributes:
      jobs: in the order of the command line.
      skipped: names of files whose faces are all there.
      failed: (name, reason) of files that cannot become faces.
      notes: lines to say beforehand.
      total: of the photographs and videos; ``clips``: of the videos among them.
    """

    jobs: list[Job]
    skipped: list[str]
    failed: list[tuple[str, str]]
    notes: list[str]
    total: int
    clips: int


def make(
    paths: Sequence[Path],
    out: Path,
    existing: Existing = Existing.REFUSE,
    landmarks: LandmarkFile | None = None,
    box: np.ndarray | None = None,
    same_person: bool = False,
) -> Plan:
    """Plan the faces of files and folders.

    Args:
      paths: of the command line.
      out: where the faces' folders go.
      existing: what becomes of folders that are there.
      landmarks: rows for all photographs; those that have none fail. None: nobody gave any.
      box: [1, 4] x, y, w, h, of the face in each photograph.
      same_person: each photograph shows one face that counts.

    Raises:
      UserError: a path does not exist, there is nothing to do, a row of landmarks fits two files, or a folder is in the
        way.
    """
    files, closed = listing.find(paths, SUFFIXES)
    named = {listing.absolute(path) for path in paths}
    wanted: list[tuple[str, Path]] = []
    others: list[tuple[str, Path]] = []
    for name, path in files:
        whole = path in named or (path.suffix.lower() in SUFFIXES and not path.name.startswith('.'))
        (wanted if whole else others).append((name, path))
    notes = [line] if (line := scan.passed_over(path for _, path in others)) else []
    notes += [f'passed over {name}: {why}' for name, why in closed]
    if not wanted:
        said = f'; {"; ".join(notes)}' if notes else ''
        raise UserError(f'there are no photographs and no videos in {", ".join(map(shown, paths[:3]))}{said}')
    photos = [(name, path) for name, path in wanted if path.suffix.lower() not in videos.SUFFIXES]
    if landmarks is not None and len(photos) < len(wanted):
        if not photos:
            raise UserError('--landmarks has no effect on videos, whose faces are looked for: leave it out')
        count = counted('video', len(wanted) - len(photos))
        notes.append(f'--landmarks is for photographs: in {count} the face is looked for')
    rows, unused = ({}, []) if landmarks is None else _rows(landmarks, photos)
    if unused:
        notes.append(f'{counted("row", len(unused))} of landmarks for no photograph: {listed(unused)}')
    limit = _longest_name(out)
    folders = named_folders([name for name, _ in wanted], limit)
    jobs, failed, unmatched = [], [], 0
    for name, path in wanted:
        clip = path.suffix.lower() in videos.SUFFIXES
        given = Given(boxes=box) if landmarks is None else rows.get(name, Given())
        job = Job(name, path, folders[name], clip, given)
        reason = _unreadable(path) or _unwritable(out / job.folder)
        if not reason and landmarks is not None and not clip and name not in rows:
            reason, unmatched = 'it has no row of landmarks', unmatched + 1
        if reason:
            failed.append((name, reason))
        else:
            jobs.append(job)
    if unmatched:
        notes.append(
            f'{counted("photograph", unmatched)} without landmarks: add rows for them, or reconstruct them by '
            '--box=X,Y,W,H, or without --landmarks, when their faces are looked for'
        )
    jobs, skipped = _to_do(jobs, out, existing, same_person)
    return Plan(jobs, skipped, failed, notes, len(wanted), len(wanted) - len(photos))


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many there are beside."""
    more = f' and {len(names) - NAMED} more' if len(names) > NAMED else ''
    return ', '.join(names[:NAMED]) + more


def named_folders(names: Sequence[str], limit: int = 255) -> dict[str, str]:
    """Return a folder for each file, such that no two can meet, on any file system.

    That is the name without its suffix. Where the folders of two files could be the same (`x.jpg` and `x.png`, or
    `X.jpg` where capitals do not count), the folder of a file one of another's faces (`group_0.jpg` beside
    `group.jpg`), or a folder with folders in it, it is the name with its suffix, `x_png`, and a number if need be.

    Args:
      names: with slashes, all different.
      limit: bytes of a name in a path; longer ones are cut, and end in a hash.
    """
    short = {name: '/'.join(_cut(part, limit) for part in _plain(name)) for name in names}
    trees = {_key(str(parent)) for plain in short.values() for parent in PurePosixPath(plain).parents}
    with_faces = trees | {face[1] for tree in trees if (face := FACE.fullmatch(tree))}
    counts = collections.Counter(map(_key, short.values()))
    used: set[str] = set()
    faces: set[str] = set()  # what folders of one of several faces are called, without their number

    def free(key: str) -> bool:
        face = FACE.fullmatch(key)
        return not (key in with_faces or key in used or key in faces or (face and face[1] in used))

    def take(name: str, folder: str) -> None:
        key = _key(folder)
        used.add(key)
        if face := FACE.fullmatch(key):
            faces.add(face[1])
        folders[name] = folder

    folders: dict[str, str] = {}
    for name, plain in short.items():
        face = FACE.fullmatch(_key(plain))
        clear = counts[_key(plain)] == 1 and not (face and face[1] in counts)
        if clear and _key(plain) not in with_faces:
            take(name, plain)
    for name in sorted(short.keys() - folders.keys()):
        path = PurePosixPath(name)
        first = str(path.with_name(f'{path.stem}_{path.suffix[1:]}' if path.suffix else path.name))
        number, folder = 1, ''
        while not folder or not free(_key(folder)):
            again = '' if number == 1 else f'-{number}'
            folder = '/'.join(_cut(part, limit, again if last else '') for part, last in _parts(first))
            number += 1
        take(name, folder)
    return folders


def require_free(folder: Path, existing: Existing) -> None:
    """Refuse a folder that is there, unless it may be left out or replaced.

    Raises:
      UserError: it may not, or is nobody's face.
    """
    if not os.path.lexists(folder) or _empty(folder):
        return
    if outputs.kind(folder) != outputs.FACE:
        raise UserError(f'{shown(folder)} is there and is no reconstructed face: choose another --out')
    if existing is Existing.REFUSE:
        raise UserError(
            f'{shown(folder)} is there already: --skip-existing leaves it as it is and goes on with what is missing, '
            '--overwrite replaces the files in it that jfrecon wrote'
        )


def _to_do(jobs: Iterable[Job], out: Path, existing: Existing, same_person: bool) -> tuple[list[Job], list[str]]:
    """The jobs that are left, and the names of those that are done."""
    beside: dict[Path, list[str]] = {}
    left, skipped = [], []
    for job in jobs:
        folder = out / job.folder
        if folder.parent not in beside:
            with contextlib.suppress(OSError):
                beside[folder.parent] = sorted(os.listdir(folder.parent))
        faces = [
            folder.parent / name
            for name in beside.get(folder.parent, [])
            if (face := FACE.fullmatch(name)) and face[1] == folder.name
        ]
        faces = [face for face in faces if outputs.kind(face) == outputs.FACE]
        for there in (folder, *faces):
            require_free(there, existing)
        if existing is Existing.SKIP:
            complete = [there for there in (folder, *faces) if outputs.complete(there)]
            for there in complete:
                _require_of(job, there)
            if folder in complete if same_person else _done([outputs.record(there) for there in complete]):
                skipped.append(job.name)
                continue
        left.append(job)
    if same_person and left:  # a person's faces are made together
        return [*jobs], []
    return left, skipped


def _require_of(job: Job, folder: Path) -> None:
    """Refuse a folder that is of something else; what earlier versions wrote knows the file's last name only."""
    about = outputs.record(folder)
    whose = str(about.get('photograph', ''))
    if 'sha256' not in about:
        if PurePosixPath(whose).name != PurePosixPath(job.name).name:
            raise UserError(f'{shown(folder)} is of {whose}, not of {job.name}: choose another --out')
    elif about['sha256'] != digest(job.path):
        if whose != job.name:
            raise UserError(f'{shown(folder)} is of {whose}, not of {job.name}: choose another --out')
        raise UserError(f'{shown(folder)} is of {job.name} as it was before it changed: --overwrite makes it anew')


def _done(records: Sequence[dict]) -> bool:
    """Whether records of complete folders are those of all faces of a photograph."""
    counts = {about.get('faces', 1) for about in records}
    return len(counts) == 1 and {about.get('face', 0) for about in records} >= set(range(int(counts.pop())))


def _rows(landmarks: LandmarkFile, files: Sequence[tuple[str, Path]]) -> tuple[dict[str, Given], list[str]]:
    """File -> what is known of its faces; and the rows that fit none."""
    owned = matching.owners(files, landmarks.names)
    rows: dict[str, list[int]] = {}
    for k, row in enumerate(landmarks.names):
        if row in owned:
            rows.setdefault(owned[row].file, []).append(k)
    unused = [row for row in dict.fromkeys(landmarks.names) if row not in owned]
    share = landmarks.confidence
    return {
        name: Given(landmarks=landmarks.landmarks[at], confidence=None if share is None else share[at])
        for name, at in rows.items()
    }, unused


def _unreadable(path: Path) -> str:
    """Why a file cannot be read, as far as it can be told without reading: a pipe would wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f'cannot be read ({error.strerror})'
    for kind, test in {
        'a named pipe': stat.S_ISFIFO, 'a socket': stat.S_ISSOCK, 'a device': stat.S_ISCHR, 'a disk': stat.S_ISBLK
    }.items():  # fmt: skip
        if test(mode):
            return f'it is {kind}, not a file'
    return '' if os.access(path, os.R_OK) else 'cannot be read (Permission denied)'


def _unwritable(folder: Path) -> str:
    """Why a folder cannot be made, as far as it can be told without making it."""
    try:
        os.lstat(folder)
    except FileNotFoundError:
        return ''
    except NotADirectoryError:
        return f'a file is in the way of {shown(folder)}'
    except (OSError, ValueError) as error:
        return f'{shown(folder.name)} cannot be written ({getattr(error, "strerror", None) or error})'
    return ''


def _empty(folder: Path) -> bool:
    return folder.is_dir() and all(path.name.startswith(outputs.UNFINISHED) for path in folder.iterdir())


def _longest_name(out: Path) -> int:
    """Bytes of a name in a folder that need not exist yet."""
    for folder in (out, *out.absolute().parents):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return os.pathconf(folder, 'PC_NAME_MAX')
    return 255


def _plain(name: str) -> Sequence[str]:
    path = PurePosixPath(name)
    return path.with_name(path.stem).parts


def _parts(name: str) -> list[tuple[str, bool]]:
    parts = PurePosixPath(name).parts
    return [(part, k == len(parts) - 1) for k, part in enumerate(parts)]


def _cut(part: str, limit: int, end: str = '') -> str:
    """A folder's name with an end, and room for the number of a face."""
    if len(os.fsencode(part + end)) + ROOM <= limit:
        return part + end
    end = f'-{hashlib.sha256(part.encode()).hexdigest()[:8]}{end}'
    kept = part.encode()[: limit - ROOM - len(end)].decode(errors='ignore')
    return kept.rstrip() + end


def _key(folder: str) -> str:
    """The same for folders that are one on some file system."""
    return unicodedata.normalize('NFC', unicodedata.normalize('NFC', folder).casefold())


def counted(noun: str, number: int) -> str:
    """Return '1 face', '2 faces'."""
    return f'{number} {noun}{"" if number == 1 else "s"}'
