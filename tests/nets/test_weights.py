"""Weight files that do not fit, are damaged, or mean harm."""

import builtins
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from jfrecon.errors import UserError
from jfrecon.nets import encoder, resnet, weights

MODEL = resnet.ResNet((1,), bottleneck=False, width=4, outputs=3)


def shapes(net=MODEL):
    return jax.eval_shape(lambda k: net.init(k, jnp.zeros((1, 32, 32, 3)), False), jax.random.key(0))


def variables(net=MODEL):
    return jax.tree.map(lambda x: np.full(x.shape, 0.5, x.dtype), shapes(net))


def published(net=MODEL, seed=0):
    """A complete file's tensors in torchvision's names, random."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for keys, leaf in flatten_dict(shapes(net)).items():
        shape = tuple(leaf.shape[i] for i in (3, 2, 0, 1)) if len(leaf.shape) == 4 else leaf.shape[::-1]
        tensors[weights.torchvision_name(keys)] = rng.normal(size=shape).astype(np.float32)
    return tensors


def write(tmp_path, tensors, name='w.safetensors'):
    path = tmp_path / name
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path)
    return path


def test_every_misfit_is_listed_in_one_message(tmp_path):
    tensors = published()
    del tensors['layer1.0.conv2.weight'], tensors['bn1.running_var']
    tensors['layer9.0.conv1.weight'] = np.zeros((1, 1, 1, 1), np.float32)
    tensors['fc.weight'] = np.zeros((7, 4), np.float32)
    with pytest.raises(UserError) as error:
        weights.load(write(tmp_path, tensors), MODEL, variables())
    message = str(error.value)
    for name in ('w.safetensors', 'layer1.0.conv2.weight', 'bn1.running_var', 'layer9.0.conv1.weight'):
        assert name in message
    assert 'fc.weight (4, 7) for (4, 3)' in message
    assert '\n' not in message


def test_counters_of_batch_norm_are_ignored(tmp_path):
    tensors = published() | {'bn1.num_batches_tracked': np.array(3)}
    loaded = weights.load(write(tmp_path, tensors), MODEL, variables())
    np.testing.assert_array_equal(loaded['params']['fc']['kernel'], tensors['fc.weight'].T)
    np.testing.assert_array_equal(
        loaded['params']['layer1_0']['conv1']['kernel'][..., 1, 2], tensors['layer1.0.conv1.weight'][2, 1]
    )


def test_a_latent_of_another_size_keeps_its_layer(tmp_path):
    net = encoder.Encoder('resnet18', latent=6)
    given = variables(net)
    tensors = published(resnet.resnet18(outputs=1000))
    loaded = encoder.with_published(net, given, write(tmp_path, tensors))
    assert jax.tree.structure(loaded) == jax.tree.structure(given)
    for kind in ('kernel', 'bias'):
        np.testing.assert_array_equal(loaded['params']['body']['fc'][kind], given['params']['body']['fc'][kind])
    kernel = loaded['params']['body']['conv1']['kernel']
    np.testing.assert_array_equal(kernel, tensors['conv1.weight'].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(loaded['batch_stats']['body']['bn1']['var'], tensors['bn1.running_var'])


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float64'])
def test_other_precisions_become_float32(tmp_path, dtype):
    torch = pytest.importorskip('torch')
    from safetensors.torch import save_file as save_torch

    path = tmp_path / 'w.safetensors'
    save_torch({'x': torch.arange(5).to(getattr(torch, dtype))}, path)
    got = weights.read(path)['x']
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.arange(5))


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth', '.bin'])
def test_damaged_files(tmp_path, suffix):
    torch = pytest.importorskip('torch')
    path = tmp_path / f'w{suffix}'
    if suffix == '.safetensors':
        write(tmp_path, published(), path.name)
    else:
        torch.save({k: torch.from_numpy(v) for k, v in published().items()}, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for length in [0, 1, 7, 8, 100, *rng.integers(0, len(whole) - 1, 20)]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=path.name):
            weights.load(path, MODEL, variables())
    path.write_bytes(rng.bytes(2000))
    with pytest.raises(UserError, match=path.name):
        weights.load(path, MODEL, variables())


def test_a_hostile_pickle_runs_nothing(tmp_path):
    pytest.importorskip('torch')
    path, witness = tmp_path / 'w.pth', tmp_path / 'witness'

    class Hostile:
        def __reduce__(self):
            return open, (str(witness), 'w')

    path.write_bytes(pickle.dumps({'conv1.weight': Hostile()}))
    with pytest.raises(UserError, match=r'w\.pth'):
        weights.read(path)
    assert not witness.exists()


def test_missing_file_and_unknown_kind(tmp_path):
    with pytest.raises(UserError, match='no such weights file'):
        weights.read(tmp_path / 'w.pth')
    (tmp_path / 'w.h5').write_bytes(b'')
    with pytest.raises(UserError, match=r'\.safetensors'):
        weights.read(tmp_path / 'w.h5')


def test_without_torch_the_remedy_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name == 'torch':
            raise ImportError(name)
        return real(name, *args, **kwargs)

    (tmp_path / 'w.pth').write_bytes(b'')
    monkeypatch.setattr(builtins, '__import__', absent)
    with pytest.raises(UserError, match='pip install torch'):
        weights.read(tmp_path / 'w.pth')
