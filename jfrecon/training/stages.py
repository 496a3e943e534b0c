"""Training in stages: one run after another, each with its own config, each going on from the network of the last.

    config.stages = ('base', 'albedo', 'joint')
    config.stage.albedo = dict(steps=..., energy='albedo', ...)    # what is different in that stage

Stage k lives in ``workdir/<k>_<name>`` as any run does, so a stopped one goes on in the stage where it was, at the step
where it was; `checkpoints.load` of ``workdir`` reads the last. Synthetic faces are kept in ``workdir`` for all stages.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import jax
from absl import logging
from ml_collections import ConfigDict

from jfrecon import methods
from jfrecon.data import build
from jfrecon.errors import UserError
from jfrecon.methods.method import AXIS
from jfrecon.training import checkpoints, departures, loop, optimiser, settings
from jfrecon.training.train_state import TrainState

FILES = ('identity', 'network.weights', 'network.detail_weights', 'start_from')  # that a run reads, by their fields


def train(
    config: ConfigDict, workdir: str | Path, data: loop.Batches | None = None, asked: Collection[str] = ()
) -> TrainState:
    """Train all stages of a config, or the config itself where it has none; return the last state.

    Args:
      config: see the module.
      workdir: gets a folder for each stage.
      data: instead of the data that the config names.
      asked: names of settings of the user's, which have to have an effect; see `jfrecon.training.settings`.

    Raises:
      UserError: before anything is trained, if one of the stages cannot be; see `check`.
      Exception: as `jfrecon.training.loop.train`.
    """
    workdir = Path(workdir)
    parts = configs(config, workdir)
    check(parts, asked, reads_data=data is None)
    if data is None:
        if told := departures.warning([part for _, part in parts]):
            logging.warning(told)
        for _, part in parts:
            by_epochs(part, workdir)
    for number, (folder, part) in enumerate(parts, start=1):
        if number < len(parts) and _finished(folder, part.steps):
            continue
        if data is None:
            faces = build.training_data(part, workdir)
            state = loop.train(part, folder, data=faces.training, held_out=faces.held_out)
        else:
            state = loop.train(part, folder, data=data)
    return state


def by_epochs(config: ConfigDict, workdir: Path) -> None:
    """Let ``steps``, and ``epoch`` where there is one, follow from ``epochs`` and the number of images, unless it is 0.

    A learning rate that changes every epoch goes on to do so.
    """
    if not config.epochs:
        return
    epoch = max(build.images_a_run(config, workdir) // config.batch_size, 1)
    config.steps = max(round(config.epochs * epoch), 1)
    if (before := config.get('epoch')) is not None:
        if config.optimiser.get('every') == before:
            config.optimiser.every = epoch
        config.epoch = epoch


def configs(config: ConfigDict, workdir: Path) -> list[tuple[Path, ConfigDict]]:
    """The folder and the whole config of each stage."""
    if not config.stages:
        return [(workdir, config)]
    found: list[tuple[Path, ConfigDict]] = []
    for number, name in enumerate(config.stages, start=1):
        if name not in config.stage:
            raise UserError(f'config.stages names {name!r}; config.stage has {", ".join(config.stage)}')
        part = settings.alone(config, config.stage[name])
        if config.stage[name].get('start_from') is None:
            part.start_from = str(found[-1][0]) if found else config.start_from
        found.append((workdir / f'{number}_{name}', part))
    return found


def check(parts: Sequence[tuple[Path, ConfigDict]], asked: Collection[str] = (), reads_data: bool = True) -> None:
    """Find what cannot be trained, of all stages, before the first is: nothing is compiled, no data are read.

    Args:
      parts: of `configs`.
      asked: names of settings of the user's.
      reads_data: whether the data are those that the configs name.

    Raises:
      UserError: a value that no code knows, a file that is not there, or a setting that nothing reads.
    """
    read: dict[str, set[str]] = {}
    made: list[str] = []
    for folder, part in parts:
        name = _stage(folder)
        read[name] = set()
        try:
            _check(settings.Watched(part, read[name]), reads_data)
        except UserError as error:
            raise UserError(_told(str(error), name, made, asked)) from None
        _check_files(part, read[name], made)
        made.append(str(folder))
    settings.require_use(asked, {_stage(folder): part for folder, part in parts}, read)


def _check(config: ConfigDict, reads_data: bool) -> None:
    settings.check_numbers(config)
    descent, _ = optimiser.build(config.steps, **config.optimiser)
    if reads_data:
        build.check(config)
        if config.batch_size % jax.device_count():
            raise UserError(
                f'config.batch_size={config.batch_size} cannot be shared out evenly to {jax.device_count()} devices'
            )
    method = methods.build(config, AXIS)
    jax.eval_shape(lambda key: descent.init(method.init(key)[0]), jax.random.PRNGKey(0))


def _check_files(config: ConfigDict, read: Collection[str], made: Collection[str]) -> None:
    """made: folders that are not there yet."""
    for name in FILES:
        path = config[name] if name in read or name == 'start_from' else None
        if path is not None and path not in made and not Path(path).exists():
            raise UserError(f'config.{name}: no such file or folder: {path}')


def _told(message: str, stage: str, made: Collection[str], asked: Collection[str]) -> str:
    """What is wrong with a stage; and how to set for others alone what those before it can obey."""
    named = [name for name in asked if f'config.{name}' in message and not name.startswith('stage.')]
    others = ' or '.join(f'--config.stage.{_stage(Path(folder))}.{named[0]}' for folder in made) if named else ''
    return (f'stage {stage}: ' if stage else '') + message + (f'; other stages can: {others}' if others else '')


def _stage(folder: Path) -> str:
    return folder.name.partition('_')[2]


def _finished(folder: Path, steps: int) -> bool:
    saved = folder / checkpoints.FOLDER
    return saved.is_dir() and any(path.name.isdigit() and int(path.name) >= steps for path in saved.iterdir())
