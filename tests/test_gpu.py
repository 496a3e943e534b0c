"""What only an accelerator can do; skipped elsewhere: `JAX_PLATFORMS=cuda,cpu .venv/bin/python -m pytest -m gpu`."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from configs import cest, dib21, s2f2, yang21
from experiments import scenes
from jfrecon import methods, morphable
from jfrecon.methods.method import AXIS
from jfrecon.render import raytrace
from jfrecon.training import optimiser, parallel, stages, train_state
from jfrecon.types import Batch, Pinhole

pytestmark = pytest.mark.gpu


def test_the_ray_tracer_draws_what_it_draws_on_the_cpu():
    """Same samples: pixels differ where rounding moves a ray past an edge, which few do."""
    scene, key = scenes.face(morphable.load('makehuman', None), 0, 128), jax.random.key(0)
    pictures = []
    for device in (jax.devices()[0], jax.devices('cpu')[0]):
        with jax.default_device(device):
            own = jax.device_put((scene, key), device)
            drawn = jax.jit(lambda scene, key: raytrace.render(scene, (128, 128), key, samples=8))(*own)
            pictures.append((np.asarray(drawn.image), np.asarray(drawn.coverage)))
    (image, coverage), (wanted, covered) = pictures
    assert (coverage != covered).mean() < 1e-3
    assert (np.abs(image - wanted).max(-1) > 0.02).mean() < 0.01


@pytest.mark.parametrize('configs', [cest, dib21, s2f2, yang21], ids=lambda configs: configs.__name__)
def test_the_papers_network_takes_a_step_of_every_stage(configs, tmp_path):
    whole = configs.get_config()
    if 'perceptual' in whole.loss:  # which need an identity network
        for loss in (whole.loss, *(stage.loss for stage in whole.stage.values() if 'loss' in stage)):
            loss.perceptual = loss.cross = 0.0
    for _, part in stages.configs(whole, tmp_path):
        size, count = part.data.size, part.batch_size
        batch = Batch(
            image=np.random.default_rng(0).random((count, size, size, 3), np.float32),
            landmarks=np.full((count, 68, 2), size / 2, np.float32),
            landmark_weight=np.ones((count, 68), np.float32),
            mask=np.ones((count, size, size), np.float32),
            camera=Pinhole(np.full(count, 4.5 * size, np.float32), np.full((count, 2), size / 2, np.float32)),
            index=np.arange(count, dtype=np.int32),
        )
        method, descent = methods.build(part, AXIS), optimiser.build(part.steps, **part.optimiser)[0]
        mesh, key = parallel.device_mesh(), jax.random.PRNGKey(0)
        state = parallel.replicate(train_state.create(*method.init(key), descent, key), mesh)
        step = parallel.pmapped(parallel.gradient_step(method.loss, descent))
        state, metrics = step(state, parallel.share_out(batch, mesh))
        told = {name: float(value) for name, value in metrics.items()}
        assert told['skipped'] == 0 and np.isfinite(told['loss']), told
