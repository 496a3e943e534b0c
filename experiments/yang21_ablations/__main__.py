"""What yang21 compares in its section 5, on synthetic faces with their truth.

    python -m experiments.identity_network --network=losses --out=runs/identity_network_losses
    python -m experiments.yang21_ablations --out=runs/yang21_ablations

One prior module for all variants of a seed, then the refinement module of each; scored on faces of other people. OD is
the rendering under the light map, OC under the coarse light (5.2), and whether both show the person in the photograph
is judged by a network that no loss uses (`experiments.identity_network`). The faces wear painted skins, so the albedo
is known in every texel, seen or not. `--size=cpu`, the default, is for two CPU cores, `--size=paper` for GPUs,
`--quick` shows that it runs. A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from configs import yang21 as configs
from experiments import ablations, harness
from experiments.cest_ablations.__main__ import apart, unwrapped
from jfrecon import commands, morphable
from jfrecon.data import build, pipeline
from jfrecon.data.synthetic import generate, skins
from jfrecon.evaluation import held_out, identity, layers
from jfrecon.geometry import uv
from jfrecon.methods.yang21 import relit
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.render import panel, surface
from jfrecon.shading import colour
from jfrecon.types import Batch, FaceParameters, MorphableModel

NAME = 'yang21_ablations'
BATCH = 8
SCORES = {'l1': 'photometric_l1', 'psnr': 'psnr', 'ssim': 'ssim', 'identity': 'identity_similarity'}
METRICS = (
    'od_l1', 'od_psnr', 'od_ssim', 'od_identity', 'oc_l1', 'oc_psnr', 'oc_ssim', 'oc_identity', 'diffuse_psnr_gain',
    'albedo_seen', 'albedo_unseen', 'prior_unseen', 'light_error_gain', 'leakage', 'seconds_a_step',
)  # fmt: skip
# What the paper reports of each.
VARIANTS = {
    'reference': 'OD: L1 0.01, PSNR 28.90, SSIM 0.93, identity 0.93 / 0.86; OC: 0.02, 24.88, 0.89, 0.91 / 0.83',
    'coarse_light': '',
    'no_gradient': 'figure 10: no detail in the albedo',
    'unregularised': 'figure 10: light in the albedo',
    'no_cross': 'figure 11: wrinkles and beard in the light',
    'white_prior': 'the prior albedo is what keeps albedo and light apart',
}
COLUMNS = ('input', 'overlay', 'albedo', 'normal')


class Faces:
    """Synthetic faces that no variant has seen, at the size of the training crops."""

    def prepare(self, out: Path, count: int) -> None:
        """See `experiments.ablations.Judge`; the faces are made when the config is known."""

    def __call__(
        self, predictor: Predictor, config: ConfigDict, out: Path, count: int
    ) -> tuple[list[dict[str, float]], list[np.ndarray]]:
        """See `experiments.ablations.Judge`."""
        source = build.synthetic_faces(config, out / 'synthetic', 'test', count)
        side = config.network.texture
        texels, painted = uv.texel_map(predictor.model.topology, side), worn(config, count, side)
        rows, pictures = [], []
        batches = pipeline.with_truth(
            source, size=config.data.size, batch_size=BATCH, default_focal=config.data.focal, rule=build.rule(config)
        )
        for batch, truth, number in batches:
            chi = predictor.infer(batch.image, batch.camera)
            assert chi.maps is not None
            coarse = dataclasses.replace(chi, maps=relit(chi.maps, None))
            crossed = dataclasses.replace(chi, light=turned(chi.light), maps=relit(chi.maps, turned(chi.maps.light)))
            drawn = {name: seen(predictor.model, c, batch) for name, c in (('own', chi), ('crossed', crossed))}
            mine, other = codes(drawn['own']), codes(drawn['crossed'])
            them = turned(codes((np.asarray(batch.image), drawn['own'][1] * np.asarray(batch.mask))))
            albedo, _, shown = map(np.asarray, unwrapped(predictor.model, chi, batch, texels))
            prior = np.asarray(surface.prior_maps(predictor.model, texels, chi.albedo).diffuse)
            chart = np.asarray(texels.coverage) > 0
            scored = {
                'od': held_out.score(predictor, chi, batch, truth, number),
                'oc': held_out.score(predictor, coarse, batch, truth, number),
            }
            diffuse = np.asarray(_diffuse(predictor.model, chi, batch))
            for i in range(number):
                k = int(batch.index[i])
                skin = chart & (painted[k].sum(-1) > 0)
                row = {
                    f'{light}_{short}': found[i][name]
                    for light, found in scored.items()
                    for short, name in SCORES.items()
                }
                row |= layers.layer_scores({'diffuse': diffuse[i]}, {'diffuse': truth.diffuse[i]}, truth.face[i])
                row['albedo_seen'] = apart(albedo[i], painted[k], skin * shown[i])
                row['albedo_unseen'] = apart(albedo[i], painted[k], skin * (1 - shown[i]))
                row['prior_unseen'] = apart(prior[i], painted[k], skin * (1 - shown[i]))
                row |= layers.light_error(mean_light(chi, chart)[i], truth.light[i])
                row['leakage'] = float(other[i] @ them[i] - mine[i] @ them[i])
                rows.append(row)
            if len(pictures) < ablations.SHOWN:
                tiles = panel.rows(predictor.portrait, chi, batch.image, batch.camera, COLUMNS)
                lit = np.concatenate([tiles, *(encoded(drawn[name][0]) for name in ('own', 'crossed'))], 2)
                pictures += list(lit[: ablations.SHOWN])
        return rows, pictures


def worn(config: ConfigDict, count: int, side: int) -> np.ndarray:
    """Albedo [N, side, side, 3], linear, that the faces of the test set were painted with; 0 where there is no skin."""
    stage = generate.prepare(morphable.load_head(config.model.name, config.model.path))
    seed = config.seed * len(build.SPLITS) + build.SPLITS.index('test')
    return true_albedo(skins.paint(stage, seed, count, generate.TEXTURE), side)


def true_albedo(painted: skins.Skins, side: int) -> np.ndarray:
    """Albedo [N, side, side, 3], linear, of painted skins; 0 where there is none."""
    fine = np.square(np.asarray(painted.texture[..., :3], np.float32))
    block = generate.TEXTURE // side
    blocks = fine.reshape(len(fine), side, block, side, block, 3)
    return blocks.sum((2, 4)) / np.maximum((blocks.sum(-1, keepdims=True) > 0).sum((2, 4)), 1)


def turned(values):
    """Each face gets that of the face before it in the batch; None stays None."""
    return None if values is None else jnp.roll(jnp.asarray(values), 1, axis=0)


def mean_light(chi: FaceParameters, chart: np.ndarray) -> np.ndarray:
    """[B, L², 3] the mean of the light maps over the face, or the coarse light."""
    light = None if chi.maps is None else chi.maps.light
    return np.asarray(chi.light) if light is None else np.asarray(light)[:, chart].mean(1)


def seen(model: MorphableModel, chi: FaceParameters, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """sRGB renderings [B, H, W, 3] and where they show the face, [B, H, W]."""
    radiance, coverage, _ = map(np.asarray, _layers(model, chi, batch.camera, batch.image.shape[1:3]))
    return np.asarray(colour.linear_to_srgb(jnp.asarray(radiance))).clip(0, 1), coverage


def codes(picture: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Who pictures show, by the network that scores."""
    return identity.codes(*picture)


def encoded(picture: np.ndarray) -> np.ndarray:
    """uint8 of sRGB in 0..1."""
    return np.round(255 * picture).astype(np.uint8)


def _diffuse(model: MorphableModel, chi: FaceParameters, batch: Batch) -> jax.Array:
    return _layers(model, chi, batch.camera, batch.image.shape[1:3])[2]


@functools.partial(jax.jit, static_argnums=3)
def _layers(model, chi, camera, size):
    face = surface.posed(model, chi, camera)
    found = surface.layers(model, face, chi.light, chi.maps, surface.rasterise(model, face, size), roughness=1.0)
    return found.radiance, found.coverage, found.diffuse


def ablation(identity: Path) -> ablations.Ablation:
    """The variants, with an identity network for their perceptual terms."""
    perceptual = {'identity': str(identity), 'loss.perceptual': 0.2, 'loss.cross': 0.5}
    return ablations.Ablation(
        name=NAME,
        method=configs.get_config,
        always=(),
        variants=VARIANTS,
        metrics=METRICS,
        changes={
            'quick': {'network.texture': 32, 'optimiser.every': 500, **perceptual},
            'cpu': {'network.texture': 64, 'optimiser.every': 500, **perceptual},
            'paper': {'identity': str(identity)},
        },
        stage={
            'quick': {'prior': {'steps': 20}, 'refine': {'steps': 10}},
            'cpu': {'prior': {'steps': 1_500}, 'refine': {'steps': 1_000}},
        },
        relaxed='refine',
        judge=Faces(),
    )


def main(arguments: list[str] | None = None) -> None:
    """Train and score the variants of yang21."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('--identity', type=Path, default=Path('runs/identity_network_losses/iresnet.safetensors'))
    options, others = parser.parse_known_args(arguments)
    harness.need(options.identity, 'the weights of experiments.identity_network --network=losses')
    ablation(options.identity).run(others, main.__doc__ or '')


if __name__ == '__main__':
    commands.run(main)
