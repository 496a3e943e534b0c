"""A process with little memory that reads changed files, one after another, and says what became of each.

    python -m experiments.fuzz.reader FOLDER SEED KIND:FIRST:LAST...

One line of JSON for each file that it begins with, and one when it is done with it. Who started it sees by them which
file killed it, or takes too long.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from experiments.fuzz import mutations, seeds
from jfrecon.data.sample import Unreadable
from jfrecon.errors import UserError

MEMORY = 1 << 31  # bytes that a process may take on top of what its libraries take
ROOT = Path(__file__).parents[2]


def main() -> None:
    """See above."""
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    opened: list[str] = []
    sys.addaudithook(lambda event, values: opened.append(str(values[0])) if event == 'open' else None)
    out = os.fdopen(os.dup(1), 'w', buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print is not the answer
    for task in sys.argv[3:]:
        kind, first, last = task.split(':')
        file, _, read = seeds.KINDS[kind]
        path = folder / kind / file
        data = path.read_bytes()
        read(path)  # which imports what it needs, and is no fault
        _limit()
        for number in range(int(first), int(last)):
            print(json.dumps([kind, number]), file=out)
            path.write_bytes(mutations.mutated(data, number, seed))
            opened.clear()
            answer = outcome(lambda read=read, path=path: read(path))
            if any(elsewhere in name for name in opened for elsewhere in mutations.ELSEWHERE):
                answer['what'], answer['fault'] = 'a file elsewhere was opened', True
            print(json.dumps([kind, number, answer]), file=out)
        path.write_bytes(data)


def outcome(read) -> dict[str, Any]:
    """What a reader makes of a file: the kind of error, whether it is a fault, seconds and MiB."""
    _forget_peak()
    before, begun = _memory('VmRSS'), time.process_time()
    fault, message = False, ''
    try:
        read()
        what = 'read'
    except (UserError, Unreadable) as error:
        what, message = type(error).__name__, str(error)
        if '\n' in message:
            what, fault = 'an error of several lines', True
    except BaseException as error:
        last = [frame for frame in traceback.extract_tb(error.__traceback__) if 'jfrecon' in frame.filename][-1:]
        place = ''.join(f' at {Path(frame.filename).name}:{frame.name}' for frame in last)
        what, message, fault = f'{type(error).__name__}{place}', str(error)[:200], True
    seconds, memory = time.process_time() - begun, max(0, _memory('VmHWM') - before) / 2**20
    used = {'seconds': round(seconds, 4), 'MiB': round(memory, 1)}
    return {'what': what, 'fault': fault, 'message': message[:300], **used}


def _memory(name: str) -> int:
    (line,) = (line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(f'{name}:'))
    return 1024 * int(line.split()[1])


def _forget_peak() -> None:
    Path('/proc/self/clear_refs').write_text('5')


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_memory('VmSize') + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == '__main__':
    main()
