"""What every experiment shares: its arguments, the data that it needs, and the record of its run."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import jax

from jfrecon import commands, files
from jfrecon.errors import UserError

SHARED = Path(__file__).resolve().parent.parent.parent / 'shared'
_VERSIONS = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'grain', 'orbax-checkpoint', 'mitsuba', 'drjit', 'embreex')


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """The arguments of `python -m experiments.NAME`."""
    command = f'python -m experiments.{name} --out=runs/{name}'
    made = commands.Parser(prog=f'python -m experiments.{name}', description=description, epilog=f'example: {command}')
    made.add_argument('--out', type=Path, required=True, help='folder for tables, results.json and pictures')
    made.add_argument('--quick', action='store_true', help='everything, but small: to see that it runs')
    return made


def need(path: Path, what: str) -> Path:
    """The path, or a UserError that says what is not there."""
    if not path.exists():
        raise UserError(f'{what} not found at {path}; name its folder on the command line')
    return path


def record(out: Path, name: str, results: Mapping, started: float) -> None:
    """Write `results.json` and, beside it, `run.json`: command, commit, hardware, versions and seconds."""
    commit = subprocess.run(['git', 'rev-parse', 'HEAD'], capture_output=True, text=True, check=False)
    run = {
        'command': ' '.join([f'python -m experiments.{name}', *sys.argv[1:]]),
        'commit': commit.stdout.strip(),
        'date': time.strftime('%Y-%m-%d'),
        'seconds': round(time.time() - started),
        'hardware': {
            'devices': [device.device_kind for device in jax.devices()],
            'cores': os.cpu_count(),
            'machine': platform.machine(),
        },
        'python': platform.python_version(),
        'versions': {d.name: d.version for d in metadata.distributions() if d.name in _VERSIONS},
    }
    files.write_json(out / 'results.json', results)
    files.write_json(out / 'run.json', run)


def table(rows: Mapping[str, Mapping[str, float]], columns: list[str]) -> str:
    """A Markdown table: one row per key, one column per name, an empty cell where there is no value."""
    lines = ['| | ' + ' | '.join(columns) + ' |', '| --- |' + ' ---: |' * len(columns)]
    for name, values in rows.items():
        cells = [f'{values[column]:.4g}' if column in values else '' for column in columns]
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'
