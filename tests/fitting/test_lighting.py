"""The light in closed form against linear programming, against the light of a picture, and in a method."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from configs import dib21
from jfrecon import methods, morphable
from jfrecon.errors import UserError
from jfrecon.fitting import lighting
from jfrecon.reconstruction import prediction
from jfrecon.render import surface
from jfrecon.render.portraits import Portrait, photo
from jfrecon.shading import sh
from jfrecon.types import FaceParameters, Pinhole

SIZE, FACES = 64, 2
ROUGHNESS = 0.4
FREE = {'vertex': 1.0, 'light': 0.0, 'exposure': 0.0}


def disturbed(seed=0, vertices=300, bands=3):
    """A linear problem of which a fifth of the answers is wrong: (design, target, the light of the others)."""
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(vertices, 3, bands**2)).astype(np.float32)
    light = rng.normal(size=(bands**2, 3)).astype(np.float32)
    target = np.einsum('vck,kc->vc', design, light) + 0.01 * rng.normal(size=(vertices, 3))
    target[: vertices // 5] += rng.uniform(1, 5, size=(vertices // 5, 3))
    return design, target.astype(np.float32), light


def test_least_sum_is_that_of_linear_programming():
    design, target, truth = disturbed()
    share = np.full(len(design), 1 / len(design), np.float32)
    found = np.asarray(jax.jit(lighting.absolute_fit)(design, target, share, jnp.zeros_like(truth), 0.0, 0.0))
    cost = lambda light: np.abs(np.einsum('vck,kc->vc', design, light) - target).mean(0)
    for c in range(3):
        # minimise sum t over (light, t) with -t <= design light - target <= t
        count, k = design.shape[0], design.shape[2]
        sides = np.block([[design[:, c], -np.eye(count)], [-design[:, c], -np.eye(count)]])
        limits = np.concatenate([target[:, c], -target[:, c]])
        bounds = [(None, None)] * k + [(0, None)] * count
        best = linprog(np.r_[np.zeros(k), np.ones(count)], sides, limits, bounds=bounds)
        # four rounds, and a tip of 0.02, come within a percent
        assert best.fun / count <= cost(found)[c] * (1 + 1e-5) and cost(found)[c] < 1.01 * best.fun / count
    assert np.abs(found - truth).max() < 0.02 < np.abs(least_squares(design, target) - truth).max() / 10


def least_squares(design, target):
    return np.stack([np.linalg.lstsq(design[:, c], target[:, c], rcond=None)[0] for c in range(3)], -1)


def test_photograph_and_priors_are_weighed_as_the_energy_says():
    """|x| + 2 (x - 1)², x being how bright a black face's light is, is least at 3/4."""
    design = np.full((5, 3, 1), 1 / sh.GREY, np.float32)
    light = np.full((1, 3), sh.GREY, np.float32)
    found = jax.jit(lighting.absolute_fit)(design, np.zeros((5, 3), np.float32), np.full(5, 0.2), light, 0.0, 2.0)
    np.testing.assert_allclose(found / sh.GREY, 0.75, rtol=2e-3)


def test_priors_pull_as_their_weights_say():
    """Without a photograph that says otherwise the light is grey; under a strong exposure prior it nearly is."""
    design, target, _ = disturbed()
    fit = jax.jit(lighting.absolute_fit)
    nobody = fit(design, target, jnp.zeros(len(design)), jnp.ones((9, 3)), 1e-3, 1e-2)
    np.testing.assert_allclose(nobody, np.eye(9)[:, :1] * sh.GREY * np.ones(3), atol=1e-4)
    share = np.full(len(design), 1 / len(design), np.float32)
    drawn = fit(design, target, share, jnp.zeros((9, 3)), 1e4, 1e6)
    np.testing.assert_allclose(drawn[0], sh.GREY, rtol=1e-3)
    assert np.abs(drawn[1:]).max() < 1e-3


@pytest.fixture(scope='module')
def model():
    return morphable.load('makehuman')


@pytest.fixture(scope='module')
def people(model):
    """Moderate faces under coloured light: (chi, camera, photographs, [B, H, W] 1 where a face is)."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    light = 0.4 * draw(FACES, 9, 3)
    light[:, 0] = sh.GREY * rng.uniform(0.6, 1.0, (FACES, 3))
    chi = FaceParameters(
        identity=0.7 * draw(FACES, len(model.identity_basis)),
        expression=np.zeros((FACES, len(model.expression_basis)), np.float32),
        albedo=0.5 * draw(FACES, len(model.diffuse_basis)),
        rotation=0.15 * draw(FACES, 3),
        translation=np.array([0, 0, -1300], np.float32) + draw(FACES, 3) * [4, 4, 40],
        light=light,
    )
    camera = Pinhole(np.full(FACES, 4.5 * SIZE, np.float32), np.full((FACES, 2), SIZE / 2, np.float32))
    return chi, camera, *map(np.asarray, photo(Portrait(model, None, ROUGHNESS), chi, camera, (SIZE, SIZE)))


def test_light_of_a_picture_is_found_under_a_fringe(model, people):
    chi, camera, image, coverage = people
    hidden = image.copy()
    top = np.argmax(coverage.any(2), axis=1)
    for k, row in enumerate(top):
        hidden[k, : row + 8] = 0.05  # black hair over the forehead

    @jax.jit
    def find(image):
        face = surface.posed(model, chi, camera)
        return lighting.solved(model, face, jnp.zeros_like(chi.light).at[:, 0].set(sh.GREY), image, FREE, ROUGHNESS)

    portrait = Portrait(model, None, ROUGHNESS)

    def off(light):
        """Of the picture under a light, forehead and all."""
        drawn = photo(portrait, dataclasses.replace(chi, light=light), camera, (SIZE, SIZE))[0]
        return np.abs(drawn - image)[coverage > 0].mean()

    grey = jnp.zeros_like(chi.light).at[:, 0].set(sh.GREY)
    # what is left is the bilinear look-up at lips, brows and the rim
    assert off(grey) > 0.05 and off(find(image)) < 0.008 and off(find(hidden)) < 0.01


def test_predictions_differ_in_their_light_alone_and_explain_the_photograph_better(people):
    _, camera, image, coverage = people
    config = dib21.get_config('quicktest+base+solved_light')
    config.data.size = SIZE
    method = methods.build(config)
    variables = method.init(jax.random.key(0))
    predicted = jax.jit(method.predict)(*variables, image, camera)
    solved = prediction.trained(config, *variables).infer(image, camera)
    np.testing.assert_array_equal(predicted.identity, solved.identity)
    error = lambda chi: np.abs(photo(method.portrait, chi, camera, (SIZE, SIZE))[0] - image)[coverage > 0].mean()
    assert error(solved) < 0.8 * error(predicted)


def test_ray_tracers_shadows_are_not_linear_in_the_light():
    config = dib21.get_config('quicktest+base+solved_light+raytrace')
    with pytest.raises(UserError, match='solve_light'):
        prediction.trained(config, {}, {})
