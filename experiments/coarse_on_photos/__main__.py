"""dib21's stage I on 188 portraits, split by subject: what a network learns from 90 people about 20 others.

    python -m experiments.coarse_on_photos --out=runs/coarse_on_photos

Two networks with the ICT head: one sees synthetic faces only (`synthetic_only`), the other goes on from it on the
photographs of 90 people, self-supervised, with images, landmarks and landmark hulls (`trained`). Both are judged on
the other 20 people, beside the mean face at the mean pose (`baseline`) and, for the landmarks, the mean face posed to
fit the true landmarks (`aligned_mean`).

Landmarks are `lm68_auto3d`, crops the portraits as they are. Takes about 50 minutes on two CPU cores. Panels show
photographs of people: they are written for looking, not for committing.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from configs import dib21
from experiments import harness
from jfrecon import commands
from jfrecon.data import build, pipeline
from jfrecon.data.folder import Folder
from jfrecon.evaluation import baseline, held_out, metrics
from jfrecon.export import report
from jfrecon.reconstruction import prediction
from jfrecon.training import loop
from jfrecon.training.parallel import share_cores

NAME = 'coarse_on_photos'
KEY = 'lm68_auto3d'
VALIDATION_PEOPLE = 20
BATCH = 19  # 38 validation photos in two batches


def main(arguments: list[str] | None = None) -> None:
    """Train on synthetic faces, then on the photographs; score both on people that neither has seen."""
    parser = harness.parser(NAME, main.__doc__)
    parser.add_argument('--data', type=Path, default=harness.SHARED / 'faces_cc_by')
    parser.add_argument('--ict', type=Path, default=harness.SHARED / 'ict_facekit' / 'ict_face.npz')
    options = parser.parse_args(arguments)
    harness.need(options.data / 'landmarks.npz', 'the portraits')
    harness.need(options.ict, 'ICT-FaceKit')
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.time()

    train, validation = split(options.data)
    synthetic = synthetic_config(options.ict, options.quick)
    photos = photo_config(synthetic, options.out / 'synthetic', options.quick)

    share_cores(synthetic.batch_size)
    state = loop.train(synthetic, options.out / 'synthetic')
    networks = {'synthetic_only': (state.params, state.model_state)}
    state = loop.train(
        photos,
        options.out / 'photos',
        data=build.batches(photos, train),
    )
    networks['trained'] = (state.params, state.model_state)

    results, pictures = score(photos, networks, train, validation)
    columns = list(dict.fromkeys(who for values in results.values() for who in values))
    (options.out / 'table.md').write_text(harness.table(results, columns), encoding='utf-8')
    for who, rows in pictures.items():
        Image.fromarray(report.montage(rows)).save(options.out / f'panels_{who}.png')
    harness.record(options.out, NAME, {name: results[name] for name in ('landmark_nme', 'photometric_l1')}, started)
    print(harness.table(results, columns))


def split(folder: Path, seed: int = 0) -> tuple[Folder, Folder]:
    """Photographs of 90 people to train on and of 20 others to judge by; the split depends on the seed alone."""
    everyone = Folder(folder / 'images', folder / 'landmarks.npz', KEY)
    people = sorted(set(everyone.groups))
    held = set(np.random.default_rng(seed).permutation(people)[:VALIDATION_PEOPLE])
    return tuple(
        Folder(folder / 'images', folder / 'landmarks.npz', KEY, keep=lambda _, person, held=held: person in held)
        for held in (set(people) - held, held)
    )


def synthetic_config(ict: Path, quick: bool) -> ConfigDict:
    """Stage I on synthetic faces with the ICT head."""
    config = dib21.get_config('quicktest+base' if quick else 'cpu+base')
    config.model.name = 'ict'
    config.model.path = str(ict)
    config.network.scales.albedo = 2.0  # what was missing in photographs was the albedo
    config.loss.light, config.loss.exposure = 3e-4, 0.0
    if not quick:
        config.data.size = 96
        config.data.faces = 2_000
        config.steps = 3_000
    return config


def photo_config(synthetic: ConfigDict, start: Path, quick: bool) -> ConfigDict:
    """Stage I on the photographs, from where the synthetic faces led."""
    config = synthetic.copy_and_resolve_references()
    config.data.source = 'folder'
    config.start_from = str(start)
    # Compared on 18 of the training people, held out: weaker priors, and landmarks that keep mouths shut, behind which
    # a photometric loss over vertices sees nothing.
    config.loss.vertex = 6.0
    config.loss.landmarks = 90.0
    config.loss.identity = 1e-3
    config.loss.albedo = 3e-5
    config.loss.light = 3e-5
    config.loss.expression = 3e-4
    config.loss.exposure = 0.03  # portraits are exposed for skin: else the light makes everybody's brown one pale
    config.data.jitter.update(scale=0.05, shift=0.03, colour=0.1)
    if not quick:
        config.steps = 4_000
    return config


def score(
    config: ConfigDict, networks: dict, train: Folder, validation: Folder
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """Metric -> who -> mean over the validation photographs, and rows of pictures by network."""
    camera = build.default_camera(config)
    typical = build.mean_landmarks(config, train)

    def examples() -> list:
        crops = pipeline.examples(
            validation,
            size=config.data.size,
            batch_size=BATCH,
            default_focal=config.data.focal,
            rule=build.rule(config),
        )
        return [(batch, None, count) for batch, count in crops]

    batches = examples()
    results: dict[str, dict[str, float]] = {}
    pictures = {}
    for who, (params, model_state) in networks.items():
        network = prediction.trained(config, params, model_state)
        floor = baseline.predictor(network, typical, config.light_bands)
        found, pictures[who] = held_out.evaluate(network, floor, batches, len(batches))
        for name, values in found.items():
            results.setdefault(name, {})['baseline'] = values['baseline']
            results[name][who] = values['trained']
    results['landmark_nme']['aligned_mean'] = float(
        np.mean(
            [
                metrics.landmark_nme(
                    baseline.aligned_mean_landmarks(network.model, landmarks, camera, config.data.size), landmarks
                )
                for batch, _, count in batches
                for landmarks in batch.landmarks[:count]
            ]
        )
    )
    return results, pictures


if __name__ == '__main__':
    commands.run(main)
