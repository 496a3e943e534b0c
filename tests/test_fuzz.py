"""The first inputs of `experiments/fuzz`, and that it notices what it is there to notice."""

from __future__ import annotations

import io
import json
import re
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from experiments.fuzz import mutations, reader, seeds
from jfrecon import files
from jfrecon.errors import UserError

INPUTS = 14
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    return seeds.make(tmp_path_factory.mktemp('seeds'))


@pytest.mark.parametrize('kind', seeds.KINDS)
def test_a_changed_file_is_read_or_is_an_error_of_one_line(kind, made, tmp_path):
    path, read = made[kind]
    data = path.read_bytes()
    read(path)
    try:
        for number in range(INPUTS):
            path.write_bytes(mutations.mutated(data, number, 0))
            answer = reader.outcome(lambda: read(path))
            assert not answer['fault'] and answer['MiB'] < 512, (number, answer)
    finally:
        path.write_bytes(data)


def test_numbers_of_no_type_in_a_matlab_file(made, tmp_path):
    """Which end the process in SciPy."""
    data = made['basel2009.mat'].path.read_bytes()
    name = data.index(b'meanshape')
    kind = data.index((9).to_bytes(4, 'little'), name + 9)  # doubles
    path = tmp_path / 'BFM_model_front.mat'
    for number in (0, 8, 41, 0x7FFF):
        path.write_bytes(data[:kind] + number.to_bytes(4, 'little') + data[kind + 4 :])
        with pytest.raises(UserError, match=r'BFM_model_front\.mat: damaged'):
            made['basel2009.mat'].read(path)
    path.write_bytes(data[:140] + (16).to_bytes(4, 'little') + data[144:])  # flags longer than they are
    with pytest.raises(UserError, match=r'BFM_model_front\.mat: damaged'):
        made['basel2009.mat'].read(path)


def test_a_corner_of_twenty_digits(made, tmp_path):
    (tmp_path / 'a.obj').write_text(made['mesh.obj'].path.read_text() + '\nf 1 2 99999999999999999999\n')
    with pytest.raises(UserError, match=r'a\.obj: not a readable OBJ file'):
        made['mesh.obj'].read(tmp_path / 'a.obj')


def test_an_error_of_another_kind_is_a_fault():
    assert reader.outcome(lambda: np.zeros(3)[4])['fault']
    assert not reader.outcome(lambda: None)['fault']


def test_every_test_that_the_security_policy_names_is_there():
    named = re.findall(r'`(tests/\S+\.py)::(\w+)`', (ROOT / 'SECURITY.md').read_text())
    assert len(named) > 10
    for file, name in named:
        assert f'def {name}(' in (ROOT / file).read_text(), (file, name)


def test_changes_depend_on_number_and_seed_alone():
    data = bytes(range(256))
    first = [mutations.mutated(data, number, 0) for number in range(50)]
    assert first == [mutations.mutated(data, number, 0) for number in range(50)]
    assert len(set(first)) == 50 and mutations.mutated(data, 0, 1) != first[0]


def npz(header: dict, data: bytes) -> bytes:
    """An archive of one array, whose header says what it is told."""
    member, out = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(member, header)
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.npy', member.getvalue() + data)
    return out.getvalue()


@pytest.mark.parametrize(
    'shape, data',
    [
        ((2**27,), bytes(8)),
        ((10**12,), bytes(8)),
        ((-1,), bytes(8)),
        ((2**33, 2**33), bytes(8)),
        ((0, 10**30), b'x'),
        ((1,), bytes(4)),
    ],
)
def test_what_a_header_claims_is_compared_with_its_data(shape, data, tmp_path):
    path = tmp_path / 'a.npz'
    path.write_bytes(npz({'descr': '<f8', 'fortran_order': False, 'shape': shape}, data))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError):
            files.read_npz(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_arrays_are_those_that_numpy_wrote(tmp_path):
    kept = {'a': np.arange(6.0).reshape(2, 3), 'b': np.asfortranarray(np.arange(6).reshape(2, 3)), 'c': np.array(['x'])}
    kept |= {'empty': np.zeros((0, 3), np.float32), 'scalar': np.float32(2)}
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / 'a.npz', **kept)
        found = files.read_npz(tmp_path / 'a.npz')
        assert found.keys() == kept.keys()
        for name, values in kept.items():
            np.testing.assert_array_equal(found[name], values)
            assert found[name].dtype == np.asarray(values).dtype
        assert files.read_npz(tmp_path / 'a.npz', ['a', 'missing']).keys() == {'a'}


def test_json_that_is_nested_too_deeply_is_no_json(tmp_path):
    (tmp_path / 'a.json').write_text('[' * 200_000)
    with pytest.raises(ValueError, match='nested too deeply'):
        files.read_json(tmp_path / 'a.json')
    (tmp_path / 'a.json').write_text(json.dumps({'a': [1]}))
    assert files.read_json(tmp_path / 'a.json') == {'a': [1]}
