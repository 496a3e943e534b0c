import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import dib21 as configs
from jfrecon import methods
from jfrecon.errors import UserError
from jfrecon.geometry import uv
from jfrecon.losses import energies
from jfrecon.morphable import linear
from jfrecon.render import portraits, surface
from jfrecon.render.portraits import Portrait
from jfrecon.shading import sh
from jfrecon.training import stages
from jfrecon.types import Batch, FaceParameters, Maps, Pinhole
from tests.methods.energy import check_sum, loud

SIZE, FACES = 32, 4
ROUGHNESS = 0.4


WEIGHTS = configs.get_config('quicktest').loss.to_dict()


@pytest.fixture(scope='module')
def method():
    config = configs.get_config('quicktest')
    config.data.size = SIZE
    config.light_bands = 3
    return methods.build(config)


@pytest.fixture(scope='module')
def variables(method):
    return method.init(jax.random.PRNGKey(0))


def people(method, count=FACES, seed=0):
    """Moderate faces, placed and lit so that they fill a crop."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    light = 0.3 * draw(count, 9, 3)
    light[:, 0] = 3.5
    return FaceParameters(
        identity=0.7 * draw(count, method.network.identity),
        expression=rng.uniform(0, 0.15, (count, method.network.expression)).astype(np.float32),
        albedo=0.5 * draw(count, method.network.albedo),
        rotation=0.15 * draw(count, 3),
        translation=np.array([0, 0, -1300], np.float32) + draw(count, 3) * [4, 4, 40],
        light=light,
    )


def camera(count=FACES, size=SIZE):
    return Pinhole(np.full(count, 4.5 * size, np.float32), np.full((count, 2), size / 2, np.float32))


def photographs(method, chi, size=SIZE):
    count = len(chi.identity)

    @jax.jit
    def shoot(chi):
        face = surface.posed(method.model, chi, camera(count, size))
        photo = portraits.photo(Portrait(method.model, None, ROUGHNESS), chi, camera(count, size), (size, size))
        return *photo, linear.landmarks(method.model, face.pixels)

    image, coverage, landmarks = shoot(chi)
    return Batch(
        image=np.asarray(image),
        landmarks=np.asarray(landmarks),
        landmark_weight=np.ones((count, 68), np.float32),
        mask=np.asarray(coverage),
        camera=camera(count, size),
        index=np.arange(count),
    )


@pytest.fixture(scope='module')
def batch(method):
    return photographs(method, people(method))


def test_starts_at_the_mean_face_frontal_under_grey_light(method, variables):
    image = np.random.default_rng(0).uniform(size=(FACES, SIZE, SIZE, 3)).astype(np.float32)
    chi = jax.jit(method.predict)(*variables, image, camera())
    # the head starts at 1e-2 of unit variance: hundredths of a standard deviation, a degree, a percent of light
    assert np.abs(chi.identity).max() < 0.1 and np.abs(chi.expression).max() < 0.1
    assert np.degrees(np.abs(chi.rotation)).max() < 2
    np.testing.assert_allclose(chi.light[:, 0], sh.GREY, rtol=0.02)
    assert np.abs(chi.light[:, 1:]).max() < 0.05
    face = surface.posed(method.model, chi, camera())
    width = np.ptp(np.asarray(face.pixels)[..., 0], axis=1)
    np.testing.assert_allclose(width / SIZE, method.network.fill, atol=0.1)


def test_energy_is_the_weighted_sum_of_terms_that_are_all_logged(method, variables, batch):
    weights = loud(WEIGHTS)
    loss = jax.jit(dataclasses.replace(method, weights=weights).loss)
    energy, (_, metrics) = loss(*variables, batch, jax.random.PRNGKey(1), 0)
    priors = {'identity', 'albedo', 'expression', 'box', 'light', 'exposure'}
    assert set(metrics) == {'loss', 'vertex', 'landmarks', *priors}
    check_sum(energy, metrics, weights)


def test_energy_of_the_truth_is_next_to_nothing_and_of_anything_else_is_not(method):
    size = 128  # an image whose pixels are finer than the mesh
    chi = people(method)
    batch = photographs(method, chi, size)

    @jax.jit
    def terms(guess):
        face = surface.posed(method.model, guess, batch.camera)
        visible = surface.visible(method.model, face, surface.rasterise(method.model, face, (size, size)))
        colours = surface.colours(face, guess.light, ROUGHNESS)
        photo = energies.vertex_photometric(colours, face.pixels, visible, batch)
        landmarks = face.pixels[:, np.asarray(method.model.landmark_ids)]
        return photo, energies.landmark_distance(landmarks, batch)

    photo, landmarks = terms(chi)
    # the sum over RGB of what bilinear sampling loses at lips, brows and edges: 0.01 a channel
    assert photo.max() < 0.05 and landmarks.max() < 1e-6
    for field, change in (('albedo', 1.0), ('light', 0.5), ('translation', 20.0)):
        other = chi.replace(**{field: getattr(chi, field) + change})
        assert terms(other)[0].min() > 2 * photo.max(), field
    assert terms(chi.replace(rotation=chi.rotation + 0.1))[1].min() > 0.01


@pytest.mark.slow
def test_data_term_of_both_renderers_has_the_terms_of_either(method):
    chi = people(method, 2)
    batch = photographs(method, chi)

    def data(renderer, light):
        term = dataclasses.replace(method.data, renderer=renderer, samples=8)
        return term(surface.posed(method.model, chi, batch.camera), light, batch, jax.random.key(0))

    def terms(light):
        alone = data('vertex', light) | data('raytrace', light)
        both = data('both', light)
        assert set(both) == set(alone) == {'photo', 'vertex'}
        return jnp.stack([alone['vertex'], alone['photo'], both['vertex'], both['photo']])

    terms = jax.jit(terms)
    vertex, traced, *both = terms(chi.light)
    np.testing.assert_allclose(both, [vertex, traced], rtol=1e-5)
    # the same picture but for the ray tracer's noise, its shadows, and the vertices' coarse view of it
    assert (np.asarray(traced) < 0.5).all() and (np.abs(traced - vertex) > 1e-3).all()
    assert (terms(1.5 * chi.light)[1] > 1.5 * traced).all() and (terms(0.5 * chi.light)[1] > 1.5 * traced).all()


def test_colours_are_compared_in_the_domain_that_the_config_names(batch):
    """Radiance 0.2 beside a photograph of 0.5 in sRGB, which is 0.2140 in linear light; 0.2 is 0.4845 in sRGB."""
    grey = batch.replace(image=np.full_like(batch.image, 0.5), mask=np.ones_like(batch.mask))
    image, ones = jnp.full(batch.image.shape, 0.2), jnp.ones(batch.mask.shape)
    colours, pixels = jnp.full((FACES, 5, 3), 0.2), jnp.full((FACES, 5, 2), SIZE / 2.0)
    for domain, expected in (('linear', 0.0140), ('srgb', 0.0155)):
        by_pixel = energies.pixel_photometric(image, ones, grey, domain)
        by_vertex = energies.vertex_photometric(colours, pixels, jnp.ones((FACES, 5)), grey, domain)
        np.testing.assert_allclose(by_pixel, 3 * expected, atol=3e-4)
        np.testing.assert_allclose(by_vertex, 3 * expected, atol=3e-4)
    config = configs.get_config('quicktest+base')
    assert methods.build(config).data.domain == 'linear'
    config.domain = 'lab'
    with pytest.raises(UserError, match='linear, srgb'):
        methods.build(config)


def test_mask_pulls_no_vertex(batch):
    ramp = np.broadcast_to(np.linspace(0, 1, SIZE, dtype=np.float32), batch.mask.shape)
    # residuals that differ from vertex to vertex, or their weighted mean would not feel the weights
    colours = jnp.broadcast_to(jnp.linspace(0, 1, 5)[:, None], (FACES, 5, 3))
    pixels = jnp.full((FACES, 5, 2), SIZE / 2.0)
    flat = batch.replace(mask=ramp, image=np.full_like(batch.image, 0.5))
    total = lambda p: energies.vertex_photometric(colours, p, jnp.ones((FACES, 5)), flat).sum()
    pull = jax.jit(jax.grad(total))(pixels)
    assert np.abs(pull).max() < 1e-7


def test_gradients_are_finite_for_faces_out_of_the_frame_and_behind_the_camera(method, batch):
    chi = people(method)
    chi = chi.replace(translation=chi.translation * [1, 1, -1] + np.array([[0, 0, 0], [500, 0, 0]] * 2, np.float32))

    def energy(chi):
        face = surface.posed(method.model, chi, batch.camera)
        visible = surface.visible(method.model, face, surface.rasterise(method.model, face, (SIZE, SIZE)))
        colours = surface.colours(face, chi.light, ROUGHNESS)
        return energies.vertex_photometric(colours, face.pixels, visible, batch).sum()

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(jax.grad(energy))(chi)))


@pytest.mark.slow
def test_a_short_training_improves_every_part_of_the_fit(method, variables, batch):
    params, model_state = variables
    optimiser = optax.adam(1e-3)

    @jax.jit
    def step(params, model_state, opt_state):
        gradient = jax.value_and_grad(method.loss, has_aux=True)
        (_, (model_state, metrics)), grads = gradient(params, model_state, batch, jax.random.PRNGKey(0), 0)
        updates, opt_state = optimiser.update(grads, opt_state)
        return optax.apply_updates(params, updates), model_state, opt_state, metrics

    history = []
    opt_state = optimiser.init(params)
    for _ in range(30):
        params, model_state, opt_state, metrics = step(params, model_state, opt_state)
        history.append(metrics)
    # four faces that a million parameters can learn by heart; thirty steps halve them
    assert history[-1]['landmarks'] < 0.5 * history[0]['landmarks']
    assert history[-1]['vertex'] < 0.7 * history[0]['vertex']


def test_panels_have_a_row_for_each_face(method, variables, batch):
    pictures = method.panels(*variables, batch)
    assert pictures.shape == (FACES, SIZE, 5 * SIZE, 3) and pictures.dtype == np.uint8
    np.testing.assert_allclose(pictures[:, :, :SIZE] / 255, batch.image, atol=1 / 255)


# Stage II and III


@pytest.fixture(scope='module')
def second(method, variables, batch):
    """What eq. 3 and the sum of both energies say, and their gradients, at step 25 of epochs of 10."""
    params = jax.tree.map(lambda x: x, variables[0])
    key = jax.random.PRNGKey(5)
    for name in ('decoder_diffuse', 'decoder_specular'):
        shape = params[name]['last']['kernel'].shape
        params[name]['last']['kernel'] = 0.02 * jax.random.normal(key, shape)

    def energy(name):
        staged = dataclasses.replace(method, energy=name, weights=loud(WEIGHTS), epoch=10)
        run = jax.jit(jax.value_and_grad(staged.loss, has_aux=True))
        (value, (state, metrics)), gradient = run(params, variables[1], batch, key, jnp.int32(25))
        return value, state, metrics, gradient

    return params, {name: energy(name) for name in ('base', 'albedo', 'joint')}


def test_second_energy_is_the_sum_of_its_terms_with_the_consistency_relaxed(method, second):
    value, _, metrics, _ = second[1]['albedo']
    weights = loud(WEIGHTS)
    weights['vertex_final'] = weights['vertex']
    weights['consistency_diffuse'] *= weights['relax'] ** 2  # two whole epochs
    names = {'symmetry', 'consistency_diffuse', 'consistency_specular', 'smoothness', 'albedo_box'}
    assert set(metrics) == {'loss', 'vertex_final', 'landmarks', *names}
    check_sum(value, metrics, weights)


def test_fixed_encoder_neither_moves_nor_looks_at_the_batch(variables, second):
    _, state, _, gradient = second[1]['albedo']
    still = lambda tree: all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(tree))
    assert still(gradient['encoder']) and still(gradient['head'])
    assert not still(gradient['decoder_diffuse']) and not still(gradient['decoder_specular'])
    before = variables[1]['batch_stats']
    for a, b in zip(jax.tree.leaves(state['batch_stats']['encoder']), jax.tree.leaves(before['encoder'])):
        np.testing.assert_array_equal(a, b)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), state['batch_stats'], before)
    assert max(jax.tree.leaves(moved['decoder_diffuse'])) > 0


def test_joint_energy_is_both(second):
    base, joint = second[1]['base'], second[1]['joint']
    # The same batch statistics of E in both, so the terms of eq. 2 are the same.
    for name in ('vertex', 'landmarks', 'identity', 'light'):
        np.testing.assert_allclose(joint[2][name], base[2][name], rtol=1e-5)
    assert joint[0] > base[0]
    assert np.abs(joint[3]['encoder']['body']['fc']['kernel'] - base[3]['encoder']['body']['fc']['kernel']).max() > 0


def test_prediction_carries_prior_and_increment(method, variables, batch, second):
    params, state = second[0], variables[1]
    predict = jax.jit(dataclasses.replace(method, energy='joint').predict)
    chi = predict(params, state, batch.image, batch.camera)
    zero = jax.tree.map(lambda x: x, params)
    for name in ('decoder_diffuse', 'decoder_specular'):
        zero[name] = {**zero[name], 'last': jax.tree.map(jnp.zeros_like, zero[name]['last'])}
    prior = predict(zero, state, batch.image, batch.camera).maps
    assert np.abs(chi.maps.diffuse - prior.diffuse).max() > 1e-4
    # without an increment, each vertex finds its own albedo in the map, as far as texels resolve it
    found = uv.sample(prior.diffuse, jnp.broadcast_to(method.atlas.vertices, (FACES, *method.atlas.vertices.shape)))
    wanted = linear.albedo(method.model, chi.albedo)[0]
    assert np.abs(found - wanted).mean() < 0.02
    plain = jax.eval_shape(method.predict, params, state, batch.image, batch.camera)
    assert plain.maps is None  # stage I knows of none


def test_albedo_terms_by_hand(method):
    size = len(method.atlas.texels.coverage)
    flat = Maps(jnp.full((1, size, size, 3), 0.4), jnp.full((1, size, size, 1), 0.2))
    albedo_terms = jax.jit(lambda a, b: energies.albedo_terms(a, b, method.atlas.texels, method.atlas.mirror))
    zero = albedo_terms(flat, flat)
    # float32 of a bilinear look-up
    assert all(abs(float(term[0])) < 1e-5 for term in zero.values())
    left = jnp.arange(size) < size // 2
    shaded = flat.replace(diffuse=flat.diffuse * jnp.where(left, 0.5, 1.0)[:, None])
    terms = albedo_terms(shaded, flat)
    assert float(terms['symmetry'][0]) == pytest.approx(3 * 0.2, rel=0.1)  # all but the middle
    assert abs(float(terms['consistency_diffuse'][0])) < 0.02  # a shadow has no hue
    red = flat.replace(diffuse=flat.diffuse * jnp.array([2.0, 1.0, 1.0]))
    terms = albedo_terms(red, flat)
    kappa = lambda c: np.array(c) / (sum(c) + 0.01)
    expected = np.abs(kappa([0.8, 0.4, 0.4]) - kappa([0.4] * 3)).sum()
    assert float(terms['consistency_diffuse'][0]) == pytest.approx(expected, rel=1e-4)
    assert float(terms['symmetry'][0]) < 1e-5
    beyond = flat.replace(specular=flat.specular - 0.5)
    terms = albedo_terms(beyond, flat)
    assert float(terms['albedo_box'][0]) == pytest.approx(0.3, rel=1e-4)
    assert float(terms['consistency_specular'][0]) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    ('variant', 'energies'),
    [
        ('paper', ['base', 'albedo', 'joint']),
        ('cpu+one_decoder+bands3+not_joint+unregularised', ['base', 'base', 'albedo']),
    ],
)
def test_stages_of_every_variant_have_the_same_network(variant, energies, tmp_path):
    parts = [part for _, part in stages.configs(configs.get_config(variant), tmp_path)]
    assert [part.energy for part in parts] == energies
    shapes = [jax.eval_shape(methods.build(part).init, jax.random.PRNGKey(0)) for part in parts]
    assert all(shape == shapes[0] for shape in shapes)


def test_unknown_variants_and_energies_are_named():
    with pytest.raises(ValueError, match='bands4'):
        configs.get_config('cpu+bands4')
    config = configs.get_config('quicktest+base')
    config.energy = 'joint'
    with pytest.raises(UserError, match='texture'):
        methods.build(config)
    config.energy = 'second'
    with pytest.raises(UserError, match="'second'"):
        methods.build(config)
