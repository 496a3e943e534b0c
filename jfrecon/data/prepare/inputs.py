"""What there is to prepare: files in the order of the command, what is given for each, and hashes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from jfrecon.data import images, landmark_files, listing, scan, videos
from jfrecon.data.detection import Given
from jfrecon.data.prepare import tables
from jfrecon.data.prepare.extract import Rejected
from jfrecon.errors import UserError
from jfrecon.files import digest, shown

SUFFIXES = images.SUFFIXES + videos.SUFFIXES


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
    """What there is to do.

    Attributes:
      inputs: photos and videos.
      rejected: what is left out already.
      hashed: by path.
      unused: given names that fit no file.
      unmatched: names of the inputs for which nothing is given, where something is given for others.
      passed_over: a line that counts the files that are neither, by suffix; '' for none.
    """

    inputs: list[Input]
    rejected: list[Rejected]
    hashed: dict[str, Seen]
    unused: list[str]
    unmatched: list[str]
    passed_over: str


def plan(
    paths: Sequence[Path],
    landmarks: landmark_files.LandmarkFile | None = None,
    boxes: tuple[list[str], np.ndarray] | None = None,
    masks: Path | None = None,
    mask_suffix: str = '',
    hashed: Mapping[str, Seen] | None = None,
) -> Plan:
    """The photos and videos among files and folders (with all that is below them), each content once.

    Args:
      paths: files and folders.
      landmarks: rows that belong to the file of that name, or to its frame ``clip.mp4_000120``; a name may
        leave out the first folders of a file's.
      boxes: names and [N, 4] x, y, w, h, likewise.
      masks, mask_suffix: see `folder.Folder`.
      hashed: what an earlier run hashed; files that look unchanged are not read again.

    Raises:
      UserError: a path does not exist, there is nothing to do, or a name fits two files.
    """
    if masks is not None and not masks.is_dir():
        raise UserError(f'no such folder: {masks}')
    files, passed = listing.find(paths, SUFFIXES)
    rejected = [Rejected(*row) for row in passed]
    given, unused = tables.assign(files, landmarks, boxes)
    groups = tables.subjects([listing.absolute(path) for path in paths], files) if landmarks is None else {}
    nothing = Given(
        landmarks=None if landmarks is None else np.zeros((0, 68, 2)),
        boxes=None if boxes is None else np.zeros((0, 4)),
    )
    belongs = {} if masks is None else _masks([path for _, path in files], listing.absolute(masks), mask_suffix)
    masked = set(belongs.values())
    found, others = [], []
    for name, path in files:
        if not os.path.isfile(path):
            rejected.append(Rejected(name, 'not a file'))
        elif path in masked:
            rejected.append(Rejected(name, 'a mask'))
        elif path.suffix.lower() in SUFFIXES and not path.name.startswith('.'):
            found.append((name, path))
        else:
            others.append(path)
            rejected.append(Rejected(name, 'neither a photo nor a video by its name'))
    used = {belongs[path] for _, path in found if path in belongs}
    seen, closed = _hash([path for _, path in found] + sorted(used), hashed or {})
    inputs: list[Input] = []
    for name, path in found:
        own = belongs.get(path)
        if path in closed:
            rejected.append(Rejected(name, closed[path]))
            continue
        if own is not None and own in closed:
            rejected.append(Rejected(name, f'its mask {closed[own]}'))
            continue
        clip = path.suffix.lower() in videos.SUFFIXES
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
        why = '; '.join(f'{row.name}: {row.reason}' for row in rejected[: listing.NAMED])
        where = ', '.join(shown(path) for path in paths[:3])
        raise UserError(f'there are no photos and no videos in {where}{f" ({why})" if why else ""}')
    tables_given = landmarks is not None or boxes is not None
    unmatched = [given.name for given in inputs if tables_given and not given.known]
    hashes = {str(path): found for path, found in seen.items()}
    return Plan(inputs, rejected + copies, hashes, unused, unmatched, scan.passed_over(others))


def _masks(paths: list[Path], folder: Path, suffix: str) -> dict[Path, Path]:
    """Photo -> its mask, where there is one."""
    masks = {path: folder / f'{path.stem}{suffix}.png' for path in paths}
    return {path: mask for path, mask in masks.items() if mask != path and os.path.isfile(mask)}


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
