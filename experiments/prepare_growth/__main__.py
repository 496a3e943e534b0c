"""What does a preparation of 100,000 photographs cost beside the photographs: seconds, memory, and how do they grow?

    python -m experiments.prepare_growth --out=runs/prepare_growth

Noise of 16 x 16 pixels with given landmarks is prepared: reading and cutting it costs next to nothing, so that what is
measured is the bookkeeping. Each number of pictures is prepared whole, by the same command again when all is done, as
the first of ten parts, and read as training reads it; `start` is the import alone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from experiments import harness
from jfrecon import commands

NAME = 'prepare_growth'
COUNTS, QUICK = (10_000, 100_000), (100, 200)
SIDE, A_FOLDER = 16, 1000  # pixels, pictures
PARTS = 10
READ = 'import sys; from jfrecon.data import shards; print(len(shards.Shards(sys.argv[1])))'


def main(arguments: list[str] | None = None) -> None:
    """Prepare many tiny pictures, and measure time and memory."""
    parser = harness.parser(NAME, main.__doc__)
    parser.add_argument('--processes', type=int, default=commands.cores(), help='of the preparation')
    options = parser.parse_args(arguments)
    run = harness.start(NAME, options.out, options.overwrite)
    rows = {}
    for count in QUICK if options.quick else COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            rows |= measure(Path(folder), count, options.processes)
    run.record(rows, harness.table(rows))


def measure(folder: Path, count: int, processes: int) -> dict[str, dict[str, float]]:
    """Rows of the table for one number of pictures, which are made in a folder."""
    draw(folder, count)
    prepare = [
        *('-m', 'jfrecon.prepare', str(folder / 'photos'), f'--landmarks={folder / "landmarks.npz"}'),
        *('--crop=whole', f'--processes={processes}'),
    ]
    cases = {
        'prepared': [*prepare, f'--out={folder / "whole"}'],
        'again': [*prepare, f'--out={folder / "whole"}'],
        'read': ['-c', READ, str(folder / 'whole')],
        f'part 1/{PARTS}': [*prepare, f'--out={folder / "parts"}', f'--part=1/{PARTS}'],
    }
    return {'start': cost(['-c', 'import jfrecon.prepare'])} | {
        f'{count:,} {name}': cost(command) for name, command in cases.items()
    }


def draw(folder: Path, count: int) -> None:
    """Writes the pictures, a thousand in a folder, and their landmarks."""
    rng = np.random.default_rng(0)
    names = [f'{k // A_FOLDER:03d}/{k:06d}.png' for k in range(count)]
    for name in tqdm(names, desc='drawing', unit='file', disable=None):
        path = folder / 'photos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path, compress_level=1)
    landmarks = rng.uniform(4, 12, (count, 68, 2)).astype(np.float32)
    np.savez(folder / 'landmarks.npz', filename=names, landmarks=landmarks)


def cost(command: list[str]) -> dict[str, float]:
    """Seconds of a Python command (clock; CPU, with the processes it starts) and its largest memory, without theirs."""
    begun, peak = time.monotonic(), 0
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    while True:
        done, status, used = os.wait4(process.pid, os.WNOHANG)
        if done:
            break
        with contextlib.suppress(OSError, IndexError):
            lines = Path(f'/proc/{process.pid}/status').read_text().splitlines()
            peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith('VmHWM'))])
        time.sleep(0.02)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f'{" ".join(command)} failed with code {process.returncode}')
    return {
        'seconds': time.monotonic() - begun,
        'CPU seconds': used.ru_utime + used.ru_stime,
        'peak MB': peak / 1024,
    }


if __name__ == '__main__':
    commands.run(main)
