"""The parts of the papers in combinations that no paper has."""

import dataclasses
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cest, dib21, s2f2, yang21
from jfrecon import methods, morphable
from jfrecon.losses.data_term import RENDERERS
from jfrecon.training import stages
from jfrecon.types import Batch, Pinhole

SHARED = Path(os.environ.get('JFRECON_SHARED', Path(__file__).parents[2].parent / 'shared'))
SIZE, COUNT = 32, 2
MODELS = {'makehuman': None, 'ict': SHARED / 'ict_facekit' / 'ict_face.npz'}
BATCH = Batch(
    image=np.random.default_rng(0).random((COUNT, SIZE, SIZE, 3), np.float32),
    landmarks=np.full((COUNT, 68, 2), SIZE / 2, np.float32),
    landmark_weight=np.ones((COUNT, 68), np.float32),
    mask=np.ones((COUNT, SIZE, SIZE), np.float32),
    camera=Pinhole(np.full(COUNT, 4.5 * SIZE, np.float32), np.full((COUNT, 2), SIZE / 2, np.float32)),
    index=np.arange(COUNT),
)


def built(configs, renderer, model, tmp_path, change=''):
    """The last stage of a method, with a renderer and a morphable model."""
    if MODELS[model] is not None and not MODELS[model].exists():
        pytest.skip('no ICT-FaceKit')
    # yang21 has one renderer in its last stage
    config = stages.configs(configs.get_config('quicktest' + change), tmp_path)[0 if configs is yang21 else -1][1]
    config.renderer, config.model.name = renderer, model
    config.model.path = MODELS[model] and str(MODELS[model])
    config.model.identity = config.model.expression = 5
    if configs is not cest:
        config.model.albedo = 5
    config.samples = 2
    config.data.frames = COUNT
    return methods.build(config)


@pytest.mark.parametrize('configs', [cest, dib21, s2f2, yang21], ids=lambda configs: configs.__name__)
@pytest.mark.parametrize('model', ['makehuman', pytest.param('ict', marks=pytest.mark.slow)])
def test_every_method_runs_with_every_renderer_and_every_model(configs, model, tmp_path):
    weights = configs.get_config('quicktest').loss
    renderers = [name for name, terms in RENDERERS.items() if set(terms) <= set(weights)]
    assert len(renderers) == (2 if configs is yang21 else 4)  # yang21 has no term over vertices
    method = built(configs, renderers[-1], model, tmp_path)
    variables = jax.eval_shape(method.init, jax.random.key(0))
    chi = jax.eval_shape(method.predict, *variables, BATCH.image, BATCH.camera)
    assert chi.identity.shape == (COUNT, 5)
    # as if its expressions were the modes of a Gaussian basis: a box would forbid half of them
    gaussian = dataclasses.replace(method.model, expression_prior='gaussian')
    unboxed = {name: weight for name, weight in method.weights.items() if name != 'box'}
    of_gaussian = dataclasses.replace(method, model=gaussian, weights=unboxed)
    for k, renderer in enumerate(renderers):
        chosen = method if k < len(renderers) / 2 else of_gaussian
        own = dataclasses.replace(chosen, data=dataclasses.replace(chosen.data, renderer=renderer))
        loss, (_, metrics) = jax.eval_shape(own.loss, *variables, BATCH, jax.random.key(0), jnp.int32(0))
        assert loss.shape == ()
        assert ('box' in metrics) == (chosen is method and configs is not s2f2)  # whose last stage has no priors


def test_a_box_that_a_model_has_no_use_for_has_no_weight(tmp_path, monkeypatch):
    boxed = morphable.load('makehuman', None)
    for prior in ('box', 'gaussian'):
        chosen = dataclasses.replace(boxed, expression_prior=prior)
        monkeypatch.setattr(morphable, 'load', lambda name, path, chosen=chosen: chosen)
        for configs in (yang21, cest):
            assert ('box' in built(configs, 'raster', 'makehuman', tmp_path).weights) == (prior == 'box')


@pytest.mark.slow
@pytest.mark.parametrize(
    'configs, renderer, model, change',
    [
        (cest, 'raytrace', 'makehuman', ''),  # cest's order under light with shadows
        (cest, 'vertex', 'ict', '+light_first+pinhole'),
        (s2f2, 'raster', 'makehuman', ''),  # relief, seen pixel by pixel
        (s2f2, 'vertex', 'ict', ''),
        (dib21, 'raster', 'ict', ''),
    ],
)
def test_unusual_pairs_take_a_step(configs, renderer, model, change, tmp_path):
    method = built(configs, renderer, model, tmp_path, change)
    params, state = method.init(jax.random.key(0))
    step = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
    (loss, _), gradient = step(params, state, BATCH, jax.random.key(0), jnp.int32(0))
    assert np.isfinite(loss)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(gradient)]
    assert all(np.isfinite(leaf).all() for leaf in leaves) and any(leaf.any() for leaf in leaves)
