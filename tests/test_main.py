"""The edge of the commands: one line and a code for the user's mistakes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jfrecon import commands
from jfrecon.errors import UserError
from jfrecon.main import default_workdir, join

ROOT = Path(__file__).parents[1]
CONFIG = """
from ml_collections import ConfigDict

def get_config(variant='plain'):
    if variant != 'plain':
        raise ValueError(f'there is only plain, not {variant}')
    return ConfigDict({'method': 'no_such', 'steps': 3, 'checkpoint_every': 1, 'max_skipped_in_a_row': 1})
"""


def command(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-m', 'jfrecon.main', *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_has_an_example():
    done = command('--help')
    assert done.returncode == 0
    assert 'python -m jfrecon.main --config=configs/' in done.stdout and '--workdir' in done.stdout


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        ([], '--config=configs/quickstart.py'),
        (['--config={folder}/none.py'], 'none.py'),
        (['--config={config}:fancy'], 'there is only plain, not fancy'),
        (['--config={config}', '--config.setps=4'], 'setps'),
        (['--config={config}', '--config.steps=many'], 'many'),
        (['--config={config}', 'stray'], 'stray'),
        (['--config={config}', '--wrokdir=x'], 'wrokdir'),
        (['--config={config}', '--workdir={folder}/run', '--distributed=here'], 'HOST:PORT,PROCESSES,ID'),
        (
            ['--config={config}', '--workdir={folder}/run', '--config.steps=0'],
            'config.steps must be at least 1',
        ),
        (['--config={config}', '--workdir={folder}/run'], 'no_such'),
    ],
)
def test_mistakes_are_one_line_and_code_2(tmp_path, arguments, named):
    config = tmp_path / 'config.py'
    config.write_text(CONFIG)
    done = command(*(argument.format(folder=tmp_path, config=config) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert named in done.stderr and done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
    assert not (tmp_path / 'run').exists()


def test_default_workdir():
    assert default_workdir('configs/dib21.py') == 'runs/dib21'
    assert default_workdir('/else/where/cest.py:iest') == 'runs/cest_iest'


def test_alone_unless_launched_together(monkeypatch):
    """An allocation's variables without a launcher's (a shell under salloc, a pod) do not make a cluster."""
    monkeypatch.setenv('SLURM_NTASKS', '8')
    monkeypatch.setenv('KUBERNETES_SERVICE_HOST', '10.0.0.1')
    monkeypatch.setenv('SLURM_STEP_NUM_TASKS', '1')
    join('auto')
    monkeypatch.delenv('KUBERNETES_SERVICE_HOST')
    monkeypatch.setenv('OMPI_COMM_WORLD_SIZE', '2')
    with pytest.raises(UserError, match='--distributed=cluster: '):
        join('auto')  # pretends to be launched, but JAX finds nothing to join


def fails(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ('main', 'code', 'said'),
    [
        (lambda: None, 0, ''),
        (lambda: 7, 7, ''),
        (fails(UserError('two\n  lines')), 2, 'error: two lines\n'),
        (
            fails(FileNotFoundError(2, 'No such file or directory', 'face.png')),
            2,
            'error: face.png: No such file',
        ),
        (fails(OSError(28, 'No space left on device')), 2, 'error: No space left on device\n'),
    ],
)
def test_exit_codes(main, code, said, capsys, monkeypatch):
    monkeypatch.setattr(commands, '_keep_compilations', lambda: None)
    with pytest.raises(SystemExit) as exited:
        commands.run(main)
    assert exited.value.code == code
    assert capsys.readouterr().err.startswith(said)


def test_our_own_mistakes_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(commands, '_keep_compilations', lambda: None)
    with pytest.raises(KeyError):
        commands.run(fails(KeyError('bug')))
    with pytest.raises(OSError):
        commands.run(fails(OSError(5, 'Input/output error')))


def test_ctrl_c_leaves_at_once():
    """Also while a thread is busy that an orderly exit would wait for."""
    program = (
        'import signal, threading, time; from jfrecon import commands\n'
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'  # a job in the background is born deaf to it
        'def main():\n'
        '    threading.Thread(target=time.sleep, args=(60,)).start()\n'
        '    print("up", flush=True)\n'
        '    time.sleep(60)\n'
        'commands.run(main)'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'up\n'
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said == 'interrupted\n'
    assert time.monotonic() - begun < 30  # not the thread's 60


@pytest.mark.parametrize('chosen', [None, '/some/where', ''])
def test_compiled_programs_are_kept_unless_told_otherwise(chosen, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != 'JAX_COMPILATION_CACHE_DIR'}
    environment |= {'XDG_CACHE_HOME': str(tmp_path)} | ({} if chosen is None else {'JAX_COMPILATION_CACHE_DIR': chosen})
    program = (
        'from jfrecon import commands\nimport jax\ncommands.run(lambda: print(jax.config.jax_compilation_cache_dir))'
    )
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, env=environment, capture_output=True, text=True)
    expected = {None: f'{tmp_path}/jfrecon/compiled', '': 'None'}.get(chosen, chosen)
    assert done.stdout == expected + '\n', done.stderr
