"""Runs in stages: in order, each from the network before, stopped and gone on with."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from jfrecon.errors import UserError
from jfrecon.training import checkpoints, loop, stages
from tests.training import toy
from tests.training.test_loop import Interrupting, bits, numbers


@pytest.fixture
def train(monkeypatch):
    """`stages.train` of toys: the method that a config names is one."""
    monkeypatch.setattr(loop.methods, 'build', lambda config, axis: toy.Toy(config.noise))
    return stages.train


def config():
    built = toy.config(noise=0.1, start_from=None, stages=('slow', 'fast'))
    built.stage = ConfigDict({
        'slow': {'steps': 6, 'optimiser': {'learning_rate': 1e-4}},
        'fast': {'steps': 12, 'noise': 0.0, 'optimiser': {'groups': {'encoder': 0.0}}},
    })  # fmt: skip
    return built


def test_each_stage_goes_on_from_the_network_before(train, tmp_path):
    state = train(config(), tmp_path, toy.Data())
    assert sorted(path.name for path in tmp_path.iterdir()) == ['1_slow', '2_fast']
    first, second = numbers(tmp_path / '1_slow'), numbers(tmp_path / '2_fast')
    assert len(first) == 6 and len(second) == 12
    assert first[0]['learning_rate'] == pytest.approx(1e-4) and second[0]['learning_rate'] == pytest.approx(1e-2)
    _, _, before, _ = checkpoints.load(tmp_path / '1_slow')
    np.testing.assert_array_equal(state.params['encoder']['kernel'], before['encoder']['kernel'])  # frozen
    assert np.abs(state.params['decoder']['kernel'] - before['decoder']['kernel']).max() > 1e-3
    # what is read of the run is what it ended with
    found, step, after, _ = checkpoints.load(tmp_path)
    assert step == 12 and found['noise'] == 0.0 and found['stages'] == []
    np.testing.assert_array_equal(after['decoder']['kernel'], state.params['decoder']['kernel'])


def test_a_run_stopped_in_a_stage_goes_on_in_it(train, tmp_path):
    whole = train(config(), tmp_path / 'whole', toy.Data())
    with pytest.raises(SystemExit):
        # the first stage has no batch 6
        train(config(), tmp_path / 'stopped', Interrupting(6, signal.SIGTERM))
    assert len(numbers(tmp_path / 'stopped' / '1_slow')) == 6
    assert len(numbers(tmp_path / 'stopped' / '2_fast')) < 12
    again = train(config(), tmp_path / 'stopped', toy.Data())
    assert bits(again) == bits(whole)
    assert numbers(tmp_path / 'stopped' / '2_fast') == numbers(tmp_path / 'whole' / '2_fast')


def test_a_stage_that_is_not_there_is_named(tmp_path):
    built = config()
    built.stages = ('slow', 'medium')
    with pytest.raises(UserError, match="'medium'"):
        stages.train(built, tmp_path, toy.Data())
    assert not list(tmp_path.iterdir())


def test_what_is_wrong_with_a_later_stage_is_said_before_the_first_is_trained(train, tmp_path):
    built = config()
    built.stage.fast.optimiser.groups = ConfigDict({'enocder': 0.0})
    with pytest.raises(UserError, match=r"stage fast: config\.optimiser\.groups: no parameters start with 'enocder'"):
        train(built, tmp_path, toy.Data())
    built = config()
    built.stage.fast.start_from = str(tmp_path / 'nothing')
    with pytest.raises(UserError, match=r'config\.start_from: no such file or folder'):
        train(built, tmp_path, toy.Data())
    assert not list(tmp_path.iterdir())


def test_a_stage_may_begin_with_the_network_of_another_run(train, tmp_path):
    train(config(), tmp_path / 'before', toy.Data())
    built = config()
    built.stage.fast.start_from = str(tmp_path / 'before' / '2_fast')
    parts = dict(stages.configs(built, tmp_path / 'run'))
    assert [part.start_from for part in parts.values()] == [None, str(tmp_path / 'before' / '2_fast')]
    built.start_from = str(tmp_path / 'before' / '1_slow')
    parts = dict(stages.configs(built, tmp_path / 'run'))
    assert [Path(part.start_from).name for part in parts.values()] == ['1_slow', '2_fast']
    train(built, tmp_path / 'run', toy.Data())  # both are there


def test_a_setting_that_no_stage_reads_is_an_error(train, tmp_path):
    built = config()
    with built.unlocked():
        built.glamour = 3
    with pytest.raises(UserError, match=r'--config\.glamour has no effect'):
        stages.train(built, tmp_path, toy.Data(), asked=['steps', 'noise', 'glamour'])
    assert not list(tmp_path.iterdir())
