"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

LARGEST = 1 << 33  # bytes of the arrays of an .npz file
INFLATED = 1100  # so many times as long as its file at most: deflate's limit is 1,032


def cache() -> Path:
    """Return the cache folder: ``$JFRECON_CACHE``, else ``$XDG_CACHE_HOME/jfrecon``, else ``~/.cache/jfrecon``."""
    chosen = os.environ.get('JFRECON_CACHE')
    return Path(chosen) if chosen else Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'jfrecon'


@contextlib.contextmanager
def replacing(path: str | Path, suffix: str = '.tmp') -> Iterator[Path]:
    """Give a path beside the final name, and rename in the end: a kill or a full disk leaves the old file or none.

    suffix: of the path, for libraries that go by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'{path.name}.{os.getpid()}{suffix}')
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        if error.filename is None:  # of a full disk
            error.filename = os.fspath(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file, see `replacing`."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """`write_bytes` of UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, content: Any) -> None:
    """`write_text` of indented JSON."""
    write_text(path, json.dumps(content, indent=2) + '\n')


def read_json(path: str | Path) -> Any:
    """What a file of JSON in UTF-8 holds.

    Raises:
      OSError: there is none, or it cannot be read.
      ValueError: it is not JSON, or nested too deeply.
    """
    return parse_json(Path(path).read_text(encoding='utf-8'))


def parse_json(text: str | bytes) -> Any:
    """`json.loads`, with a ValueError where the text is nested too deeply for it."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError('nested too deeply') from None


def read_npz(path: str | Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, plain numbers and texts.

    What a header claims is compared with the length of its data before memory is taken for it.

    Args:
      names: of those that are wanted and may be missing; None: all.

    Raises:
      OSError: there is none, or it cannot be read.
      ValueError: it is damaged, larger than `LARGEST`, or holds something else.
    """
    found = {}
    with open(path, 'rb') as file:
        limit = min(LARGEST, INFLATED * os.fstat(file.fileno()).st_size)
        try:
            with zipfile.ZipFile(file) as archive:
                for entry in archive.infolist():
                    name = entry.filename.removesuffix('.npy')
                    if name == entry.filename or not (names is None or name in names):
                        continue
                    limit -= entry.file_size
                    if limit < 0:
                        raise ValueError('its arrays are larger than it can hold')
                    with archive.open(entry) as stream:
                        found[name] = _array(stream, entry.file_size)
        # zipfile, zlib and NumPy's parser of headers raise errors of many types for a damaged file: BadZipFile,
        # NotImplementedError for a method of compression, RuntimeError for a password, SyntaxError for a header
        except Exception as error:
            text = str(error).splitlines()
            raise ValueError(text[0] if text else type(error).__name__) from error
    return found


def _array(stream: IO[bytes], length: int) -> np.ndarray:
    version = np.lib.format.read_magic(stream)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers:
        raise ValueError(f'an array of version {version}')
    shape, fortran, dtype = headers[version](stream)
    count = 1
    for n in shape:  # of Python's integers, which do not overflow
        count *= n
    if dtype.hasobject or min(shape, default=0) < 0 or count * dtype.itemsize != length - stream.tell():
        raise ValueError('an array of objects, or of another length than its header says')
    values = np.frombuffer(stream.read(), dtype, count).copy()  # its own, to be written to
    return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's content; of a folder, that of the names and contents of all files below it."""
    if path.is_dir():
        whole = hashlib.sha256()
        for inner in sorted(inner for inner in path.rglob('*') if inner.is_file()):
            whole.update(f'{shown(inner.relative_to(path))}\0{digest(inner)}\n'.encode())
        return whole.hexdigest()
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def shown(path: str | Path) -> str:
    """Return a path as text that any file and terminal can hold, on one line, whatever bytes the file is called by."""
    text = os.fsencode(path).decode('utf-8', 'backslashreplace')
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)
