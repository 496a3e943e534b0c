"""The config as the record of an experiment: plain JSON, compared when a run resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jfrecon import files
from jfrecon.errors import UserError

CONFIG = 'config.json'

# What says how long a run goes on and what it writes, not what it computes.
MAY_CHANGE = (
    'steps',
    'log_every',
    'panels_every',
    'checkpoint_every',
    'keep_checkpoints',
    'keep_checkpoints_every',
    'max_skipped_in_a_row',
)


def plain(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON would give it back."""
    return json.loads(json.dumps(config.to_dict()))


def write(workdir: Path, record: dict[str, Any]) -> None:
    """workdir/config.json, whole or not at all."""
    files.write_json(workdir / CONFIG, record)


def check_same_experiment(workdir: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raises UserError naming the fields in which a run would go on as another experiment than it began."""
    old, new = _leaves(before), _leaves(now)
    changed = [name for name in old | new if old.get(name) != new.get(name) and name not in MAY_CHANGE]
    if changed:
        listed = ', '.join(f'{name} (was {old.get(name)!r}, is {new.get(name)!r})' for name in changed[:5])
        more = f' and {len(changed) - 5} more' if len(changed) > 5 else ''
        raise UserError(
            f'{workdir} holds a run of another config: {listed}{more}; choose another --workdir or the old values'
        )


def _leaves(tree: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    """{'a': {'b': 1}} -> {'a.b': 1}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _leaves(value, f'{prefix}{name}.') if isinstance(value, dict) else {f'{prefix}{name}': value}
    return flat
