"""dib21's stage I on 188 portraits, split by subject: what a network learns from 90 people about 20 others.

    python -m experiments.coarse_on_photos --out=runs/coarse_on_photos

Two networks with the ICT head: one sees synthetic faces only (`synthetic_only`), the other goes on from it on the
photographs of 90 people, self-supervised, with images, landmarks and landmark hulls (`trained`). Both are judged on
the other 20 people, beside the mean face at the mean pose (`baseline`) and, for the landmarks, the mean face posed to
fit the true landmarks (`aligned_mean`).

Landmarks are `lm68_auto3d`, crops the portraits as they are. Takes about 40 minutes on two CPU cores. Panels show
photographs of people: they are written for looking, not for committing.
"""

from __future__ import annotations

from pathlib import Path

from ml_collections import ConfigDict

from configs import dib21
from experiments import harness, photographs
from jfrecon import commands
from jfrecon.data import build
from jfrecon.training import loop
from jfrecon.training.parallel import share_cores

NAME = 'coarse_on_photos'


def main(arguments: list[str] | None = None) -> None:
    """Train on synthetic faces, then on the photographs; score both on people that neither has seen."""
    parser = harness.parser(NAME, main.__doc__ or '')
    photographs.add_arguments(parser)
    harness.add_ict(parser)
    options = parser.parse_args(arguments)
    train, validation = photographs.split(options.data)
    harness.need(options.ict, 'ICT-FaceKit')
    run = harness.start(NAME, options.out, options.overwrite)

    networks = {'synthetic_only': options.out / 'synthetic', 'trained': options.out / 'photos'}
    synthetic = synthetic_config(options.ict, options.quick)
    photos = photo_config(synthetic, networks['synthetic_only'], options.quick)
    share_cores(synthetic.batch_size)
    loop.train(synthetic, networks['synthetic_only'])
    loop.train(photos, networks['trained'], data=build.batches(photos, train))
    results = photographs.compare(networks, train, validation, options.out)
    run.record(results, harness.table(results))


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
    config.data.forehead = 0.0  # the skin between brows and hairline is not looked at
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


if __name__ == '__main__':
    commands.run(main)
