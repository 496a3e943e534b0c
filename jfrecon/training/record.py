"""The config as the record of an experiment: plain JSON, compared when a run resumes."""

from __future__ import annotations

import copy
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
    'epochs',
    'log_every',
    'panels_every',
    'checkpoint_every',
    'keep_checkpoints',
    'keep_checkpoints_every',
    'max_skipped_in_a_row',
)


# What configs of earlier layouts lack, and what was done then, by the names of the methods of that time.
_ADDED: dict[str, Any] = {
    'start_from': None, 'stages': [], 'stage': {}, 'domain': 'linear', 'solve_light': False, 'keep_checkpoints': 3,
    'keep_checkpoints_every': 0, 'epochs': 0.0, 'data.frames': 1, 'data.masks': None, 'data.split': 'train',
    'data.held_out': 0.0, 'loss.exposure': 0.0,
}  # fmt: skip
# What they have that nothing read.
_DROPPED: dict[str, tuple[str, ...]] = {
    'dib21': (),
    's2f2': (),
    'yang21': ('network.decoders',),
    'cest': ('model.albedo', 'network.scales.albedo', 'network.scales.translation'),
}
# What all have since their networks are those of today.
_NEEDED = (
    'model.name', 'network.backbone', 'network.scales', 'network.texture', 'renderer', 'samples', 'roughness',
    'light_bands', 'loss.photo', 'data.size', 'data.focal', 'data.crop_scale',
)  # fmt: skip


def current(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config that a checkpoint holds in today's layout, whatever layout it was written in.

    Fields that came later get the value of what was done before they came; fields that nothing read are left out.

    Raises:
      UserError: it is older than the networks that can be read.
    """
    if not isinstance(config, dict) or not isinstance(method := config.get('method'), str):
        raise UserError('its config is none: it names no method')
    config = copy.deepcopy(config)
    if method not in _DROPPED:  # a method that came later, whose configs have been like this from the start
        return config
    for name in _NEEDED:
        section, field = _held(config, name)
        if field not in section:
            raise UserError(f'its config has no field {name}: it is of an older jfrecon, train it anew')
    data = config.setdefault('data', {})
    if 'masks' not in data and config['network'].get('texture') == 256 and _decodes(config):
        raise UserError(
            'its decoders of maps of 256 texels are of an older jfrecon, whose first layer was narrower than that of '
            "s2f2's table 4: train it anew"
        )
    if isinstance(data, dict) and 'masks' not in data and data.get('source') == 'synthetic':
        data['forehead'] = 0.2  # a zero did not take it from the masks that made faces have
    for name, value in _ADDED.items():
        section, field = _held(config, name)
        section.setdefault(field, copy.deepcopy(value))
    if method != 'yang21':
        config['loss'].setdefault('vertex', config['loss']['photo'])  # one weight for both renderers
    if method == 'yang21':
        config.setdefault('end_to_end', False)
        config.setdefault('identity_input', 'crop')
    if method == 'cest':
        config.setdefault('light_colour', 'white')
    for name in _DROPPED[method]:
        section, field = _held(config, name)
        section.pop(field, None)
    return config


def _decodes(config: dict[str, Any]) -> bool:
    """Whether maps come from `jfrecon.nets.decoder.Decoder`."""
    if config['method'] == 'cest':  # what does not see the photograph in UV
        return 'viewpoint' not in config.get('factors', {}).get('reflectance', ())
    return config['method'] in ('dib21', 's2f2')


def _held(config: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The section of a field, and its name in there."""
    *sections, field = name.split('.')
    for section in sections:
        config = config.setdefault(section, {})
        if not isinstance(config, dict):
            raise UserError(f'its config has no section {section}')
    return config, field


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
