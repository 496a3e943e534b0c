from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.nets.decoder import Decoder


def test_layers_are_those_of_the_table():
    """s2f2, table 4: 6 rows, 17 convolutions; by shapes alone."""
    module = Decoder(256, 3)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((2, 1000)), False))
    convolutions = {
        name: leaves['kernel'].shape
        for name, leaves in shapes['params'].items()
        if 'kernel' in leaves and len(leaves['kernel'].shape) == 4
    }
    rows = [
        [('up1', 256, 160, 3), ('conv1_1', 160, 256, 1)],
        [('up2', 256, 256, 3), ('conv2_1', 256, 128, 3), ('conv2_2', 128, 192, 3)],
        [('up3', 192, 192, 3), ('conv3_1', 192, 96, 3), ('conv3_2', 96, 128, 3)],
        [('up4', 128, 128, 3), ('conv4_1', 128, 64, 3), ('conv4_2', 64, 64, 3)],
        [('up5', 64, 64, 3), ('conv5_1', 64, 32, 3), ('conv5_2', 32, 42, 3)],
        [('up6', 42, 42, 3), ('conv6_1', 42, 21, 3), ('last', 21, 3, 3)],
    ]
    assert convolutions == {name: (size, size, inputs, outputs) for row in rows for name, inputs, outputs, size in row}
    assert len(convolutions) == 17
    made = jax.eval_shape(lambda v: module.apply(v, jnp.zeros((2, 1000)), False), shapes)
    assert made.shape == (2, 256, 256, 3) and made.dtype == jnp.float32


def test_it_starts_at_zero_learns_and_stays_between_minus_one_and_one():
    module = Decoder(16, 1)
    latent = jax.random.normal(jax.random.key(1), (4, 12))
    variables = jax.jit(lambda: module.init(jax.random.key(0), latent, False))()
    run = jax.jit(lambda v, train: module.apply(v, latent, train, mutable=['batch_stats'])[0], static_argnums=1)
    assert not np.asarray(run(variables, True)).any()

    def miss(params):
        return jnp.mean(jnp.square(run({**variables, 'params': params}, True) - 0.5))

    gradient = jax.jit(jax.grad(miss))(variables['params'])
    assert np.abs(gradient['last']['kernel']).max() > 0  # a layer of zeros is not a dead one
    steep = jax.tree.map(lambda x: 50 * jax.random.normal(jax.random.key(2), x.shape), variables['params'])
    made = np.asarray(run({**variables, 'params': steep}, True))
    assert np.abs(made).max() <= 1 and np.ptp(made, axis=0).max() > 0.1


@pytest.mark.parametrize('size', (4, 24, 512))
def test_sizes_that_cannot_be_made(size):
    with pytest.raises(ValueError, match='8, 16'):
        jax.eval_shape(lambda: Decoder(size, 1).init(jax.random.key(0), jnp.zeros((1, 3)), False))
