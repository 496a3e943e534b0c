"""The cache: hit, miss, damage, a folder that cannot be written."""

from __future__ import annotations

import numpy as np
import pytest

from jfrecon import files
from jfrecon.morphable import cache


@pytest.fixture
def calls(monkeypatch, tmp_path):
    monkeypatch.setenv('JFRECON_CACHE', str(tmp_path / 'deep' / 'folder'))
    made = []

    def build():
        made.append(1)
        return np.arange(3), np.full((2, 1), 0.5, np.float32)

    return made, build


def test_built_once_then_read(calls):
    made, build = calls
    for _ in range(2):
        first, second = cache.arrays('x', 'key', build)
        np.testing.assert_array_equal(first, np.arange(3))
        assert second.dtype == np.float32 and second.shape == (2, 1)
    assert len(made) == 1
    cache.arrays('x', 'other', build)
    assert len(made) == 2
    assert sorted(file.name for file in files.cache().iterdir()) == ['x-key.npz', 'x-other.npz']


@pytest.mark.parametrize('damage', [b'', b'PK\x03\x04half a file', b'nonsense'])
def test_a_damaged_file_is_built_again(calls, damage):
    made, build = calls
    cache.arrays('x', 'key', build)
    (files.cache() / 'x-key.npz').write_bytes(damage)
    np.testing.assert_array_equal(cache.arrays('x', 'key', build)[0], np.arange(3))
    assert len(made) == 2
    cache.arrays('x', 'key', build)
    assert len(made) == 2


def test_no_place_to_write_costs_only_time(calls, monkeypatch, tmp_path):
    made, build = calls
    (tmp_path / 'file').write_text('in the way')
    monkeypatch.setenv('JFRECON_CACHE', str(tmp_path / 'file'))
    for _ in range(2):
        np.testing.assert_array_equal(cache.arrays('x', 'key', build)[0], np.arange(3))
    assert len(made) == 2


def test_fingerprint_sees_values_shapes_types_and_code(tmp_path):
    source = tmp_path / 'a.py'
    source.write_text('one')
    zeros = np.zeros(4, np.float32)
    same = cache.fingerprint([zeros], [source])
    assert same == cache.fingerprint([zeros.copy()], [source])
    changed = [[zeros + 1], [zeros.reshape(2, 2)], [zeros.astype(np.int32)], [zeros, zeros]]
    assert len({same, *(cache.fingerprint(arrays, [source]) for arrays in changed)}) == 5
    source.write_text('two')
    assert cache.fingerprint([zeros], [source]) != same
