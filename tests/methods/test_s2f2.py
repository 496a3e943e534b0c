"""s2f2 on MakeHuman at 32 pixels, with the vertex renderer; the ray tracer has tests of its own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import s2f2 as configs
from jfrecon import methods
from jfrecon.errors import UserError
from jfrecon.geometry import mesh, uv
from jfrecon.losses import energies
from jfrecon.methods.s2f2 import STAGES
from jfrecon.morphable import linear
from jfrecon.render import portraits, surface
from jfrecon.render.portraits import Portrait
from jfrecon.training import stages
from jfrecon.types import Batch, Pinhole
from tests.methods.energy import check_sum, loud

SIZE, FACES = 32, 2
CAMERA = Pinhole(np.full(FACES, 4.5 * SIZE, np.float32), np.full((FACES, 2), SIZE / 2, np.float32))
WEIGHTS = configs.get_config('quicktest').loss.to_dict()


@pytest.fixture(scope='module')
def method():
    config = configs.get_config('quicktest')
    config.light_bands = 3
    config.network.texture = 32
    return methods.build(config)


@pytest.fixture(scope='module')
def variables(method):
    """A fresh network, but that it sees light from the side everywhere."""
    params, model_state = method.init(jax.random.PRNGKey(0))
    bias = params['head']['fc']['bias']
    side = bias.at[-27:].add(jnp.zeros((9, 3)).at[3].set(1.5).ravel() / dict(method.network.scales)['light'])
    return {**params, 'head': {'fc': {**params['head']['fc'], 'bias': side}}}, model_state


@pytest.fixture(scope='module')
def bumpy(method, variables):
    """The faces that the network sees, but with ripples all over: their photographs, relief and parameters."""
    chi = jax.jit(method.predict)(*variables, np.zeros((FACES, SIZE, SIZE, 3), np.float32), CAMERA)
    u, v = np.moveaxis(uv.texel_centres(32), -1, 0)
    ripples = np.stack([0.4 * np.sin(25 * u), 0.4 * np.cos(20 * v), 0 * u], -1).astype(np.float32)
    relief = jnp.broadcast_to(mesh.relief(ripples), (FACES, 32, 32, 3))

    @jax.jit
    def shoot(chi):
        maps = surface.prior_maps(method.model, method.atlas.texels, chi.albedo).replace(normal=relief)
        photo = portraits.photo(Portrait(method.model, None, 0.4), chi.replace(maps=maps), CAMERA, (SIZE, SIZE))
        return *photo, linear.landmarks(method.model, surface.posed(method.model, chi, CAMERA).pixels)

    image, coverage, landmarks = shoot(chi)
    batch = Batch(
        image=np.asarray(image),
        landmarks=np.asarray(landmarks),
        landmark_weight=np.ones((FACES, 68), np.float32),
        mask=np.asarray(coverage),
        camera=CAMERA,
        index=np.arange(FACES),
    )
    return batch, relief, chi


@pytest.fixture(scope='module')
def energy(method):
    """Value and gradient of each energy, as functions of the terms' weights and of all that a loss is a function of."""

    def of(name):
        def loss(params, weights, *rest):
            return dataclasses.replace(method, energy=name, weights=weights, epoch=10).loss(params, *rest)

        return jax.jit(jax.value_and_grad(loss, has_aux=True))

    return {name: of(name) for name in STAGES}


@pytest.fixture(scope='module')
def said(method, variables, bumpy, energy):
    """What each energy says of the photographs, and its gradient, in the third epoch of a stage.

    By networks none of whose outputs is zero.
    """
    stir = lambda values, scale: values + scale * jax.random.normal(jax.random.key(values.size), values.shape)
    params = dict(variables[0])
    for name in params.keys() - {'encoder', 'head'}:
        last = params[name]['last']
        params[name] = {**params[name], 'last': {**last, 'kernel': stir(last['kernel'], 0.02)}}
    head = params['head']['fc']
    params['head'] = {'fc': {**head, 'bias': stir(head['bias'], 0.1)}}
    rest = (variables[1], bumpy[0], jax.random.PRNGKey(5), jnp.int32(25))
    return {name: run(params, loud(WEIGHTS), *rest) for name, run in energy.items()}


DATA = {'loss', 'vertex', 'landmarks'}
PRIORS = {'identity', 'albedo', 'expression', 'box', 'light', 'exposure'}
ALBEDO = {'symmetry', 'consistency_diffuse', 'consistency_specular', 'smoothness', 'albedo_box'}
RELIEF = {'smoothness_normal', 'symmetry_normal', 'consistency_normal'}


TERMS = {'coarse': DATA | PRIORS, 'medium': DATA | PRIORS | ALBEDO, 'fine': DATA | ALBEDO | RELIEF}


@pytest.mark.parametrize('stage', STAGES)
def test_each_energy_is_the_weighted_sum_of_its_terms(method, said, stage):
    (value, (_, metrics)), _ = said[stage]
    assert set(metrics) == TERMS[stage]
    weights = loud(WEIGHTS)
    weights['consistency_diffuse'] *= weights['relax'] ** 2  # two whole epochs
    # without a third U-net the specular albedo is that of the stage before
    check_sum(value, metrics, weights, frozenset({'consistency_specular'} if stage == 'fine' else ()))


def test_each_stage_moves_its_networks_and_no_others(variables, said):
    moves = {
        'coarse': {'encoder', 'head'},
        'medium': {'encoder', 'head', 'decoder_diffuse', 'decoder_specular'},
        'fine': {'unet_normal', 'unet_diffuse'},
    }
    some = lambda tree: any(np.asarray(leaf).any() for leaf in jax.tree.leaves(tree))
    for stage, names in moves.items():
        (_, (state, _)), gradient = said[stage]
        assert {name for name in gradient if some(gradient[name])} == names, stage
        change = jax.tree.map(lambda a, b: np.asarray(a - b), state['batch_stats'], variables[1]['batch_stats'])
        assert {name for name in change if some(change[name])} == names - {'head'}, stage


def test_a_fresh_fine_stage_is_the_medium_one(method, variables, bumpy):
    image = bumpy[0].image
    predict = lambda stage: dataclasses.replace(method, energy=stage).predict(*variables, image, CAMERA)
    assert jax.eval_shape(lambda: predict('coarse')).maps is None
    medium, fine = jax.jit(lambda: (predict('medium').maps, predict('fine').maps))()
    assert medium.normal is None
    np.testing.assert_array_equal(fine.diffuse, medium.diffuse)
    np.testing.assert_array_equal(fine.specular, medium.specular)
    np.testing.assert_allclose(fine.normal, np.broadcast_to([0, 0, 1], fine.normal.shape), atol=1e-6)


def test_the_truth_explains_the_photographs_and_a_smooth_surface_does_not(method, bumpy):
    """The photographs were shaded pixel by pixel, the data term has the normals of the vertices."""
    batch, relief, chi = bumpy

    @jax.jit
    def miss(normal):
        face = surface.posed(method.model, chi, CAMERA)
        maps = surface.prior_maps(method.model, method.atlas.texels, chi.albedo).replace(normal=normal)
        return method.data(face, chi.light, batch, jax.random.key(0), maps)['vertex'].mean()

    truth, mirrored, flat = (
        float(miss(jnp.broadcast_to(normal, relief.shape)))
        for normal in (relief, relief * jnp.array([-1.0, 1.0, 1.0]), jnp.array([0.0, 0.0, 1.0]))
    )
    # what is left is what pixels of 8 mm make of ripples of 40 mm, and of the rims of eyes and lips
    assert truth < 0.75 * flat and mirrored > 1.3 * flat


@pytest.mark.slow
def test_the_fine_stage_learns_what_albedo_and_light_cannot_say(method, variables, bumpy, energy):
    params, model_state = variables
    optimiser = optax.adam(1e-2)
    update = jax.jit(optimiser.update)
    opt_state, history = optimiser.init(params), []
    for _ in range(15):
        (_, (model_state, metrics)), grads = energy['fine'](
            params, WEIGHTS, model_state, bumpy[0], jax.random.PRNGKey(0), jnp.int32(0)
        )
        updates, opt_state = update(grads, opt_state)
        params = optax.apply_updates(params, updates)
        history.append(float(metrics['vertex']))
    # two faces that the U-nets can learn by heart
    assert history[-1] < 0.7 * history[0]


def test_relief_is_smooth_at_zero_unit_everywhere_and_has_gradients():
    raw = np.random.default_rng(0).uniform(-1, 1, (100, 3)).astype(np.float32)
    np.testing.assert_allclose(mesh.relief(jnp.zeros(3)), [0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(mesh.relief(raw), axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(mesh.relief(jnp.array([0.3, -0.2, 0.5])), np.array([0.3, -0.2, 1.5]) / 1.5427, 1e-4)
    worst = jax.grad(lambda x: mesh.relief(x).sum())(jnp.array([0.0, 0.0, -1.0]))
    assert np.isfinite(worst).all()


def test_relief_terms_by_hand(method):
    terms = jax.jit(lambda normal: energies.relief_terms(normal, method.atlas.texels, method.atlas.mirror))
    size = len(method.atlas.texels.coverage)
    smooth = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), (1, size, size, 3))
    assert all(abs(float(term[0])) < 1e-6 for term in terms(smooth).values())
    # a face whose halves lean apart is symmetric in space, one that leans to one side is not
    u = uv.texel_centres(size)[..., 0]
    lean = np.full((1, size, size, 3), [0.6, 0.0, 0.8], np.float32)
    assert float(terms(lean)['symmetry_normal'][0]) == pytest.approx(1.2, rel=0.02)
    assert float(terms(lean)['consistency_normal'][0]) == pytest.approx(0.6 + 0.2, rel=1e-5)
    assert float(terms(lean)['smoothness_normal'][0]) < 1e-6
    lean[..., 0] *= np.sign(u - 0.5)
    assert float(terms(lean)['symmetry_normal'][0]) < 0.1  # all but the middle
    # across the middle 1.2² to one of four neighbours, in two of the columns
    rows = method.atlas.texels.coverage[:, size // 2 - 1 : size // 2 + 1].sum()
    expected = 1.44 * rows / method.atlas.texels.coverage.sum()
    assert float(terms(lean)['smoothness_normal'][0]) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize('variant', ['paper', 'cpu+unregularised+raytrace', 'quicktest+specular_detail+medium'])
def test_stages_of_every_variant_have_the_same_network(variant, tmp_path):
    parts = [part for _, part in stages.configs(configs.get_config(variant), tmp_path)]
    assert [part.energy for part in parts] == list(STAGES)[: len(parts)]
    assert len(parts) == (2 if 'medium' in variant else 3)
    shapes = [jax.eval_shape(methods.build(part).init, jax.random.PRNGKey(0)) for part in parts]
    assert all(shape == shapes[0] for shape in shapes)
    assert ('unet_specular' in shapes[0][0]) == ('specular_detail' in variant)


def test_every_change_changes_something_and_others_are_named():
    plain = lambda variant: configs.get_config(variant).to_dict()
    reference = plain('cpu')
    assert all(plain(f'cpu+{change}') != reference for change in configs.CHANGES)
    with pytest.raises(ValueError, match='bands4'):
        configs.get_config('cpu+bands4')
    config = configs.get_config('quicktest')
    config.network.texture = 0
    with pytest.raises(UserError, match='texture'):
        methods.build(config)
