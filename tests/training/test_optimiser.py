"""Schedules in closed form; groups that move at their own rate or not at all."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jfrecon.errors import UserError
from jfrecon.training import optimiser

PARAMS = {
    'encoder': {'w': jnp.array([1.0, -0.3, 0.1])},
    'encoder_head': {'w': jnp.array([0.7])},
    'decoder': {'w': jnp.array([2.0, 0.0])},
}
GRADIENT = jax.tree.map(lambda x: x + 0.5, PARAMS)


def moved(steps=1, **options):
    """Parameters after some steps with the same gradient."""
    descent, _ = optimiser.build(10, options.pop('name', 'adam'), **options)
    params, state = PARAMS, descent.init(PARAMS)
    for _ in range(steps):
        updates, state = descent.update(GRADIENT, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(), lambda t: np.full(t.shape, 0.1)),
        (dict(warmup_steps=4), lambda t: 0.1 * np.minimum(1, (t + 1) / 4)),
        (dict(schedule='cosine'), lambda t: 0.05 * (1 + np.cos(np.pi * np.minimum(t, 20) / 20))),
        (
            dict(schedule='cosine', decay_steps=8, floor=0.02),
            lambda t: 0.02 + 0.04 * (1 + np.cos(np.pi * np.minimum(t, 8) / 8)),
        ),
        (
            dict(schedule='exponential', rate=0.5, every=3, floor=0.02),
            lambda t: np.maximum(0.02, 0.1 * 0.5 ** (t // 3)),
        ),
    ],
)
def test_schedules(options, expected):
    _, rates = optimiser.build(20, 'adam', 0.1, **options)
    t = np.arange(25)
    # float32 cosines and powers
    np.testing.assert_allclose([rates['learning_rate'](int(i)) for i in t], expected(t), rtol=1e-5, atol=1e-8)
    traced = jax.jit(jax.vmap(rates['learning_rate']))(jnp.arange(25))
    np.testing.assert_allclose(traced, expected(t), rtol=1e-5, atol=1e-8)


def test_adam_first_step():
    """m / sqrt(v) is the gradient's sign after bias correction (Kingma and Ba 2015, 2.1)."""
    after = moved(learning_rate=0.1)
    for name in PARAMS:
        step = after[name]['w'] - PARAMS[name]['w']
        # eps 1e-8 beside gradients of at least 0.2, in float32
        np.testing.assert_allclose(step, -0.1 * np.sign(GRADIENT[name]['w']), rtol=1e-5)


def test_groups():
    """The longest prefix counts; rate 0 leaves every bit, also with momentum and clipping."""
    groups = {'enc': 0.0, 'encoder_head': 0.2}
    options = dict(learning_rate=0.1, groups=groups, schedule='exponential', rate=0.5, every=1)
    after = moved(name='sgd', **options)
    np.testing.assert_allclose(after['decoder']['w'], PARAMS['decoder']['w'] - 0.1 * GRADIENT['decoder']['w'])
    # one float32 rounding of the ratio of the rates
    np.testing.assert_allclose(after['encoder_head']['w'], 0.7 - 0.2 * 1.2, rtol=1e-6)
    frozen = moved(3, clip_norm=0.5, **options)
    assert frozen['encoder']['w'].tobytes() == PARAMS['encoder']['w'].tobytes()
    assert (frozen['decoder']['w'] != PARAMS['decoder']['w']).all()
    _, rates = optimiser.build(10, 'sgd', **options)
    assert {name: round(float(rate(1)), 6) for name, rate in rates.items()} == {
        'learning_rate': 0.05,
        'learning_rate/enc': 0.0,
        'learning_rate/encoder_head': 0.1,
    }


def test_clipping_counts_what_moves():
    clipped = moved(name='sgd', learning_rate=1.0, clip_norm=0.5, groups={'encoder': 0.0})
    step = np.asarray(clipped['decoder']['w'] - PARAMS['decoder']['w'])
    np.testing.assert_allclose(np.linalg.norm(step), 0.5, rtol=1e-6)  # a float32 norm
    loose = moved(name='sgd', learning_rate=1.0, clip_norm=1e3)
    np.testing.assert_allclose(loose['decoder']['w'], PARAMS['decoder']['w'] - GRADIENT['decoder']['w'], rtol=1e-6)


@pytest.mark.parametrize(
    ('options', 'named'),
    [
        (dict(name='adma'), 'adam, sgd'),
        (dict(schedule='linear'), 'constant, cosine, exponential'),
        (dict(schedule='exponential', rate=0.5), "'every'"),
        (dict(rate=0.5), "'rate'"),
        (dict(learning_rate=0.0), 'must be positive'),
        (dict(groups={'decodr': 0.1}), 'encoder, encoder_head, decoder'),
    ],
)
def test_mistakes_are_named(options, named):
    with pytest.raises(UserError, match=named):
        moved(**(dict(learning_rate=0.1) | options))
