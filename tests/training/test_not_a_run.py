"""What people hand to --checkpoint that is no run: each is named, in one line."""

from __future__ import annotations

import os
import pickle
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from jfrecon.errors import UserError
from jfrecon.training import checkpoints

WANTED = 'name the working directory of a training, or a file that jfrecon.pack made'


def torch_file(path, **options):
    torch.save({'state_dict': {'w': torch.ones(3)}}, path, **options)


def tar(path):
    with tarfile.open(path, 'w:gz' if path.suffix == '.gz' else 'w') as archive:
        archive.addfile(tarfile.TarInfo('run/config.json'))


def archive(path):
    with zipfile.ZipFile(path, 'w') as made:
        made.writestr('run/config.json', '{}')


def hdf5(path):
    with h5py.File(path, 'w') as file:
        file['w'] = np.ones(3)


FILES = {
    'model.pth': (torch_file, 'weights of PyTorch'),
    'phase1.pth.tar': (torch_file, 'weights of PyTorch'),
    'old.ckpt': (lambda path: torch_file(path, _use_new_zipfile_serialization=False), 'a pickle (weights of an older'),
    'x.tar': (tar, 'a tar archive (unpack it'),
    'x.tar.gz': (tar, 'a tar archive (unpack it'),
    'x.zip': (archive, 'a zip archive (unpack it'),
    'x.npz': (lambda path: np.savez(path, w=np.ones(3)), 'arrays of NumPy'),
    'x.npy': (lambda path: np.save(path, np.ones(3)), 'an array of NumPy'),
    'x.pkl': (lambda path: path.write_bytes(pickle.dumps([1])), 'a pickle (weights'),
    'x.h5': (hdf5, 'an HDF5 file'),
    'config.json': (lambda path: path.write_text('{"seed": 0}'), 'a JSON file'),
    'empty.ckpt': (lambda path: path.write_bytes(b''), 'an empty file'),
    'notes.txt': (lambda path: path.write_text('notes'), 'a file of another kind'),
    'cut.zip': (lambda path: path.write_bytes(b'PK\x03\x04 and no more'), 'a file of another kind'),
}


def said(path) -> str:
    with pytest.raises(UserError) as caught:
        checkpoints.load(path)
    assert '\n' not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('name', FILES)
def test_a_file_is_named_for_what_it_is(name, tmp_path):
    make, kind = FILES[name]
    make(tmp_path / name)
    text = said(tmp_path / name)
    assert text.startswith(f'{tmp_path / name} is {kind}') and text.endswith(f', not a run: {WANTED}')


def test_a_file_of_tensors_that_is_none_of_ours(tmp_path):
    save_file({'w': np.ones(3)}, tmp_path / 'x.safetensors')
    assert 'is not a network that jfrecon.pack has packed' in said(tmp_path / 'x.safetensors')
    (tmp_path / 'x.safetensors').write_bytes(b'')
    assert 'not a complete safetensors file' in said(tmp_path / 'x.safetensors')
    assert 'no such weights file' in said(tmp_path / 'y.safetensors')


def test_a_folder_is_named_for_what_it_is(tmp_path):
    assert said(tmp_path).endswith(f'no checkpoint here; {WANTED}, or train one with python -m jfrecon.main')
    assert said(tmp_path / 'none').endswith(f'no such folder; {WANTED}')
    os.mkfifo(tmp_path / 'pipe')
    assert 'is no file and no folder' in said(tmp_path / 'pipe')
    begun = tmp_path / 'runs' / 'mine'
    (begun / 'checkpoints').mkdir(parents=True)
    (begun / 'config.json').write_text('{}')
    for folder in (begun, begun / 'checkpoints'):
        assert 'no checkpoint' in said(folder)
    assert f'python -m jfrecon.main --workdir={begun}' in said(begun)
    assert said(begun.parent).endswith(f'name one of them, such as {begun}')
    face = tmp_path / 'face'
    face.mkdir()
    for name in ('parameters.npz', 'metadata.json'):
        (face / name).write_bytes(b'')
    assert 'is a face that jfrecon.reconstruct left' in said(face)
    (tmp_path / 'packed').mkdir()
    save_file({'w': np.ones(3)}, tmp_path / 'packed' / 'mine.safetensors')
    assert said(tmp_path / 'packed').endswith('to use mine.safetensors, name the file')
