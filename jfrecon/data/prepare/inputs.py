"""What there is to prepare: files in the order of the command, what is given for each, and hashes."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from jfrecon.data import images, landmark_files, listing, scan, videos
from jfrecon.data.detection import Given
from jfrecon.data.prepare import tables
from jfrecon.data.prepare.extract import Rejected
from jfrecon.data.prepare.share import WHOLE, Share
from jfrecon.errors import UserError
from jfrecon.files import digest, shown

SUFFIXES = images.SUFFIXES + videos.SUFFIXES
SHARD_SIZE = 1024  # photos whose faces share a file
Answer = TypeVar('Answer')
LOOKED_AT = 4096  # bytes in the middle and at the end of a file by which most files differ


@dataclasses.dataclass(frozen=True)
class Input:
    """A photo or a video.

    Attributes:
      name: relative to the folder that holds all inputs.
      path: where it is.
      block: number of the block of the listing that holds it, see `Plan`; also the number of the shard of its faces.
      clip: whether it is a video.
      group: the subject, or the video's name.
      sha256: of the file.
      known: what is given for it, or for its frames, by name; ``unnamed`` for other frames.
      mask, mask_sha256: the picture of its mask, if there is one.
    """

    name: str
    path: Path
    block: int
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

    The listing of all photos and videos, in the order of the command, is dealt out in blocks of ``shard_size`` photos,
    or one video. Which file is in which block depends on the names alone, so that each share of a preparation knows its
    blocks without a look into the files of the others.

    Attributes:
      inputs: photos and videos of the share, without copies of others (of any share) and what cannot be read.
      rejected: what is left out already.
      share: whose plan it is.
      shard_size: photos in a block.
      files, clips, blocks: of the whole listing, all shares together; ``clips``: videos.
      listing: SHA-256 of the names and sizes of the whole listing.
      hashed: by path.
      unused: given names that fit no file.
      unmatched: names of the inputs for which nothing is given, where something is given for others.
      passed_over: a line that counts the files that are neither, by suffix; '' for none.
    """

    inputs: list[Input]
    rejected: list[Rejected]
    share: Share
    shard_size: int
    files: int
    clips: int
    blocks: int
    listing: str
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
    shard_size: int = SHARD_SIZE,
    share: Share = WHOLE,
) -> Plan:
    """The photos and videos among files and folders (with all that is below them), each content once.

    Args:
      paths: files and folders.
      landmarks: rows that belong to the file of that name, or to its frame ``clip.mp4_000120``; a name may
        leave out the first folders of a file's.
      boxes: names and [N, 4] x, y, w, h, likewise.
      masks, mask_suffix: see `folder.Folder`.
      hashed: what an earlier run hashed; files that look unchanged are not read again.
      shard_size: photos in a block.
      share: whose blocks to do. What is no photo is told by the first share alone.

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
    if not found:
        why = '; '.join(f'{row.name}: {row.reason}' for row in rejected[: listing.NAMED])
        where = ', '.join(shown(path) for path in paths[:3])
        raise UserError(f'there are no photos and no videos in {where}{f" ({why})" if why else ""}')
    if masks is not None and not any(path in belongs for _, path in found):
        raise UserError(
            f'no photo has a mask in {shown(masks)}: they are called <stem of the photo>{mask_suffix}.png there'
        )
    if share.number > 1:
        rejected = []
    sizes = _each(_size, [path for _, path in found])
    blocks = _blocks([path for _, path in found], shard_size)
    own = [(name, path) for (name, path), block in zip(found, blocks) if share.has(block)]
    used = {belongs[path] for _, path in own if path in belongs}
    seen, closed = _hash([path for _, path in own] + sorted(used), hashed or {})
    twins = _twins([path for _, path in found], {path for _, path in own}, sizes)
    seen |= (elsewhere := _hash(twins, hashed or {}))[0]
    closed |= elsewhere[1]
    first = _first(found, seen, given)
    inputs: list[Input] = []
    copies: list[Rejected] = []
    for (name, path), block in zip(found, blocks):
        if not share.has(block):
            continue
        mask = belongs.get(path)
        clip = _is_clip(path)
        if path in closed:
            rejected.append(Rejected(name, closed[path]))
        elif first[seen[path].sha256] != name:
            copies.append(Rejected(name, f'the same content as another (of {first[seen[path].sha256]})'))
        elif mask is not None and mask in closed:
            rejected.append(Rejected(name, f'its mask {closed[mask]}'))
        else:
            inputs.append(
                Input(
                    name=name,
                    path=path,
                    block=block,
                    clip=clip,
                    group=groups.get(name, name if clip else ''),
                    sha256=seen[path].sha256,
                    known=given.get(name, {}),
                    unnamed=nothing,
                    mask=mask,
                    mask_sha256='' if mask is None else seen[mask].sha256,
                )
            )
    names_and_sizes = ''.join(f'{name}\0{sizes[path]}\n' for name, path in found)
    tables_given = landmarks is not None or boxes is not None
    return Plan(
        inputs=inputs,
        rejected=rejected + copies,
        share=share,
        shard_size=shard_size,
        files=len(found),
        clips=sum(_is_clip(path) for _, path in found),
        blocks=blocks[-1] + 1,
        listing=hashlib.sha256(names_and_sizes.encode()).hexdigest(),
        hashed={str(path): row for path, row in seen.items()},
        unused=unused,
        unmatched=[given.name for given in inputs if tables_given and not given.known],
        passed_over=scan.passed_over(others),
    )


def _is_clip(path: Path) -> bool:
    return path.suffix.lower() in videos.SUFFIXES


def _blocks(paths: list[Path], photos: int) -> list[int]:
    """The block of each file: so many photos at most that follow one another, or one video."""
    blocks: list[int] = []
    filled, full = photos, photos
    for path in paths:
        clip = _is_clip(path)
        if clip or filled == full:
            blocks.append(blocks[-1] + 1 if blocks else 0)
            filled = full if clip else 1
        else:
            blocks.append(blocks[-1])
            filled += 1
    return blocks


def _masks(paths: list[Path], folder: Path, suffix: str) -> dict[Path, Path]:
    """Photo -> its mask, where there is one."""
    masks = {path: folder / f'{path.stem}{suffix}.png' for path in paths}
    return {path: mask for path, mask in masks.items() if mask != path and os.path.isfile(mask)}


def _each(look: Callable[[Path], Answer], paths: Sequence[Path], told: str = '') -> dict[Path, Answer]:
    """Path -> what ``look`` says of it, by several threads, which wait for disks at the same time."""
    with (
        ThreadPoolExecutor() as pool,
        tqdm(total=len(paths), desc=told, unit='file', disable=None if told else True) as bar,
    ):
        answers = {}
        for path, answer in zip(paths, pool.map(look, paths)):
            answers[path] = answer
            bar.update()
    return answers


def _size(path: Path) -> int:
    """Bytes; -1 of what cannot be asked."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


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

    found = _each(look, paths, 'hashing')
    return (
        {path: answer for path, answer in found.items() if isinstance(answer, Seen)},
        {path: answer for path, answer in found.items() if isinstance(answer, str)},
    )


def _twins(paths: list[Path], own: set[Path], sizes: Mapping[Path, int]) -> list[Path]:
    """The files of other shares that may have the content of an own one: as long, and alike where they are looked at.

    So a share reads its own files and a little of a few others, and finds the copies that the whole would find.
    """
    lengths = {sizes[path] for path in own}
    others = [path for path in paths if path not in own and sizes[path] in lengths]
    lengths = {sizes[path] for path in others}
    looks = _each(
        lambda path: (sizes[path], _look(path, sizes[path])), [*others, *(p for p in own if sizes[p] in lengths)]
    )
    mine = {looks[path] for path in own if path in looks}
    return [path for path in others if looks[path] in mine]


def _look(path: Path, size: int) -> bytes:
    """Some bytes of the middle and of the end of a file; none of what cannot be read."""
    try:
        with path.open('rb') as file:
            file.seek(max(size // 2, 0))
            middle = file.read(LOOKED_AT)
            file.seek(max(size - LOOKED_AT, 0))
            return middle + file.read(LOOKED_AT)
    except OSError:
        return b''


def _first(found: list[tuple[str, Path]], seen: Mapping[Path, Seen], given: Mapping[str, object]) -> dict[str, str]:
    """Hash -> the file that stands for a content: the first, of those for which something is given if there are any."""
    first: dict[str, str] = {}
    for name, path in found:
        if path in seen:
            kept = first.setdefault(seen[path].sha256, name)
            if given.get(name) and not given.get(kept):
                first[seen[path].sha256] = name
    return first
