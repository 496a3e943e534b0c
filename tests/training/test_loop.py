"""Runs of a toy: resumed, interrupted, killed, diverging."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.errors import UserError
from jfrecon.training import checkpoints
from jfrecon.training.loop import train
from jfrecon.training.meter import Diverged
from jfrecon.training.prefetch import prefetched
from tests.training import toy

ROOT = Path(__file__).parents[2]
BAD = (3,)


def lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def numbers(workdir: Path) -> list[dict]:
    """All but the speed."""
    return [{name: line[name] for name in line if name != 'images_per_second'} for line in lines(workdir)]


def bits(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


class Interrupting(toy.Data):
    """Sends the process a signal while it makes batch ``at``."""

    def __init__(self, at: int, number: int, **options):
        super().__init__(**options)
        self.at, self.number = at, number

    def __getitem__(self, step):
        if step == self.at:
            os.kill(os.getpid(), self.number)
        return super().__getitem__(step)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Ten steps in one go, the fourth of which is skipped."""
    workdir = tmp_path_factory.mktemp('whole')
    return workdir, train(toy.config(panels_every=4), workdir, toy.Toy(0.1), toy.Data(bad=BAD))


def test_a_run_leaves_its_record(whole):
    workdir, state = whole
    assert {path.name for path in (workdir / 'checkpoints').iterdir()} == {'5', '10'}
    assert sorted(path.name for path in (workdir / 'panels').iterdir()) == ['10.png', '4.png', '8.png']
    assert json.loads((workdir / 'config.json').read_text()) == json.loads(toy.config(panels_every=4).to_json())
    log = lines(workdir)
    assert [line['step'] for line in log] == list(range(1, 11))
    assert set(log[0]) == {
        *('step', 'loss', 'distance', 'size', 'gradient_norm', 'learning_rate', 'images_per_second'),
        *('skipped', 'skipped_in_a_row'),
    }
    assert log[3]['loss'] is None and log[3]['skipped_in_a_row'] == 1
    assert [line['skipped'] for line in log] == [0] * 3 + [1] * 7
    # what the toy says of its loss, in float32
    np.testing.assert_allclose(log[0]['loss'], log[0]['distance'] + 0.1 * log[0]['size'], rtol=1e-6)
    assert all(line['images_per_second'] > 0 for line in log)
    assert int(state.step) == 10 and int(state.skipped) == 1


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_is_the_same_to_the_last_bit(whole, tmp_path, number, capsys):
    before = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]
    method, config = toy.Toy(0.1), toy.config(panels_every=4)
    with pytest.raises(SystemExit) as stopped:
        train(config, tmp_path, method, Interrupting(6, number, bad=BAD))
    assert stopped.value.code == 128 + number
    assert 'the same command resumes' in capsys.readouterr().err
    reached = len(lines(tmp_path))
    assert 4 <= reached < 10 and (tmp_path / 'checkpoints' / str(reached)).is_dir()
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == before

    state = train(config, tmp_path, method, toy.Data(bad=BAD))
    assert numbers(tmp_path) == numbers(whole[0])
    assert bits(state) == bits(whole[1])


def test_lines_after_the_checkpoint_are_written_again(whole, tmp_path):
    """As after kill -9 at step 8: the newest checkpoint is 5's, the log already knows better."""
    train(toy.config(steps=5), tmp_path, toy.Toy(0.1), toy.Data(bad=BAD))
    with open(tmp_path / 'metrics.jsonl', 'a') as log:
        log.write('{"step": 6, "loss": 1}\n{"step": 7, "loss": 1}\n{"step": 8, "lo')
    train(toy.config(), tmp_path, toy.Toy(0.1), toy.Data(bad=BAD))
    assert numbers(tmp_path) == numbers(whole[0])


def test_another_config_is_refused(whole):
    workdir, _ = whole
    other = toy.config(seed=1, log_every=3, panels_every=4)
    other.optimiser.learning_rate = 0.5
    with pytest.raises(UserError, match=r'seed \(was 0, is 1\).*') as error:
        train(other, workdir, toy.Toy(0.1), toy.Data())
    assert 'optimiser.learning_rate (was 0.01, is 0.5)' in str(error.value) and 'log_every' not in str(error.value)


def test_start_from_another_runs_network(whole, tmp_path):
    workdir, before = whole
    begun = toy.config(steps=1, start_from=str(workdir), seed=5)
    begun.optimiser.learning_rate = 1e-9
    state = train(begun, tmp_path / 'next', toy.Toy(0.1), toy.Data())
    # one step at a rate of 1e-9 moves no parameter by more than that; a fresh network is tenths away
    for new, old in zip(jax.tree.leaves(state.params), jax.tree.leaves(before.params)):
        np.testing.assert_allclose(new, old, atol=1e-8)
    assert int(state.step) == 1

    class Wider(toy.Toy):
        def init(self, key):
            params, model_state = super().init(key)
            return params | {'encoder': params['encoder'] | {'extra': jnp.ones(3)}}, model_state

    with pytest.raises(UserError, match=r'params\.encoder\.extra is absent there.*start_from'):
        train(begun, tmp_path / 'other', Wider(0.1), toy.Data())


def test_a_finished_run_stays_as_it_is(whole):
    workdir, state = whole
    log = (workdir / 'metrics.jsonl').read_bytes()
    again = train(toy.config(log_every=2, panels_every=4), workdir, toy.Toy(0.1), toy.Data())
    assert bits(again) == bits(state)
    assert (workdir / 'metrics.jsonl').read_bytes() == log


def test_a_diverged_run_ends_and_keeps_the_last_good_state(tmp_path):
    config = toy.config(checkpoint_every=2, steps=20)
    with pytest.raises(Diverged, match=r'3 steps in a row up to 8 .* the last good one is 4; .*learning_rate'):
        train(config, tmp_path, toy.Toy(0.1), toy.Data(bad=tuple(range(5, 20))))
    assert [line['loss'] is None for line in lines(tmp_path)] == [False] * 5 + [True] * 2
    _, step, params, _ = checkpoints.load(tmp_path)
    assert step == 4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_held_out_faces_are_judged_with_each_checkpoint_and_teach_nothing(tmp_path):
    settings = toy.config(steps=6, checkpoint_every=4, log_every=5)
    unseen = [toy.Data()[7], toy.Data()[8]]
    told = train(settings, tmp_path / 'told', toy.Toy(), toy.Data(), held_out=unseen)
    silent = train(settings, tmp_path / 'silent', toy.Toy(), toy.Data())
    assert bits(told) == bits(silent)
    assert [line['step'] for line in lines(tmp_path / 'silent')] == [1, 5, 6]
    said = {line['step']: line.get('validation_loss') for line in lines(tmp_path / 'told')}
    assert list(said) == [1, 4, 5, 6] and said[1] is said[5] is None
    loss = lambda batch: toy.Toy(axis_name=None).loss(told.params, told.model_state, batch, None, 6)[0]
    with jax.default_device(jax.devices()[0]):
        expected = np.mean([loss(batch) for batch in unseen])
    assert said[6] == pytest.approx(expected, rel=1e-5)
    assert said[4] != said[6]


def test_steps_must_be_positive(tmp_path):
    with pytest.raises(UserError, match=r'config\.checkpoint_every must be at least 1'):
        train(toy.config(checkpoint_every=0), tmp_path, toy.Toy(), toy.Data())


def test_prefetched_keeps_order_and_raises_in_its_place():
    def make(number):
        if number == 5:
            raise UserError('torn shard')
        time.sleep(0.01 * (number % 2))
        return number

    assert list(prefetched(make, 2, 5, threads=3)) == [2, 3, 4]
    assert list(prefetched(make, 2, 2)) == []
    found = prefetched(make, 3, 9, threads=3)
    assert [next(found), next(found)] == [3, 4]
    with pytest.raises(UserError, match='torn shard'):
        next(found)


def start(workdir: Path, steps: int, *changes: str) -> subprocess.Popen:
    command = [
        sys.executable,
        str(ROOT / 'tests' / 'training' / 'train_toy.py'),
        str(workdir),
        str(steps),
        *changes,
    ]
    return subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {'PYTHONPATH': str(ROOT)}, stderr=subprocess.PIPE, text=True
    )


def wait_for_lines(workdir: Path, count: int, process: subprocess.Popen) -> None:
    """Until the process (not one before it) has brought the log to that many lines."""
    log, begun = workdir / 'metrics.jsonl', time.time()
    while not (log.exists() and log.stat().st_mtime > begun and len(log.read_bytes().splitlines()) >= count):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


@pytest.mark.slow
def test_sigterm_to_a_process(tmp_path):
    first = start(tmp_path, 100_000, 'checkpoint_every=1000')
    wait_for_lines(tmp_path, 3, first)
    first.terminate()
    _, said = first.communicate(timeout=60)
    assert first.returncode == 143 and 'the same command resumes' in said
    reached = lines(tmp_path)[-1]['step']
    second = start(tmp_path, reached + 5, 'checkpoint_every=1000')
    _, said = second.communicate(timeout=120)
    assert second.returncode == 0, said
    assert [line['step'] for line in lines(tmp_path)] == list(range(1, reached + 6))


def test_kill_at_any_moment(tmp_path):
    """kill -9 within saves that happen all the time; each next run goes on from a state that is whole."""
    draw = random.Random(0)
    reached = 0
    for _ in range(2):
        process = start(tmp_path, 100_000, 'noise=0.1', 'checkpoint_every=2')
        wait_for_lines(tmp_path, reached + 6, process)
        time.sleep(draw.random() * 0.3)
        process.kill()
        _, said = process.communicate(timeout=60)
        assert 'damaged' not in said and 'Traceback' not in said
        _, step, params, _ = checkpoints.load(tmp_path)
        assert step >= reached and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
        reached = step
    last = start(tmp_path, reached + 3, 'noise=0.1', 'checkpoint_every=2')
    _, said = last.communicate(timeout=120)
    assert last.returncode == 0, said
    assert [line['step'] for line in lines(tmp_path)] == list(range(1, reached + 4))

    clean = tmp_path / 'clean'
    train(toy.config(steps=10), clean, toy.Toy(0.1), toy.Data())
    assert numbers(tmp_path)[:10] == numbers(clean)


@pytest.mark.slow
def test_two_processes_are_one_run(tmp_path):
    """Two on loopback (gloo) compute what one does, stop together when one is told to, and resume as one."""
    port = free_port()
    both = [start(tmp_path, 100_000, f'distributed=127.0.0.1:{port},2,{i}') for i in range(2)]
    wait_for_lines(tmp_path, 4, both[0])
    both[1].terminate()
    said = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [143, 143], said
    reached = lines(tmp_path)[-1]['step']
    alone = start(tmp_path, reached + 3)
    assert alone.wait(timeout=120) == 0, alone.stderr.read()

    clean = tmp_path / 'clean'
    train(toy.config(steps=5), clean, toy.Toy(), toy.Data())
    assert [line['step'] for line in lines(tmp_path)] == list(range(1, reached + 4))
    # sums in another order: float32 rounding, which Adam's division blows up in its first steps
    for ours, theirs in zip(numbers(tmp_path), numbers(clean)):
        np.testing.assert_allclose(ours['loss'], theirs['loss'], rtol=1e-3)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]
