"""What a command line sets: for which stages, and whether anything reads it.

    --config.steps=3                 every stage takes 3 steps, also one whose own record says otherwise,
    --config.stage.joint.steps=5     but this one takes 5

No setting is ignored: `jfrecon.training.stages.check` finds what no stage reads by a `Watched` config.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from jfrecon.errors import UserError

OF_THE_RUN = ('stages', 'start_from')  # not of each of its stages
#: The least that numbers of every run may be.
LEAST = {
    'seed': 0, 'steps': 1, 'epochs': 0, 'batch_size': 1, 'log_every': 0, 'panels_every': 0, 'checkpoint_every': 1,
    'keep_checkpoints': 1, 'keep_checkpoints_every': 0, 'max_skipped_in_a_row': 1,
}  # fmt: skip
# What tells which other settings of a section, or of none, have a use; for messages.
SWITCHES = {
    'data': ('data.source', 'data.landmarks'),
    'network': ('method', 'energy', 'network.backbone', 'network.texture'),
    '': ('method', 'energy', 'renderer'),
}


def check_numbers(config: ConfigDict) -> None:
    """Raise `UserError` for a number of the run that is too small."""
    for name, least in LEAST.items():
        if config[name] < least:
            raise UserError(f'config.{name} must be at least {least}, got {config[name]}')


def whole(config: ConfigDict) -> ConfigDict:
    """Return a copy of a config whose stages say all that they are trained with, so that all can be set by stage."""
    config = copy.deepcopy(config)
    with config.unlocked():
        for name, changes in config.stage.items():
            part = alone(config, changes)
            if 'start_from' not in changes:  # that of the run is for its first stage
                part.start_from = None
            del part.stages, part.stage
            config.stage[name] = part
    return config


def alone(config: ConfigDict, changes: ConfigDict) -> ConfigDict:
    """Return what a stage is trained with: a config, which has no stages itself.

    changes: of the stage to ``config``, or, where they name a method, all of it (see `whole`).
    """
    part = copy.deepcopy(changes if 'method' in changes else config)
    with part.unlocked():
        part.stages, part.stage = (), ConfigDict()
        if 'method' not in changes:
            part.update(changes.copy_and_resolve_references())
    return part


def require(config: ConfigDict, names: Iterable[str]) -> None:
    """Raise `UserError` for the first of the names that a config has no field of.

    names: for example 'loss.photo'.
    """
    for name in names:
        found: Any = config
        *_, last = parts = name.split('.')
        for k, part in enumerate(parts):
            if not isinstance(found, ConfigDict) or part not in found:
                section, fields = '.'.join(['config', *parts[:k]]), list(found) if isinstance(found, ConfigDict) else []
                close = difflib.get_close_matches(part, fields, 1)
                has = f'did you mean {close[0]}?' if close else f'there are {", ".join(fields) or "none"}'
                if isinstance(found, ConfigDict) and not fields:
                    has = f'a section can be set as a whole: --{section}="{{\'{last}\': ...}}"'
                raise UserError(f'--config.{name}: {section} has no field {part}; {has}')
            found = found[part]


def obey(config: ConfigDict, asked: Collection[str]) -> None:
    """Let what was set for the run apply to each of its stages, but where something was set for one of them.

    Args:
      config: of `whole`, in which the settings have been made; it is changed.
      asked: their names, for example 'loss.photo' and 'stage.joint.loss.photo'.

    Raises:
      UserError: something was set for a stage that is not trained.
    """
    by_stage = {name: copy.deepcopy(config[name]) for name in asked if name.startswith('stage.')}
    for name in by_stage:
        if (stage := name.split('.')[1]) not in config.stages:
            raise UserError(f'--config.{name}: config.stages has {", ".join(config.stages) or "none"}, not {stage}')
    for name in asked:
        if name not in by_stage and name not in OF_THE_RUN:
            for stage in config.stage:
                _set(config.stage[stage], name, copy.deepcopy(config[name]))
    for name, value in by_stage.items():
        _set(config, name, value)


def _set(config: ConfigDict, name: str, value: Any) -> None:
    *sections, field = name.split('.')
    for section in sections:
        config = config[section]
    config[field] = value


class Watched(ConfigDict):
    """A copy of a config that notes which of its fields are read.

    Args:
      config: what it is a copy of.
      read: gets their names, for example 'loss.photo'.
    """

    def __init__(self, config: ConfigDict, read: set[str], section: str = ''):
        super().__init__(type_safe=False)
        object.__setattr__(self, '_read', read)
        object.__setattr__(self, '_section', section)
        fields = {
            name: Watched(value, read, f'{section}{name}.') if isinstance(value, ConfigDict) else value
            for name, value in config.items()
        }
        object.__setattr__(self, '_fields', fields)

    def __getitem__(self, key: str) -> Any:
        section, _, rest = str(key).partition('.')
        if rest:
            return self[section][rest]
        self._read.add(f'{self._section}{key}')
        if key not in self._fields:
            raise UserError(f'the config has no field {self._section}{key}, which {self._section or "this run"} needs')
        return self._fields[key]


def require_use(asked: Iterable[str], stages: Mapping[str, ConfigDict], read: Mapping[str, Collection[str]]) -> None:
    """Raise `UserError` for the first setting that has no effect: that none of the stages reads that it is for.

    Args:
      asked: names of the settings, for example 'loss.photo' and 'stage.joint.loss.photo'.
      stages: their configs.
      read: the names of the fields that each of the stages reads.
    """
    for name in asked:
        concerned, own = list(stages), name
        if name.startswith('stage.'):
            _, stage, own = name.split('.', 2)
            concerned = [stage]
        if own in OF_THE_RUN:
            continue
        # a section is read with the first of its fields, which says nothing of the others
        if not any(field == own or field.startswith(f'{own}.') for stage in concerned for field in read[stage]):
            where = _switches(own, [stages[stage] for stage in concerned])
            raise UserError(f'--config.{name} has no effect: nothing reads it where {where}; leave it out')


def _switches(setting: str, configs: Iterable[ConfigDict]) -> str:
    """What decides whether a setting has a use, as these configs have it."""
    found: dict[str, dict[str, None]] = {}
    for config in configs:
        for name in SWITCHES.get(setting.partition('.')[0], SWITCHES['']):
            section, _, field = name.rpartition('.')
            holder = config[section] if section else config
            if field in holder:
                found.setdefault(f'config.{name}', {})[str(holder[field])] = None
    return ', '.join(f'{name}={" or ".join(values)}' for name, values in found.items())
