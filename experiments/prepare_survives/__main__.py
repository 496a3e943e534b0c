"""Does a preparation that is killed twenty times leave the same bytes as one that is left alone?

    python -m experiments.prepare_survives --out=runs/prepare_survives

Each case is prepared once undisturbed. Then the same command is started again and again in another folder,
with a random number of processes, and killed at a random moment, by SIGKILL or SIGTERM in turn by chance;
where it happens to finish, what it left is compared and it begins anew. After the last kill it may finish.
All files of both folders are compared byte for byte. The contact sheets that it leaves show people: they are
for looking, not for committing.
"""

from __future__ import annotations

import collections
import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from experiments import harness, photographs
from jfrecon import commands
from jfrecon.data.prepare.extract import Rejected
from jfrecon.prepare import by_reason

NAME = 'prepare_survives'
KILLS, QUICK = 20, 4
LIVES = 10  # a life ends within this share of the undisturbed run's work
KEY = '--landmarks-key=lm68_auto3d'


def main(arguments: list[str] | None = None) -> None:
    """Prepare photographs undisturbed and under kills, and compare the bytes."""
    parser = harness.parser(NAME, main.__doc__)
    photographs.add_arguments(parser)
    options = parser.parse_args(arguments)
    portraits, wild = options.data / 'faces_cc_by', options.data / 'photos'
    for folder in (portraits, wild):
        harness.need(folder / 'landmarks.npz', 'the photographs')
    cases = {
        'faces_cc_by': [
            portraits / 'images',
            f'--landmarks={portraits / "landmarks.npz"}',
            KEY,
            '--shard-size=32',
        ],
        'photos': [
            wild,
            f'--landmarks={wild / "landmarks.npz"}',
            KEY,
            f'--masks={wild}',
            '--mask-suffix=_skinmask',
            '--shard-size=4',
        ],
        'photos_found': [wild, '--shard-size=4'],
    }
    run = harness.start(NAME, options.out, options.overwrite)
    rows, reasons = {}, {}
    for number, (name, command) in enumerate(cases.items()):
        kills = QUICK if options.quick else KILLS
        rows[name], reasons[name] = survive(name, list(map(str, command)), options.out / name, kills, number)
    table = harness.table(rows, list(rows['photos'])) + ''.join(f'\n{name}: {text}\n' for name, text in reasons.items())
    run.record(rows, table)


def survive(name: str, command: list[str], out: Path, kills: int, seed: int) -> tuple[dict[str, float], str]:
    """Counts of one case, ``identical`` 1 where all bytes were the same, and the reasons for rejects."""
    alone, killed = out / 'undisturbed', out / 'killed'
    for folder in (alone, killed):
        shutil.rmtree(folder, ignore_errors=True)
    begun = time.monotonic()
    process = start(command, alone, 2)
    while process.poll() is None and not (alone / 'parts').exists():
        time.sleep(0.02)
    early = time.monotonic() - begun
    ended(process)
    work = time.monotonic() - begun - early

    rng = np.random.default_rng(seed)
    died: collections.Counter[signal.Signals] = collections.Counter()
    finished, same = 0, True
    with tqdm(total=kills, desc=f'killing {name}', unit='kill', disable=None) as bar:
        while died.total() < kills:
            process = start(command, killed, int(rng.integers(1, 4)))
            try:
                process.wait(rng.uniform(0, early + work / LIVES))
                ended(process)
                finished, same = finished + 1, same and contents(killed) == contents(alone)
                shutil.rmtree(killed)
            except subprocess.TimeoutExpired:
                how = signal.SIGKILL if rng.random() < 0.5 else signal.SIGTERM
                process.send_signal(how)
                process.communicate()
                died[how] += 1
                bar.update()
    ended(start(command, killed, 2))
    manifest = json.loads((alone / 'manifest.json').read_text(encoding='utf-8'))
    with (alone / 'rejected.csv').open(newline='', encoding='utf-8') as file:
        rejected = [Rejected(**row) for row in csv.DictReader(file)]
    row = {
        'files': len(json.loads((alone / 'prepare.json').read_text(encoding='utf-8'))['inputs']),
        'faces': manifest['count'],
        'rejected': len(rejected),
        'shards': len(manifest['shards']),
        'SIGKILL': died[signal.SIGKILL],
        'SIGTERM': died[signal.SIGTERM],
        'finished': finished + 1,
        'identical': float(same and contents(killed) == contents(alone)),
    }
    return row, ', '.join(f'{times} {reason}' for reason, times in by_reason(rejected).items()) or 'nothing rejected'


def start(command: list[str], out: Path, processes: int) -> subprocess.Popen:
    """The preparation, in a process of its own."""
    arguments = [*command, f'--out={out}', f'--processes={processes}']
    return subprocess.Popen(
        [sys.executable, '-m', 'jfrecon.prepare', *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen) -> None:
    """Waits; raises RuntimeError with what it said where it failed."""
    _, said = process.communicate()
    if process.returncode:
        raise RuntimeError(f'the preparation failed with code {process.returncode}: {said}')


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


if __name__ == '__main__':
    commands.run(main)
