"""What docs/adding.md says, done: its examples become files beside ours, and nothing else is touched."""

import dataclasses
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cest, dib21
from jfrecon import methods, morphable
from jfrecon.data import build
from jfrecon.data.sample import InMemory, Sample
from jfrecon.errors import UserError
from jfrecon.methods.cest import factors
from jfrecon.methods.dib21 import terms
from jfrecon.morphable import loading, models
from jfrecon.reconstruction import prediction
from jfrecon.render import panel, portraits, raytrace, sampling
from jfrecon.training import checkpoints, stages
from jfrecon.types import Batch, Pinhole
from tests.render import spheres

SIZE = 32
ROOT = Path(__file__).parent.parent
DOCS = (ROOT / 'docs' / 'adding.md').read_text()


def example(file: str) -> str:
    """The block whose first line names a file."""
    (found,) = re.findall(rf'```python\n(# {re.escape(file)}\n.*?)```', DOCS, re.S)
    return found


def test_every_section_is_listed_and_names_a_test_that_is_there():
    _, *sections = re.split(r'^## ', DOCS, flags=re.M)
    assert [section.splitlines()[0] for section in sections] == re.findall(r'^\* \[(.*?)\]\(#', DOCS, re.M)
    for section in sections:
        (file, name), *_ = re.findall(r'\*\*Test\*\*: `(.*?)::(\w+)`', section)
        assert f'def {name}(' in (ROOT / file).read_text()


@pytest.fixture
def added(monkeypatch, tmp_path):
    """Writes an example where a package of ours looks for its modules."""
    names = []

    def add(package, file):
        name = Path(file).parent.name if file.endswith('__init__.py') else Path(file).stem
        path = tmp_path / 'added' / (f'{name}/__init__.py' if file.endswith('__init__.py') else f'{name}.py')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(example(file))
        monkeypatch.setattr(package, '__path__', [*package.__path__, str(tmp_path / 'added')])
        names.append((package, name))

    yield add
    for package, name in names:
        sys.modules.pop(f'{package.__name__}.{name}', None)
        vars(package).pop(name, None)


def photographs(model, count=2):
    """Walls of one colour each, with the landmarks of the mean face in the middle."""
    points = np.asarray(model.mean)[np.asarray(model.landmark_ids), :2]
    landmarks = (SIZE / 2 + points * [1, -1] * 0.5 * SIZE / 150).astype(np.float32)
    image = lambda k: np.full((SIZE, SIZE, 3), [200 - 90 * k, 90, 60 + 50 * k], np.uint8)
    return InMemory([Sample(image(k), landmarks, np.full((SIZE, SIZE), 255, np.uint8)) for k in range(count)])


def train(config, faces, workdir):
    """Two steps, and the network read back."""
    config.data.size, config.batch_size, config.steps, config.checkpoint_every = SIZE, 2, 2, 2
    state = stages.train(config, workdir, data=build.batches(config, faces))
    assert int(state.step) == 2 and int(state.skipped) == 0
    predictor, found, step = prediction.load(workdir)
    assert (found.method, step) == (config.method, 2)
    return state, predictor


@pytest.mark.slow
def test_a_method_is_a_package_and_a_config(added, tmp_path):
    added(methods, 'jfrecon/methods/mean_colour/__init__.py')
    assert 'mean_colour' in methods.names()
    named = {}
    exec(example('configs/mean_colour.py'), named)
    config = named['get_config']()
    config.model.identity = config.model.expression = config.model.albedo = 2
    faces = photographs(morphable.load())
    state, predictor = train(config, faces, tmp_path / 'run')
    kernel, bias = (np.asarray(state.params[name], np.float64) for name in ('kernel', 'bias'))
    assert np.abs(bias).max() > 0.005  # of a learning rate of 0.01
    found = dict(predictor.faces(faces))
    assert sorted(found) == [0, 1]
    for k, face in found.items():
        pose = faces[k].image.astype(np.float64).mean((0, 1)) / 255 @ kernel + bias
        np.testing.assert_allclose(face.parameters.rotation, pose[:3], atol=1e-6)
        assert np.ptp(face.landmarks2d[:, 0]) > 0.3 * SIZE and np.isfinite(face.vertices).all()
    assert list((tmp_path / 'run' / 'panels').glob('*.png'))
    checkpoints.pack(tmp_path / 'run', tmp_path / 'packed.safetensors')
    packed = dict(prediction.load(tmp_path / 'packed.safetensors')[0].faces(faces))
    np.testing.assert_allclose(packed[1].vertices, found[1].vertices, atol=0.5)  # mm, of half precision


def mask():
    """Arrays of a face of 400 vertices: half an ellipsoid that can be stretched and shifted."""
    yaw, pitch = (values.ravel() for values in np.meshgrid(np.linspace(-1.3, 1.3, 20), np.linspace(-1.2, 1.2, 20)))
    mean = np.stack([80 * np.sin(yaw) * np.cos(pitch), 110 * np.sin(pitch), 90 * np.cos(yaw) * np.cos(pitch)], -1)
    corner = np.arange(400).reshape(20, 20)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    template = morphable.load()
    points = np.asarray(template.mean)[template.landmark_ids, :2]
    landmarks = np.linalg.norm(mean[:, None, :2] - points, axis=-1).argmin(0)
    modes = np.stack([mean * [0.1, 0, 0], mean * [0, 0.1, 0]])
    return {
        'mean': mean,
        'identity': modes,
        'expression': 5 + 0 * modes,
        'triangles': triangles,
        'landmarks': landmarks,
    }


@pytest.mark.slow
def test_a_morphable_model_is_a_module(added, monkeypatch, tmp_path):
    added(models, 'jfrecon/morphable/models/mine.py')
    assert 'mine' in morphable.names() and 'mine' not in morphable.names(with_head=True)

    def plain(mean, *rest):
        """The generic skin takes seconds to paint."""
        return tuple(np.full((*modes, len(mean), c), 0.2, np.float32) for c in (3, 1) for modes in ((), (1,)))

    monkeypatch.setattr(loading, 'coat', plain)
    arrays = mask()
    np.savez(tmp_path / 'mine.npz', **arrays)
    config = dib21.get_config('quicktest+base')
    config.model.name, config.model.path = 'mine', str(tmp_path)
    faces = photographs(morphable.load('mine', tmp_path))
    state, predictor = train(config, faces, tmp_path / 'run')
    assert predictor.model.name == 'mine' and len(predictor.model.mean) == 400
    middle = arrays['mean'][arrays['landmarks']].mean(0)
    np.testing.assert_allclose(predictor.model.mean, arrays['mean'] - middle, atol=1e-4)  # the frame of `types`
    for _, face in predictor.faces(faces):
        assert face.vertices.shape == (400, 3) and face.parameters.identity.shape == (2,)
    assert state.params['head']['fc']['kernel'].shape[1] == 2 + 2 + 1 + 3 + 3 + 3 * config.light_bands**2

    (tmp_path / 'mine.npz').write_bytes(b'PK')
    with pytest.raises(ValueError, match=r'mine\.npz: damaged.*ask me for mine\.npz'):
        prediction.load(tmp_path / 'run')


def test_a_loss_term_of_dib21_is_a_function_and_a_line(monkeypatch):
    config = dib21.get_config('quicktest+base')
    config.model.identity = config.model.expression = config.model.albedo = 2
    config.batch_size = 2
    with pytest.raises(UserError, match=r'config\.loss\.upright: dib21 has no such term'):
        config.loss.upright = 0.1
        methods.build(config)
    namespace = dict(vars(terms))
    exec(example('jfrecon/methods/dib21/terms.py'), namespace)
    monkeypatch.setitem(terms.BASE, 'upright', namespace['upright'])
    method = methods.build(config)
    del config.loss.upright
    with pytest.raises(UserError, match=r'no weight for the term upright of dib21: add config\.loss\.upright'):
        methods.build(config)

    # heads that lean by 0.3, whatever the photograph
    params, state = method.init(jax.random.key(0))
    fc = params['head']['fc']
    leaning = {'kernel': 0 * fc['kernel'], 'bias': fc['bias'].at[2 + 2 + 2 + 2].set(0.3)}
    batch = build.batches(config, photographs(method.model))[0]

    @jax.jit
    def loss(weight, params):
        weighed = dataclasses.replace(method, weights={**method.weights, 'upright': weight})
        return weighed.loss(params, state, batch, jax.random.key(0), jnp.int32(0))

    (light, (_, metrics)), (heavy, _) = (loss(weight, {**params, 'head': {'fc': leaning}}) for weight in (0.1, 10.1))
    np.testing.assert_allclose(metrics['upright'], 0.09, rtol=1e-5)
    np.testing.assert_allclose(heavy - light, 10 * 0.09, rtol=1e-4)


class Relief(factors.nn.Module):
    """The other map that the renderer takes: all skin leans to one side."""

    settings: factors.Settings
    gives = ('normal',)

    @factors.nn.compact
    def __call__(self, sight, train):
        last = self.param('last', lambda key: jnp.array([0.1, 0.1]))
        bent = jnp.append(last, 1) / jnp.sqrt(1 + jnp.sum(jnp.square(last)))
        return {'normal': jnp.broadcast_to(bent, (len(sight.image), *self.settings.shape('normal')))}


@pytest.mark.slow
def test_a_cest_factor_is_a_class_and_a_line(monkeypatch):
    namespace = dict(vars(factors))
    exec(example('jfrecon/methods/cest/factors.py'), namespace)
    monkeypatch.setitem(factors.FACTORS, 'gloss', namespace['Gloss'])
    monkeypatch.setitem(factors.FACTORS, 'relief', Relief)
    config = cest.get_config('quicktest+unconstrained+rgb')  # the other pictures compile the same again
    with config.unlocked():
        config.factors.gloss = config.factors.relief = ('viewpoint', 'shape')
    config.data.frames, config.model.identity, config.model.expression = 1, 4, 4
    method = methods.build(config)
    params, state = method.init(jax.random.key(0))
    assert method.columns == panel.LAYERS

    rng = np.random.default_rng(0)
    # light from somewhere: in one that is the same from everywhere there is no relief to see
    params['light']['head']['fc']['bias'] += rng.normal(size=27)
    camera = Pinhole(np.full(2, 4.5 * SIZE, np.float32), np.full((2, 2), SIZE / 2, np.float32))
    image = rng.uniform(0.2, 0.6, (2, SIZE, SIZE, 3)).astype(np.float32)
    points = np.full((2, 68, 2), SIZE / 2, np.float32)
    batch = Batch(
        image, points, np.ones((2, 68), np.float32), np.ones(image.shape[:3], np.float32), camera, np.arange(2)
    )
    new = {name: params[name] for name in ('gloss', 'relief')}
    loss = jax.jit(
        jax.value_and_grad(
            lambda new: method.loss({**params, **new}, state, batch, jax.random.key(0), jnp.int32(0)), has_aux=True
        )
    )
    gradient = loss(new)[1]
    predict = jax.jit(method.predict)
    before = predict(params, state, image, camera)
    np.testing.assert_allclose(before.maps.specular, 1 / (1 + np.exp(3)), rtol=0.2)
    assert before.light.shape == (2, 9, 3)
    photo = jax.jit(lambda chi: portraits.photo(method.portrait, chi, camera, (SIZE, SIZE))[0])
    for name in ('gloss', 'relief'):
        # along the last layer, by finite differences: a step that single precision resolves
        last = [path for path, _ in jax.tree.leaves_with_path(params[name]) if 'last' in str(path)]
        assert last
        move = lambda step: jax.tree.map_with_path(lambda path, leaf: leaf + step * (path in last), new[name])
        away = lambda step: {**new, name: move(step)}
        moved = sum(np.asarray(leaf).sum() for path, leaf in jax.tree.leaves_with_path(gradient[name]) if path in last)
        difference = (loss(away(0.01))[0][0] - loss(away(-0.01))[0][0]) / 0.02
        assert abs(moved) > 1e-3
        np.testing.assert_allclose(moved, difference, rtol=0.05)
        assert np.abs(photo(predict({**params, **away(2.0)}, state, image, camera)) - photo(before)).max() > 1 / 255


@pytest.mark.slow
def test_a_sampler_is_a_function():
    """Another one's pictures of shadows and gloss converge to the default's, block by block."""
    named = {}
    exec(example('my_project/by_cosine.py'), named)
    light = jnp.float32(np.random.default_rng(0).gamma(2.0, 0.5, (1, 12, 24, 3)))
    balls = spheres.glossy(spheres.balls(70, level=2), 0.1).replace(light=light)
    size = (spheres.SIZE, spheres.SIZE)

    def blocks(sampler, seed):
        def one(key):
            image = raytrace.render(balls, size, key, samples=64, sampler=sampler).image
            return image.reshape(4, size[0] // 4, 4, size[1] // 4, 3).mean((1, 3))

        keys = jax.random.split(jax.random.key(seed), 12)
        drawn = np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(keys), np.float64)
        return drawn.mean(0), drawn.std(0, ddof=1) / np.sqrt(len(keys))

    asked = []

    def by_cosine(light, keys):
        asked.append(light.shape)
        return named['by_cosine'](light, keys)

    (expected, its_error), (found, error) = blocks(sampling.by_radiance, 0), blocks(by_cosine, 1)
    lit, error = expected > 0.02, np.sqrt(error**2 + its_error**2)
    # some 30 numbers, whose errors are below 1.5 percent and are themselves known from 12 pictures each
    assert lit.sum() > 25 and np.median(error[lit] / expected[lit]) < 0.015
    assert np.abs((found - expected)[lit] / error[lit]).max() < 5
    assert asked == [(1, 12, 24, 3)]
