"""Loss terms against hand computation, their symmetries, and finite gradients at their kinks."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.losses import energies, terms
from jfrecon.types import FaceParameters

Model = collections.namedtuple('Model', 'expression_prior')
A = jnp.array([0.2, 0.5, 0.9])
B = jnp.array([0.5, 0.5, 0.5])


def _texture(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=shape), jnp.float32)


def test_photometric_terms_by_hand():
    np.testing.assert_allclose(terms.photometric(A[None], B[None]), [0.7], rtol=1e-6)
    np.testing.assert_allclose(terms.photometric_squared(A[None], B[None]), [0.25], rtol=1e-6)


def test_landmark_distance_is_euclidean_and_smooth_at_zero():
    target = jnp.zeros((3, 2))
    points = jnp.array([[3.0, 4.0], [0.0, 0.0], [1e-3, 0.0]])
    # Within the 0.01 pixels by which the tip is rounded.
    np.testing.assert_allclose(terms.landmark_distance(points, target), [5.0, 0.0, 0.0], atol=0.0101)
    assert float(terms.landmark_distance(points, target)[1]) == 0.0
    slope = jax.grad(lambda p: terms.landmark_distance(p, target).sum())(points)
    assert bool(jnp.isfinite(slope).all()) and not slope[1].any()
    np.testing.assert_allclose(slope[0], [0.6, 0.8], rtol=1e-4)  # the unit vector, up to (0.01 / 5)²
    np.testing.assert_allclose(terms.landmark_l1(points[:1], target[:1]), [7.0], rtol=1e-6)


def test_prior_is_the_square():
    np.testing.assert_allclose(terms.prior(jnp.array([-2.0, 0.0, 3.0])), [4.0, 0.0, 9.0])


def test_soft_box_is_the_distance_to_the_interval():
    values = jnp.array([-0.5, 0.0, 0.3, 1.0, 1.25])
    np.testing.assert_allclose(terms.soft_box(values), [0.5, 0, 0, 0, 0.25])
    np.testing.assert_allclose(jax.grad(lambda x: terms.soft_box(x).sum())(values), [-1, 0, 0, 0, 1])


def test_a_gaussian_basis_has_no_box():
    """An expression at minus two deviations is as likely as one at plus two."""
    zeros = np.zeros((1, 3), np.float32)
    chi = FaceParameters(zeros, np.array([[-2.0, 2.0, 0.5]]), zeros, zeros, zeros, np.zeros((1, 4, 3), np.float32))
    found = {prior: energies.priors(chi, Model(prior)) for prior in ('box', 'gaussian')}
    np.testing.assert_allclose(found['box'].pop('box'), [3.0])
    assert found['gaussian'].keys() == found['box'].keys() == set(energies.PRIORS) - {'box'}
    np.testing.assert_allclose(found['gaussian']['expression'], [8.25])


def test_symmetry_vanishes_on_symmetric_textures_only():
    texture = _texture(2, 4, 6, 3)
    symmetric = texture + texture[:, :, ::-1]
    assert not terms.symmetry(symmetric, symmetric[:, :, ::-1]).any()
    difference = np.asarray(texture - texture[:, :, ::-1])
    np.testing.assert_allclose(terms.symmetry(texture, texture[:, :, ::-1]), np.abs(difference).sum(-1), rtol=1e-6)
    np.testing.assert_allclose(terms.symmetry_squared(texture, texture[:, :, ::-1]), (difference**2).sum(-1), rtol=1e-6)


def test_consistency_sees_hue_but_not_brightness():
    prior = 0.2 + 0.6 * _texture(5, 5, 3)
    # eps = 0.01 against sums of at least 0.6: kappa of an albedo half as bright moves by eps / 0.6, below 2%.
    assert float(terms.consistency(0.5 * prior, prior).max()) < 0.02
    red = prior.at[..., 0].add(0.3)
    assert float(terms.consistency(red, prior).min()) > 0.1
    np.testing.assert_allclose(terms.chromaticity(A[None]), A[None] / 1.61, rtol=1e-6)


def test_consistency_of_one_channel_is_the_plain_difference():
    np.testing.assert_allclose(terms.consistency(jnp.array([[0.5]]), jnp.array([[0.3]])), [0.2], rtol=1e-6)


@pytest.mark.parametrize('value', [0.0, -1.0, -0.01 / 3])
def test_chromaticity_is_safe_where_the_sum_vanishes(value):
    # -0.01 / 3 in each channel would make the unguarded denominator zero.
    albedo = jnp.full((1, 3), value)
    result, slope = jax.value_and_grad(lambda a: terms.consistency(a, B[None]).sum())(albedo)
    assert bool(jnp.isfinite(result)) and bool(jnp.isfinite(slope).all())


def _brute_smoothness(texture, mask, weight):
    height, width = mask.shape
    out = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            for k, l in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if 0 <= k < height and 0 <= l < width and mask[i, j] and mask[k, l]:
                    out[i, j] += weight(i, j, k, l) * ((texture[k, l] - texture[i, j]) ** 2).sum()
    return out


def test_smoothness_by_brute_force():
    texture = _texture(2, 4, 5, 3)
    mask = jnp.asarray(np.random.default_rng(1).uniform(size=(4, 5)) < 0.7, jnp.float32)
    for used, argument in ((np.ones((4, 5)), None), (np.asarray(mask), mask)):
        expected = np.stack([_brute_smoothness(np.asarray(t), used, lambda *_: 1.0) for t in texture])
        # Float32 sums of a dozen squares.
        np.testing.assert_allclose(terms.smoothness(texture, argument), expected, rtol=1e-5, atol=1e-6)


def test_guided_smoothness_by_brute_force():
    texture, guide = _texture(4, 5, 3), np.asarray(_texture(4, 5, 3, seed=2))

    def weight(i, j, k, l):
        return np.exp(-5.0 * ((guide[k, l] - guide[i, j]) ** 2).sum())

    expected = _brute_smoothness(np.asarray(texture), np.ones((4, 5)), weight)
    np.testing.assert_allclose(
        terms.guided_smoothness(texture, jnp.asarray(guide), 5.0), expected, rtol=1e-5
    )  # float32 sums of a dozen squares


def test_guided_smoothness_spares_the_guides_edges():
    edge = jnp.zeros((4, 6, 3)).at[:, 3:].set(1.0)
    flat = jnp.zeros_like(edge)
    # exp(-80 x 3) is below float32's smallest number.
    assert not terms.guided_smoothness(edge, edge, 80.0).any()
    assert terms.guided_smoothness(edge, flat, 80.0).any()
    assert not jax.grad(lambda g: terms.guided_smoothness(edge, g, 1.0).sum())(flat).any()


def test_masked_mean_by_hand():
    values, weight = jnp.array([[1.0, 2.0, 6.0], [4.0, 5.0, 6.0]]), jnp.array([[1.0, 0.0, 3.0], [0, 0, 0]])
    np.testing.assert_allclose(terms.masked_mean(values, weight, axis=-1), [19 / 4, 0.0], rtol=1e-6)
    np.testing.assert_allclose(terms.masked_mean(values, weight), 19 / 4, rtol=1e-6)
    np.testing.assert_allclose(terms.masked_mean(values, axis=-1), [3.0, 5.0], rtol=1e-6)
    np.testing.assert_allclose(terms.masked_mean(values, weight > 0, axis=-1), [3.5, 0.0], rtol=1e-6)


def test_masked_mean_broadcasts_the_weight():
    values, mask = _texture(2, 4, 4, 3), (_texture(2, 4, 4, 1, seed=3) < 0.5)
    expected = [np.asarray(v)[np.asarray(m)[..., 0]].mean() for v, m in zip(values, mask)]
    np.testing.assert_allclose(terms.masked_mean(values, mask, axis=(1, 2, 3)), expected, rtol=1e-5)


def test_masked_mean_of_nothing_is_zero_with_zero_gradient():
    value, slope = jax.value_and_grad(lambda v: terms.masked_mean(v, jnp.zeros(3)))(jnp.ones(3))
    assert value == 0 and not slope.any()


def test_masked_mean_ignores_what_is_masked():
    values = jnp.array([1.0, jnp.nan, jnp.inf])
    value, slope = jax.value_and_grad(lambda v: terms.masked_mean(v, jnp.array([1.0, 0.0, 0.0])))(values)
    assert value == 1.0
    np.testing.assert_allclose(slope, [1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    'term',
    [
        terms.photometric,
        terms.photometric_squared,
        terms.landmark_distance,
        terms.symmetry,
        terms.consistency,
    ],
)
def test_gradients_are_finite_and_zero_at_perfect_agreement(term):
    texture = _texture(2, 3, 3)
    slope = jax.grad(lambda x: term(x, texture).sum())(texture)
    assert bool(jnp.isfinite(slope).all()) and not slope.any()
