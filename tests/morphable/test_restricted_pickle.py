"""Pickles with arrays are read; pickles that want more are refused and run nothing."""

import builtins
import collections
import os
import pickle
import subprocess

import numpy as np
import pytest
from scipy import sparse

from jfrecon.errors import UserError
from jfrecon.morphable import restricted_pickle
from tests.morphable.small_files import Python2Pickler, flame_arrays, flame_pkl


@pytest.mark.parametrize('protocol', range(6))
def test_arrays_of_every_kind_and_protocol(tmp_path, protocol):
    rng = np.random.default_rng(0)
    content = {
        'floats': rng.normal(size=(3, 4)),
        'fortran': np.asfortranarray(rng.normal(size=(3, 4)).astype(np.float32)),
        'ids': np.arange(5, dtype=np.uint32),
        'scalar': np.float32(1.5),
        'text': 'lbs',
        'list': [1, 2.5, None, True],
        'sparse': sparse.csc_matrix(np.eye(4)[:, [0, 2, 1]]),
        'rows': sparse.csr_matrix(np.eye(3)),
        'nested': {'a': np.arange(3)},
    }
    path = tmp_path / 'x.pkl'
    path.write_bytes(pickle.dumps(content, protocol))
    got = restricted_pickle.load(path)
    assert got.keys() == content.keys()
    for key in ('floats', 'fortran', 'ids', 'scalar'):
        np.testing.assert_array_equal(got[key], content[key])
        assert got[key].dtype == content[key].dtype
    for key in ('sparse', 'rows'):
        np.testing.assert_array_equal(got[key].toarray(), content[key].toarray())
    np.testing.assert_array_equal(got['nested']['a'], np.arange(3))
    assert (got['text'], got['list']) == (content['text'], content['list'])


@pytest.mark.parametrize('python2', [True, False])
def test_chumpy_arrays_become_arrays(tmp_path, python2):
    arrays = flame_arrays()
    flame_pkl(tmp_path / 'x.pkl', arrays, python2)
    got = restricted_pickle.load(tmp_path / 'x.pkl')
    for key in ('v_template', 'weights', 'shapedirs', 'posedirs', 'f', 'kintree_table'):
        np.testing.assert_array_equal(got[key], arrays[key])
        assert type(got[key]) is np.ndarray
    np.testing.assert_array_equal(got['J_regressor'].toarray(), arrays['J_regressor'])


def test_object_in_an_npy_file(tmp_path):
    path = tmp_path / 'x.npy'
    np.save(path, {'a': np.arange(3)}, allow_pickle=True)
    np.testing.assert_array_equal(restricted_pickle.load(path)['a'], np.arange(3))
    np.save(path, np.arange(4.0))
    np.testing.assert_array_equal(restricted_pickle.load(path), np.arange(4.0))


def test_torch_tensors_are_passed_over(tmp_path):
    """DECA's landmark embedding keeps two tables as PyTorch tensors; the others are wanted."""
    torch = pytest.importorskip('torch')
    path = tmp_path / 'x.npy'
    np.save(path, {'a': np.arange(3), 'b': torch.arange(4)}, allow_pickle=True)
    got = restricted_pickle.load(path)
    assert list(got) == ['a']
    np.testing.assert_array_equal(got['a'], np.arange(3))


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def hostile(witness):
    """Things that an attacker would have called; each leaves the file ``witness`` if it is."""
    command = f'touch {witness}'
    code = f'open({str(witness)!r}, "w")'
    loaded = pickle.dumps(Call(os.system, command))
    nested = np.empty(1, object)
    nested[0] = Call(os.system, command)
    return {
        'os.system': Call(os.system, command),
        'eval': Call(builtins.eval, code),
        'exec': Call(builtins.exec, code),
        'open': Call(open, str(witness), 'w'),
        'Popen': Call(subprocess.Popen, ['touch', str(witness)]),
        'getattr': Call(getattr, Call(__import__, 'os'), 'system'),
        'pickle.loads': Call(pickle.loads, loaded),
        'numpy.load': Call(np.load, str(witness), 'r', True),
        'numpy.save': Call(np.save, str(witness), 3),
        'memmap': Call(np.memmap, str(witness), 'u1', 'w+', 0, (4,)),
        'in a dict': {'v_template': Call(os.system, command)},
        'in an array': nested,
        'in a default dict': Call(collections.defaultdict, Call(os.system, command)),
    }


@pytest.mark.parametrize('kind', hostile('x'))
@pytest.mark.parametrize('protocol', [0, 2, 4])
@pytest.mark.parametrize('suffix', ['.pkl', '.npy'])
def test_hostile_pickles_run_nothing(tmp_path, kind, protocol, suffix):
    witness, path = tmp_path / 'witness.npy', tmp_path / f'x{suffix}'
    data = pickle.dumps(hostile(witness)[kind], protocol)
    if suffix == '.npy':
        np.save(path, np.array(None, object), allow_pickle=True)
        header = path.read_bytes()
        data = header[: header.index(b'\n') + 1] + data
    path.write_bytes(data)
    with pytest.raises(UserError, match=path.name) as error:
        restricted_pickle.load(path)
    assert not witness.exists()
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'opcodes',
    [
        b"cos\nsystem\n(S'touch WITNESS'\ntR.",
        b'c__builtin__\neval\n(S\'open("WITNESS", "w")\'\ntR.',
        b"(S'touch WITNESS'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch WITNESS'\no.",  # OBJ
        b'\x8c\x02os\x8c\x06system\x93\x8c\rtouch WITNESS\x85R.',  # STACK_GLOBAL
        b'\x8c\x05numpy\x8c\x12_core.os.path.join\x93.',  # a dotted name
        b'\x82\x01.',  # an extension code
        b'Pwitness\n.',  # a persistent id
        b'cnumpy\nndarray\n(K\x05tR)\x81.',
    ],
)
def test_hostile_opcodes(tmp_path, opcodes):
    witness, path = tmp_path / 'w', tmp_path / 'x.pkl'
    path.write_bytes(opcodes.replace(b'WITNESS', str(witness).encode()))
    with pytest.raises(UserError, match=r'x\.pkl'):
        restricted_pickle.load(path)
    assert not witness.exists()


def test_crafted_states_do_no_harm(tmp_path):
    """Sparse indices out of range, an array of objects, a scalar that is an object, a very large array."""
    matrix = sparse.csc_matrix(np.eye(3))
    matrix.indices[1] = 10**6
    objects = np.array([{}, []], object)
    for content in ({'a': matrix}, {'a': objects}):
        with pytest.raises(UserError):
            restricted_pickle.loads(pickle.dumps(content, 2), 'x.pkl')
    array = b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tS"b"\ntR'
    huge = array + b'(K\x01(L10000000000000L\ntcnumpy\ndtype\n(S"f8"\nK\x00K\x01tRI00\nS"ab"\ntb.'
    scalar = b'cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S"O8"\nK\x00K\x01tRS"ab"\ntR.'
    # A float that claims to hold references: NumPy itself would follow its bytes as pointers.
    pointer = (
        array + b'(K\x01(K\x01tcnumpy\ndtype\n(S"f8"\nK\x00K\x01tR(K\x03S"<"\nNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb'
    )
    pointer += b'I00\nS"abcdefgh"\ntb.'
    np.testing.assert_array_equal(restricted_pickle.loads(pointer, 'x.pkl'), np.frombuffer(b'abcdefgh'))
    for data in (huge, scalar):
        with pytest.raises(UserError):
            restricted_pickle.loads(data, 'x.pkl')


def test_damage_anywhere_is_a_user_error_or_harmless(tmp_path):
    """Cut or changed bytes raise UserError or nothing; never another exception."""
    arrays = {'a': np.arange(20.0), 's': sparse.csc_matrix(np.eye(3)), 't': 'lbs'}
    path = tmp_path / 'x.pkl'
    with path.open('wb') as stream:
        Python2Pickler(stream, 2).dump(arrays)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(400):
        if i % 2:
            data = whole[: rng.integers(0, len(whole))]
        else:
            data = bytearray(whole)
            for at in rng.integers(0, len(whole), 3):
                data[at] = rng.integers(0, 256)
        path.write_bytes(bytes(data))
        try:
            restricted_pickle.load(path)
        except UserError:
            refused += 1
    assert refused >= 200  # every cut one, and most of the others


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match='cannot be read'):
        restricted_pickle.load(tmp_path / 'x.pkl')


@pytest.mark.parametrize('protocol', range(6))
def test_a_file_that_was_copied_as_text_is_named_as_such(tmp_path, protocol):
    """As git with autocrlf and FTP in text mode do; the numbers 10 are line feeds too."""
    content = {'v_template': np.full((40, 3), 10, np.int16), 'f': np.arange(600, dtype=np.uint32)}
    data = pickle.dumps(content, protocol)
    path = tmp_path / 'generic_model.pkl'
    path.write_bytes(data.replace(b'\n', b'\r\n'))
    with pytest.raises(UserError, match=r'generic_model.pkl: copied as text .*as binary') as caught:
        restricted_pickle.load(path)
    assert '\n' not in str(caught.value)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match='damaged or not a pickle'):
        restricted_pickle.load(path)


def test_an_npy_file_that_was_copied_as_text(tmp_path):
    path = tmp_path / 'x.npy'
    np.save(path, {'a': np.arange(300)}, allow_pickle=True)
    path.write_bytes(path.read_bytes().replace(b'\n', b'\r\n'))
    with pytest.raises(UserError, match='copied as text'):
        restricted_pickle.load(path)
