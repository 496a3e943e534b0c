"""What cest compares in its section 4.2, and orders of the factors that it does not, on synthetic clips.

    python -m experiments.cest_ablations --out=runs/cest_ablations

Trained on clips of eight frames in which person and skin stay and pose, expression and light change, and scored on
clips of other people made the same way, against what these were made of. The network knows the head that they were
drawn with, so the errors of shape tell variants apart and say nothing of people. `--size=cpu`, the default, is for
two CPU cores, `--size=paper` the paper's run, for GPUs (with `--data=SHARDS` of photographs), `--quick` shows that it
runs. A run that was stopped goes on.

`--time` measures instead what a step costs by the number of frames (3.3, stochastic optimization), side by side.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from configs import cest
from experiments import ablations, drawing, harness, uv_maps
from jfrecon import commands, methods
from jfrecon.data import build, pipeline
from jfrecon.evaluation import held_out, layers
from jfrecon.geometry import uv
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.render import panel
from jfrecon.shading import sh
from jfrecon.types import Batch, Pinhole

NAME = 'cest_ablations'
FRAMES = 8  # of a clip; what a variant needs of them are drawn anew for each step
METRICS = (
    'landmark_nme', 'vertex_error_mm', 'photometric_l1', 'diffuse_psnr_gain', 'light_error_gain',
    'albedo_inconsistency', 'albedo_is_texture', 'light_contrast', 'seconds_a_step',
)  # fmt: skip
# What the paper says of each.
VARIANTS = {
    'reference': 'CEST: realistic overlay, disentangled reflectance and light',
    'iest': 'IEST: reflectance without detail, inferior overlay',
    'consistency': 'worse separation of reflectance and light',
    'symmetry': 'single images: light remains in the reflectance',
    'unconstrained': 'degraded: reflectance copies the image, light from everywhere',
    'frames2': '',
    'frames8': '',
    'full': '',
    'mirrored_other': 'the other reading of eq. 8',
    'light_first': '',
    'light_before_reflectance': '',
    'shape_first': '',
    'light_alone': '',
    'appearance_first': '',
    'expression_last': '',
}
COLUMNS = ('input', 'overlay', 'albedo', 'shading', 'normal', 'light')


class Clips:
    """Synthetic clips that no variant has seen, at the size of the training crops."""

    def prepare(self, out: Path, count: int) -> None:
        """See `experiments.ablations.Judge`; the faces are made when the config is known."""

    def __call__(
        self, predictor: Predictor, config: ConfigDict, out: Path, count: int
    ) -> tuple[list[dict[str, float]], list[np.ndarray]]:
        """See `experiments.ablations.Judge`."""
        source = build.synthetic_faces(config, out / 'synthetic', 'test', count)
        texels = uv.texel_map(predictor.model.topology, config.network.texture)
        rows, pictures = [], []
        clips = pipeline.with_truth(
            source, size=config.data.size, batch_size=FRAMES, default_focal=config.data.focal, rule=build.rule(config)
        )
        for batch, truth, number in clips:
            chi = predictor.infer(batch.image, batch.camera)
            albedo = np.asarray(chi.maps.diffuse)
            texture, seen = uv_maps.photographed(predictor.model, chi, batch, texels)
            scored = held_out.score(predictor, chi, batch, truth, number)
            drawn = panel.rows(predictor.portrait, chi, batch.image, batch.camera, COLUMNS)
            diffuse = np.asarray(drawing.layers(predictor.model, chi, batch.camera, batch.image.shape[1:3]).diffuse)
            for i, row in enumerate(scored):
                row |= layers.layer_scores({'diffuse': diffuse[i]}, {'diffuse': truth.diffuse[i]}, truth.face[i])
                row |= layers.light_error(np.asarray(chi.light[i]), truth.light[i])
                row['albedo_is_texture'] = uv_maps.apart(albedo[i], texture[i], seen[i])
                others = [uv_maps.apart(albedo[i], albedo[k], seen[i] * seen[k]) for k in range(number) if k != i]
                row['albedo_inconsistency'] = float(np.mean(others))
                row['light_contrast'] = contrast(np.asarray(chi.light[i]))
            rows += scored
            pictures += list(drawn[: 2 if len(pictures) < ablations.SHOWN else 0])  # two of each of two people
        return rows, pictures


def contrast(light: np.ndarray) -> float:
    """How uneven a light [L², 3] makes matte skin: the deviation of its irradiance over the sphere, over the mean."""
    kernel = sh.cosine_kernel(sh.bands_of(light))
    received = np.asarray(sh.convolve(jnp.asarray(light), kernel)).mean(-1)
    return float(np.linalg.norm(received[1:]) / abs(received[0]))


ABLATION = ablations.Ablation(
    name=NAME,
    method=cest.get_config,
    always=(),
    variants=VARIANTS,
    metrics=METRICS,
    changes={'quick': {'steps': 20, 'batch_size': 8}, 'cpu': {'steps': 600, 'batch_size': 8}},
    frames=FRAMES,
    judge=Clips(),
)


def time_steps(out: Path, quick: bool, overwrite: bool) -> None:
    """Seconds for loss and gradient of two clips of so many frames, by stochastic and by full terms; medians."""
    repeats, counts = (2, (1, 2)) if quick else (15, (1, 2, 4, 8))
    run = harness.start(NAME, out, overwrite)
    compiled = {}
    for kind, frames in itertools.product(('stochastic', 'full'), counts):
        config = cest.get_config('cpu+full' if kind == 'full' else 'cpu')
        config.data.frames = frames
        config.network.texture = 32
        compiled[kind, frames] = _step(methods.build(config), 2 * frames, config.data.size)
        print(kind, frames, file=sys.stderr)
    taken: dict[tuple[str, int], list[float]] = {key: [] for key in compiled}
    for _ in tqdm(range(repeats), desc='timing', disable=None):
        for key, step in compiled.items():  # in turn: what else the machine does meets all of them
            started = time.perf_counter()
            step()
            taken[key].append(time.perf_counter() - started)
    median = lambda kind: {str(frames): float(np.median(taken[kind, frames])) for frames in counts}
    seconds = {kind: median(kind) for kind in ('stochastic', 'full')}
    run.record(seconds, harness.table(seconds))


def _step(method, count: int, size: int):
    params, model_state = method.init(jax.random.key(0))
    random = np.random.default_rng(0)
    batch = Batch(
        image=random.random((count, size, size, 3), np.float32),
        landmarks=np.full((count, 68, 2), size / 2, np.float32),
        landmark_weight=np.ones((count, 68), np.float32),
        mask=np.ones((count, size, size), np.float32),
        camera=Pinhole(np.full(count, 4.5 * size, np.float32), np.full((count, 2), size / 2, np.float32)),
        index=np.arange(count),
    )
    step = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
    run = lambda: jax.block_until_ready(step(params, model_state, batch, jax.random.key(0), jnp.int32(0)))
    run()
    return run


def main(arguments: list[str] | None = None) -> None:
    """Train and score the variants of cest."""
    parser = ablations.parser(NAME, main.__doc__ or '')
    parser.add_argument('--time', action='store_true', help='measure what a step costs by the number of frames instead')
    options = parser.parse_args(arguments)
    if options.time:
        for flag, value in {'--size': options.size, '--seed': options.seed}.items():
            if value is not None:
                raise commands.no_effect(flag, 'with --time')
        time_steps(options.out, options.quick, options.overwrite)
    else:
        ABLATION.run(options)


if __name__ == '__main__':
    commands.run(main)
