"""Tables that a user gives: landmarks, boxes and subjects, and the files that their rows belong to."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from jfrecon import files
from jfrecon.data import landmark_files, matching
from jfrecon.data.detection import Given
from jfrecon.errors import UserError

BOX_COLUMNS = ('x', 'y', 'w', 'h')


def read_boxes(path: Path) -> tuple[list[str], np.ndarray]:
    """File names and boxes [N, 4] (x, y, w, h; pixels) of a csv with these columns or an npz with ``boxes``.

    Raises ``UserError`` naming what is wrong with it.
    """
    try:
        if path.suffix.lower() == '.npz':
            archive = files.read_npz(path)
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
        csv.Error,
    ) as error:
        raise UserError(
            f'{path} does not hold filename, x, y, w, h (csv) or filename and boxes (npz): {type(error).__name__}'
        ) from error
    if boxes.shape != (len(names), 4):
        raise UserError(f'{path}: boxes are {boxes.shape}, expected ({len(names)}, 4)')
    return names, boxes


def assign(
    files: list[tuple[str, Path]],
    landmarks: landmark_files.LandmarkFile | None,
    boxes: tuple[list[str], np.ndarray] | None,
) -> tuple[dict[str, dict[str, Given]], list[str]]:
    """What tables say of files (name, path): name -> picture -> given; and the names that fit no file."""
    points, squares = ([] if table is None else list(table[0]) for table in (landmarks, boxes))
    owners = matching.owners(files, [*points, *squares])
    at: dict[matching.Owner, tuple[list[int], list[int]]] = {}
    for kind, rows in enumerate((points, squares)):
        for k, row in enumerate(rows):
            if row in owners:
                at.setdefault(owners[row], ([], []))[kind].append(k)
    given: dict[str, dict[str, Given]] = {}
    for (name, picture), (point, square) in at.items():
        subjects = () if landmarks is None else tuple(landmarks.groups[k] for k in point)
        given.setdefault(name, {})[picture] = Given(
            landmarks=None if landmarks is None else landmarks.landmarks[point],
            boxes=None if boxes is None else boxes[1][square],
            groups=subjects if any(subjects) else (),
            confidence=None if landmarks is None or landmarks.confidence is None else landmarks.confidence[point],
        )
    return given, [row for row in dict.fromkeys([*points, *squares]) if row not in owners]


def subjects(paths: list[Path], files: list[tuple[str, Path]]) -> dict[str, str]:
    """Subjects from an ``index.csv`` in one of the folders that were named."""
    groups: dict[str, str] = {}
    names = {path: name for name, path in files}
    for path in paths:
        index = path / landmark_files.INDEX
        if index.is_file():
            table = landmark_files.read_index(index)
            for row, subject in zip(table.get('filename', []), table.get('subject', [])):
                if subject and (name := names.get(index.parent / row)) is not None:
                    groups[name] = subject
    return groups
