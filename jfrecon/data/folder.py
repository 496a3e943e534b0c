"""A folder of photographs, with landmarks and masks where there are any."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from absl import logging

from jfrecon.data import images, landmark_files, matching, scan
from jfrecon.data.sample import Sample, Source, check
from jfrecon.errors import UserError
from jfrecon.files import shown

Keep = Callable[[str, str], bool] | Collection[str]


class Folder(Source):
    """Photographs in a folder.

    With a landmark file the samples are its rows, in their order (a file may come several times: several
    faces); without one, all pictures below the folder, sorted by name, landmarks unknown. A row that is no file's
    name belongs to the one whose path ends in it (`matching.owners`). Pictures in one subfolder show one person, or are
    of one clip, unless the landmark file knows the subjects. EXIF orientation is
    applied to the image; landmarks and masks are those of the upright picture. A file that is missing or
    broken is unreadable.

    Args:
      folder: where the pictures are.
      landmarks: see `landmark_files.read`.
      key: name of the landmarks in the npz.
      masks: folder of pictures ``<stem><mask_suffix>.png``, bright on the face, in the subfolders of the photos, or
        where stems are unique in none; a photo without one has no mask.
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
        if landmarks is None:
            found = _pictures(self._folder)
            points = np.full((len(found), 68, 2), np.nan, np.float32)
            table = landmark_files.LandmarkFile([name for name, _ in found], points, [''] * len(found))
        else:
            table = landmark_files.read(landmarks, key)
            found = _named(self._folder, table.names)
        names = [name for name, _ in found]
        groups = [group or _subfolder(name) for name, group in zip(names, table.groups)]
        rows = [i for i, (name, group) in enumerate(zip(names, groups)) if _kept(keep, name, group)]
        if not rows:
            raise UserError(f'no pictures to use in {landmarks or folder}')
        self._names = [names[i] for i in rows]
        self._paths = [found[i][1] for i in rows]
        self._groups = [groups[i] for i in rows]
        self._landmarks = table.landmarks[rows]
        self._confidence = None if table.confidence is None else table.confidence[rows]
        self._stems: dict[str, set[str]] = {}
        for name in names:
            self._stems.setdefault(Path(name).stem, set()).add(name)
        root = self._folder.resolve()
        for name, path in zip(self._names, self._paths):
            if not path.resolve().is_relative_to(root):
                raise UserError(f'{landmarks or folder} names {name!r}, which is not in {folder}')
        if missing := [path for path in self._paths if not path.is_file()]:
            logging.warning('%d of %d pictures are not in %s', len(missing), len(rows), folder)

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int) -> Sample:
        """The sample at an index; raises ``Unreadable``."""
        name = self._names[index]
        path = self._mask(name)
        mask = None if path is None else images.read_mask(path)
        picture = images.read(self._paths[index])
        share = None if self._confidence is None else self._confidence[index]
        known = {'mask': mask, 'name': name, 'group': self._groups[index], 'confidence': share}
        return check(picture.sample(self._landmarks[index], **known))

    def _mask(self, name: str) -> Path | None:
        """In the same subfolder as the picture; or outside of all, where no other picture has its stem."""
        if self._masks is None:
            return None
        photo = Path(name)
        mask = self._masks / photo.parent / f'{photo.stem}{self._mask_suffix}.png'
        if not mask.exists() and len(self._stems[photo.stem]) == 1:
            mask = self._masks / mask.name
        return mask if mask.exists() else None

    def name(self, index: int) -> str:
        """The file's name, relative to the folder."""
        return self._names[index]

    @property
    def groups(self) -> Sequence[str]:
        """The subjects where the landmark file or its index knows them, else the subfolders."""
        return self._groups


def _pictures(folder: Path, aloud: bool = True) -> list[tuple[str, Path]]:
    """(name, path) of all pictures below a folder; aloud: logs what is passed over."""
    below = scan.scan(folder, images.SUFFIXES)
    passed = [scan.passed_over(below.others)] if below.others else []
    for line in passed + [f'passed over {shown(path)}: {why}' for path, why in below.closed]:
        if aloud:
            logging.warning('%s: %s', folder, line)
    return [(shown(path.relative_to(folder).as_posix()), path) for path in below.wanted]


def _named(folder: Path, rows: Sequence[str]) -> list[tuple[str, Path]]:
    """(name, path) of the picture that each row of a table speaks of; a row of none keeps its name."""
    paths = {row: folder / row for row in rows}
    if astray := [row for row, path in paths.items() if not path.is_file()]:
        pictures = _pictures(folder, aloud=False)
        owned = matching.owners(pictures, astray)
        there = dict(pictures)
        return [(owned[row].file, there[owned[row].file]) if row in owned else (row, paths[row]) for row in rows]
    return [(row, paths[row]) for row in rows]


def _subfolder(name: str) -> str:
    return Path(name).parent.as_posix().removeprefix('.')


def _kept(keep: Keep | None, name: str, group: str) -> bool:
    if keep is None:
        return True
    return keep(name, group) if callable(keep) else name in keep
