"""Variants of a method, trained alike and scored against ground truth.

All are trained on the same synthetic faces, in several seeds, and scored on faces which no variant has seen and nothing
is chosen on: by default those of `experiments.synthetic_benchmark` (MakeHuman, rendered by Mitsuba 3). Seed by seed,
all start from the same parameters and see the same faces in the same order, so differences from the reference are taken
within a seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ml_collections import ConfigDict
from PIL import Image
from scipy import stats
from tqdm import tqdm

from experiments import drawing, harness, peers
from experiments.synthetic_benchmark import files, people
from experiments.synthetic_benchmark.score import panel, score
from jfrecon import commands
from jfrecon.data import build, pipeline
from jfrecon.errors import UserError
from jfrecon.files import write_json
from jfrecon.reconstruction import prediction
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.training import loop, stages
from jfrecon.training.parallel import share_cores

FACES, CONFIG = 'faces.png', 'config.json'  # of one run
# What a run of the paper's size needs.
GIVEN = {
    'data': 'SHARDS of photographs with landmarks, as python -m jfrecon.prepare PHOTOS --out=SHARDS leaves them',
    'weights': "FILE of ImageNet weights of the paper's ResNet, .pth or .safetensors",
    'detail_weights': "FILE of torchvision's vgg16_bn, .pth or .safetensors",
}
SHOWN = 4  # faces in a figure
WIDE = 1000  # pixels
SIGNIFICANT = 0.05  # level of the paired t-tests


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes:
      seeds: of each variant.
      faces: to train on, and tested: of the benchmark.
      texture: texels of the side of the maps.
    """

    seeds: int
    faces: int
    tested: int
    texture: int


SIZES = {'quick': Size(1, 500, 10, 32), 'cpu': Size(3, 3_000, 40, 32), 'paper': Size(3, 100_000, 200, 256)}


class Judge(Protocol):
    """What scores a trained network."""

    def prepare(self, out: Path, count: int) -> None:
        """Makes ``count`` faces in the experiment's folder, unless they are there."""
        ...

    def __call__(
        self, predictor: Predictor, config: ConfigDict, out: Path, count: int
    ) -> tuple[list[dict[str, float]], list[np.ndarray]]:
        """Metrics of each face, and a row of pictures, uint8 [H, W, 3], of each of the first `SHOWN`."""
        ...


class Benchmark:
    """Faces of `experiments.synthetic_benchmark`, photographed by Mitsuba 3."""

    def prepare(self, out: Path, count: int) -> None:
        """See `Judge`."""
        mi = peers.mitsuba()
        mi.set_log_level(mi.LogLevel.Error)
        files.make(mi, people.prepare('makehuman', None), out / 'faces', count)

    def __call__(
        self, predictor: Predictor, config: ConfigDict, out: Path, count: int
    ) -> tuple[list[dict[str, float]], list[np.ndarray]]:
        """See `Judge`."""
        del config
        truth, rows, pictures = out / 'faces', [], []
        for index, face in predictor.faces(files.photographs(truth, count), pipeline.whole_box()):
            known, image = files.truth(truth, index), files.image(truth, index)
            row, drawn = score(predictor, face, known, image)
            rows.append(row)
            if index < SHOWN:
                pictures.append(panel(image, drawn, known))
        return rows, pictures


@dataclasses.dataclass(frozen=True)
class Ablation:
    """What one method's variants are, and how they are compared.

    Attributes:
      name: of the experiment.
      method: gives the method's config of a variant's name.
      always: changes that every variant has, as the config file adds them with a plus.
      variants: name -> what the paper says of it, for the table. The first has only `always`, the others are changes.
      metrics: those of the judge to be reported, and 'seconds_a_step'.
      changes: to the config, as 'data.frames' names them, by the name of a size.
      stage: changes to each stage, by the name of a size; stages without any are left out.
      relaxed: the stage that lasts the paper's five epochs of relaxing weights.
      frames: pictures of each person in the training data, which need not all be in one batch.
      judge: scores what was trained.
    """

    name: str
    method: Callable[[str], ConfigDict]
    always: tuple[str, ...]
    variants: Mapping[str, str]
    metrics: tuple[str, ...]
    changes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    stage: Mapping[str, Mapping[str, Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    relaxed: str = ''
    frames: int = 1
    judge: Judge = dataclasses.field(default_factory=Benchmark)

    def config(self, variant: str, size: str) -> ConfigDict:
        """Of a variant and a size's name."""
        own = () if variant == next(iter(self.variants)) else (variant,)
        built = self.method('+'.join(('paper' if size == 'paper' else 'cpu', *self.always, *own)))
        built.network.texture = SIZES[size].texture
        built.update_from_flattened_dict(self.changes.get(size, {}))
        if size != 'paper':
            built.optimiser.warmup_steps = 20
            built.panels_every = 0
            built.checkpoint_every = 10_000
        if size != 'paper' and built.stages:
            built.stages = tuple(name for name in built.stages if name in self.stage[size])
            for name, changes in self.stage[size].items():
                with built.stage[name].unlocked():
                    built.stage[name].update(changes)
            built.epoch = built.stage[self.relaxed].steps // 5
        return built

    def run(self, options: argparse.Namespace) -> None:
        """Train and score every variant in every seed, but those that are done; leave tables and figures.

        options: those of `parser`.
        """
        if options.quick and options.size is not None:
            raise commands.no_effect('--size', 'with --quick')
        if options.size == 'paper':
            photographs(self.config(next(iter(self.variants)), 'paper'), options)
        else:
            for flag in GIVEN:
                if getattr(options, flag) is not None:
                    raise commands.no_effect(f'--{flag.replace("_", "-")}', 'without --size=paper')
        run = harness.start(self.name, options.out, options.overwrite, adds=True)
        size = 'quick' if options.quick else options.size or 'cpu'
        plan = SIZES[size]
        share_cores(self.config(next(iter(self.variants)), size).batch_size // self.frames)
        self.judge.prepare(options.out, plan.tested)

        scores: dict[str, list[dict[str, float]]] = {variant: [] for variant in self.variants}
        folders = []
        seeds = range(plan.seeds) if options.seed is None else [options.seed]
        todo = [(seed, variant) for seed in seeds for variant in self.variants]
        for seed, variant in tqdm(todo, desc=self.name, unit='run', disable=None):
            built = self.config(variant, size)
            built.seed, built.data.faces = seed, plan.faces
            if size == 'paper':
                photographs(built, options)
            folders.append(options.out / variant / str(seed))
            scores[variant].append(self._score(built, options.out, folders[-1], plan.tested))
        results = _spreads(scores, self.metrics)
        table = _table(results, self.variants, self.metrics) + '\n' + _differences(scores, self.metrics)
        reference, *others = self.variants
        for variant in others:
            pictures = (options.out / name / '0' / FACES for name in (reference, variant))
            _figure(*pictures, options.out / f'{variant}.jpg')
        run.record(results, table, folders)

    def _score(self, config: ConfigDict, out: Path, folder: Path, count: int) -> dict[str, float]:
        """Mean metrics of one run, whose record is in a folder; trains it first, unless that is done."""
        settings = json.loads(config.to_json_best_effort())
        if (folder / CONFIG).exists() and json.loads((folder / CONFIG).read_text(encoding='utf-8')) != settings:
            raise UserError(f'{folder} is of other settings (another --size?): choose another --out')
        if (folder / harness.RESULTS).exists():
            return json.loads((folder / harness.RESULTS).read_text(encoding='utf-8'))
        run = harness.start(self.name, folder, adds=True)
        write_json(folder / CONFIG, settings)
        same = config.copy_and_resolve_references()
        same.seed = 0  # the same faces for all
        with same.unlocked():
            same.data.frames = self.frames
        faces = build.source(same, out / 'synthetic')
        trained = _trained(config, out / 'stages', build.of(config, faces))
        # whatever it has learnt from, it is scored on made faces, whose truth is known
        same.data.update(source='synthetic', path=None, crop='whole')
        rows, pictures = self.judge(prediction.load(trained)[0], same, out, count)
        means = {metric: float(np.mean([row[metric] for row in rows])) for metric in rows[0]}
        means['seconds_a_step'] = _seconds_a_step(trained, config.batch_size)
        drawing.save(folder / FACES, np.stack(pictures))
        run.record(means)
        return means


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """The arguments of an experiment that compares variants."""
    made = harness.parser(name, description)
    made.add_argument('--size', choices=[size for size in SIZES if size != 'quick'], help='default: cpu')
    for flag, what in GIVEN.items():
        made.add_argument(f'--{flag.replace("_", "-")}', type=Path, help=f'of --size=paper: {what}')
    made.add_argument('--seed', type=int, help='this one alone; several processes may do one each')
    return made


def _seconds_a_step(run: Path, batch_size: int) -> float:
    """The median over what a run logged."""
    lines = (run / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
    return float(np.median([batch_size / speed for line in lines if (speed := json.loads(line)['images_per_second'])]))


def _spreads(scores: Mapping[str, list[dict[str, float]]], metrics: tuple[str, ...]) -> dict:
    """variant -> metric -> mean, standard deviation and number of the seeds."""
    return {
        variant: {
            metric: {
                'mean': float(np.mean([row[metric] for row in rows])),
                'std': float(np.std([row[metric] for row in rows], ddof=1)) if len(rows) > 1 else None,
                'n': len(rows),
            }
            for metric in metrics
        }
        for variant, rows in scores.items()
    }


def photographs(config: ConfigDict, options: argparse.Namespace) -> None:
    """Let a config of a paper's size train on photographs, from published weights.

    Raises:
      UserError: options lack one of these, or have weights for which the method has no use.
    """
    for flag in GIVEN:
        asked, path = f'--{flag.replace("_", "-")}', getattr(options, flag)
        if flag != 'data' and flag not in config.network:
            if path is not None:
                raise commands.no_effect(asked, f'with {config.method}')
            continue
        if path is None:
            raise UserError(f'--size=paper needs {asked}={GIVEN[flag]}')
        if not path.exists():
            raise UserError(f'{asked}: no such file or folder: {path}')
        if flag == 'data':
            config.data.update(source='shards', path=str(path), crop='prepared')
        else:
            config.network[flag] = str(path)


def _trained(config: ConfigDict, folder: Path, data: build.Data) -> Path:
    """Trains the stages of a config; the folder of the last. Variants whose first stages are the same share these."""
    chain = hashlib.sha256()
    before = None
    for workdir, part in stages.configs(config, folder):
        part.start_from = None
        part.stages = ()
        chain.update(json.dumps(part.to_dict(), sort_keys=True, default=str).encode())
        part.start_from = before
        before = str(folder / f'{workdir.name}_{chain.hexdigest()[:12]}')
        loop.train(part, before, data=data.training, held_out=data.held_out)
    assert before is not None
    return Path(before)


def _table(results: Mapping, variants: Mapping[str, str], metrics: tuple[str, ...]) -> str:
    lines = ['| | ' + ' | '.join(metrics) + ' | the paper |', '| --- |' + ' ---: |' * len(metrics) + ' --- |']
    for variant, values in results.items():
        cells = [
            f'{values[m]["mean"]:.4g}' + (f' ± {values[m]["std"]:.2g}' if values[m]['n'] > 1 else '') for m in metrics
        ]
        lines.append(f'| {variant} | ' + ' | '.join(cells) + f' | {variants[variant]} |')
    return '\n'.join(lines) + '\n'


def _differences(scores: Mapping[str, list[dict[str, float]]], metrics: tuple[str, ...]) -> str:
    """A table: how much more each variant has than the first, the reference, within each seed; bold if significant."""
    reference, *others = scores
    lines = [f'| minus {reference} | ' + ' | '.join(metrics) + ' |', '| --- |' + ' ---: |' * len(metrics)]
    for variant in others:
        cells = []
        for metric in metrics:
            a, b = (np.array([row[metric] for row in scores[name]]) for name in (variant, reference))
            cell = f'{np.mean(a - b):+.2g}'
            if len(a) > 1:
                cell += f' ± {np.std(a - b, ddof=1):.1g}'
                cell = f'**{cell}**' if np.ptp(a - b) and stats.ttest_rel(a, b).pvalue < SIGNIFICANT else cell
            cells.append(cell)
        lines.append(f'| {variant} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def _figure(reference: Path, variant: Path, figure: Path) -> None:
    """Writes the faces of two runs, in turn: each first by the reference, then by the variant; at half size if wide."""
    rows = [np.asarray(Image.open(path)) for path in (reference, variant)]
    both = np.stack([picture.reshape(SHOWN, -1, *picture.shape[1:]) for picture in rows], 1)
    drawing.save(figure, both.reshape(-1, *both.shape[2:]), 0.5 if both.shape[3] > WIDE else 1)
