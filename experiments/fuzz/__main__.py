"""Does any file, however broken or hostile, do more than raise an error of one line?

    python -m experiments.fuzz --out=runs/fuzz

Tiny valid files of every kind that is read are changed at random: bits, lengths, dimensions, names, order,
nesting, and the same inside of archives, whose checksums are then mended. Processes with little memory read them. A
fault is an error that is not the loader's own, a death of the process, more than `MIB` of memory, more than `SECONDS`,
or the opening of a file outside of the folder. OUT/faults keeps the files that did it.
"""

from __future__ import annotations

import collections
import json
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments import harness
from experiments.fuzz import mutations, seeds
from jfrecon import commands, files

NAME = 'fuzz'
INPUTS, QUICK = 10_000, 250
SEED = 0
MIB, SECONDS = 512, 10.0
SILENCE = 60.0  # seconds of the clock after which a process is taken for hung
PROCESSES = 2


def main(arguments: list[str] | None = None) -> None:
    """Read changed files of every kind, and count what becomes of them."""
    parser = harness.parser(NAME, main.__doc__)
    parser.add_argument('--kinds', nargs='+', choices=list(seeds.KINDS), default=list(seeds.KINDS), help='default: all')
    options = parser.parse_args(arguments)
    run = harness.start(NAME, options.out, options.overwrite)
    results = fuzz(options.out, options.kinds, QUICK if options.quick else INPUTS)
    run.record(results, table(results))


def fuzz(out: Path, kinds: list[str], count: int, processes: int = PROCESSES) -> dict[str, Any]:
    """Inputs, errors by kind, worst memory and time of each kind of file."""
    shutil.rmtree(out / 'files', ignore_errors=True)
    shutil.rmtree(out / 'faults', ignore_errors=True)
    places = [out / 'files' / str(k) for k in range(processes)]
    made = [seeds.make(place) for place in places]
    originals = {kind: made[0][kind].path.read_bytes() for kind in kinds}
    for place in places:
        (place / mutations.CANARY).write_text('not to be opened')
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    with tqdm(total=len(kinds) * count, desc='reading', unit='file', disable=None) as bar:
        readers = [Reader(place, [(kind, 0, count) for kind in kinds[k::processes]]) for k, place in enumerate(places)]
        while any(reader.left for reader in readers):
            for reader in readers:
                for kind, number, answer in reader.answers():
                    if answer['MiB'] > MIB or answer['seconds'] > SECONDS:
                        answer['fault'], answer['what'] = True, 'too much ' + ('time', 'memory')[answer['MiB'] > MIB]
                    found[kind].append(answer | {'number': number})
                    bar.update()
                    if answer['fault']:
                        content = mutations.mutated(originals[kind], number, SEED)
                        files.write_bytes(out / 'faults' / f'{kind}-{number}', content)
    return {kind: summary(answers) for kind, answers in found.items()}


class Reader:
    """A process that reads (kind, first, last), started again behind each file that ends it."""

    def __init__(self, place: Path, tasks: list[tuple[str, int, int]]) -> None:
        self.left = tasks
        self._place = place
        self._start()

    def _start(self) -> None:
        command = [sys.executable, '-m', 'experiments.fuzz.reader', str(self._place), str(SEED)]
        with open(self._place / 'log.txt', 'ab') as log:
            tasks = [':'.join(map(str, task)) for task in self.left]
            where = Path(__file__).parents[2]
            self._process = subprocess.Popen([*command, *tasks], cwd=where, stdout=subprocess.PIPE, stderr=log)
        self._heard, self._rest = time.monotonic() + 60, b''  # libraries take long to be imported
        self._at: tuple[str, int] | None = None

    def answers(self) -> list[tuple[str, int, dict[str, Any]]]:
        """What it has said since, for a tenth of a second at most."""
        if not self.left:
            return []
        stream, found = self._process.stdout, []
        assert stream is not None
        ready, _, _ = select.select([stream], [], [], 0.1)
        if ready and (said := stream.read1(1 << 16)):  # type: ignore[attr-defined]
            self._heard = time.monotonic()
            *lines, self._rest = (self._rest + said).split(b'\n')
            for kind, number, *answer in map(json.loads, lines):
                self._at = kind, number
                if answer:
                    found.append((kind, number, answer[0]))
                    self._done(kind, number)
            return found
        hung = time.monotonic() > self._heard + SILENCE
        if ready or hung:
            if hung:
                self._process.kill()
            code = self._process.wait()
            if self.left:
                if self._at is None:
                    raise RuntimeError(f'{self._place}: the reader ends by itself ({code}): see log.txt there')
                what = 'hung' if hung else f'the process died ({code})'
                kind, number = self._at
                found.append((kind, number, {'what': what, 'fault': True, 'message': '', 'seconds': 0.0, 'MiB': 0.0}))
                self._done(kind, number)
                self._restore(kind)
                if self.left:
                    self._start()
        return found

    def _done(self, kind: str, number: int) -> None:
        (first, *others), self._at = self.left, None
        assert first[0] == kind
        self.left = others if number + 1 >= first[2] else [(kind, number + 1, first[2]), *others]

    def _restore(self, kind: str) -> None:
        file, write, _ = seeds.KINDS[kind]
        for inner in (self._place / kind).iterdir():
            inner.unlink()
        write(self._place / kind / file)


def summary(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one kind of file."""
    faults: dict[str, dict[str, Any]] = {}
    for answer in answers:
        if answer['fault']:
            entry = faults.setdefault(
                answer['what'], {'count': 0, 'first': answer['number'], 'message': answer['message']}
            )
            entry['count'] += 1
    return {
        'inputs': len(answers),
        'outcomes': dict(collections.Counter(answer['what'] for answer in answers if not answer['fault'])),
        'faults': faults,
        'worst_MiB': max(answer['MiB'] for answer in answers),
        'worst_seconds': max(answer['seconds'] for answer in answers),
    }


def table(results: dict[str, Any]) -> str:
    """One row for each kind of file."""
    rows = {}
    for kind, found in results.items():
        rows[kind] = {
            'inputs': found['inputs'], 'read as if whole': found['outcomes'].get('read', 0),
            'errors of one line': sum(n for what, n in found['outcomes'].items() if what != 'read'),
            'faults': sum(fault['count'] for fault in found['faults'].values()),
            'worst MiB': found['worst_MiB'], 'worst s': found['worst_seconds'],
        }  # fmt: skip
    return harness.table(rows, list(next(iter(rows.values()))))


if __name__ == '__main__':
    commands.run(main)
