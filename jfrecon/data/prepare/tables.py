"""Tables that a user gives: landmarks, boxes and subjects, and the files that their rows belong to."""

from __future__ import annotations

import csv
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jfrecon.data import folder
from jfrecon.data.prepare.extract import Given
from jfrecon.errors import UserError

BOX_COLUMNS = ('x', 'y', 'w', 'h')
FRAME = re.compile(r'(.+)_\d{6}')  # a frame's name: its clip's and its number


def read_boxes(path: Path) -> tuple[list[str], np.ndarray]:
    """File names and boxes [N, 4] (x, y, w, h; pixels) of a csv with these columns or an npz with ``boxes``.

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
            f'{path} does not hold filename, x, y, w, h (csv) or filename and boxes (npz): {type(error).__name__}'
        ) from error
    if boxes.shape != (len(names), 4):
        raise UserError(f'{path}: boxes are {boxes.shape}, expected ({len(names)}, 4)')
    return names, boxes


def assign(
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


def subjects(paths: list[Path], files: list[tuple[str, Path]]) -> dict[str, str]:
    """Subjects from an ``index.csv`` in one of the folders that were named."""
    groups: dict[str, str] = {}
    for path in paths:
        index = path / folder.INDEX
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
