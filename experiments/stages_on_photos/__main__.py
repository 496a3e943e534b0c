"""What the later stages of dib21 and s2f2 add to the face of stage I, on photographs of people.

    python -m experiments.coarse_on_photos --out=runs/coarse_on_photos
    python -m experiments.stages_on_photos --out=runs/stages_on_photos

Both methods go on from `experiments.coarse_on_photos`' network on the photographs of its 90 training people and, for
all of these look straight ahead, on twice as many synthetic faces that do not: first stage I again, with stronger
priors on colour, then their own later stages. After each stage there are pictures of the other 20 people and of 20
photographs in the wild, which are cut around their landmarks as wide as the portraits are: input, overlay, final,
shading, normal, diffuse, specular, light. They show people: they are written for looking, not for committing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from configs import dib21, s2f2
from experiments import drawing, harness, photographs
from jfrecon import commands
from jfrecon.data import build, pipeline
from jfrecon.data.sample import Joined, Source
from jfrecon.losses import energies
from jfrecon.reconstruction import prediction
from jfrecon.render import panel
from jfrecon.training import checkpoints, loop, stages
from jfrecon.training.parallel import share_cores

NAME = 'stages_on_photos'
OF_MAPS = {*energies.ALBEDO_TERMS, *energies.RELIEF_TERMS}
METHODS = {'dib21': dib21, 's2f2': s2f2}
METRICS = ('ssim', 'photometric_l1', 'landmark_nme')
SYNTHETIC = 300  # faces beside 157 portraits
STEPS = {'base': 800, 'traced': 100, 'albedo': 200, 'joint': 150, 'medium': 200, 'fine': 200}


def main(arguments: list[str] | None = None) -> None:
    """Train the later stages on the photographs; draw and score what each makes of others."""
    parser = harness.parser(NAME, main.__doc__ or '')
    photographs.add_arguments(parser)
    parser.add_argument('--start', type=Path, default=Path('runs/coarse_on_photos/photos'), help='stage I')
    parser.add_argument('--method', choices=METHODS, action='append', help='may be repeated; default: both')
    options = parser.parse_args(arguments)
    portraits, validation = photographs.split(options.data)
    wild = photographs.wild(options.data)
    harness.need(options.start, 'the network of experiments.coarse_on_photos')
    run = harness.start(NAME, options.out, options.overwrite)

    share_cores(dib21.get_config('cpu').batch_size)
    first = ConfigDict(checkpoints.load(options.start)[0])
    span = np.ptp(build.mean_landmarks(first, portraits), axis=0).max()
    first = recoloured(first, options.start, options.quick)
    train = Joined(portraits, build.synthetic_faces(first, options.out / 'synthetic', 'train', SYNTHETIC))
    start = options.out / 'base'
    loop.train(first, start, data=build.batches(first, train))
    looked_at = {
        'portraits': (validation, build.rule(first)),
        'wild': (wild, pipeline.landmark_box(first.data.size / span)),
    }
    results = _look(start, looked_at, options.out / 'base')
    for name in options.method or METHODS:
        config = continued(METHODS[name], first, start, options.quick)
        data = build.batches(config, train)
        for workdir, part in stages.configs(config, options.out / name):
            loop.train(part, workdir, data=data)
            results |= _look(workdir, looked_at, options.out / f'{name}_{workdir.name}')
    run.record(results, harness.table(results))


def recoloured(first: ConfigDict, start: Path, quick: bool) -> ConfigDict:
    """Stage I from its own network, with what it was free to choose: how bright the light is, and its colour.

    What `experiments.coarse_on_photos` leaves is olive skin in bright pink light; the photometric error does not mind.
    """
    config = first.copy_and_resolve_references()
    config.start_from = str(start)
    config.steps = 8 if quick else STEPS['base']
    config.loss.exposure = 0.3
    config.loss.albedo = 3e-4
    config.loss.expression = 1e-3  # eyes squint and cheeks are puffed for what the identity could be
    config.data.forehead = 0.2  # else maps are free to have any colour there
    config.data.jitter.update(scale=0.1, shift=0.06)
    config.panels_every = 0
    return config


def continued(method, first: ConfigDict, start: Path, quick: bool) -> ConfigDict:
    """The stages of a method after its first, from stage I's network and with what that was trained with."""
    config = method.get_config('quicktest' if quick else 'cpu')
    decoders = {'texture': config.network.texture, 'decoders': config.network.decoders}
    for part in ('model', 'data', 'network'):
        config[part].update(first[part])
    config.network.update(decoders)
    # The photometric weight is what the photographs were weighed with; those of maps keep their proportion to it.
    for part in (config, *config.stage.values()):
        for name in OF_MAPS & set(part.get('loss', {})):
            part.loss[name] *= first.loss.vertex / config.loss.photo
    config.loss.update({name: value for name, value in first.loss.items() if name not in OF_MAPS})
    config.loss.photo = first.loss.vertex
    config.light_bands = first.light_bands
    config.start_from = str(start)
    config.stages = config.stages[1:]
    if not quick:
        for name in config.stages:
            config.stage[name].steps = STEPS[name]
        config.optimiser.warmup_steps = 20
        config.epoch = STEPS[config.stages[-1]] // 5
    config.panels_every = 0
    return config


def _look(workdir: Path, sources: dict[str, tuple[Source, pipeline.BoxRule]], picture: Path) -> dict[str, dict]:
    """Pictures of what a network makes of each source, and mean metrics by `PICTURE_source`."""
    predictor = prediction.load(workdir)[0]
    found = {}
    for name, (source, rule) in sources.items():
        title = f'{picture.name}_{name}'
        batches = photographs.crops(predictor, source, rule)
        scores, pictures = photographs.look(predictor, batches, title, panel.LAYERS)
        drawing.save(picture.with_name(f'{title}.png'), pictures)
        found[title] = {metric: scores[metric] for metric in METRICS}
    return found


if __name__ == '__main__':
    commands.run(main)
