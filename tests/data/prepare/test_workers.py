from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jfrecon.data.prepare import workers
from jfrecon.errors import UserError

ROOT = Path(__file__).parents[3]
# Work has to be importable by the spawned processes, so it comes from a module on their path.
WORK = """
import os, signal, time

def work(task):
    if task == 'crash':
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == 'killed':
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 'wrong':
        raise KeyError('our mistake')
    if task == 'full':
        raise OSError(28, 'No space left on device')
    if task == 'deaf':
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        return True
    if task == 'sleep':
        print(os.getpid(), flush=True)
        time.sleep(100)
    return task * 2
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    (tmp_path / 'some_work.py').write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    import some_work

    yield some_work.work
    del sys.modules['some_work']


def test_all_tasks_are_done_and_one_that_crashes_is_named(work):
    found = dict(workers.each(work, [1, 2, 'crash', 3, 4], processes=2))
    crashed = found.pop('crash')
    assert found == {1: 2, 2: 4, 3: 6, 4: 8}
    assert isinstance(crashed, workers.Crashed) and str(crashed) == 'SIGSEGV'


@pytest.mark.parametrize(
    'task, error, said',
    [
        ('killed', UserError, 'ended from outside'),
        ('wrong', RuntimeError, 'our mistake'),
        ('full', OSError, 'No space left'),
    ],
)
def test_what_is_not_the_tasks_fault_ends_it(work, task, error, said):
    with pytest.raises(error, match=said):
        list(workers.each(work, [task], processes=1))


@pytest.mark.parametrize('hidden', ['', 'del signal.pthread_sigmask, signal.SIGBUS\n'])
def test_ctrl_c_is_not_for_the_processes(work, hidden, tmp_path):
    """In a process of its own: the first start of all, which starts the standard library's tracker too, is special.

    Without masks, as on Windows, the processes ignore it.
    """
    (tmp_path / 'sitecustomize.py').write_text(f'import signal\n{hidden}')
    program = (
        'from jfrecon.data.prepare import workers; from some_work import work\n'
        "print([answer for _, answer in workers.each(work, ['deaf', 'deaf'], 2)])"
    )
    path = os.pathsep.join([str(ROOT), str(Path(sys.modules['some_work'].__file__).parent)])
    environment = os.environ | {'PYTHONPATH': path}
    done = subprocess.run(
        [sys.executable, '-c', program],
        env=environment,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background is born deaf to it
    )
    assert done.stdout == '[True, True]\n', done.stderr


def test_crashes_are_told_from_what_somebody_did():
    assert workers.CRASHES[-signal.SIGSEGV] == 'SIGSEGV' and workers.CRASHES[0xC0000005] == 'an access violation'
    assert not {0, 1, -signal.SIGKILL, -signal.SIGTERM} & workers.CRASHES.keys()


def test_processes_follow_a_killed_parent(work, tmp_path):
    program = (
        'import sys; from jfrecon.data.prepare import workers; from some_work import work\n'
        "if __name__ == '__main__': list(workers.each(work, ['sleep'], 1))"
    )
    script = tmp_path / 'parent.py'
    script.write_text(program)
    parent = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {'PYTHONPATH': f'{ROOT}{os.pathsep}{tmp_path}'},
    )
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 30  # it takes milliseconds; its sleep, 100 seconds
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)
    parent.stdout.close()


def alive(process: int) -> bool:
    """Whether it runs; one that nobody has buried yet does not."""
    try:
        return Path(f'/proc/{process}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False
