"""Training in stages: one run after another, each with its own config, each going on from the network of the last.

    config.stages = ('base', 'albedo', 'joint')
    config.stage.albedo = dict(steps=..., energy='albedo', ...)    # what is different in that stage

Stage k lives in ``workdir/<k>_<name>`` as any run does, so a stopped one goes on in the stage where it was, at the step
where it was; `checkpoints.load` of ``workdir`` reads the last. Synthetic faces are kept in ``workdir`` for all stages.
"""

from __future__ import annotations

from pathlib import Path

from ml_collections import ConfigDict

from jfrecon.data import build
from jfrecon.errors import UserError
from jfrecon.training import checkpoints, loop
from jfrecon.training.train_state import TrainState


def train(config: ConfigDict, workdir: str | Path, data: loop.Batches | None = None) -> TrainState:
    """Trains all stages of a config, or the config itself where it has none; returns the last state.

    Raises:
      as `jfrecon.training.loop.train`.
    """
    workdir = Path(workdir)
    parts = configs(config, workdir)
    for number, (folder, part) in enumerate(parts, start=1):
        if number < len(parts) and _finished(folder, part.steps):
            continue
        faces = data
        if data is None and folder != workdir:
            faces = build.training_batches(part, workdir)
        state = loop.train(part, folder, data=faces)
    return state


def configs(config: ConfigDict, workdir: Path) -> list[tuple[Path, ConfigDict]]:
    """The folder and the whole config of each stage."""
    names = tuple(config.get('stages', ()))
    if not names:
        return [(workdir, config)]
    found: list[tuple[Path, ConfigDict]] = []
    for number, name in enumerate(names, start=1):
        if name not in config.stage:
            raise UserError(f'config.stages names {name!r}; config.stage has {", ".join(config.stage)}')
        part = config.copy_and_resolve_references()
        with part.unlocked():
            changes = part.stage[name]
            del part.stage
            part.stages = ()
            part.update(changes)
            if found:
                part.start_from = str(found[-1][0])
        found.append((workdir / f'{number}_{name}', part))
    return found


def _finished(folder: Path, steps: int) -> bool:
    saved = folder / checkpoints.FOLDER
    return saved.is_dir() and any(path.name.isdigit() and int(path.name) >= steps for path in saved.iterdir())
