"""cest on MakeHuman at 32 pixels; what its networks may see, with a world that poses and unwraps in no time."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import cest as configs
from jfrecon import methods
from jfrecon.errors import UserError
from jfrecon.geometry import cameras, rotations, uv
from jfrecon.methods.cest import estimator, factors
from jfrecon.morphable import linear
from jfrecon.render import portraits, surface
from jfrecon.render.portraits import Portrait
from jfrecon.shading import colour, sh
from jfrecon.types import Batch, FaceParameters, Maps, Pinhole
from tests.methods.energy import check_sum, loud

SIZE, TEXTURE, FRAMES = 32, 16, 2
CLIPS = 2
COUNT = CLIPS * FRAMES
CAMERA = Pinhole(np.full(COUNT, 4.5 * SIZE, np.float32), np.full((COUNT, 2), SIZE / 2, np.float32))
SETTINGS = factors.Settings('small', 'small', 16, identity=3, expression=2, bands=2, texture=TEXTURE)
GROUPS = {'rotation': 3, 'place': 3, 'identity': 3, 'expression': 2, 'light': 4}


def told(groups):
    """A world in which the unwrapped photograph says all that it was posed by."""
    said = jnp.concatenate([groups[name] for name in (*factors.VIEW, *factors.SHAPE)], -1)
    return said, said


def unwrap(image, posed):
    weights = jnp.linspace(0.01, 0.1, posed[0].shape[-1])
    texture = jnp.broadcast_to((posed[0] @ weights)[:, None, None, None], (len(image), TEXTURE, TEXTURE, 3))
    return texture + jax.image.resize(image, texture.shape, 'linear'), jnp.ones(texture.shape[:3])


WORLD = estimator.Scene(told, unwrap)


#: The paper's, but with two factors for the shape; and one in which nobody sees all.
ORDERS = {
    'expression_last': configs.ORDERS['expression_last'],
    'own': {
        'reflectance': (), 'viewpoint': ('reflectance',), 'shape': ('viewpoint',), 'light': ('shape', 'reflectance')
    },
}  # fmt: skip


@pytest.mark.parametrize('name', [pytest.param('expression_last', marks=pytest.mark.slow), 'own'])
def test_a_factor_depends_on_what_it_may_see_and_on_nothing_else(name):
    sees = ORDERS[name]
    network = estimator.Estimator(estimator.ordered(sees), SETTINGS)
    rng = np.random.default_rng(0)
    image = rng.random((2, SIZE, SIZE, 3), np.float32)
    variables = jax.jit(lambda: network.init(jax.random.key(0), image, WORLD, train=False))()
    # a fresh network says the same whatever it sees
    loudly = lambda path, leaf: leaf + (0.3 * rng.normal(size=leaf.shape) if 'kernel' in str(path) else 0)
    variables = {**variables, 'params': jax.tree.map_with_path(loudly, variables['params'])}
    known = {group: 0.3 * rng.normal(size=(2, size)).astype(np.float32) for group, size in GROUPS.items()}
    known['diffuse'] = rng.random((2, TEXTURE, TEXTURE, 3), np.float32)

    @jax.jit
    def say(given, image):
        """What each factor says when all others are given."""
        own = lambda factor: {g: v for g, v in given.items() if g not in factors.given_by([factor])}
        said = {f: network.apply(variables, image, WORLD, train=False, given=own(f))[0] for f in sees}
        return {f: {g: said[f][g] for g in factors.given_by([f])} for f in sees}

    before = say(known, image)
    for factor, other in itertools.permutations(sees, 2):
        for group in factors.given_by([other]):
            after = say({**known, group: known[group] + np.float32(0.2)}, image)
            changed = any(np.abs(after[factor][g] - before[factor][g]).max() > 0 for g in before[factor])
            assert changed == (other in sees[factor]), (factor, group)
    after = say(known, image[::-1])
    assert all(np.abs(after[f][g] - before[f][g]).max() > 0 for f in sees for g in before[f])


@pytest.mark.parametrize(
    'sees, message',
    [
        ({'viewpoint': ('light',), 'light': ('shape',), 'shape': ('viewpoint',), 'reflectance': ()}, 'light'),
        ({**configs.ORDERS['iest'], 'gaze': ()}, "no factor 'gaze'"),
        ({**configs.ORDERS['iest'], 'light': ('glamour',)}, "no factor 'glamour'"),
        ({'viewpoint': (), 'shape': (), 'light': ()}, 'diffuse'),
        ({**configs.ORDERS['iest'], 'identity': ()}, 'more than one .* identity'),
        ({**configs.ORDERS['iest'], 'light': ('identity',)}, 'light cannot see identity'),
    ],
)
def test_what_is_no_order_is_an_error_before_anything_is_built(sees, message):
    config = configs.get_config('quicktest')
    with config.unlocked():
        config.factors = sees
    with pytest.raises(UserError, match=message):
        methods.build(config)


class Gaze(factors.nn.Module):
    """Two groups that no face is made of, a vector and a map."""

    settings: factors.Settings
    gives = ('direction', 'iris')

    @factors.nn.compact
    def __call__(self, sight, train):
        direction = factors.Linear({'direction': 2}, ())(sight.image.mean((1, 2)))
        return {**direction, 'iris': factors.skin_map(self.settings, 2, sight, train)}


def network_of(sees):
    return estimator.Estimator(estimator.ordered(sees), SETTINGS)


def shapes(network):
    image = np.zeros((1, SIZE, SIZE, 3), np.float32)
    variables = jax.eval_shape(lambda: network.init_with_output(jax.random.key(0), image, WORLD, train=False))
    return {group: values.shape for group, values in variables[0][0].items()}


def test_a_group_is_read_by_the_face_or_by_a_factor(monkeypatch):
    monkeypatch.setitem(factors.FACTORS, 'gaze', Gaze)
    sees = {**configs.ORDERS['cest'], 'gaze': ('viewpoint', 'shape')}
    with pytest.raises(UserError, match=r'gaze gives direction, which nothing reads: .* rotation, .*light.* sees gaze'):
        estimator.ordered(sees)
    for reader in ('light', 'reflectance'):
        found = shapes(network_of({**sees, reader: (*sees[reader], 'gaze')}))
        assert found['direction'] == (1, 2) and found['iris'] == (1, TEXTURE, TEXTURE, 2)


@pytest.mark.parametrize(
    'gives, values, message',
    [
        (
            ('specular',),
            {'specular': jnp.zeros((1, TEXTURE, TEXTURE, 3))},
            r'specular of \(16, 16, 3\) .* \(16, 16, 1\)',
        ),
        (('specular',), {'gloss': jnp.zeros((1, TEXTURE, TEXTURE, 1))}, 'gives gloss in place of its specular'),
        (('specular', 'normal'), {'specular': jnp.zeros((1, TEXTURE, TEXTURE, 1))}, 'its specular, normal'),
    ],
)
def test_a_factor_says_what_it_gives_in_the_shape_that_a_face_takes(gives, values, message, monkeypatch):
    wrong = type('Wrong', (factors.nn.Module,), {
        '__annotations__': {'settings': factors.Settings}, 'gives': gives, '__call__': lambda self, sight, train: values
    })  # fmt: skip
    monkeypatch.setitem(factors.FACTORS, 'wrong', wrong)
    with pytest.raises(UserError, match=f'config.factors: wrong gives {message}' if '(' in message else message):
        shapes(network_of({**configs.ORDERS['cest'], 'wrong': ()}))


def test_light_has_a_colour_if_the_config_says_so(method):
    network = estimator.Estimator(estimator.ordered(configs.ORDERS['iest']), dataclasses.replace(SETTINGS, colours=3))
    assert shapes(network)['light'] == (1, 4, 3)
    rng = np.random.default_rng(0)
    groups = {name: jnp.zeros((2, size)) for name, size in {**GROUPS, 'identity': 10, 'expression': 10}.items()}
    groups['diffuse'] = jnp.full((2, TEXTURE, TEXTURE, 3), 0.3)
    light = rng.normal(size=(2, 9, 3)).astype(np.float32)
    camera = jax.tree.map(lambda leaf: leaf[:2], CAMERA)
    np.testing.assert_array_equal(method.face({**groups, 'light': light}, camera).light, light)
    white = method.face({**groups, 'light': light[..., 0]}, camera).light
    np.testing.assert_array_equal(white, light[..., :1] * np.ones(3, np.float32))
    assert configs.get_config('quicktest').light_colour == 'white'
    assert configs.get_config('quicktest+rgb').light_colour == 'rgb'
    config = configs.get_config('quicktest')
    config.light_colour = 'blue'
    with pytest.raises(UserError, match='white, rgb'):
        methods.build(config)


def test_alignment_undoes_roll_size_and_place():
    y, x = np.mgrid[:64, :64].astype(np.float32) + 0.5
    pattern = lambda x, y: np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + 2 * y) / 11)], -1)
    roll, larger, u, v = 0.4, 1.25, 0.06, -0.04
    # a face turned by roll (y up: to the left), larger, and off the centre
    c, s = np.cos(roll), np.sin(roll)
    dx, dy = (x - 32 - 64 * u) / larger, (y - 32 - 64 * v) / larger
    moved = pattern(32 + c * dx - s * dy, 32 + s * dx + c * dy)
    rotation, place = jnp.array([[0.0, 0.0, roll]]), jnp.array([[u, v, -np.log(larger)]])
    back = np.asarray(estimator.aligned(jnp.asarray(moved[None]), rotation, place))[0]
    inner = np.hypot(x - 32, y - 32) < 20
    assert np.abs(back - pattern(x, y))[inner].max() < 0.02  # of bilinear look-ups
    # a nod and a turn of the head do not move the picture
    nod = rotations.rotvec(rotations.euler(0.0, 0.3, 0.0))[None]
    still = estimator.aligned(jnp.asarray(moved[None]), nod, 0 * place)
    np.testing.assert_allclose(still[0], moved, atol=1e-5)


@pytest.fixture(scope='module')
def method():
    config = configs.get_config('quicktest')
    config.reconstructions = ('own', 'other', 'mirrored', 'mirrored_other', 'every')
    config.data.frames = FRAMES
    config.model.identity, config.model.expression = 10, 10
    return methods.build(config)


@pytest.fixture(scope='module')
def batch(method):
    """Two people, one of them pale, each once in light from the left and once from the right."""
    chi = FaceParameters(
        identity=jnp.zeros((COUNT, 10)),
        expression=jnp.zeros((COUNT, 10)),
        albedo=jnp.zeros((COUNT, 0)),
        rotation=jnp.zeros((COUNT, 3)),
        translation=jnp.zeros((COUNT, 3)).at[:, 2].set(-4.5 * SIZE * 150 / (0.55 * SIZE)),
        light=jnp.zeros((COUNT, 9, 3)).at[:, 0].set(3.0).at[:, 3].set(jnp.array([1.5, -1.5, 1.5, -1.5])[:, None]),
        maps=Maps(
            jnp.array([0.2, 0.2, 0.5, 0.5])[:, None, None, None] * jnp.ones((TEXTURE, TEXTURE, 3)),
            jnp.zeros((COUNT, TEXTURE, TEXTURE, 1)),
        ),
        perspective=False,
    )

    @jax.jit
    def shoot():
        image, coverage = portraits.photo(Portrait(method.model, None, 0.4), chi, CAMERA, (SIZE, SIZE))
        return image, coverage, linear.landmarks(method.model, surface.posed(method.model, chi, CAMERA).pixels)

    image, coverage, landmarks = map(np.asarray, shoot())
    weight = np.ones((COUNT, 68), np.float32)
    return Batch(image, landmarks, weight, coverage, CAMERA, np.arange(COUNT))


@pytest.fixture(scope='module')
def energy(method):
    def loss(params, weights, *rest):
        return dataclasses.replace(method, weights=weights).loss(params, *rest)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


@pytest.fixture(scope='module')
def variables(method):
    return method.init(jax.random.key(0))


@pytest.fixture(scope='module')
def said(method, variables, batch, energy):
    """The energy and its gradient, by networks none of whose outputs is zero."""
    params, state = variables
    rng = np.random.default_rng(1)

    def stirred(path, leaf):
        return leaf + 0.02 * rng.normal(size=leaf.shape) if 'head' in str(path) or 'last' in str(path) else leaf

    params = jax.tree.map_with_path(stirred, params)
    weights = loud(method.weights)
    return weights, energy(params, weights, state, batch, jax.random.key(1), jnp.int32(0))


def test_the_energy_is_the_weighted_sum_of_its_terms(said):
    weights, ((value, (_, metrics)), _) = said
    photos = {f'photo_{name}': weights['photo'] for name in ('own', 'other', 'mirrored', 'mirrored_other')}
    photos['photo_every'] = weights['photo'] / FRAMES
    assert metrics.keys() == photos.keys() | {
        'loss', 'landmarks', 'identity', 'expression', 'box', 'light', 'exposure'
    }  # fmt: skip
    check_sum(value, metrics, weights | photos)


def test_all_pairs_are_what_random_pairs_are_on_average(said):
    """Of two frames each has one partner, so the four of eq. 7 are all there are."""
    metrics = said[1][0][1][1]
    four = sum(metrics[f'photo_{name}'] for name in ('own', 'other', 'mirrored', 'mirrored_other'))
    np.testing.assert_allclose(metrics['photo_every'], four, rtol=1e-5)
    assert abs(metrics['photo_own'] - metrics['photo_other']) > 1e-4


def test_every_factor_learns(said):
    gradient = said[1][1]
    assert set(gradient) == set(configs.FACTORS)
    assert all(any(np.asarray(leaf).any() for leaf in jax.tree.leaves(tree)) for tree in gradient.values())


def test_partners_are_other_frames_of_the_same_clip(method):
    frames = 4
    own = dataclasses.replace(method, frames=frames, reconstructions=('other',))
    albedo = jnp.broadcast_to(jnp.arange(12.0)[:, None, None, None], (12, TEXTURE, TEXTURE, 3))
    seen = set()
    for seed in range(30):
        partner = np.asarray(own._albedos(albedo, jax.random.key(seed))['other'][0][:, 0, 0, 0]).astype(int)
        rows = np.arange(12)
        assert (partner // frames == rows // frames).all() and (partner != rows).all()
        seen |= set(zip(rows.tolist(), partner.tolist(), strict=True))
    assert len(seen) == 12 * (frames - 1)


def test_reflectance_is_another_frames_and_relief_is_ones_own(method, batch):
    """Of two frames a clip: a data term that says what it was given, each frame with its own factor."""
    number = jnp.arange(1.0, COUNT + 1)
    level = lambda channels: number[:, None, None, None] * jnp.ones((TEXTURE, TEXTURE, channels))
    groups = {name: jnp.zeros((COUNT, size)) for name, size in {**GROUPS, 'identity': 10, 'expression': 10}.items()}
    groups |= {'light': jnp.zeros((COUNT, 9)), 'diffuse': level(3), 'specular': 10 * level(1), 'normal': level(3)}
    face = surface.posed(method.model, method.face(groups, CAMERA), CAMERA)

    class Said:
        apply = staticmethod(lambda *_, **__: ((groups, (face, None)), {}))

    def data(face, light, batch, key, maps, seen):
        mean = lambda values: 100.0**number * values.mean((1, 2, 3))
        return {'photo': mean(maps.diffuse), 'vertex': mean(maps.specular), 'relief': mean(maps.normal)}

    told = dataclasses.replace(
        method, network=Said(), data=data, reconstructions=('own', 'other', 'mirrored_other'),
        weights={**method.weights, 'vertex': 1.0, 'relief': 1.0},
    )  # fmt: skip
    _, (_, metrics) = told.loss({}, {}, batch, jax.random.key(0), jnp.int32(0))
    own = float((100.0**number * number).mean())
    other = float((100.0**number * number[jnp.array([1, 0, 3, 2])]).mean())
    for name, wanted in (('own', own), ('other', other), ('mirrored_other', other)):
        np.testing.assert_allclose(
            metrics[f'photo_{name}'], wanted, rtol=1e-4
        )  # single precision; others are off by a third
        np.testing.assert_allclose(metrics[f'vertex_{name}'], 10 * wanted, rtol=1e-4)
        np.testing.assert_allclose(metrics[f'relief_{name}'], own, rtol=1e-4)


def test_swapped_albedos_tell_skin_from_light(method, batch):
    """The true albedo explains every frame of its clip; a copy of the photograph explains its own frame only."""

    @jax.jit
    def costs(maps, light, partner):
        chi = truth(method, maps, light)
        face = surface.posed(method.model, chi, CAMERA)
        swapped = jax.tree.map(lambda leaf: leaf[partner], chi.maps)
        data = lambda maps: method.data(face, chi.light, batch, jax.random.key(0), maps)['photo'].mean()
        return data(chi.maps), data(swapped)

    def truth(method, maps, light):
        translation = jnp.zeros((COUNT, 3)).at[:, 2].set(-4.5 * SIZE * 150 / (0.55 * SIZE))
        return FaceParameters(
            jnp.zeros((COUNT, 10)), jnp.zeros((COUNT, 10)), jnp.zeros((COUNT, 0)), jnp.zeros((COUNT, 3)), translation,
            light, maps, perspective=False,
        )  # fmt: skip

    light = jnp.zeros((COUNT, 9, 3)).at[:, 0].set(3.0).at[:, 3].set(jnp.array([1.5, -1.5, 1.5, -1.5])[:, None])
    skin = jnp.array([0.2, 0.2, 0.5, 0.5])[:, None, None, None] * jnp.ones((TEXTURE, TEXTURE, 3))
    gloss = jnp.zeros((COUNT, TEXTURE, TEXTURE, 1))
    partner = jnp.array([1, 0, 3, 2])
    right = costs(Maps(skin, gloss), light, partner)
    assert max(map(float, right)) < 1e-4

    even = jnp.zeros((COUNT, 1, 3)) + sh.GREY
    posed = truth(method, Maps(skin, gloss), even)
    face = surface.posed(method.model, posed, CAMERA)
    seen = surface.rasterise(method.model, face, (SIZE, SIZE))
    texture, _ = surface.unwrapped(method.model, face, seen, jnp.asarray(batch.image), method.atlas.texels)
    copied = costs(Maps(colour.srgb_to_linear(texture), gloss), even, partner)
    assert float(copied[0]) < 0.08 and float(copied[1]) > 3 * float(copied[0])


def test_the_shape_has_the_gradient_of_the_rasterised_photometric_term(method, batch):
    """Against finite differences in float64, for the pixels that see the face where it is."""
    with jax.enable_x64(True):
        model, wide = jax.tree.map(
            lambda leaf: leaf.astype(np.float64) if np.asarray(leaf).dtype == np.float32 else leaf,
            jax.tree.map(np.asarray, (method.model, batch)),
        )
        data = dataclasses.replace(method.data, model=model)
        u, v = np.moveaxis(uv.texel_centres(TEXTURE), -1, 0)
        pattern = np.stack([0.3 + 0.1 * np.sin(7 * u), 0.3 + 0.1 * np.cos(5 * v), 0.3 + 0 * u], -1)
        maps = Maps(np.broadcast_to(pattern, (COUNT, *pattern.shape)), np.zeros((COUNT, TEXTURE, TEXTURE, 1)))
        light = np.zeros((COUNT, 9, 3))
        light[:, 0], light[:, 3] = 3.0, 1.0
        start = np.array([0.05, -0.1, 0.02, 3.0, -2.0, -1220.0])
        at = lambda x: FaceParameters(
            jnp.zeros((COUNT, 10)), jnp.zeros((COUNT, 10)), jnp.zeros((COUNT, 0)),
            jnp.broadcast_to(x[:3], (COUNT, 3)), jnp.broadcast_to(x[3:], (COUNT, 3)), light, perspective=False,
        )  # fmt: skip
        seen = surface.rasterise(model, surface.posed(model, at(start), wide.camera), (SIZE, SIZE))

        def loss(x):
            face = surface.posed(model, at(x), wide.camera)
            return data(face, light, wide, jax.random.key(0), maps, seen)['photo'].sum()

        @jax.jit
        def energy(x):
            """Each point against the photograph, looked up where it has moved to."""
            face = surface.posed(model, at(x), wide.camera)
            drawn = surface.layers(model, face, light, maps, seen, 0.4)
            points, covered = surface.picture(model, seen, face.vertices)
            pixels, _ = cameras.project(face.camera, points.reshape(COUNT, -1, 3))
            there = uv.sample_image(colour.srgb_to_linear(jnp.asarray(wide.image)), pixels).reshape(points.shape)
            residual, weight = jnp.abs(drawn.radiance - there).sum(-1), wide.mask * covered
            return ((residual * weight).sum((1, 2)) / weight.sum((1, 2))).sum()

        found, steps = jax.jit(jax.grad(loss))(start), np.array([1e-6] * 3 + [1e-4] * 3)
        for k, step in enumerate(steps):
            away = step * np.eye(6)[k]
            expected = (energy(start + away) - energy(start - away)) / (2 * step)
            np.testing.assert_allclose(found[k], expected, rtol=2e-3, atol=1e-5)


def test_weak_perspective_forgets_depth_and_keeps_size(method):
    chi = FaceParameters(
        jnp.zeros((1, 10)), jnp.zeros((1, 10)), jnp.zeros((1, 0)), jnp.array([[0.1, 0.5, -0.2]]),
        jnp.array([[10.0, -20.0, -1200.0]]), jnp.zeros((1, 1, 3)), perspective=False,
    )  # fmt: skip
    camera = Pinhole(jnp.array([150.0]), jnp.array([[16.0, 15.0]]))
    face = surface.posed(method.model, chi, camera)
    vertices = np.asarray(face.vertices[0], np.float64)
    scale = 150 / 1200
    np.testing.assert_allclose(face.pixels[0], [16, 15] + scale * vertices[:, :2] * [1, -1], rtol=1e-5, atol=1e-4)
    pinhole = surface.posed(method.model, chi.replace(perspective=True), camera)
    near = vertices[:, 2] > -1180
    away = np.linalg.norm(vertices[:, :2], axis=-1) > 50
    assert (np.linalg.norm(pinhole.pixels - face.pixels, axis=-1)[0][near & away] > 0.05).all()
    crop = cameras.crop(camera, jnp.array([[3.0, 4.0]]), jnp.array([2.0]))
    cropped = surface.posed(method.model, chi, crop)
    np.testing.assert_allclose(cropped.pixels, 2 * (face.pixels - jnp.array([3.0, 4.0])), rtol=1e-5, atol=1e-3)


@pytest.mark.slow
def test_it_learns(method, variables, batch, energy):
    params, state = variables
    weights, optimiser = dict(method.weights), optax.adam(2e-3)
    update = jax.jit(optimiser.update)
    opt_state, history = optimiser.init(params), []
    for step in range(10):
        (_, (state, metrics)), grads = energy(params, weights, state, batch, jax.random.key(step), jnp.int32(step))
        updates, opt_state = update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        history.append(float(metrics['photo_other'] + metrics['photo_mirrored']))
    assert history[-1] < 0.8 * history[0]


def test_clips_that_do_not_fit_are_named(method, variables, batch):
    params, state = variables
    odd = jax.tree.map(lambda leaf: leaf[:3], batch)
    with pytest.raises(UserError, match='clips of 2'):
        method.loss(params, state, odd, jax.random.key(0), jnp.int32(0))


@pytest.mark.parametrize('variant', ['cest', 'iest', 'single', 'cpu+raytrace+expression_last', 'cpu+pinhole+frames8'])
def test_every_variant_has_a_network(variant):
    made = methods.build(configs.get_config(variant))
    params, _ = jax.eval_shape(made.init, jax.random.key(0))
    assert set(params) == set(configs.get_config(variant).factors)


def test_every_change_changes_something_and_others_are_named():
    plain = lambda variant: configs.get_config(variant).to_dict()
    reference = plain('cpu')
    assert all(plain(f'cpu+{change}') != reference for change in configs.CHANGES if change != 'cest')
    with pytest.raises(ValueError, match='bands4'):
        configs.get_config('bands4')
    config = configs.get_config('quicktest')
    config.reconstructions = ('own', 'theirs')
    with pytest.raises(UserError, match='theirs'):
        methods.build(config)
