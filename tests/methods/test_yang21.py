"""yang21 on MakeHuman at 32 pixels, with an identity network that knows nobody yet."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from configs import yang21 as configs
from jfrecon import methods
from jfrecon.data import build
from jfrecon.errors import UserError
from jfrecon.methods.yang21 import gradient_cost, light_cost, refinement
from jfrecon.morphable import linear
from jfrecon.nets import iresnet
from jfrecon.render import portraits, surface
from jfrecon.render.portraits import Portrait
from jfrecon.shading import colour, sh, sphere
from jfrecon.training import stages
from jfrecon.types import Batch, FaceParameters, Maps, Pinhole
from tests.methods.energy import check_sum, loud

SIZE, COUNT, TEXTURE = 32, 2, 32
WEIGHTS = configs.get_config('quicktest').loss.to_dict()
CAMERA = Pinhole(np.full(COUNT, 4.5 * SIZE, np.float32), np.full((COUNT, 2), SIZE / 2, np.float32))


@pytest.fixture(scope='module')
def nobody(tmp_path_factory):
    path = tmp_path_factory.mktemp('identity') / 'iresnet.safetensors'
    network = iresnet.IResNet((1, 1, 1, 1), 4, 8)
    image = jnp.zeros((1, 16, 16, 3))
    variables = jax.jit(lambda: network.init(jax.random.key(0), image, train=False))()
    iresnet.write(path, variables)
    return path


@pytest.fixture(scope='module')
def method(nobody):
    config = stages.configs(configs.get_config('quicktest'), nobody.parent)[-1][1]
    config.identity = str(nobody)
    config.network.texture = TEXTURE
    config.network.refinement = config.network.discriminator = 8
    config.loss.cross = config.loss.perceptual = 0.5
    config.model.identity = config.model.expression = config.model.albedo = 5
    config.epoch = 10
    return methods.build(config)


@pytest.fixture(scope='module')
def batch(method):
    """Two skins with a pattern that no morphable model has, in light from one side."""
    u, v = np.moveaxis((np.indices((TEXTURE, TEXTURE)) + 0.5) / TEXTURE, 0, 0)
    pattern = np.stack([0.35 + 0.1 * np.sin(20 * u), 0.25 + 0.1 * np.cos(17 * v), 0.2 + 0 * u], -1)
    light = np.zeros((COUNT, 9, 3), np.float32)
    light[:, 0], light[:, 3] = 3.0, 1.0
    chi = FaceParameters(
        *(jnp.zeros((COUNT, 5)) for _ in range(3)),
        jnp.zeros((COUNT, 3)),
        jnp.zeros((COUNT, 3)).at[:, 2].set(-4.5 * SIZE * 150 / (0.55 * SIZE)),
        jnp.asarray(light),
        Maps(jnp.broadcast_to(pattern, (COUNT, *pattern.shape)), jnp.zeros((COUNT, TEXTURE, TEXTURE, 1))),
    )

    @jax.jit
    def shoot():
        image, coverage = portraits.photo(Portrait(method.model, None, 0.4), chi, CAMERA, (SIZE, SIZE))
        return image, coverage, linear.landmarks(method.model, surface.posed(method.model, chi, CAMERA).pixels)

    image, coverage, landmarks = map(np.asarray, shoot())
    return Batch(image, landmarks, np.ones((COUNT, 68), np.float32), coverage, CAMERA, np.arange(COUNT))


def test_lights_are_as_far_apart_as_what_white_matte_spheres_show():
    a, b = np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32)
    around = sphere.fibonacci(4000)
    radiance = np.asarray(sh.evaluate(a - b, around.astype(np.float32)))
    seen = 4 / 4000 * np.maximum(around[::10] @ around.T, 0) @ radiance
    # the cosine's integral over pi, by 4,000 directions of light, for 400 of the surface
    np.testing.assert_allclose(light_cost(a, b), np.square(seen).sum(-1).mean(), rtol=0.01)


@pytest.fixture(scope='module')
def energy(method):
    def of(name):
        def loss(params, weights, *rest):
            return dataclasses.replace(method, energy=name, weights=weights).loss(params, *rest)

        return jax.jit(jax.value_and_grad(loss, has_aux=True))

    return {name: of(name) for name in ('prior', 'refine')}


@pytest.fixture(scope='module')
def variables(method):
    return method.init(jax.random.key(0))


@pytest.fixture(scope='module')
def said(method, variables, batch, energy):
    """What each energy says in the first epoch, by networks none of whose outputs is zero."""
    rng = np.random.default_rng(0)
    stirred = lambda path, leaf: leaf + 0.02 * rng.normal(size=leaf.shape) if 'last' in str(path) else leaf
    params = dict(jax.tree.map_with_path(stirred, variables[0]))
    bias = params['head']['fc']['bias']
    params['head'] = {'fc': {**params['head']['fc'], 'bias': bias + 0.1 * rng.normal(size=bias.shape)}}
    weights = loud(WEIGHTS)
    rest = (variables[1], batch, jax.random.key(1))
    now = {name: run(params, weights, *rest, jnp.int32(5)) for name, run in energy.items()}
    return weights, now, energy['refine'](params, weights, *rest, jnp.int32(10))


PRIORS = {'identity', 'albedo', 'expression', 'box', 'light', 'exposure'}
ALBEDO = {'symmetry', 'smoothness', 'prior', 'adversary', 'discriminator'}
TERMS = {
    'prior': {'photo', 'landmarks', 'perceptual', *PRIORS},
    'refine': {'light_map', 'cross', 'gradient', 'image', *ALBEDO},
}


@pytest.mark.parametrize('stage', TERMS)
def test_each_energy_is_the_weighted_sum_of_its_terms(said, stage):
    weights, now, _ = said
    (value, (_, metrics)), _ = now[stage]
    assert metrics.keys() == TERMS[stage] | {'loss'}
    check_sum(value, metrics, weights)


def test_end_to_end_the_regressor_learns_by_both_energies(method, variables, batch):
    both = dataclasses.replace(method, end_to_end=True, weights=WEIGHTS)
    rest = (variables[1], batch, jax.random.key(1), jnp.int32(0))
    _, (state, metrics) = jax.eval_shape(lambda params: both.loss(params, *rest), variables[0])
    assert metrics.keys() == TERMS['prior'] | TERMS['refine'] | {'loss'}
    assert jax.tree.structure(state) == jax.tree.structure(variables[1])

    def shape(head, own):
        chi, state = own._prior({'params': {**variables[0], 'head': head}, **variables[1]}, batch)
        return jnp.sum(jnp.square(chi.identity)), state

    gradient, state = jax.jit(jax.grad(lambda head: shape(head, both), has_aux=True))(variables[0]['head'])
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradient))
    learnt = jax.tree.map(lambda a, b: bool(np.any(a != b)), state['batch_stats'], variables[1]['batch_stats'])
    assert any(jax.tree.leaves(learnt))


def test_the_l1_to_the_prior_ends_with_the_first_epoch(said):
    weights, _, ((value, (_, metrics)), _) = said
    check_sum(value, metrics, {**weights, 'prior': 0.0}, frozenset({'prior'}))


def test_each_stage_moves_its_networks_and_no_others(variables, said):
    moves = {'prior': {'encoder', 'head'}, 'refine': {'refinement', 'discriminator'}}
    some = lambda tree: any(np.asarray(leaf).any() for leaf in jax.tree.leaves(tree))
    for stage, names in moves.items():
        (_, (state, _)), gradient = said[1][stage]
        assert {name for name in gradient if some(gradient[name])} == names, stage
        changed = some(jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), state, variables[1]))
        assert changed == (stage == 'prior')


def test_the_players_do_not_help_each_other(method, variables, batch, energy):
    """Each one's gradient is that of its own term alone."""
    alone = lambda name: {**dict.fromkeys(WEIGHTS, 0.0), name: 1.0}
    rest = (variables[1], batch, jax.random.key(1), jnp.int32(0))
    size = lambda tree: sum(float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(tree))
    by_adversary = energy['refine'](variables[0], alone('adversary'), *rest)[1]
    by_discriminator = energy['refine'](variables[0], alone('discriminator'), *rest)[1]
    assert size(by_adversary['refinement']) > 0 == size(by_adversary['discriminator'])
    assert size(by_discriminator['discriminator']) > 0 == size(by_discriminator['refinement'])


def test_fresh_networks_give_the_prior(method, variables, batch):
    @jax.jit
    def run():
        chi = method.predict(*variables, batch.image, CAMERA)
        return chi, surface.prior_maps(method.model, method.atlas.texels, chi.albedo)

    chi, prior = run()
    np.testing.assert_array_equal(chi.maps.diffuse, prior.diffuse)
    everywhere = jnp.broadcast_to(chi.light[:, None, None], chi.maps.light.shape)
    np.testing.assert_array_equal(chi.maps.light, everywhere)
    assert not np.asarray(prior.specular).any()


def test_light_that_is_the_same_in_all_texels_is_light(method, variables, batch):
    @jax.jit
    def draw():
        chi = method.predict(*variables, batch.image, CAMERA)
        light = chi.light.at[:, 3].add(1.0)
        face = surface.posed(method.model, chi, CAMERA)
        seen = surface.rasterise(method.model, face, (SIZE, SIZE))
        spread = jnp.broadcast_to(light[:, None, None], chi.maps.light.shape)
        # half of the face in light of another colour
        half = (jnp.arange(TEXTURE) < TEXTURE // 2)[None, None, :, None, None]
        split = jnp.where(half, spread * jnp.array([1.0, 0.5, 0.25]), spread)
        one = lambda maps: surface.layers(method.model, face, light, maps, seen, 0.4)
        return [one(chi.maps.replace(light=light_map)) for light_map in (None, spread, split)]

    plain, spread, split = draw()
    np.testing.assert_allclose(spread.radiance, plain.radiance, atol=1e-5)
    ratio = np.asarray(split.radiance / np.where(plain.radiance == 0, 1, plain.radiance))[plain.coverage > 0]
    of_half = np.abs(ratio - [1.0, 0.5, 0.25]).max(-1) < 1e-3
    assert of_half.mean() > 0.3 and (np.abs(ratio[~of_half] - 1).max(-1) < 1e-3).mean() > 0.7


def test_gradient_cost_by_hand():
    random = np.random.default_rng(0)
    rendered, photo = random.random((2, 2, 5, 6, 3))
    mask = (random.random((2, 5, 6)) < 0.7).astype(float)
    expected = np.zeros(2)
    for b in range(2):
        for dy, dx in ((0, 1), (1, 0)):
            total, pairs = 0.0, 0.0
            for y in range(5 - dy):
                for x in range(6 - dx):
                    both = mask[b, y, x] * mask[b, y + dy, x + dx]
                    slope = lambda im, b=b, y=y, x=x, dy=dy, dx=dx: im[b, y + dy, x + dx] - im[b, y, x]
                    total += both * np.sum((slope(rendered) - slope(photo)) ** 2)
                    pairs += both
            expected[b] += total / pairs
    np.testing.assert_allclose(gradient_cost(*map(jnp.asarray, (rendered, photo, mask))), expected, rtol=1e-5)
    brighter = gradient_cost(jnp.asarray(photo) + 0.3, jnp.asarray(photo), jnp.asarray(mask))
    np.testing.assert_allclose(brighter, 0, atol=1e-10)  # how bright it is does not matter


def test_the_refinement_module_is_that_of_tables_1_and_2():
    """Against PyTorch's layers as the tables write them, with our parameters."""
    width, bands = 4, 3
    network = refinement.Refinement(bands, width)
    texture, prior = np.random.default_rng(0).random((2, 1, 32, 32, 3)).astype(np.float32)
    params = jax.jit(lambda: network.init(jax.random.key(0), texture, prior)['params'])()
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: leaf + 0.05 * rng.normal(size=leaf.shape).astype(np.float32), params)
    ours = jax.jit(lambda params: network.apply({'params': params}, texture, prior))(params)

    def filled(layer, name, transposed=False):
        kernel = np.asarray(params[name]['kernel'])
        # Flax's transposed convolution does not turn its kernel around, PyTorch's does
        kernel = kernel[::-1, ::-1].transpose(2, 3, 0, 1) if transposed else kernel.transpose(3, 2, 0, 1)
        layer.weight.data = torch.tensor(kernel.copy())
        layer.bias.data = torch.tensor(np.asarray(params[name]['bias']))
        return layer

    def convolution(inputs, outputs, size, stride, name):
        return filled(torch.nn.Conv2d(inputs, outputs, size, stride, 1), name)

    w = width
    encoder = [(6, w, 3, 1), (w, w, 4, 2), (w, 2 * w, 4, 2), (2 * w, 4 * w, 4, 2), (4 * w, 8 * w, 4, 2)]
    coded = np.concatenate([texture, np.asarray(colour.linear_to_srgb(prior))], -1)
    x = torch.tensor(2 * coded - 1).permute(0, 3, 1, 2)
    for k, (inputs, outputs, size, stride) in enumerate(encoder):
        x = convolution(inputs, outputs, size, stride, f'conv{k}')(x)
        x = torch.nn.functional.leaky_relu(torch.nn.functional.instance_norm(x), 0.2)
    decoder = [(8 * w, 4 * w), (4 * w, 2 * w), (2 * w, w), (w, w)]
    for name, channels, found in zip(('albedo', 'light'), (3, 27), ours, strict=True):
        y = x
        for k, (inputs, outputs) in enumerate(decoder):
            y = filled(torch.nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), f'{name}_up{k}', True)(y)
            y = torch.relu(torch.nn.functional.instance_norm(y))
        y = convolution(w, channels, 3, 1, f'{name}_last')(y).permute(0, 2, 3, 1).detach().numpy()
        np.testing.assert_allclose(np.asarray(found).reshape(y.shape), y, atol=2e-4)  # ten norms in float32


def test_unseen_texels_are_noise_and_others_stay():
    texture = jnp.full((2, 64, 64, 3), 0.9)
    shown = jnp.zeros((2, 64, 64)).at[:, :, :32].set(1.0)
    filled = np.asarray(refinement.filled(texture, shown, jax.random.key(0)))
    assert (filled[:, :, :32] == np.float32(0.9)).all()
    noise = filled[:, :, 32:]
    assert noise.mean() == pytest.approx(0.5, abs=0.01) and noise.std() == pytest.approx(0.25, abs=0.01)


@pytest.mark.slow
def test_refinement_explains_what_the_prior_cannot(method, variables, batch, energy):
    params, state = variables
    weights, optimiser = {**method.weights, 'prior': 0.0}, optax.adam(3e-3)
    bias = params['head']['fc']['bias']
    groups = 5 + 5 + 5 + 6  # the light comes last
    light = np.zeros((9, 3), np.float32)
    light[0], light[3] = 3.0 - sh.GREY, 1.0
    lit = bias.at[groups:].set(light.ravel() / dict(method.network.scales)['light'])
    params = {**params, 'head': {'fc': {**params['head']['fc'], 'bias': lit}}}
    update = jax.jit(optimiser.update)
    opt_state, history = optimiser.init(params), []
    for step in range(40):
        (_, (_, metrics)), grads = energy['refine'](
            params, weights, state, batch, jax.random.key(step), jnp.int32(step)
        )
        updates, opt_state = update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        history.append(float(metrics['image']))
    assert history[-1] < 0.5 * history[0]


def test_every_change_changes_something_and_others_are_named(nobody):
    plain = lambda variant: configs.get_config(variant).to_dict()
    assert all(plain(change) != plain('paper') for change in configs.CHANGES)
    with pytest.raises(ValueError, match='bands4'):
        configs.get_config('cpu+bands4')
    config = configs.get_config('no_cross')
    with pytest.raises(UserError, match=r'config\.loss\.perceptual needs the weights'):
        methods.build(config)
    config = configs.get_config('quicktest')
    for texture in (16, 40):  # of 16 texels the discriminator's patches would be none, and their mean no number
        config.network.texture = texture
        with pytest.raises(UserError, match=f'config.network.texture is {texture}; .* 32, 48'):
            methods.build(config)


def test_the_regressor_is_fixed_or_learns_and_its_data_may_be_its_own(nobody, tmp_path):
    prior, refine = (part for _, part in stages.configs(configs.get_config('cpu+end_to_end+prior300wlp'), tmp_path))
    build.check(prior)
    assert (prior.data.source, prior.data.path, prior.data.crop) == ('tfds', 'the300w_lp', 'landmarks')
    assert refine.data.source == 'synthetic' and refine.data.crop == 'whole'
    assert methods.build(refine).end_to_end and not methods.build(prior).end_to_end
    refine.optimiser.groups = {'head': 0.0}
    with pytest.raises(UserError, match=r'end_to_end trains the regressor, whose head config\.optimiser\.groups'):
        methods.build(refine)
    _, refine = stages.configs(configs.get_config('cpu'), tmp_path)[-1]
    assert not methods.build(refine).end_to_end and not methods.build(refine).aligns  # no identity network
    refine.loss.cross, refine.identity = 0.5, str(nobody)
    assert methods.build(refine).aligns
    refine.identity_input = 'crop'
    assert not methods.build(refine).aligns


def test_the_papers_networks_have_their_sizes(nobody):
    config = configs.get_config()
    config.identity = str(nobody)
    params, _ = jax.eval_shape(methods.build(config).init, jax.random.key(0))
    assert params['refinement']['conv4']['kernel'].shape == (4, 4, 256, 512)
    assert params['refinement']['albedo_up0']['kernel'].shape == (4, 4, 512, 256)
    assert params['refinement']['light_last']['kernel'].shape == (3, 3, 64, 27)
    outputs = params['head']['fc']['bias'].shape[0]
    assert outputs == 80 + 52 + 80 + 27 + 6  # MakeHuman has 52 expressions, the Basel model 64


def test_only_training_needs_the_identity_network(tmp_path, batch):
    config = stages.configs(configs.get_config('quicktest'), tmp_path)[-1][1]
    config.identity, config.loss.cross = str(tmp_path / 'moved.safetensors'), 0.5
    method = methods.build(config)
    params, state = jax.eval_shape(method.init, jax.random.key(0))
    jax.eval_shape(method.predict, params, state, batch.image, batch.camera)
    with pytest.raises(UserError, match='moved'):
        jax.eval_shape(method.loss, params, state, batch, jax.random.key(0), jnp.int32(0))
