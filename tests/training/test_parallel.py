"""The step on one device; `four_devices.py` holds the rest and is run from here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.training import optimiser, parallel, train_state

HERE = Path(__file__).parent


def test_on_four_devices():
    """One process for all tests that need four devices, so that every other test keeps its single one."""
    flags = os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=4'
    environment = os.environ | {'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'}
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(HERE / 'four_devices.py')]
    done = subprocess.run(command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def quadratic(params, model_state, batch, key, number):
    """Gradient: the batch's mean; ``seen`` is model state."""
    return jnp.sum(params['w'] * batch.mean(0)), ({'seen': model_state['seen'] + 1.0}, {})


def prepared(name='adam'):
    descent, _ = optimiser.build(10, name, 0.5)
    mesh = parallel.device_mesh(jax.devices()[:1])
    key = jax.random.PRNGKey(0)
    begin = train_state.create({'w': jnp.array([1.0, -2.0])}, {'seen': jnp.float32(0)}, descent, key)
    update = parallel.pmapped(parallel.gradient_step(quadratic, descent), jax.devices()[:1])
    put = lambda rows: parallel.share_out(np.asarray(rows, np.float32), mesh)
    return update, parallel.replicate(begin, mesh), put


def bits(tree):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


def test_steps_that_are_not_finite_are_skipped_and_counted():
    update, current, put = prepared()
    current, _ = update(current, put([[1, 2]]))
    # copies: the state is donated
    before = bits((current.params, current.model_state, current.opt_state))
    # the gradient of 1e25 is finite, its square is not: Adam's second moment would be infinite for ever
    for count, bad in enumerate(([np.nan, 1], [np.inf, 1], [1e25, 1e25]), 1):
        current, metrics = update(current, put([bad]))
        assert bits((current.params, current.model_state, current.opt_state)) == before
        assert (int(metrics['skipped']), int(metrics['skipped_in_a_row'])) == (count, count)
        assert int(current.step) == 1 + count
    current, metrics = update(current, put([[1, 2]]))
    assert (int(metrics['skipped']), int(metrics['skipped_in_a_row'])) == (3, 0)
    assert bits(current.params) != before[:1] and np.isfinite(current.params['w']).all()
    assert float(current.model_state['seen']) == 2


def test_sgd_step_in_closed_form():
    update, current, put = prepared('sgd')
    current, metrics = update(current, put([[1, 2], [3, 6]]))
    np.testing.assert_array_equal(current.params['w'], [1 - 0.5 * 2, -2 - 0.5 * 4])  # exact in float32
    assert float(metrics['loss']) == 1 * 2 + -2 * 4
    np.testing.assert_allclose(metrics['gradient_norm'], np.hypot(2, 4), rtol=1e-6)  # a float32 square root


def test_replicate_leaves_the_original_alone():
    original = {'w': jnp.arange(3.0)}
    mesh = parallel.device_mesh(jax.devices()[:1])
    copy = parallel.replicate(original, mesh)
    jax.jit(lambda x: x * 2, donate_argnums=0)(copy['w'])
    np.testing.assert_array_equal(original['w'], [0, 1, 2])


def test_state_is_donated():
    update, current, put = prepared()
    old = current.params['w']
    update(current, put([[1, 2]]))
    assert old.is_deleted()
