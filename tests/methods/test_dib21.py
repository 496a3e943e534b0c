import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import dib21 as configs
from jfrecon import methods
from jfrecon.methods.dib21 import objective
from jfrecon.render import face as faces
from jfrecon.types import Batch, FaceParameters, Pinhole

SIZE, FACES = 32, 4


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
    image, coverage = faces.photo(method.model, chi, camera(count, size), (size, size), method.roughness)
    face = faces.surface(method.model, chi, camera(count, size))
    return Batch(
        image=np.asarray(image),
        landmarks=np.asarray(face.pixels)[:, np.asarray(method.model.landmark_ids)],
        landmark_weight=np.ones((count, 68), np.float32),
        mask=np.asarray(coverage),
        camera=camera(count, size),
        index=np.arange(count),
    )


def test_starts_at_the_mean_face_frontal_under_grey_light(method, variables):
    image = np.random.default_rng(0).uniform(size=(FACES, SIZE, SIZE, 3)).astype(np.float32)
    chi = method.predict(*variables, image, camera())
    # the head starts at 1e-2 of unit variance: hundredths of a standard deviation, a degree, a percent of light
    assert np.abs(chi.identity).max() < 0.1 and np.abs(chi.expression).max() < 0.1
    assert np.degrees(np.abs(chi.rotation)).max() < 2
    np.testing.assert_allclose(chi.light[:, 0], np.sqrt(4 * np.pi), rtol=0.02)
    assert np.abs(chi.light[:, 1:]).max() < 0.05
    face = faces.surface(method.model, chi, camera())
    width = np.ptp(np.asarray(face.pixels)[..., 0], axis=1)
    np.testing.assert_allclose(width / SIZE, method.network.fill, atol=0.1)


def test_energy_is_the_weighted_sum_of_terms_that_are_all_logged(method, variables):
    batch = photographs(method, people(method))
    energy, (_, metrics) = jax.jit(method.loss)(*variables, batch, jax.random.PRNGKey(1), 0)
    weights = dataclasses.asdict(method.weights)
    assert set(metrics) == {'loss', *weights}
    np.testing.assert_allclose(energy, sum(weights[name] * metrics[name] for name in weights), rtol=1e-5)


def test_energy_of_the_truth_is_next_to_nothing_and_of_anything_else_is_not(method):
    size = 128  # an image whose pixels are finer than the mesh
    chi = people(method)
    batch = photographs(method, chi, size)

    def terms(guess):
        face = faces.surface(method.model, guess, batch.camera)
        visible = faces.visible(method.model, face, (size, size))
        colours = faces.colours(face, guess.light, method.roughness)
        photo = objective.vertex_photometric(colours, face.pixels, visible, batch)
        landmarks = face.pixels[:, np.asarray(method.model.landmark_ids)]
        return np.asarray(photo), np.asarray(objective.landmark_distance(landmarks, batch))

    photo, landmarks = terms(chi)
    # the sum over RGB of what bilinear sampling loses at lips, brows and edges: 0.01 a channel
    assert photo.max() < 0.05 and landmarks.max() < 1e-6
    for field, change in (('albedo', 1.0), ('light', 0.5), ('translation', 20.0)):
        other = chi.replace(**{field: getattr(chi, field) + change})
        assert terms(other)[0].min() > 2 * photo.max(), field
    assert terms(chi.replace(rotation=chi.rotation + 0.1))[1].min() > 0.01


def test_data_term_of_both_renderers_is_the_sum_of_theirs(method):
    chi = people(method, 2)
    batch = photographs(method, chi)

    def photo(renderer, light):
        energy = dataclasses.replace(method, renderer=renderer, samples=8)._photometric
        return energy(faces.surface(method.model, chi, batch.camera), light, batch, jax.random.key(0))

    def terms(light):
        return jnp.stack([photo(renderer, light) for renderer in ('vertex', 'raytrace', 'both')])

    terms = jax.jit(terms)
    vertex, traced, both = terms(chi.light)
    np.testing.assert_allclose(both, vertex + traced, rtol=1e-5)
    # the same picture but for the ray tracer's noise, its shadows, and the vertices' coarse view of it
    assert (np.asarray(traced) < 0.5).all() and (np.abs(traced - vertex) > 1e-3).all()
    assert (terms(1.5 * chi.light)[1] > 1.5 * traced).all() and (terms(0.5 * chi.light)[1] > 1.5 * traced).all()


def test_mask_pulls_no_vertex(method):
    batch = photographs(method, people(method))
    ramp = np.broadcast_to(np.linspace(0, 1, SIZE, dtype=np.float32), batch.mask.shape)
    # residuals that differ from vertex to vertex, or their weighted mean would not feel the weights
    colours = jnp.broadcast_to(jnp.linspace(0, 1, 5)[:, None], (FACES, 5, 3))
    pixels = jnp.full((FACES, 5, 2), SIZE / 2.0)
    flat = batch.replace(mask=ramp, image=np.full_like(batch.image, 0.5))
    pull = jax.grad(lambda p: objective.vertex_photometric(colours, p, jnp.ones((FACES, 5)), flat).sum())(pixels)
    assert np.abs(pull).max() < 1e-7


def test_gradients_are_finite_for_faces_out_of_the_frame_and_behind_the_camera(method):
    chi = people(method)
    batch = photographs(method, chi)
    chi = chi.replace(translation=chi.translation * [1, 1, -1] + np.array([[0, 0, 0], [500, 0, 0]] * 2, np.float32))

    def energy(chi):
        face = faces.surface(method.model, chi, batch.camera)
        visible = faces.visible(method.model, face, (SIZE, SIZE))
        colours = faces.colours(face, chi.light, method.roughness)
        return objective.vertex_photometric(colours, face.pixels, visible, batch).sum()

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.grad(energy)(chi)))


def test_a_short_training_improves_every_part_of_the_fit(method, variables):
    batch = photographs(method, people(method))
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
    for _ in range(60):
        params, model_state, opt_state, metrics = step(params, model_state, opt_state)
        history.append(metrics)
    # four faces that a million parameters can learn by heart; halving them takes a fraction of the sixty steps
    assert history[-1]['landmarks'] < 0.5 * history[0]['landmarks']
    assert history[-1]['photo'] < 0.7 * history[0]['photo']


def test_panels_have_a_row_for_each_face(method, variables):
    batch = photographs(method, people(method))
    pictures = method.panels(*variables, batch)
    assert pictures.shape == (FACES, SIZE, 5 * SIZE, 3) and pictures.dtype == np.uint8
    np.testing.assert_allclose(pictures[:, :, :SIZE] / 255, batch.image, atol=1 / 255)
