from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon import morphable
from jfrecon.fitting import black_and_white, gaze, identity, occluders, outline
from jfrecon.fitting.fitter import WEIGHTS, Fitter, Known, _each
from jfrecon.geometry import mesh
from jfrecon.morphable import linear
from jfrecon.render import portraits, surface
from jfrecon.shading import colour, sh
from jfrecon.types import Batch, FaceParameters, Maps, Pinhole

SIZE, TEXTURE, IMAGES = 32, 16, 2


@pytest.fixture(scope='module')
def fitter():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portraits, 'DIRECTIONS', 64)  # without optimisations rays are slow
        yield made()


def made():
    pair = (linear.truncate(load(), 3, 8, 2) for load in (morphable.load, morphable.load_portrait))
    # blotches are anything but symmetric and smooth, and the drawn units are stronger than the prior would have them
    weights = {**WEIGHTS, 'expression': 2e-4, 'symmetry': 0.1, 'smoothness': 0.01, 'consistency_diffuse': 0.01}
    return dataclasses.replace(Fitter.of(*pair, bands=3, texture=TEXTURE), steps=(150, 1, 1, 100, 60), weights=weights)


@pytest.fixture(scope='module')
def person(fitter):
    """Two photographs of one person with blotchy skin and red eyes, and what is true of them."""
    draws = np.random.default_rng(0)
    each = lambda *shape: draws.normal(size=shape).astype(np.float32)
    identity, albedo = each(1, 3), each(1, 2)
    light = np.zeros((IMAGES, 9, 3), np.float32)
    light[:, 0] = sh.GREY * 0.9
    light[0, 1], light[1, 3] = 0.8, 0.9
    chi = FaceParameters(
        identity=np.repeat(identity, IMAGES, 0),
        expression=draws.uniform(0, 1, (IMAGES, 8)).astype(np.float32),
        albedo=np.repeat(albedo, IMAGES, 0),
        rotation=np.array([[0.1, -0.3, 0.05], [0.0, 0.25, -0.1]], np.float32),
        translation=np.array([[5.0, 0.0, -900.0], [-8.0, 4.0, -880.0]], np.float32),
        light=light,
    )
    blotches = 0.12 * jax.image.resize(each(1, 5, 5, 3), (1, TEXTURE, TEXTURE, 3), 'cubic')
    behind = jnp.zeros((1, len(fitter.portrait.model.mean) - len(fitter.model.mean), 3)).at[..., 0].set(0.3)
    increments = dataclasses.replace(fitter._nothing(), diffuse=blotches, behind=behind)
    whole = fitter._with(dataclasses.replace(chi, albedo=albedo), increments, jnp.asarray(light))
    camera = Pinhole(np.full(IMAGES, 4.0 * SIZE, np.float32), np.full((IMAGES, 2), SIZE / 2, np.float32))
    twice = _each(whole, Batch(*[np.zeros(IMAGES)] * 6))
    image, coverage = portraits.photo(fitter.portrait, twice, camera, (SIZE, SIZE))
    points = linear.landmarks(fitter.model, surface.posed(fitter.model, chi, camera).pixels)
    batch = Batch(
        image=np.asarray(image),
        landmarks=np.asarray(points),
        landmark_weight=np.ones((IMAGES, 68), np.float32),
        mask=np.asarray(coverage),
        camera=camera,
        index=np.arange(IMAGES),
    )
    return batch, chi, whole


def known(batch):
    """Of a batch nothing but its landmarks is known."""
    return Known(batch, identity.anybody(3), outline.nothing(len(batch.image)), gaze.nothing(len(batch.image)))


def test_landmarks_find_pose_and_expression(fitter, person):
    batch, chi, _ = person
    start = fitter.upright(batch)
    assert start.identity.shape == (1, 3) and start.expression.shape == (IMAGES, 8)
    found = _each(fitter._landmarks(start, known(batch), jax.random.key(0)), batch)
    pixels = linear.landmarks(fitter.model, surface.posed(fitter.model, found, batch.camera).pixels)
    before = linear.landmarks(fitter.model, surface.posed(fitter.model, _each(start, batch), batch.camera).pixels)
    distance = lambda points: float(np.linalg.norm(np.asarray(points) - batch.landmarks, axis=-1).mean())
    assert distance(pixels) < 0.3 * distance(before)
    np.testing.assert_allclose(found.rotation, chi.rotation, atol=0.01)
    np.testing.assert_array_equal(found.identity[0], found.identity[1])
    np.testing.assert_array_equal(found.light, np.asarray(_each(start, batch).light))


@pytest.mark.parametrize('shading', [0, 1])
def test_an_identity_that_is_expected_is_where_a_fit_begins(shading, fitter, person):
    """Landmarks that weigh nothing leave it there; shades move it only where they may."""
    batch, *_ = person
    mean = np.array([1.0, -2.0, 0.5], np.float32)
    expected = identity.Expected(mean, np.eye(3, dtype=np.float32), np.float32(0), np.float32(shading))
    spied = dataclasses.replace(fitter)
    vars(spied).update({name: getattr(fitter, name) for name in ('_landmarks', '_coefficients', '_ray_traced')})
    vars(spied).update(_detailed=lambda chi, *_: _each(chi, batch), _reflecting=lambda chi, *_: chi)
    vars(spied)['outline'] = lambda chi, batch: outline.nothing(len(batch.image))
    found = np.asarray(spied(batch, fitter.upright(batch), expected=expected).identity)
    assert np.allclose(found, mean, atol=1e-6) == (not shading)
    np.testing.assert_allclose(found, np.broadcast_to(mean, found.shape), atol=0.1)


def test_a_face_is_drawn_to_its_outline(fitter, person):
    """One vertex should be 1.5 pixels further right, and nothing else is known."""
    batch = person[0]
    start, vertex = fitter.upright(batch), 700
    where = lambda chi: surface.posed(fitter.model, _each(chi, batch), batch.camera).pixels[:, vertex]
    edges = outline.nothing(IMAGES)
    edges.corners[:] = vertex
    edges.weights[..., 0], edges.outward[..., 0], edges.share[:] = 1, 1, 1 / outline.POINTS
    edges.place[:] = np.asarray(where(start))[:, None] + [1.5, 9.0]
    weightless = dataclasses.replace(batch, landmark_weight=np.zeros_like(batch.landmark_weight))
    found = fitter._landmarks(start, known(weightless)._replace(outline=edges), jax.random.key(0))
    np.testing.assert_allclose(where(found) - where(start), [[1.5, 0.0]] * IMAGES, atol=0.4)


def test_skin_and_light_are_found_where_the_face_shades_itself(fitter, person):
    """From the true shape and pose: albedo unlike everybody's, under light from two sides."""
    batch, chi, _ = person
    true = dataclasses.replace(chi, albedo=np.repeat(np.array([[3.0, -2.0]], np.float32), IMAGES, 0))
    image, coverage = portraits.photo(fitter.portrait, true, batch.camera, (SIZE, SIZE))
    batch = dataclasses.replace(batch, image=np.asarray(image), mask=np.asarray(coverage))
    start = dataclasses.replace(chi, identity=chi.identity[:1], albedo=np.zeros_like(chi.albedo[:1]))
    found = fitter._reflecting(start, batch, jax.random.key(0))
    np.testing.assert_array_equal(found.rotation, chi.rotation)
    away = lambda x, y: float(np.abs(np.asarray(x) - np.asarray(y)).mean())

    def skin(albedo):
        """But for its brightness, which light and skin share."""
        values = np.asarray(linear.albedo(fitter.model, jnp.asarray(albedo))[0])
        return values / values.mean()

    assert away(skin(found.albedo), skin(true.albedo[:1])) < 0.5 * away(skin(start.albedo), skin(true.albedo[:1]))
    white = jnp.zeros_like(chi.light).at[:, 0].set(sh.GREY)
    inside = np.asarray(coverage) > 0
    drawn = lambda chi: np.asarray(portraits.photo(fitter.portrait, _each(chi, batch), batch.camera, (SIZE, SIZE))[0])
    error = lambda chi: away(drawn(chi)[inside], batch.image[inside])
    assert error(found) < 0.3 * error(dataclasses.replace(start, light=white))


def test_maps_take_what_the_morphable_model_lacks(fitter, person):
    """From the true shape, pose and coefficients: what is left is in the albedo of skin and eyes, and it is found."""
    batch, chi, whole = person
    start = dataclasses.replace(chi, identity=chi.identity[:1], albedo=chi.albedo[:1])
    nothing = fitter._nothing()
    known = start, batch, fitter._sight(chi, batch), (nothing, fitter._with(start, nothing, chi.light).maps)
    increments, light = fitter._maps((nothing, chi.light), known, jax.random.key(0))

    def error(increments, light):
        made = _each(fitter._with(start, increments, light), batch)
        image, _ = portraits.photo(fitter.portrait, made, batch.camera, (SIZE, SIZE))
        return float(np.abs(np.asarray(image) - batch.image)[batch.mask > 0].mean())

    assert error(increments, light) < 0.25 * error(fitter._nothing(), chi.light)
    seen = np.asarray(fitter.atlas.texels.coverage)
    missed = lambda maps: float(np.abs(np.asarray(maps) - np.asarray(whole.maps.diffuse))[:, seen].mean())
    prior = fitter._with(start, fitter._nothing(), chi.light).maps.diffuse
    assert missed(fitter._with(start, increments, light).maps.diffuse) < 0.7 * missed(prior)
    redder = np.asarray(increments.behind[..., 0] - increments.behind[..., 1])
    assert np.median(redder[redder != 0]) > 0.02, 'what is seen of the eyes turns red'
    np.testing.assert_allclose(np.linalg.norm(mesh.relief(increments.normal), axis=-1), 1, atol=1e-5)


def test_only_the_pixels_that_count_are_kept(fitter, person, monkeypatch):
    monkeypatch.setattr('jfrecon.fitting.fitter.ROW', 32)
    monkeypatch.setattr('jfrecon.fitting.fitter.ROWS', 1)
    batch, chi, _ = person
    for name in ('at_rim', 'within'):
        monkeypatch.setattr(occluders, name, lambda drawn, photo, face, *_: face & False)
    mask = batch.mask.copy()
    mask[0, : SIZE // 2] = 0
    sight = fitter._sight(chi, dataclasses.replace(batch, mask=mask))
    assert sight.weight.shape[1] < SIZE * SIZE // 32, 'there are fewer places than pixels'
    linear_image = np.asarray(colour.srgb_to_linear(jnp.asarray(batch.image)))
    for k in range(IMAGES):
        kept = np.asarray(sight.weight[k]) > 0
        counted = (mask[k] > 0) & (np.asarray(fitter._seen(chi, batch)[1].triangle[k]) >= 0)
        assert kept.sum() == counted.sum()
        np.testing.assert_allclose(np.asarray(sight.wanted[k])[kept], linear_image[k][counted], rtol=1e-6)
    assert isinstance(fitter._nothing(), Maps)


@pytest.mark.parametrize('share', [0.0, 0.3])
def test_what_is_in_front_of_a_face_is_not_fitted_to(share, fitter, person, monkeypatch):
    """It is found after the coefficients, which are fitted once more without it; no map is fitted to its pixels."""
    batch, chi, _ = person
    batch = dataclasses.replace(batch, mask=np.asarray(batch.mask) * np.float32(1))
    columns = np.arange(SIZE) < share * SIZE
    monkeypatch.setattr(occluders, 'at_rim', lambda drawn, photo, face, forehead: face & False)
    monkeypatch.setattr(occluders, 'within', lambda drawn, photo, face, *_: face & columns)
    masks: dict[str, list] = {'_landmarks': [], '_coefficients': [], '_ray_traced': [], '_reflecting': [], '_maps': []}
    edges: list[outline.Outline] = []
    spied = dataclasses.replace(fitter)
    vars(spied)['outline'] = lambda chi, batch: outline.nothing(IMAGES).replace(share=np.float32(1 + len(edges)))
    vars(spied).update(_seen=fitter._seen, _rim=fitter._rim, _inner=fitter._inner, _lit=lambda chi, batch: chi)

    def step(name):
        def made(unknowns, known, *_):
            mask = known.mask if name == '_reflecting' else known[2].weight if name == '_maps' else known[0].mask
            masks[name].append(np.asarray(mask).sum())
            edges.extend([known.outline] if name == '_landmarks' else [])
            return unknowns

        return made

    vars(spied).update({name: step(name) for name in masks})
    spied(batch, dataclasses.replace(chi, identity=chi.identity[:1], albedo=chi.albedo[:1]))
    assert [float(np.max(each.share)) for each in edges] == [0, 2, 3]
    whole = batch.mask.sum()
    if not share:
        assert masks['_coefficients'] == masks['_ray_traced'] == masks['_reflecting'] == [whole]
        return
    seen = batch.mask[:, :, ~columns].sum()
    assert masks['_landmarks'] == 3 * [whole] and masks['_coefficients'][0] == whole
    # at the silhouette the mask, which is drawn by another renderer, reaches a pixel beyond the face
    assert len(masks['_coefficients']) == 2
    for found in (masks['_coefficients'][1], *(masks[name][0] for name in ('_ray_traced', '_reflecting', '_maps'))):
        assert found == pytest.approx(seen, rel=0.03) and found < 0.95 * whole


def test_an_edited_albedo_stays_as_it_is_where_it_is_frozen(fitter, person):
    """Half of the light is taken away and the fit goes on: what is not frozen takes it up."""
    batch, chi, whole = person
    edited = dataclasses.replace(
        whole, identity=chi.identity[:1], albedo=chi.albedo[:1], light=np.asarray(chi.light) * 0.5
    )
    frozen = dataclasses.replace(fitter, frozen=('diffuse', 'normal'))
    found = frozen.go_on(batch, edited)
    for name in frozen.frozen:
        before = np.asarray(getattr(whole.maps, name))
        after = np.asarray(getattr(found.maps, name))
        np.testing.assert_allclose(after, np.broadcast_to(before, after.shape), atol=1e-5)
    assert np.asarray(found.light)[:, 0].mean() > 1.15 * edited.light[:, 0].mean()  # as far as 60 steps reach
    np.testing.assert_array_equal(found.rotation, chi.rotation)


def test_a_black_and_white_photograph_has_grey_light(fitter, person):
    """The first photograph has lost its colours, the second has not; both fits begin in orange light."""
    batch, chi, whole = person
    image = np.array(batch.image)
    linear_image = np.asarray(colour.srgb_to_linear(jnp.asarray(image[0])))
    image[0] = np.asarray(colour.linear_to_srgb(jnp.asarray(linear_image.mean(-1, keepdims=True))))
    batch = dataclasses.replace(batch, image=image)
    orange = np.asarray(chi.light) * [1.2, 1.0, 0.6]
    start = dataclasses.replace(whole, identity=chi.identity[:1], albedo=chi.albedo[:1], light=orange)
    found = fitter.go_on(batch, start)
    light = np.asarray(found.light)
    np.testing.assert_array_equal(light[0], light[0, :, :1].repeat(3, -1))
    assert light[1, 0, 0] > 1.2 * light[1, 0, 2], 'it may keep its colour where there is one to explain'
    # The skin keeps its hue: it is not paid for with the colours that the picture lacks.
    hue = lambda maps: np.asarray(maps[..., 0] / maps[..., 2])[:, np.asarray(fitter.atlas.texels.coverage)].mean()
    before = hue(whole.maps.diffuse[:1])
    alone = jax.tree.map(lambda leaf: leaf[:1], batch)
    one = dataclasses.replace(
        start, light=orange[:1], **{n: getattr(chi, n)[:1] for n in ('expression', 'rotation', 'translation')}
    )
    after = fitter.go_on(alone, one).maps
    assert abs(hue(after.diffuse) / before - 1) < 0.1
    # Nor do eyes, teeth and blotches that get darker or brighter.
    for name in ('diffuse', 'behind'):
        was, now = (np.asarray(getattr(maps, name))[:1] for maps in (whole.maps, after))
        changed = np.abs(now - was).mean(-1) > 0.03
        assert changed.any()
        share = (now - was)[changed] / (was + black_and_white.BLACK)[changed]
        np.testing.assert_allclose(share, share.mean(-1, keepdims=True).repeat(3, -1), rtol=0.01, err_msg=name)


def test_the_colours_of_a_black_and_white_photograph_do_not_count(fitter, person):
    """Both renderers see the mean of albedo and light, so that all channels get the same gradient."""
    batch, chi, _ = person
    grey = dataclasses.replace(batch, image=np.repeat(batch.image.mean(-1, keepdims=True), 3, -1))
    start = dataclasses.replace(chi, identity=chi.identity[:1], albedo=chi.albedo[:1])
    weights = {name: weight * (name in ('photo', 'vertex')) for name, weight in fitter.weights.items()}
    energy = dataclasses.replace(fitter, weights=weights)._photographed(fitter.vertex)
    cost = lambda light, batch: energy(start.replace(light=light), known(batch), jax.random.key(0))
    slope = jax.jit(jax.grad(cost))
    for photographs, same in ((grey, True), (batch, False)):
        red, green, blue = np.moveaxis(np.asarray(slope(jnp.asarray(chi.light), photographs)), -1, 0)
        assert np.allclose(red, blue, atol=1e-6) == same and np.allclose(green, blue, atol=1e-6) == same


@pytest.mark.parametrize('missing', ['one', 'jaw'])
def test_a_fit_begins_without_landmarks_that_nobody_knows(fitter, person, missing):
    """They weigh nothing: the start is the one that the others say, near that of all."""
    batch = person[0]
    weight = np.array(batch.landmark_weight)
    weight[:, slice(3, 4) if missing == 'one' else slice(17)] = 0
    points = np.where(weight[..., None] > 0, batch.landmarks, 0).astype(np.float32)  # as a batch has them
    found = fitter.upright(dataclasses.replace(batch, landmarks=points, landmark_weight=weight))
    whole = fitter.upright(batch)
    np.testing.assert_allclose(found.rotation, whole.rotation, atol=0.15)
    np.testing.assert_allclose(found.translation, whole.translation, rtol=0.1, atol=10)
    elsewhere = np.where(weight[..., None] > 0, points, 999).astype(np.float32)
    same = fitter.upright(dataclasses.replace(batch, landmarks=elsewhere, landmark_weight=weight))
    np.testing.assert_array_equal(found.rotation, same.rotation)
