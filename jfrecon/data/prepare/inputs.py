"""What there is to prepare: files in the order of the command, with what is given for each, and their hashes."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from jfrecon.data import folder, images
from jfrecon.data.prepare import clips
from jfrecon.data.prepare.faces import Given, Rejected
from jfrecon.errors import UserError

BOX_COLUMNS = ('x', 'y', 'w', 'h')
FRAME = re.compile(r'(.+)_\d{6}')  # a frame's name: its clip's and its number


@dataclasses.dataclass(frozen=True)
class Input:
    """A photo or a video.

    Attributes:
      name: relative to the folder that holds all inputs.
      path: where it is.
      clip: whether it is a video.
      group: the subject, or the video's name.
      sha256: of the file.
      known: what is given for it, or for its frames, by name; ``unnamed`` for other frames.
      mask, mask_sha256: the picture of its mask, if there is one.
    """

    name: str
    path: Path
    clip: bool
    group: str
    sha256: str
    known: Mapping[str, Given]
    unnamed: Given
    mask: Path | None = None
    mask_sha256: str = ''

    def record(self) -> dict[str, str]:
        """What makes it the same input when a run goes on."""
        return {
            'name': self.name,
            'sha256': self.sha256,
            'group': self.group,
            'mask_sha256': self.mask_sha256,
        }


class Seen(NamedTuple):
    """A file's size and time of its last change, and its hash at that time."""

    size: int
    modified: int
    sha256: str


class Plan(NamedTuple):
    """What there is to do, what is left out already, what was hashed (by path), and given names that fit no file."""

    inputs: list[Input]
    rejected: list[Rejected]
    hashed: dict[str, Seen]
    unused: list[str]


def plan(
    paths: Sequence[Path],
    landmarks: folder.LandmarkFile | None = None,
    boxes: tuple[list[str], np.ndarray] | None = None,
    masks: Path | None = None,
    mask_suffix: str = '',
    hashed: Mapping[str, Seen] | None = None,
) -> Plan:
    """The photos and videos among files and folders (with all that is below them), each content once.

    Args:
      paths: files and folders.
      landmarks: rows that belong to the file of that name, or to its frame ``clip.mp4_000120``; a name may leave out
        the first folders of a file's.
      boxes: names and [N, 4] x, y, w, h, likewise.
      masks, mask_suffix: see `folder.Folder`.
      hashed: what an earlier run hashed; files that look unchanged are not read again.

    Raises:
      UserError: a path does not exist, there is nothing to do, or a name fits two files.
    """
    if masks is not None and not masks.is_dir():
        raise UserError(f'no such folder: {masks}')
    files, rejected = _listed(paths)
    given, unused = _given([name for name, _ in files], landmarks, boxes)
    groups = _index(paths, files) if landmarks is None else {}
    nothing = Given(
        landmarks=None if landmarks is None else np.zeros((0, 68, 2)),
        boxes=None if boxes is None else np.zeros((0, 4)),
    )
    found = []
    for name, path in files:
        suffix = path.suffix.lower()
        if not os.path.isfile(path):  # a link that leads nowhere, a pipe that would block
            rejected.append(Rejected(name, 'not a file'))
        elif (
            masks is not None
            and mask_suffix
            and path.parent == _absolute(masks)
            and path.stem.endswith(mask_suffix)
        ):
            rejected.append(Rejected(name, 'a mask'))
        elif suffix in images.SUFFIXES or suffix in clips.SUFFIXES:
            found.append((name, path))
        else:
            rejected.append(Rejected(name, 'neither a photo nor a video by its name'))
    belongs = {
        path: mask
        for _, path in found
        if masks is not None and (mask := _absolute(masks) / f'{path.stem}{mask_suffix}.png').is_file()
    }
    seen, closed = _hash([path for _, path in found] + sorted(set(belongs.values())), hashed or {})
    inputs: list[Input] = []
    for name, path in found:
        own = belongs.get(path)
        if path in closed:
            rejected.append(Rejected(name, closed[path]))
            continue
        if own is not None and own in closed:
            rejected.append(Rejected(name, f'its mask {closed[own]}'))
            continue
        clip = path.suffix.lower() in clips.SUFFIXES
        inputs.append(
            Input(
                name=name,
                path=path,
                clip=clip,
                group=groups.get(name, name if clip else ''),
                sha256=seen[path].sha256,
                known=given.get(name, {}),
                unnamed=nothing,
                mask=own,
                mask_sha256='' if own is None else seen[own].sha256,
            )
        )
    inputs, copies = _once(inputs)
    if not inputs:
        raise UserError(f'there are no photos and no videos in {", ".join(map(str, paths[:3]))}')
    return Plan(inputs, rejected + copies, {str(path): found for path, found in seen.items()}, unused)


def read_boxes(path: Path) -> tuple[list[str], np.ndarray]:
    """File names and boxes [N, 4] (x, y, w, h; pixels) of a csv with these columns, or of an npz with ``boxes``.

    Raises ``UserError`` naming what is wrong with it.
    """
    try:
        if path.suffix.lower() == '.npz':
            with np.load(path, allow_pickle=False) as archive:
                names = [str(name) for name in archive['filename']]
                boxes = np.asarray(archive['boxes'], np.float64)
        else:
            with path.open(newline='', encoding='utf-8') as file:
                rows = list(csv.DictReader(file))
            names = [row['filename'] for row in rows]
            boxes = np.array([[float(row[column]) for column in BOX_COLUMNS] for row in rows]).reshape(-1, 4)
    except FileNotFoundError as error:
        raise UserError(f'no such file of boxes: {path}') from error
    except (
        LookupError,
        ValueError,
        TypeError,
        OSError,
        EOFError,
        csv.Error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise UserError(
            f'{path} does not hold filename, x, y, w, h, as csv or as npz with boxes (N, 4): {type(error).__name__}'
        ) from error
    if boxes.shape != (len(names), 4):
        raise UserError(f'{path}: boxes are {boxes.shape}, expected ({len(names)}, 4)')
    return names, boxes


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _listed(paths: Sequence[Path]) -> tuple[list[tuple[str, Path]], list[Rejected]]:
    """(name, path) of all files, in order, and the folders that cannot be read."""
    absolute = [_absolute(path) for path in paths]
    for path in absolute:
        if not os.path.lexists(path):
            raise UserError(f'no such file or folder: {path}')
    common = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in absolute]))
    files: dict[Path, None] = {}
    closed: list[OSError] = []
    links: list[Path] = []
    for path in absolute:
        if not path.is_dir():
            files[path] = None
            continue
        below = []
        for at, folders, names in os.walk(path, onerror=closed.append):
            below += [Path(at) / name for name in names]
            links += [link for name in folders if (link := Path(at) / name).is_symlink()]
        files |= dict.fromkeys(sorted(below))
    rejected = [
        Rejected(_name(Path(error.filename), common), f'cannot be read ({error.strerror})')
        for error in closed
    ]
    rejected += [Rejected(_name(link, common), 'a link to a folder') for link in links]
    return [(_name(path, common), path) for path in files], sorted(rejected)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _name(path: Path, common: Path) -> str:
    """Text that any file and terminal can hold, whatever bytes a file is called by."""
    return os.fsencode(path.relative_to(common).as_posix()).decode('utf-8', 'backslashreplace')


def _given(
    names: list[str], landmarks: folder.LandmarkFile | None, boxes: tuple[list[str], np.ndarray] | None
) -> tuple[dict[str, dict[str, Given]], list[str]]:
    """What tables say: file -> picture -> given; and the names that fit no file."""
    points: dict[str, list[int]] = _rows([] if landmarks is None else landmarks.names)
    squares: dict[str, list[int]] = _rows([] if boxes is None else boxes[0])
    named = list(dict.fromkeys([*points, *squares]))
    owners = _owners(names, named)
    given: dict[str, dict[str, Given]] = {}
    for row in named:
        if row not in owners:
            continue
        name, picture = owners[row]
        at, box = points.get(row, []), squares.get(row, [])
        subjects = () if landmarks is None else tuple(landmarks.groups[i] for i in at)
        given.setdefault(name, {})[picture] = Given(
            landmarks=None if landmarks is None else landmarks.landmarks[at],
            boxes=None if boxes is None else boxes[1][box],
            groups=subjects if any(subjects) else (),
        )
    return given, [row for row in named if row not in owners]


def _rows(names: Iterable[str]) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        rows.setdefault(name, []).append(i)
    return rows


def _owners(names: list[str], rows: list[str]) -> dict[str, tuple[str, str]]:
    """Row -> (file, picture): the file whose name ends in the row's, or of which it is a frame."""
    whole = set(names)
    files: dict[str, list[str]] = {}
    for name in names:
        folders = name.split('/')
        for k in range(len(folders)):
            files.setdefault('/'.join(folders[k:]), []).append(name)
    owners = {}
    for row in rows:
        frame = FRAME.fullmatch(row)
        for key, end in [(row, ''), (frame[1], row[len(frame[1]) :])] if frame else [(row, '')]:
            found = [key] if key in whole else files.get(key, [])
            if len(found) > 1:
                raise UserError(f'{key!r} could be {found[0]!r} or {found[1]!r}: name it with its folders')
            if found:
                owners[row] = found[0], f'{found[0]}{end}'
                break
    return owners


def _index(paths: Sequence[Path], files: list[tuple[str, Path]]) -> dict[str, str]:
    """Subjects from an ``index.csv`` in one of the folders that were named."""
    groups: dict[str, str] = {}
    for path in paths:
        index = _absolute(path) / folder.INDEX
        if index.is_file():
            table = folder.read_index(index)
            subjects = dict(zip(table.get('filename', []), table.get('subject', [])))
            groups |= {
                name: subject
                for name, file in files
                if file.is_relative_to(index.parent)
                and (subject := subjects.get(file.relative_to(index.parent).as_posix()))
            }
    return groups


def _hash(paths: list[Path], before: Mapping[str, Seen]) -> tuple[dict[Path, Seen], dict[Path, str]]:
    """What was seen of the files, and of those that cannot be read, why."""

    def look(path: Path) -> Seen | str:
        try:
            now = path.stat()
            known = before.get(str(path))
            if known is not None and known[:2] == (now.st_size, now.st_mtime_ns):
                return known
            return Seen(now.st_size, now.st_mtime_ns, digest(path))
        except OSError as error:
            return f'cannot be read ({error.strerror})'

    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(paths), desc='hashing', unit='file', disable=None) as bar,
    ):
        seen, closed = {}, {}
        for path, found in zip(paths, pool.map(look, paths)):
            if isinstance(found, str):
                closed[path] = found
            else:
                seen[path] = found
            bar.update()
    return seen, closed


def _once(inputs: list[Input]) -> tuple[list[Input], list[Rejected]]:
    """Each content once: the first of its files, of those for which something is given if there are any."""
    first: dict[str, Input] = {}
    for given in inputs:
        kept = first.setdefault(given.sha256, given)
        if given.known and not kept.known:
            first[given.sha256] = given
    return (
        [given for given in inputs if first[given.sha256] is given],
        [
            Rejected(given.name, f'the same content as another (of {first[given.sha256].name})')
            for given in inputs
            if first[given.sha256] is not given
        ],
    )
