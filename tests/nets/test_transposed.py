import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jfrecon.nets.transposed import ConvTranspose


@pytest.mark.parametrize('kernel', [3, 4])
def test_flax_gives_the_same_by_the_same_parameters(kernel):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 7, 3)), jnp.float32)
    ours, theirs = ConvTranspose(4, kernel), nn.ConvTranspose(4, (kernel, kernel), (2, 2))
    variables = theirs.init(jax.random.key(1), x)
    variables['params']['bias'] += jnp.arange(4.0)
    assert jax.tree.map(jnp.shape, ours.init(jax.random.key(0), x)) == jax.tree.map(jnp.shape, variables)
    # sums of at most 4 x 4 x 3 products of about one
    np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), atol=2e-5)

    weight = jnp.asarray(np.random.default_rng(1).normal(size=(2, 10, 14, 4)), jnp.float32)
    slopes = [jax.grad(lambda v, x, net=net: (weight * net.apply(v, x)).sum(), (0, 1)) for net in (ours, theirs)]
    for a, b in zip(*(jax.tree.leaves(slope(variables, x)) for slope in slopes), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_other_kernels_are_refused():
    with pytest.raises(ValueError, match='3 or 4, not 5'):
        ConvTranspose(4, 5).init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
