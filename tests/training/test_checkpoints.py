"""Checkpoints: to the last bit, past damaged ones, and not into another network."""

from __future__ import annotations

import gc
import logging
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jfrecon import pack
from jfrecon.errors import UserError
from jfrecon.training import checkpoints, optimiser, parallel, train_state

CONFIG = {'method': 'toy', 'seed': 0, 'optimiser': {'name': 'adam'}}


def example(number: int, width: int = 7) -> train_state.TrainState:
    key = jax.random.PRNGKey(number)
    params = {
        'encoder': {'w': jax.random.normal(key, (5, width)), 'b': jnp.float32(-0.0)},
        'decoder': {'w': jnp.ones(3)},
    }
    descent, _ = optimiser.build(10, 'adam', 0.1, clip_norm=1.0, groups={'decoder': 0.0})
    statistics = {'batch_stats': {'mean': jnp.full(2, number, jnp.float32)}}
    begin = train_state.create(params, statistics, descent, key)
    return parallel.replicate(begin.replace(step=jnp.int32(number)), parallel.device_mesh())


def shapes(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


def bits(tree):
    return [(x.dtype, x.shape, np.asarray(x).tobytes()) for x in jax.tree.leaves(tree)]


@pytest.fixture(scope='module')
def written(tmp_path_factory) -> Path:
    """A run with checkpoints 4 and 6."""
    workdir = tmp_path_factory.mktemp('run')
    with checkpoints.manager(workdir, every=2, keep=2) as saved:
        for number in (2, 3, 4, 6):
            if saved.should_save(number):
                checkpoints.save(saved, example(number), CONFIG)
        saved.wait_until_finished()
        assert saved.all_steps() == [4, 6]  # 3 is not due, 2 is too old
    return workdir


@pytest.fixture
def run(written, tmp_path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(written, tmp_path / 'run')


def restored(workdir, abstract):
    with checkpoints.manager(workdir, every=2, keep=2) as saved:
        return checkpoints.restore(saved, abstract)


def test_every_bit_returns(run):
    back = restored(run, shapes(example(0)))
    assert bits(back) == bits(example(6))
    assert jax.tree.structure(back) == jax.tree.structure(example(6))


def test_nothing_there(tmp_path):
    assert restored(tmp_path, shapes(example(0))) is None


def test_some_stay_for_good(tmp_path):
    with checkpoints.manager(tmp_path, every=1, keep=1, keep_every=2) as saved:
        for number in (1, 2, 3, 4, 5):
            checkpoints.save(saved, example(number), CONFIG)
        checkpoints.save(saved, example(5), CONFIG, force=True)  # there already: not an error
        saved.wait_until_finished()
        assert saved.all_steps() == [2, 4, 5]


# Orbax leaves the futures of failed reads behind
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_damaged_files_fall_back_to_the_one_before(run, caplog, tmp_path):
    """Each file of the newest checkpoint cut in half: the newest's bits or the one before's, never others."""
    fallen = 0
    paths = [path.relative_to(run) for path in sorted((run / 'checkpoints' / '6').rglob('*')) if path.is_file()]
    for i, path in enumerate(paths):
        copy = shutil.copytree(run, tmp_path / str(i))
        content = (copy / path).read_bytes()
        (copy / path).write_bytes(content[: len(content) // 2])
        caplog.clear()
        with caplog.at_level(logging.WARNING, 'absl'):
            back = restored(copy, shapes(example(0)))
        number = int(back.step)
        assert bits(back) == bits(example(number)), path
        if number == 4:
            fallen += 1
            assert 'checkpoints/6 is damaged' in caplog.text
            assert (copy / 'checkpoints' / 'damaged-6').is_dir()
            # and the run can go on to save step 6 again
            with checkpoints.manager(copy, every=2, keep=2) as saved:
                checkpoints.save(saved, example(6), CONFIG)
                saved.wait_until_finished()
                assert saved.latest_step() == 6
    gc.collect()  # while their complaint is filtered
    assert fallen >= 6  # the metadata and the data of both items at least


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_all_damaged(run):
    for metadata in run.glob('checkpoints/*/network/_METADATA'):
        metadata.write_text('{')
    with pytest.raises(UserError, match='all are damaged'):
        restored(run, shapes(example(0)))
    assert sorted(path.name for path in (run / 'checkpoints').iterdir()) == ['4', '6']  # nothing starts anew
    with pytest.raises(UserError, match='no checkpoint in it can be read'):
        checkpoints.load(run)


def test_another_network_is_named_and_kept(run):
    with pytest.raises(UserError, match=r'params\.encoder\.w is float32\[5, 7\] there and float32\[5, 8\]'):
        restored(run, shapes(example(0, width=8)))
    other = example(0)
    other = other.replace(params=other.params | {'extra': jnp.ones(1)})
    with pytest.raises(UserError, match=r'params\.extra is absent there'):
        restored(run, shapes(other))
    assert (run / 'checkpoints' / '6').is_dir()


def test_load_for_inference(run):
    """From the run, its checkpoints or one of them; the optimiser's part may even be gone."""
    shutil.rmtree(run / 'checkpoints' / '6' / 'training')
    for directory, number in ((run, 6), (run / 'checkpoints', 6), (run / 'checkpoints' / '4', 4)):
        config, found, params, model_state = checkpoints.load(directory)
        assert (config, found) == (CONFIG, number)
        assert bits((params, model_state)) == bits((example(number).params, example(number).model_state))


def test_a_network_takes_its_parts_from_one_that_has_fewer(run):
    begin = example(0)
    params = begin.params | {'detail': {'w': jnp.full(3, 5.0)}}
    model_state = {'batch_stats': begin.model_state['batch_stats'] | {'detail': jnp.full(1, 7.0)}}
    found, state = checkpoints.load_network(run, params, model_state)
    saved = example(6)
    assert bits(found) == bits(saved.params | {'detail': params['detail']})
    assert bits(state) == bits({'batch_stats': saved.model_state['batch_stats'] | {'detail': jnp.full(1, 7.0)}})
    with pytest.raises(UserError, match=r'params\.encoder\.w is float32\[5, 7\] there .* name another --config'):
        checkpoints.load_network(run, example(0, width=8).params | {'detail': params['detail']}, model_state)


def test_load_nothing(tmp_path):
    with pytest.raises(UserError, match='no checkpoint here'):
        checkpoints.load(tmp_path)
    with pytest.raises(UserError, match='no such folder'):
        checkpoints.load(tmp_path / 'nowhere')


def test_a_packed_network_is_the_run_in_half_precision(written, tmp_path):
    path = tmp_path / 'packed' / 'network.safetensors'
    checkpoints.pack(written, path)
    (config, number, params, model_state), whole = checkpoints.load(path), checkpoints.load(written)
    assert (config, number) == whole[:2] == (CONFIG, 6)
    assert jax.tree.structure((params, model_state)) == jax.tree.structure(whole[2:])
    for packed, leaf in zip(jax.tree.leaves((params, model_state)), jax.tree.leaves(whole[2:])):
        assert packed.dtype == jnp.float32
        np.testing.assert_allclose(packed, leaf, rtol=2**-11)  # half of the last of eleven bits


def test_a_packed_file_is_not_written_over(written, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, 'pack', lambda run, out: out.write_text('packed'))
    path = tmp_path / 'network.safetensors'
    path.write_text('mine')
    with pytest.raises(UserError, match='is there already: --overwrite'):
        pack.main([str(written), f'--out={path}'])
    assert path.read_text() == 'mine'
    pack.main([str(written), f'--out={path}', '--overwrite'])
    assert path.read_text() == 'packed'


def test_what_was_not_packed_is_named(written, tmp_path):
    with pytest.raises(UserError, match=r'\.safetensors'):
        checkpoints.pack(written, tmp_path / 'network.pth')
    other = tmp_path / 'other.safetensors'
    save_file({'fc.weight': np.zeros(3, np.float32)}, other)
    torn = tmp_path / 'torn.safetensors'
    torn.write_bytes(other.read_bytes()[:20])
    for path in (other, torn, tmp_path / 'missing.safetensors'):
        with pytest.raises(UserError, match=path.name):
            checkpoints.load(path)


def test_a_checkpoint_that_the_disk_has_no_room_for_is_not_begun(run, monkeypatch):
    usage = shutil.disk_usage(run)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage._replace(free=100))
    with checkpoints.manager(run, every=2, keep=2) as saved:
        checkpoints.save(saved, example(7), CONFIG)  # is not due
        words = (
            r'checkpoints: no room for a checkpoint \(.* MB are free\); with room the same command goes on from step 6'
        )
        with pytest.raises(UserError, match=words):
            checkpoints.save(saved, example(8), CONFIG)
    assert sorted(path.name for path in (run / 'checkpoints').iterdir()) == ['4', '6']


@pytest.mark.parametrize('where', ['save', 'wait_until_finished'])
def test_a_disk_that_gets_full_while_it_writes_leaves_no_half(where, tmp_path, monkeypatch):
    """As TensorStore says it, in the middle of much else."""
    half = tmp_path / 'checkpoints' / '2.orbax-checkpoint-tmp'

    def full(*_, **__):
        (half / 'network').mkdir(parents=True)
        raise ValueError('RESOURCE_EXHAUSTED: Failed to write to file 20: No space left on device [os_error_code=28]')

    saved = checkpoints.manager(tmp_path, every=2, keep=2)
    with monkeypatch.context() as patch:
        patch.setattr(saved, where, full)
        with pytest.raises(UserError, match=r'No space left on device.*the same command begins anew'):
            checkpoints.save(saved, example(2), CONFIG)
            checkpoints.close(saved)
    assert not half.exists()
    with monkeypatch.context() as patch:
        patch.setattr(saved, 'save', lambda *_, **__: [][0])
        with pytest.raises(IndexError):  # our own mistakes keep their name
            checkpoints.save(saved, example(4), CONFIG, force=True)
    checkpoints.close(saved)
