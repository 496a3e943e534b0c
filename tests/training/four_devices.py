"""Tests of the step that need four devices; `test_step.py` runs them in a process that has them."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from jfrecon.methods.method import AXIS
from jfrecon.training import checkpoints, optimiser, parallel, train_state
from tests.training.toy import Data, Toy

KEY = jax.random.PRNGKey(9)
# Sums over images in another order: float32 rounding of numbers near 1, through three layers and three steps.
ROUNDING = dict(rtol=2e-5, atol=2e-6)


@functools.cache
def started(name='sgd'):
    descent, _ = optimiser.build(10, name, 0.1)
    return descent, train_state.create(*Toy().init(jax.random.PRNGKey(1)), descent, KEY)


@functools.cache
def compiled(noise, count, name):
    descent, _ = started(name)
    return parallel.pmapped(parallel.gradient_step(Toy(noise).loss, descent), jax.devices()[:count])


def run(count, batches, noise=0.0, name='sgd'):
    mesh = parallel.device_mesh(jax.devices()[:count])
    current, history = parallel.replicate(started(name)[1], mesh), []
    for batch in batches:
        current, metrics = compiled(noise, count, name)(current, parallel.share_out(batch, mesh))
        history.append(jax.device_get(metrics))
    return jax.device_get(current), history


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_there_are_four_devices():
    assert jax.device_count() == 4


def test_equals_pmap():
    """The real jax.pmap of the same step, with noise, batch norm and Adam."""
    batches = [Data()[i] for i in range(3)]
    ours, our_history = run(4, batches, 0.1, 'adam')

    descent, begin = started('adam')
    mapped = jax.pmap(parallel.gradient_step(Toy(0.1).loss, descent), AXIS)
    theirs = jax.tree.map(lambda x: jnp.stack([x] * 4), begin)
    for batch, metrics in zip(batches, our_history):
        split = jax.tree.map(lambda x: x.reshape(4, -1, *x.shape[1:]), batch)
        theirs, their_metrics = mapped(theirs, split)
        # the same arithmetic; room for the last place or two, should XLA fuse it differently
        assert_close(metrics, jax.tree.map(lambda x: x[0], their_metrics), rtol=1e-6, atol=1e-7)
    assert_close(ours, jax.tree.map(lambda x: x[3], theirs), rtol=1e-6, atol=1e-7)


def test_four_devices_equal_one():
    """Plain SGD is linear in the gradient: N times too large, or batch norm local, would differ."""
    batches = [Data()[i] for i in range(3)]
    four, history4 = run(4, batches)
    one, history1 = run(1, batches)
    assert_close(four, one, **ROUNDING)
    assert_close(history4, history1, **ROUNDING)
    kernel = started()[1].params['encoder']['kernel']
    assert float(np.abs(four.params['encoder']['kernel'] - kernel).max()) > 1e-3  # something was trained


def test_batch_norm_sees_the_whole_batch():
    """Devices whose images differ in brightness, against the statistics of all eight images in NumPy."""
    batch = Data()[0]
    batch = batch.replace(image=batch.image + np.repeat(np.arange(4, dtype=np.float32), 2)[:, None, None, None])
    after, _ = run(4, [batch])
    dense = started()[1].params['encoder']
    x = batch.image.reshape(8, -1) @ dense['kernel'] + dense['bias']
    running = after.model_state['batch_stats']['norm']
    # Flax: 0.99 of the old (0 and 1), 0.01 of the new; its variance is E[x²] - E[x]², a cancellation of some
    # units
    np.testing.assert_allclose(running['mean'], 0.01 * x.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(running['var'], 0.99 + 0.01 * x.var(0), rtol=1e-5)
    apart = x.reshape(4, 2, -1).var(1).mean(0)
    assert (0.01 * np.abs(apart - x.var(0))).max() > 1e-3  # which statistics of each device alone would not meet


@pytest.mark.parametrize('check_vma', [False, True])
def test_gradient_is_the_mean_with_and_without_vma(check_vma):
    """d/dw of mean((w x)²) at w = 3 is 6 mean(x²), in closed form; integers make float32 exact."""
    x = np.arange(8, dtype=np.float32)

    def loss(params, model_state, batch, key, number):
        return jnp.mean((params['w'] * batch) ** 2), (model_state, {})

    descent, _ = optimiser.build(10, 'sgd', 1.0)
    begin = train_state.create({'w': jnp.float32(3)}, {}, descent, KEY)
    mesh = jax.make_mesh((4,), (AXIS,), (AxisType.Auto,))
    update = jax.shard_map(
        parallel.gradient_step(loss, descent),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
        out_specs=PartitionSpec(),
        check_vma=check_vma,
    )
    after, metrics = jax.jit(update)(begin, x)
    assert float(metrics['gradient_norm']) == 6 * np.mean(x**2)
    assert float(after.params['w']) == 3 - 6 * np.mean(x**2)


def test_loops_with_constant_carries_are_allowed():
    """What a renderer does everywhere, and what check_vma rejects."""

    def loss(params, model_state, batch, key, number):
        total, _ = jax.lax.scan(lambda c, row: (c + params['w'] * row, None), jnp.zeros(()), batch)
        return total, (model_state, {})

    descent, _ = optimiser.build(10, 'sgd', 1.0)
    mesh = parallel.device_mesh()
    begin = parallel.replicate(train_state.create({'w': jnp.float32(1)}, {}, descent, KEY), mesh)
    after, _ = parallel.pmapped(parallel.gradient_step(loss, descent))(
        begin, parallel.share_out(np.ones(8, np.float32), mesh)
    )
    assert float(after.params['w']) == 1 - 2  # two rows a device


def test_one_bad_device_skips_the_step_on_all():
    batch = Data()[0]
    batch.image[7] = np.nan
    after, (metrics,) = run(4, [batch])
    jax.tree.map(np.testing.assert_array_equal, after.params, started()[1].params)
    assert after.step == 1 and after.skipped == 1 and metrics['skipped_in_a_row'] == 1


def test_devices_and_steps_draw_different_numbers():
    def loss(params, model_state, batch, key, number):
        return 0.0 * params['w'], (model_state, {'drawn': jax.random.uniform(key)})

    descent, _ = optimiser.build(10, 'sgd', 1.0)
    mesh = parallel.device_mesh()
    current = parallel.replicate(train_state.create({'w': jnp.float32(1)}, {}, descent, KEY), mesh)
    update = parallel.pmapped(parallel.gradient_step(loss, descent))
    for number in range(2):
        current, metrics = update(current, parallel.share_out(np.ones(8, np.float32), mesh))
        key = jax.random.fold_in(KEY, number)
        expected = [float(jax.random.uniform(jax.random.fold_in(key, i))) for i in range(4)]
        assert len(set(expected)) == 4
        # a mean of four float32
        np.testing.assert_allclose(metrics['drawn'], np.mean(expected), rtol=1e-6)


def test_checkpoint_of_four_devices_restores_on_one(tmp_path):
    _, begin = started()
    saved = checkpoints.manager(tmp_path, every=1, keep=1)
    checkpoints.save(saved, parallel.replicate(begin.replace(step=jnp.int32(1)), parallel.device_mesh()), {})
    saved.wait_until_finished()
    one = parallel.replicate(begin, parallel.device_mesh(jax.devices()[:1]))
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), one)
    restored = checkpoints.restore(saved, abstract)
    saved.close()
    jax.tree.map(np.testing.assert_array_equal, restored.params, begin.params)
    assert all(x.devices() == {jax.devices()[0]} for x in jax.tree.leaves(restored))
