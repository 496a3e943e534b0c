from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.fitting.descent import Descent


def test_every_leaf_moves_at_its_rate_and_what_has_none_stays():
    wanted = {'fast': jnp.array([1.0, -2.0]), 'slow': (jnp.array(0.5), jnp.array(3.0))}

    def energy(unknowns, known, key):
        del key
        return sum(jnp.sum((a - b) ** 2) for a, b in zip(jax.tree.leaves(unknowns), jax.tree.leaves(known)))

    start = jax.tree.map(jnp.zeros_like, wanted)
    calls = []
    found = Descent(energy, {'fast': 0.1, 'slow': 0.0}, 200)(start, wanted, jax.random.key(0), lambda: calls.append(0))
    np.testing.assert_allclose(found['fast'], wanted['fast'], atol=1e-3)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(found['slow']))
    assert len(calls) == 200 and not np.any(start['fast']), "the start is still the caller's"
    # the first step of Adam is as long as its rate, whatever the slope
    once = Descent(energy, {'fast': 0.1, 'slow': 0.01}, 1)(start, wanted, jax.random.key(0))
    np.testing.assert_allclose(once['fast'], [0.1, -0.1], rtol=1e-4)
    np.testing.assert_allclose(once['slow'], [0.01, 0.01], rtol=1e-4)


def test_each_step_has_its_own_key():
    def energy(unknowns, known, key):
        return jnp.sum(unknowns * jax.random.normal(key, unknowns.shape)) + 0 * known

    first, again, other = (
        Descent(energy, 0.1, 5)(jnp.zeros(3), jnp.zeros(()), jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert np.ptp(np.abs(first)) > 1e-2, 'with one draw for all steps, all leaves go the same way'
