"""What yang21 compares in its section 5, on synthetic faces with their truth.

    python -m experiments.identity_network --network=losses --out=runs/identity_network_losses
    python -m experiments.yang21_ablations --out=runs/yang21_ablations

One prior module for all variants of a seed, then the refinement module of each; scored on faces of other people. OD
is the rendering under the light map, OC under the coarse light (5.2), and whether both show the person in the
photograph is judged by a network that no loss uses (`experiments.identity_network`). The faces wear painted skins, so
the albedo is known in every texel, seen or not. `--size=cpu`, the default, is for two CPU cores, `--size=paper` the
paper's run, for GPUs (with `--data=SHARDS` of photographs and `--weights=FILE`), `--quick` shows that it runs. A run
that was stopped goes on.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from configs import yang21 as configs
from experiments import ablations, drawing, harness, uv_maps
from jfrecon import commands, morphable
from jfrecon.data import build, pipeline
from jfrecon.data.synthetic import generate, skins
from jfrecon.evaluation import held_out, identity, layers
from jfrecon.geometry import uv
from jfrecon.methods.yang21 import relit
from jfrecon.nets import iresnet
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.render import panel, surface
from jfrecon.types import FaceParameters

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
            draw = lambda face: drawing.rendered(predictor.model, face, batch.camera, batch.image.shape[1:3])  # noqa: B023
            own, crossed = draw(chi), draw(drawing.crossed(chi))
            mine, other = identity.codes(*own), identity.codes(*crossed)
            them = np.roll(identity.codes(np.asarray(batch.image), own[1] * np.asarray(batch.mask)), 1, axis=0)
            albedo = np.asarray(chi.maps.diffuse)
            _, shown = uv_maps.photographed(predictor.model, chi, batch, texels)
            prior = np.asarray(surface.prior_maps(predictor.model, texels, chi.albedo).diffuse)
            chart = np.asarray(texels.coverage) > 0
            scored = {
                'od': held_out.score(predictor, chi, batch, truth, number),
                'oc': held_out.score(predictor, coarse, batch, truth, number),
            }
            diffuse = np.asarray(drawing.layers(predictor.model, chi, batch.camera, batch.image.shape[1:3]).diffuse)
            for i in range(number):
                k = int(batch.index[i])
                skin = chart & (painted[k].sum(-1) > 0)
                row = {
                    f'{light}_{short}': found[i][name]
                    for light, found in scored.items()
                    for short, name in SCORES.items()
                }
                row |= layers.layer_scores({'diffuse': diffuse[i]}, {'diffuse': truth.diffuse[i]}, truth.face[i])
                row['albedo_seen'] = uv_maps.apart(albedo[i], painted[k], skin * shown[i])
                row['albedo_unseen'] = uv_maps.apart(albedo[i], painted[k], skin * (1 - shown[i]))
                row['prior_unseen'] = uv_maps.apart(prior[i], painted[k], skin * (1 - shown[i]))
                row |= layers.light_error(mean_light(chi, chart)[i], truth.light[i])
                row['leakage'] = float(other[i] @ them[i] - mine[i] @ them[i])
                rows.append(row)
            if len(pictures) < ablations.SHOWN:
                tiles = panel.rows(predictor.portrait, chi, batch.image, batch.camera, COLUMNS)
                lit = np.concatenate([tiles, *(drawing.encoded(picture) for picture, _ in (own, crossed))], 2)
                pictures += list(lit[: ablations.SHOWN])
        return rows, pictures


def worn(config: ConfigDict, count: int, side: int) -> np.ndarray:
    """Albedo [N, side, side, 3], linear, that the faces of the test set were painted with; 0 where there is no skin."""
    stage = generate.prepare(morphable.load_head(config.model.name, config.model.path))
    seed = config.seed * len(build.SPLITS) + build.SPLITS.index('test')
    return uv_maps.painted(skins.paint(stage, seed, count, generate.TEXTURE), side)


def mean_light(chi: FaceParameters, chart: np.ndarray) -> np.ndarray:
    """[B, L², 3] the mean of the light maps over the face, or the coarse light."""
    light = None if chi.maps is None else chi.maps.light
    return np.asarray(chi.light) if light is None else np.asarray(light)[:, chart].mean(1)


def ablation(identity: Path) -> ablations.Ablation:
    """The variants, with an identity network for their perceptual terms."""
    # published networks read 112 pixels, aligned; `experiments.identity_network`'s are shown crops
    seen = 'aligned' if iresnet.load(identity)[2] == iresnet.TEMPLATE_SIZE else 'crop'
    perceptual = {'identity': str(identity), 'identity_input': seen, 'loss.perceptual': 0.2, 'loss.cross': 0.5}
    return ablations.Ablation(
        name=NAME,
        method=configs.get_config,
        always=(),
        variants=VARIANTS,
        metrics=METRICS,
        changes={
            'quick': {'network.texture': 32, 'optimiser.every': 500, **perceptual},
            'cpu': {'network.texture': 64, 'optimiser.every': 500, **perceptual},
            'paper': {'identity': str(identity), 'identity_input': seen},
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
    parser = ablations.parser(NAME, main.__doc__ or '')
    weights = Path('runs/identity_network_losses/iresnet.safetensors')
    parser.add_argument('--identity', type=Path, default=weights, help='the identity network of the loss')
    options = parser.parse_args(arguments)
    harness.need(options.identity, 'the weights of experiments.identity_network --network=losses')
    ablation(options.identity).run(options)


if __name__ == '__main__':
    commands.run(main)
