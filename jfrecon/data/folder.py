"""A folder of photographs, with landmarks and masks where there are any."""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from jfrecon.data import images, scan
from jfrecon.data.sample import Sample, Source, check
from jfrecon.errors import UserError

INDEX = 'index.csv'  # of the pictures beside it
Keep = Callable[[str, str], bool] | Collection[str]


class LandmarkFile(NamedTuple):
    """What a landmark file says, row by row: file names, [N, 68, 2] pixels, subjects ('' where unknown)."""

    names: list[str]
    landmarks: np.ndarray
    groups: list[str]


class Folder(Source):
    """Photographs in a folder.

    With a landmark file the samples are its rows, in their order (a file may come several times: several
    faces); without one, all pictures below the folder, sorted by name, landmarks unknown. Pictures in one subfolder
    show one person, or are of one clip, unless the landmark file knows the subjects. EXIF orientation is
    applied to the image; landmarks and masks are those of the upright picture. A file that is missing or
    broken is unreadable.

    Args:
      folder: where the pictures are.
      landmarks: npz with ``filename`` [N] (or an ``index.csv`` of N rows beside it, with a column
        ``filename``) and landmarks [N, 68, 2 or more], of which x and y are used: pixels, x right, y down,
        centres at +0.5.
      key: name of the landmarks in the npz.
      masks: folder of pictures ``<stem><mask_suffix>.png``, bright on the face; a photo without one has no
        mask.
      mask_suffix: see ``masks``.
      keep: names of the samples to use, or a rule (name, group) -> bool.

    Raises:
      UserError: the folder or the landmark file is missing or wrong, or nothing is left.
    """

    def __init__(
        self,
        folder: str | Path,
        landmarks: str | Path | None = None,
        key: str = 'landmarks',
        masks: str | Path | None = None,
        mask_suffix: str = '',
        keep: Keep | None = None,
    ):
        super().__init__()
        self._folder = Path(folder)
        self._masks, self._mask_suffix = None if masks is None else Path(masks), mask_suffix
        for path in (self._folder, self._masks):
            if path is not None and not path.is_dir():
                raise UserError(f'no such folder: {path}')
        table = _list_pictures(self._folder) if landmarks is None else read_landmarks(landmarks, key)
        groups = [group or _subfolder(name) for name, group in zip(table.names, table.groups)]
        rows = [i for i, (name, group) in enumerate(zip(table.names, groups)) if _kept(keep, name, group)]
        if not rows:
            raise UserError(f'no pictures to use in {landmarks or folder}')
        self._names = [table.names[i] for i in rows]
        self._groups = [groups[i] for i in rows]
        self._landmarks = table.landmarks[rows]
        root = self._folder.resolve()
        if outside := [name for name in self._names if not (root / name).resolve().is_relative_to(root)]:
            raise UserError(f'{landmarks} names {outside[0]!r}, which is not in {folder}')
        if missing := [name for name in self._names if not (root / name).is_file()]:
            logging.warning('%d of %d pictures are not in %s', len(missing), len(rows), folder)

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int) -> Sample:
        """The sample at an index; raises ``Unreadable``."""
        name = self._names[index]
        image, focal = images.read(self._folder / name)
        mask = None
        if self._masks is not None:
            path = self._masks / f'{Path(name).stem}{self._mask_suffix}.png'
            if path.exists():
                mask = images.read_mask(path)
        sample = Sample(image=image, landmarks=self._landmarks[index], mask=mask, focal=focal)
        return check(sample.replace(name=name, group=self._groups[index]))

    def name(self, index: int) -> str:
        """The file's name, relative to the folder."""
        return self._names[index]

    @property
    def groups(self) -> Sequence[str]:
        """The subjects where the landmark file or its index knows them, else the subfolders."""
        return self._groups


def read_landmarks(path: str | Path, key: str = 'landmarks') -> LandmarkFile:
    """Reads a landmark file (see ``Folder``); raises ``UserError`` naming what is wrong with it."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            if key not in archive:
                found = [name for name in archive.files if archive[name].ndim == 3]
                raise UserError(f'{path} has no {key!r}; arrays that could be landmarks: {", ".join(found) or "none"}')
            landmarks = np.asarray(archive[key], np.float32)
            columns = {
                name: [str(text) for text in archive[name]] for name in ('filename', 'subject') if name in archive
            }
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f'no such landmark file: {path}') from error
    except (
        ValueError,
        TypeError,
        OSError,
        EOFError,
        AttributeError,
        MemoryError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise UserError(f'{path} is not an npz of plain arrays ({type(error).__name__}: {error})') from error
    if 'filename' not in columns:
        try:
            columns |= read_index(path.parent / INDEX)
        except UserError as error:
            raise UserError(f'{path} has no "filename", and {error}') from error
        if 'filename' not in columns:
            raise UserError(f'{path} has no "filename", nor has {path.parent / INDEX}')
    count = len(columns['filename'])
    if landmarks.ndim != 3 or landmarks.shape[0] != count or landmarks.shape[1] != 68 or landmarks.shape[2] < 2:
        raise UserError(f'{path}: {key} is {landmarks.shape}, expected ({count}, 68, 2)')
    groups = columns.get('subject', [''] * count)
    if len(groups) != count:
        raise UserError(f'{path}: {len(groups)} subjects for {count} file names')
    # Half a point is no point; infinities come from divisions by nothing.
    known = np.isfinite(landmarks[..., :2]).all(axis=-1, keepdims=True)
    return LandmarkFile(columns['filename'], np.where(known, landmarks[..., :2], np.float32(np.nan)), groups)


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


def _list_pictures(folder: Path) -> LandmarkFile:
    below = scan.scan(folder, images.SUFFIXES)
    passed = [scan.passed_over(below.others)] if below.others else []
    for line in passed + [f'passed over {path}: {why}' for path, why in below.closed]:
        logging.warning('%s: %s', folder, line)
    names = [path.relative_to(folder).as_posix() for path in below.wanted]
    return LandmarkFile(names, np.full((len(names), 68, 2), np.nan, np.float32), [''] * len(names))


def _subfolder(name: str) -> str:
    return Path(name).parent.as_posix().removeprefix('.')


def _kept(keep: Keep | None, name: str, group: str) -> bool:
    if keep is None:
        return True
    return keep(name, group) if callable(keep) else name in keep
