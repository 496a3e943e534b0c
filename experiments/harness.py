"""What every experiment shares: its arguments, the data that it needs, and the record of its run."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import jax

from jfrecon import commands, files
from jfrecon.errors import UserError

SHARED = Path(__file__).resolve().parent.parent.parent / 'shared'
RESULTS, RUN = 'results.json', 'run.json'
UNFINISHED = 'unfinished.json'  # there from `start` to `Run.record`
_VERSIONS = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'grain', 'orbax-checkpoint', 'mitsuba', 'drjit', 'embreex')


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """The arguments of `python -m experiments.NAME`."""
    command = f'python -m experiments.{name} --out=runs/{name}'
    made = commands.Parser(prog=f'python -m experiments.{name}', description=description, epilog=f'example: {command}')
    made.add_argument('--out', type=Path, required=True, help='folder for results.json, run.json, tables and pictures')
    made.add_argument('--quick', action='store_true', help='everything, but small: to see that it runs')
    made.add_argument(
        '--overwrite',
        action='store_true',
        help='replace the results that are in the folder; data and networks that are there are used again',
    )
    return made


def add_ict(made: argparse.ArgumentParser) -> None:
    """`--ict`, the head of ICT-FaceKit, which is not in the project."""
    made.add_argument('--ict', type=Path, default=SHARED / 'ict_facekit' / 'ict_face.npz', help='of ICT-FaceKit')


def need(path: Path, what: str) -> Path:
    """The path, or a UserError that says what is not there."""
    if not path.exists():
        raise UserError(f'{what} not found at {path}; name its folder on the command line')
    return path


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of an experiment, as it was when it began.

    Attributes:
      name: of the experiment.
      out: folder that it leaves its results in.
      started: seconds since 1970.
      commit: of the code, '' outside of a checkout.
      changed: whether the code differs from the commit.
      resumed: whether it goes on with what an earlier one left unfinished.
    """

    name: str
    out: Path
    started: float
    commit: str
    changed: bool
    resumed: bool = False

    def record(self, results: Mapping, table: str = '', parts: Sequence[Path] = ()) -> None:
        """Write `results.json`, `run.json` (commit, command, hardware, versions, seconds), `table.md`; print the table.

        `results.json` comes last: where it is, the run is complete.

        Args:
          results: nothing else.
          table: Markdown, for those who read.
          parts: folders of other runs whose results these are; their seconds are added up and their commits named.
        """
        runs = [json.loads((folder / RUN).read_text(encoding='utf-8')) for folder in parts]
        run = {
            'command': _command(self.name),
            'commit': self.commit,
            'uncommitted_changes': self.changed,
            'date': time.strftime('%Y-%m-%d', time.localtime(self.started)),
            'seconds': round(time.time() - self.started),
            'hardware': {
                'devices': [device.device_kind for device in jax.devices()],
                'cores': os.cpu_count(),
                'machine': platform.machine(),
            },
            'python': platform.python_version(),
            'versions': {d.name: d.version for d in metadata.distributions() if d.name in _VERSIONS},
        }
        if runs:
            commits = sorted({one['commit'] + ' and changes' * one['uncommitted_changes'] for one in runs})
            run['parts'] = {'seconds': sum(one['seconds'] for one in runs), 'commits': commits}
        if self.resumed:
            run['resumed'] = True  # the seconds are those of the last part
        if table:
            files.write_text(self.out / 'table.md', table)
            print(table)
        files.write_json(self.out / RUN, run)
        files.write_json(self.out / RESULTS, results)
        (self.out / UNFINISHED).unlink(missing_ok=True)


def start(name: str, out: Path, overwrite: bool = False, adds: bool = False) -> Run:
    """Begin a run, whose folder is made. The code that counts is the one that is there now.

    A folder with anything in it is refused, but for what the same command left unfinished: it goes on.

    Args:
      name: of the experiment.
      out: folder of its results.
      overwrite: whether results that are there may be replaced.
      adds: whether the experiment adds to what its earlier commands left in the folder, and loses nothing of it.

    Raises:
      UserError: the folder holds something else.
    """
    before = _before(out)
    mine = f'python -m experiments.{name}'
    again = before == _command(name) and (out / UNFINISHED).exists()
    if not (overwrite or again or (adds and f'{before} '.startswith(f'{mine} '))):
        if before:
            raise UserError(f'{out} holds {before}: --overwrite replaces its results, or choose another --out')
        if out.is_dir() and any(out.iterdir()):
            raise UserError(f'{out} holds files of something else: choose another --out, or add --overwrite')
    out.mkdir(parents=True, exist_ok=True)
    files.write_json(out / UNFINISHED, {'command': _command(name)})
    return Run(name, out, time.time(), _git('rev-parse', 'HEAD'), bool(_git('status', '--porcelain')), again)


def _command(name: str) -> str:
    """The command that runs now, but for --overwrite, which says nothing of what comes out."""
    return ' '.join([f'python -m experiments.{name}', *(word for word in sys.argv[1:] if word != '--overwrite')])


def _before(out: Path) -> str:
    """The command whose results, whole or unfinished, are in a folder; '' where there are none."""
    for name in (UNFINISHED, RUN):
        if (out / name).exists():
            try:
                return str(json.loads((out / name).read_text(encoding='utf-8'))['command'])
            except (ValueError, KeyError, TypeError):
                return f'a {name} that cannot be read'
    return 'the results of an experiment' if (out / RESULTS).exists() else ''


def _git(*arguments: str) -> str:
    try:
        found = subprocess.run(
            ['git', *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ''
    return found.stdout.strip()


def table(rows: Mapping[str, Mapping[str, float]], columns: Sequence[str] | None = None) -> str:
    """A Markdown table: a row for each key, a column for each name (by default all), empty cells where nothing is."""
    if columns is None:
        columns = list(dict.fromkeys(name for values in rows.values() for name in values))
    lines = ['| | ' + ' | '.join(columns) + ' |', '| --- |' + ' ---: |' * len(columns)]
    for name, values in rows.items():
        cells = [f'{values[column]:.4g}' if column in values else '' for column in columns]
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'
