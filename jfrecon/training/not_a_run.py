"""What it is that somebody named in place of a trained network, in one line with the remedy."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

WANTED = 'name the working directory of a training, or a file that jfrecon.pack made'
# How files begin. PyTorch's are zip archives since its version 1.6; before that they were pickles, .pth.tar among them.
KINDS = {
    b'\x80': 'a pickle (weights of an older PyTorch, perhaps)',
    b'\x89HDF\r\n\x1a\n': 'an HDF5 file',
    b'\x93NUMPY': 'an array of NumPy',
    b'\x1f\x8b': 'a gzip archive',
    b'{': 'a JSON file',
}


def explain(path: Path, checkpoints: str) -> str:
    """What a path without a checkpoint is, and what to name instead; checkpoints: what a run calls their folder."""
    if path.is_file():
        return f'{path} is {_kind(path)}, not a run: {WANTED}'
    if not path.is_dir():
        return (
            f'{path}: no such folder; {WANTED}' if not path.exists() else f'{path} is no file and no folder: {WANTED}'
        )
    if (path / 'parameters.npz').exists() and (path / 'metadata.json').exists():
        return f'{path} is a face that jfrecon.reconstruct left, not a run: {WANTED}'
    if runs := sorted(found.parent for found in path.glob(f'*/{checkpoints}')):
        return f'{path} holds runs and is none: name one of them, such as {runs[0]}'
    if packed := sorted(path.glob('*.safetensors')):
        return f'{path} is no run: to use {packed[0].name}, name the file'
    if (path / 'config.json').exists():
        return f'{path}: its training has saved no checkpoint yet; go on with python -m jfrecon.main --workdir={path}'
    return f'{path}: no checkpoint here; {WANTED}, or train one with python -m jfrecon.main'


def _kind(path: Path) -> str:
    with path.open('rb') as file:
        begin = file.read(16)
    if not begin:
        return 'an empty file'
    if zipfile.is_zipfile(path):
        return _archive(path)
    if tarfile.is_tarfile(path):
        return 'a tar archive (unpack it, if a run is in it)'
    return next((kind for magic, kind in KINDS.items() if begin.startswith(magic)), 'a file of another kind')


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError):
        return 'a damaged zip archive'
    if any(name.endswith('/data.pkl') for name in names):
        return 'weights of PyTorch'
    if names and all(name.endswith('.npy') for name in names):
        return 'arrays of NumPy'
    return 'a zip archive (unpack it, if a run is in it)'
