"""Folders of results: put in place whole, and never over what is the user's.

A folder that we fill holds `metadata.json`, whose `files` are the SHA-256 of all that we wrote. What has another hash
was edited, or is not ours: it is kept, under a name of its own where ours needs the place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jfrecon import files
from jfrecon.errors import UserError
from jfrecon.files import digest, shown

try:
    import fcntl
except ImportError:  # not on Windows, where what a kill left behind stays
    fcntl = None  # type: ignore[assignment]

RECORD = 'metadata.json'
# In the record: the version of its form, what it is a record of, and name -> SHA-256, the last only while files are
# replaced.
VERSION, KIND, FILES, REPLACING = 'jfrecon', 'kind', 'files', 'replacing'
FACE = 'face'
KEPT = 'yours'  # in the name of a file that is kept aside: diffuse.yours.png
UNFINISHED = '.jfrecon-unfinished-'
SETTLED = 60  # seconds after which a folder without its process counts as left behind
LARGEST = 2**26  # bytes of a record
# Of folders that other commands, or earlier versions, filled: files that only jfrecon leaves together.
OTHERS = ({'face.glb', RECORD, 'parameters.npz'}, {'prepare.json', 'rejected.csv'}, {'config.json', 'metrics.jsonl'})


def is_result(folder: Path) -> bool:
    """Return whether jfrecon filled a folder: its pictures are no photographs."""
    if folder.name.startswith(UNFINISHED) or VERSION in record(folder):
        return True
    return any(all((folder / name).is_file() for name in names) for names in OTHERS)


def kind(folder: Path) -> str | None:
    """Return what jfrecon filled a folder with, as `publish` was told; None where it did not."""
    about = record(folder)
    if VERSION in about:
        return str(about.get(KIND))
    # Earlier versions left faces without a word.
    return FACE if (folder / RECORD).is_file() and (folder / 'face.glb').is_file() else None


def record(folder: Path) -> dict[str, Any]:
    """Return what `metadata.json` of a folder says; nothing where it is missing, broken, or somebody else's."""
    path = folder / RECORD
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return {}
        about = files.read_json(path)
    except (OSError, ValueError):
        return {}
    if not isinstance(about, dict) or not all(isinstance(about.get(key, {}), dict) for key in (FILES, REPLACING)):
        return {}
    return about


def complete(folder: Path) -> bool:
    """Return whether a folder holds all that was written into it, and no mixture of two results."""
    about = record(folder)
    return bool(about) and REPLACING not in about


def require_free(paths: Iterable[Path], overwrite: bool) -> None:
    """Refuse to write over files.

    Raises:
      UserError: one of them is there, and nobody said ``--overwrite``.
    """
    for path in paths:
        if not overwrite and os.path.lexists(path):
            raise UserError(f'{shown(path)} is there already: --overwrite replaces it, or choose another --out')


def require_kind(folder: Path, what: str) -> None:
    """Refuse a folder that jfrecon has filled with something else, which would go.

    Raises:
      UserError: it has.
    """
    if (there := kind(folder)) not in (None, what):
        raise UserError(f'{shown(folder)} holds another result of jfrecon ({there}): choose another --out')


@contextlib.contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """Give an empty folder, to be filled and published; what is left of it goes, whatever happens.

    It lies beside the target, or in it where that is there, and so on the same file system.
    """
    parent = target if target.is_dir() else target.parent
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    made = parent / f'{UNFINISHED}{_host()}-{secrets.token_hex(4)}'
    made.mkdir()
    lock = _locked(made)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def publish(made: Path, target: Path, what: str, overwrite: bool = False) -> list[str]:
    """Put a filled folder in a target's place, whole, and record what is in it.

    Where the target is there, its other files stay, and so do ours that were edited since: under a name with `yours` in
    it where ours is needed. Ours that the new result does not have go. A kill in between leaves a folder whose record
    says so (`complete`), and which publishing again mends.

    Args:
      made: from `unfinished`; may hold a `metadata.json`, which gets the hashes.
      target: where it goes.
      what: it is filled with, `FACE` for example.
      overwrite: whether files of these names may be there.

    Returns:
      The new names of the files that were kept aside.

    Raises:
      UserError: files of these names are there, and ``overwrite`` is not given; or what is there is something else.
    """
    new = _seal(made, what)
    if not os.path.lexists(target):
        made.rename(target)
        return []
    require_kind(target, what)
    require_free((target / name for name in new), overwrite)
    before = record(target)
    known = [before.get(FILES, {}), before.get(REPLACING, {}), new]
    kept = []

    def keep(name: str) -> None:
        if not os.path.lexists(target / name):
            return
        if not any(table.get(name) == _hash(target, name) for table in known):
            kept.append(_aside(target, name))

    keep(RECORD)
    journal: dict[str, Any] = {VERSION: 1, KIND: what, FILES: before.get(FILES, {})}
    journal[REPLACING] = {**before.get(REPLACING, {}), **new, RECORD: _own_hash(journal)}
    files.write_json(target / RECORD, journal)
    old = {name for table in known[:2] for name in table}
    for name in sorted((old | new.keys()) - {RECORD}):
        if _inside(name):
            for parent in list(Path(name).parents)[-2::-1]:
                if os.path.lexists(target / parent) and not (target / parent).is_dir():
                    kept.append(_aside(target, parent.as_posix()))
            keep(name)
    for name in new:
        if name != RECORD:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).replace(target / name)
    for name in sorted(old - new.keys()):  # edited ones are no longer there
        if _inside(name):
            (target / name).unlink(missing_ok=True)
    (made / RECORD).replace(target / RECORD)
    return kept


def _seal(made: Path, what: str) -> dict[str, str]:
    """Write the record of a folder that is filled; name -> SHA-256 of all in it, the record included."""
    about = record(made)
    found = sorted(path for path in made.rglob('*') if path.is_file() and path != made / RECORD)
    about |= {VERSION: 1, KIND: what}
    about[FILES] = {path.relative_to(made).as_posix(): digest(path) for path in found}
    about[FILES][RECORD] = _own_hash(about)
    files.write_json(made / RECORD, about)
    return about[FILES]


def _hash(folder: Path, name: str) -> str:
    """The SHA-256 of a file, of the record without its hashes; '' of what is no file of its own."""
    path = folder / name
    if path.is_symlink() or not path.is_file():
        return ''
    if name == RECORD and (about := record(folder)):
        return _own_hash(about)
    return digest(path)


def _own_hash(about: dict[str, Any]) -> str:
    facts = {name: value for name, value in about.items() if name not in (FILES, REPLACING)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _aside(folder: Path, name: str) -> str:
    """Give a file a name under which nothing is written: diffuse.yours.png, diffuse.yours-2.png, ..."""
    path = Path(name)
    for number in range(1, 10_000):
        again = '' if number == 1 else f'-{number}'
        other = path.with_name(f'{path.stem}.{KEPT}{again}{path.suffix}')
        if not os.path.lexists(folder / other):
            (folder / name).rename(folder / other)
            return other.as_posix()
    raise UserError(f'{folder / name} was kept aside too often: tidy up there')


def _inside(name: str) -> bool:
    """Whether a name in a record, which anybody may have written, stays below its folder."""
    return bool(name) and not os.path.isabs(name) and '..' not in Path(name).parts


def _host() -> str:
    return ''.join(c if c.isalnum() else '_' for c in socket.gethostname())[:40] or 'host'


def _locked(folder: Path) -> int | None:
    """A lock that lasts as long as this process, as a descriptor; None where folders cannot be locked."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody else's, or a file system without locks
        os.close(descriptor)
        return None
    return descriptor


def _sweep(parent: Path) -> None:
    """Remove what processes of this machine left behind when they were killed."""
    for path in parent.glob(f'{UNFINISHED}{_host()}-*'):
        with contextlib.suppress(OSError):
            if path.is_symlink() or time.time() - path.stat().st_mtime < SETTLED:
                continue
            if (lock := _locked(path)) is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)
