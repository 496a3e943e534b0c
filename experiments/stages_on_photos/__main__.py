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

import time
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from PIL import Image
from tqdm import tqdm

from configs import dib21, s2f2
from experiments import harness
from experiments.coarse_on_photos.__main__ import KEY, split
from jfrecon import commands
from jfrecon.data import build, pipeline
from jfrecon.data.folder import Folder
from jfrecon.data.sample import Joined, Source
from jfrecon.evaluation import held_out
from jfrecon.export import report
from jfrecon.files import write_text
from jfrecon.reconstruction import prediction
from jfrecon.render import panel
from jfrecon.training import checkpoints, loop, stages
from jfrecon.training.parallel import share_cores

NAME = 'stages_on_photos'
METHODS = {'dib21': dib21, 's2f2': s2f2}
METRICS = ('ssim', 'photometric_l1', 'landmark_nme')
BATCH = 20
SYNTHETIC = 300  # faces beside 157 portraits
STEPS = {'base': 800, 'traced': 100, 'albedo': 200, 'joint': 150, 'medium': 200, 'fine': 200}


def main(arguments: list[str] | None = None) -> None:
    """Train the later stages on the photographs; draw and score what each makes of others."""
    parser = harness.parser(NAME, main.__doc__ or '')
    parser.add_argument('--data', type=Path, default=harness.SHARED, help='holds faces_cc_by and photos')
    parser.add_argument('--start', type=Path, default=Path('runs/coarse_on_photos/photos'), help='stage I')
    parser.add_argument('--method', choices=METHODS, action='append', help='may be repeated; default: both')
    options = parser.parse_args(arguments)
    portraits, wild = options.data / 'faces_cc_by', options.data / 'photos'
    for folder in (portraits, wild):
        harness.need(folder / 'landmarks.npz', 'the photographs')
    harness.need(options.start, 'the network of experiments.coarse_on_photos')
    options.out.mkdir(parents=True, exist_ok=True)
    started = time.time()

    share_cores(dib21.get_config('cpu').batch_size)
    first = ConfigDict(checkpoints.load(options.start)[0])
    portrayed, validation = split(portraits)
    span = np.ptp(build.mean_landmarks(first, portrayed), axis=0).max()
    first = recoloured(first, options.start, options.quick)
    train = Joined(portrayed, build.synthetic_faces(first, options.out / 'synthetic', 'train', SYNTHETIC))
    start = options.out / 'base'
    loop.train(first, start, data=build.batches(first, train))
    looked_at = {
        'portraits': (validation, build.rule(first)),
        'wild': (Folder(wild, wild / 'landmarks.npz', KEY), pipeline.landmark_box(first.data.size / span)),
    }
    results = _look(start, looked_at, options.out / 'base')
    for name in options.method or METHODS:
        config = continued(METHODS[name], first, start, options.quick)
        data = build.batches(config, train)
        for workdir, part in stages.configs(config, options.out / name):
            loop.train(part, workdir, data=data)
            results |= _look(workdir, looked_at, options.out / f'{name}_{workdir.name}')
    table = harness.table(results, list(METRICS))
    write_text(options.out / 'table.md', table)
    harness.record(options.out, NAME, results, started)
    print(table)


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
    # The photometric weight is what the photographs were weighed with.
    dib21.in_proportion(config, first.loss.vertex / config.loss.photo)
    config.loss.update({name: value for name, value in first.loss.items() if name not in dib21.MAP_TERMS})
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


def _look(network: Path, sources: dict[str, tuple[Source, pipeline.BoxRule]], picture: Path) -> dict[str, dict]:
    """Pictures of what a network makes of each source, and mean metrics by `PICTURE_source`."""
    predictor = prediction.load(network)[0]
    found = {}
    for name, (source, rule) in sources.items():
        crops = pipeline.examples(
            source, size=predictor.size, batch_size=BATCH, default_focal=predictor.focal, rule=rule
        )
        rows, pictures = [], []
        for batch, count in tqdm(crops, desc=f'{picture.name}, {name}', unit='batch', disable=None):
            chi = predictor.infer(batch.image, batch.camera)
            rows += held_out.score(predictor, chi, batch, None, count)
            drawn = panel.rows(predictor.portrait, chi, batch.image, batch.camera, panel.LAYERS)
            pictures.append(drawn[:count])
        Image.fromarray(report.montage(np.concatenate(pictures))).save(f'{picture}_{name}.png')
        found[f'{picture.name}_{name}'] = {metric: float(np.mean([row[metric] for row in rows])) for metric in METRICS}
    return found


if __name__ == '__main__':
    commands.run(main)
