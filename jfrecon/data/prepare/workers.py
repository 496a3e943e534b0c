"""Processes that work at one task each, and whose death is an answer.

A pool of the standard library does not say which task killed a process, and its processes outlive a killed
parent or wait for it for ever.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeVar, cast

from jfrecon.errors import UserError

Task = TypeVar('Task')
Answer = TypeVar('Answer')

# What a decoder's mistake ends a process with; other signals (out of memory, an operator) are not its fault.
SIGNALS = ('SIGSEGV', 'SIGBUS', 'SIGABRT', 'SIGFPE', 'SIGILL')
CRASHES = {-getattr(signal, name): name for name in SIGNALS if hasattr(signal, name)} | {
    0xC0000005: 'an access violation',  # Windows' codes
    0xC00000FD: 'a stack overflow',
    0xC0000374: 'a corrupted heap',
    0xC0000409: 'a stack buffer overrun',
}
MASKS = hasattr(signal, 'pthread_sigmask')
ATTEMPTS = 2


class Crashed(Exception):
    """A task that ended its process, each time."""


def each(
    work: Callable[[Task], Answer], tasks: Iterable[Task], processes: int
) -> Iterator[tuple[Task, Answer | Crashed]]:
    """(task, work(task)) for all tasks, as they are done, by so many spawned processes.

    Errors of ``work`` are raised here; the processes end when this generator does, or this process. Ctrl-C is
    for this process alone. Raises ``UserError`` where a process was killed.
    """
    todo = [(task, ATTEMPTS) for task in tasks][::-1]
    busy: dict[Connection, tuple[BaseProcess, Task, int]] = {}
    try:
        while todo or busy:
            while todo and len(busy) < processes:
                connection, process = _start(work)
                task, attempts = todo.pop()
                busy[connection] = process, task, attempts
                _send(connection, task)
            for ready in cast(list[Connection], wait(list(busy))):
                process, task, attempts = busy[ready]
                try:
                    answer, error = ready.recv()
                except (EOFError, ConnectionError):
                    _end(busy.pop(ready)[0], ready)
                    if process.exitcode not in CRASHES:
                        raise UserError(
                            f'a process was ended from outside (code {process.exitcode}), for want of memory '
                            'perhaps: the same command goes on, with fewer --processes if need be'
                        ) from None
                    if attempts > 1:
                        todo.append((task, attempts - 1))
                    else:
                        yield task, Crashed(CRASHES[process.exitcode])
                    continue
                if error is not None:
                    raise error
                if todo:  # before the yield, so that it works while the answer is looked at
                    following, attempts = todo.pop()
                    busy[ready] = process, following, attempts
                    _send(ready, following)
                else:
                    _end(busy.pop(ready)[0], ready)
                yield task, answer
    finally:
        for connection, (process, _, _) in busy.items():
            process.terminate()
            _end(process, connection)


def _start(work: Callable) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    with _deaf():
        process.start()
    theirs.close()
    return ours, process


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Blocks Ctrl-C, for processes too that are started meanwhile, from their first instruction on; not on Windows."""
    if not MASKS:
        yield
        return
    resource_tracker.ensure_running()  # else the first start does it, and unblocks the signal on the way
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _send(connection: Connection, task: object) -> None:
    with contextlib.suppress(ConnectionError):  # who died in the meantime is noticed in waiting for the answer
        connection.send(task)


def _end(process: BaseProcess, connection: Connection) -> None:
    connection.close()  # which ends a process that waits for a task
    process.join()


def _serve(connection: Connection, work: Callable) -> None:
    if not MASKS:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    warnings.filterwarnings('ignore', module='PIL')  # about damaged pictures, whose reasons are kept anyhow
    with contextlib.suppress(EOFError, ConnectionError):  # nobody is there to ask or to be told
        while True:
            connection.send(_answer(work, connection.recv()))


def _answer(work: Callable, task: object) -> tuple[object, Exception | None]:
    try:
        return work(task), None
    except (UserError, OSError) as error:
        return None, error
    except Exception:
        return None, RuntimeError(traceback.format_exc())


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
