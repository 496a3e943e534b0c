"""Landmarks that a user gives: .npz and .csv tables, iBUG's .pts, or a folder of files with one photograph each."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jfrecon import files
from jfrecon.errors import UserError

INDEX = 'index.csv'  # of the pictures beside it
KEY = 'landmarks'  # in an npz
OF_ONE = ('.pts', '.csv')  # suffixes of files that hold the landmarks of the photograph with the same stem
COUNT, INNER = 68, 51  # iBUG's points, and those without the jaw
JAW = COUNT - INNER
NOWHERE = (0.0, -1.0)  # what tools write twice for a point that they do not know
COLUMN = re.compile(r'([xy])_?(\d+)')
LARGEST = 2**30  # bytes of a text file


class LandmarkFile(NamedTuple):
    """What a landmark file says, row by row.

    Attributes:
      names: of the photographs' files; of a file with one photograph, its own name.
      landmarks: [N, 68, 2] pixels, NaN where unknown.
      groups: subjects, '' where unknown.
      confidence: [N, 68] in 0..1, how much the landmarks count; None where the file does not say.
    """

    names: list[str]
    landmarks: np.ndarray
    groups: list[str]
    confidence: np.ndarray | None = None


def read(path: str | Path, key: str = KEY) -> LandmarkFile:
    """Read 68 iBUG points of each photograph, or 51, which are those without the jaw.

    Points that are not finite, (0, 0) or (-1, -1) are unknown.

    Args:
      path: one of
        an npz with ``filename`` [N] (or an ``index.csv`` of N rows beside it, with a column ``filename``), landmarks
        [N, 68 or 51, 2 or more], of which x and y are used, and perhaps ``subject`` [N] and ``confidence`` [N, 68 or
        51] in 0..1, as `python -m jfrecon.landmarks` writes it;
        a csv with columns ``filename``, ``x0``, ``y0`` to ``x67``, ``y67`` and perhaps ``subject``; without
        ``filename`` all its rows belong to the photograph with the file's stem;
        a .pts file of iBUG for the photograph with its stem, whose pixels count from 1;
        a folder of .pts and such .csv files.
        Pixels of npz and csv: x right, y down, the centre of the first at 0.5.
      key: name of the landmarks in the npz; of a folder, .pts or .csv `KEY`, which says nothing.

    Raises:
      UserError: naming what is wrong with it.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f'no such landmark file: {path}')
    if key != KEY and (path.is_dir() or path.suffix.lower() in OF_ONE):
        raise UserError(f'{path} is no npz, which alone holds landmarks by name ({key}): leave the name out')
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() == '.pts':
        return LandmarkFile([path.name], _known(_pts(path)[None]), [''])
    if path.suffix.lower() == '.csv':
        return _csv(path, path.name)
    return _npz(path, key)


def read_index(path: Path) -> dict[str, list[str]]:
    """Those of the columns ``filename`` and ``subject`` that an ``index.csv`` has; ``UserError`` if it is none."""
    try:
        with path.open(newline='', encoding='utf-8') as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f'{path} cannot be read') from error
    return {
        column: [row[column] or '' for row in rows] for column in ('filename', 'subject') if rows and column in rows[0]
    }


def _npz(path: Path, key: str) -> LandmarkFile:
    try:
        archive = files.read_npz(path)
        if key not in archive:
            found = [name for name, values in archive.items() if values.ndim == 3]
            raise UserError(f'{path} has no {key!r}; arrays that could be landmarks: {", ".join(found) or "none"}')
        landmarks = np.asarray(archive[key], np.float32)
        confidence = np.asarray(archive['confidence'], np.float32) if 'confidence' in archive else None
        columns: dict[str, list[str]] = {}
        columns |= {name: [str(text) for text in archive[name]] for name in ('filename', 'subject') if name in archive}
    except UserError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f'{path} is not an npz of plain arrays ({type(error).__name__}: {error})') from error
    if 'filename' not in columns:
        try:
            columns |= read_index(path.parent / INDEX)
        except UserError as error:
            raise UserError(f'{path} has no "filename", and {error}') from error
        if 'filename' not in columns:
            raise UserError(f'{path} has no "filename", nor has {path.parent / INDEX}')
    count = len(columns['filename'])
    if (
        landmarks.ndim != 3
        or len(landmarks) != count
        or landmarks.shape[1] not in (COUNT, INNER)
        or landmarks.shape[2] < 2
    ):
        raise UserError(f'{path}: {key} is {landmarks.shape}, expected ({count}, {COUNT}, 2) or ({count}, {INNER}, 2)')
    groups = columns.get('subject', [''] * count)
    if len(groups) != count:
        raise UserError(f'{path}: {len(groups)} subjects for {count} file names')
    if confidence is not None:
        if confidence.shape != landmarks.shape[:2] or not ((confidence >= 0) & (confidence <= 1)).all():
            raise UserError(f'{path}: confidence is {confidence.shape}, expected {landmarks.shape[:2]} in 0..1')
        jaw = np.ones((count, COUNT - confidence.shape[1]), np.float32)
        confidence = np.concatenate([jaw, confidence], 1)
    return LandmarkFile(columns['filename'], _known(landmarks[..., :2]), groups, confidence)


def _csv(path: Path, name: str) -> LandmarkFile:
    """name: of the photograph where there is no column of file names."""
    text = _text(path)
    delimiter = max(',;\t', key=text.partition('\n')[0].count)
    try:
        rows = list(csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise UserError(f'{path} is no table ({error})') from error
    header = [column.strip() for column in rows[0]] if rows else []
    places = _columns(header, path)
    names, groups, values = [], [], []
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise UserError(f'{path}, line {number}: {len(row)} cells, the first line has {len(header)}')
        cell = dict(zip(header, row))
        names.append(cell.get('filename', name))
        groups.append(cell.get('subject', ''))
        values.append([_number(row[place], f'{path}, line {number}, {header[place]}') for place in places])
    points = np.array(values, np.float32).reshape(len(values), len(places) // 2, 2)
    return LandmarkFile(names, _known(points), groups)


def _columns(header: Sequence[str], path: Path) -> list[int]:
    """Where x and y of each point are among the columns."""
    found = {(part[1], int(part[2])): k for k, name in enumerate(header) if (part := COLUMN.fullmatch(name))}
    numbers = sorted({number for _, number in found})
    whole = bool(numbers) and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    if len(numbers) not in (COUNT, INNER) or not whole or len(found) != 2 * len(numbers):
        raise UserError(
            f'{path}: its first line is to name the columns filename, x0, y0 to x{COUNT - 1}, y{COUNT - 1}, or those '
            f'of the {INNER} points without the jaw'
        )
    return [found[axis, number] for number in numbers for axis in 'xy']


def _pts(path: Path) -> np.ndarray:
    """[68 or 51, 2] pixels, the centre of the first at 0.5."""
    lines = [line.split('//')[0].strip() for line in _text(path).splitlines()]
    try:
        first, last = lines.index('{'), lines.index('}')
    except ValueError:
        raise UserError(f'{path} is no .pts file: it has no points between lines with {{ and }}') from None
    rows = [line.replace(',', ' ').split() for line in lines[first + 1 : last] if line]
    if len(rows) not in (COUNT, INNER) or any(len(row) != 2 for row in rows):
        raise UserError(
            f'{path} has {len(rows)} points; iBUG has {COUNT}, or {INNER} without the jaw, x and y in each line'
        )
    points = np.array([[_number(cell, str(path)) for cell in row] for row in rows], np.float32)
    # The annotators' pixels count from 1, their unknown points do not.
    return np.where(_nowhere(points)[:, None], np.float32(np.nan), points - np.float32(0.5))


def _folder(folder: Path) -> LandmarkFile:
    """All files of one photograph below a folder, by their path in it."""
    paths = sorted(path for path in folder.rglob('*') if path.suffix.lower() in OF_ONE and path.is_file())
    names: list[str] = []
    groups: list[str] = []
    landmarks = [np.zeros((0, COUNT, 2), np.float32)]
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if path.name == INDEX:
            continue
        if path.suffix.lower() == '.pts':
            table = LandmarkFile([name], _known(_pts(path)[None]), [''])
        else:
            table = _csv(path, name)
        names += table.names
        groups += table.groups
        landmarks.append(table.landmarks)
    if not names:
        raise UserError(f'{folder} holds no landmarks: no .pts and no .csv files')
    return LandmarkFile(names, np.concatenate(landmarks), groups)


def _known(points: np.ndarray) -> np.ndarray:
    """[N, 68, 2] of [N, 68 or 51, 2], NaN where nobody knows: half a point is no point."""
    bad = ~np.isfinite(points).all(-1) | _nowhere(points)
    points = np.where(bad[..., None], np.float32(np.nan), points)
    jaw = np.full((len(points), COUNT - points.shape[1], 2), np.nan, np.float32)
    return np.concatenate([jaw, points], 1)


def _nowhere(points: np.ndarray) -> np.ndarray:
    return np.any([(points == value).all(-1) for value in NOWHERE], axis=0)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f'{path} is too large for a table of landmarks')
        return path.read_text(encoding='utf-8-sig')
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror})') from error
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is not text') from error


def _number(text: str, where: str) -> float:
    if not text.strip():
        return float('nan')
    try:
        return float(text)
    except ValueError:
        raise UserError(f'{where}: {text.strip()[:20]!r} is not a number') from None
