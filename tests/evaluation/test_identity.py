from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.identity_network.__main__ import area
from jfrecon.errors import UserError
from jfrecon.evaluation import identity
from jfrecon.nets.weights import pack


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A fresh network's, written and read as trained ones are."""
    shape = identity.SIZE, identity.SIZE
    variables = jax.jit(identity.network().init, static_argnums=3)(
        jax.random.key(0), jnp.zeros((1, *shape, 3)), jnp.zeros((1, *shape)), False
    )
    path = tmp_path_factory.mktemp('identity') / 'fresh.safetensors'
    pack(path, variables)
    return path


@pytest.fixture(scope='module')
def faces():
    random = np.random.default_rng(0)
    smooth = np.kron(random.random((2, 4, 4, 3)), np.ones((1, 32, 32, 1)))
    mask = np.zeros((2, 128, 128))
    mask[:, 32:96, 32:96] = 1
    return smooth, mask


def test_codes_lie_on_the_sphere_and_see_nothing_outside_the_mask(weights, faces):
    images, masks = faces
    codes = identity.codes(images, masks, weights)
    # float32 sums of 128 squares
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-5)
    painted = np.where(masks[..., None] > 0, images, 0.9)
    np.testing.assert_array_equal(identity.codes(painted, masks, weights), codes)
    assert codes[0] @ codes[1] < 0.9999  # what is inside counts


def test_written_weights_are_the_network_to_half_precision(weights, faces):
    images, masks = (jnp.float32(x[:, ::2, ::2]) for x in faces)  # squares of 32 pixels: nothing is lost
    variables = jax.jit(identity.network().init, static_argnums=3)(jax.random.key(0), images, masks, False)
    exact = identity.network().apply(variables, images, masks, False)
    # half precision has 11 bits: 5e-4 of each weight, and errors of many weights partly cancel
    np.testing.assert_allclose(identity.codes(images, masks, weights), exact, atol=2e-3)


def test_missing_weights_are_named(tmp_path, faces):
    with pytest.raises(UserError, match=r'gone\.safetensors'):
        identity.codes(*faces, tmp_path / 'gone.safetensors')


def test_area_is_the_share_of_pairs_in_the_right_order():
    random = np.random.default_rng(1)
    codes, people = random.normal(size=(12, 5)), np.arange(12) // 3
    codes += 0.7 * random.normal(size=(4, 5))[people]
    cosine = codes @ codes.T
    pairs = [(i, j) for i in range(12) for j in range(i)]
    same = [cosine[p] for p in pairs if people[p[0]] == people[p[1]]]
    other = [cosine[p] for p in pairs if people[p[0]] != people[p[1]]]
    by_hand = np.mean([s > o for s in same for o in other])
    assert area(codes, people) == pytest.approx(by_hand)
    assert 0.5 < by_hand < 1
