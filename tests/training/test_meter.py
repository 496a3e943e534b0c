"""The meter: what it reads when, its speed, and when it gives up."""

from __future__ import annotations

import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from jfrecon.training import meter
from jfrecon.training.meter import LAG, Diverged, Meter

CONFIG = ConfigDict({'steps': 10, 'log_every': 3, 'max_skipped_in_a_row': 2})
RATES = {'learning_rate': lambda updates: 0.5**updates}


class Notes:
    """A journal that remembers."""

    def __init__(self):
        self.advanced, self.lines = [], {}

    def advance(self, step):
        self.advanced.append(step)

    def write(self, step, values):
        self.lines[step] = values


class Late:
    """A metric that the device has, or has not, computed yet."""

    def __init__(self, ready):
        self.ready = ready

    def is_ready(self):
        return self.ready


def metrics(loss=1.0, skipped=0, in_a_row=0):
    counts = {'skipped': jnp.int32(skipped), 'skipped_in_a_row': jnp.int32(in_a_row)}
    return {'size': jnp.float32(2), 'loss': jnp.float32(loss), **counts}


@pytest.fixture
def clock(monkeypatch):
    """Its only entry is the time."""
    now = [0.0]
    monkeypatch.setattr(meter.time, 'monotonic', lambda: now[0])
    return now


def made(step=0):
    notes = Notes()
    return notes, Meter(notes, CONFIG, RATES, 8, step, lambda: 'the last good one is 4')


def test_the_last_steps_are_read_only_when_waited_for():
    notes, of_run = made()
    for step in range(1, 5):
        of_run.add(step, metrics(), wait=False)
    assert notes.advanced == list(range(1, 5 - LAG))
    of_run.add(5, metrics(), wait=True)
    assert notes.advanced == [1, 2, 3, 4, 5]
    # the first, and every third
    assert list(notes.lines) == [1, 3]


def test_a_line_has_the_rate_of_the_updates_before_it():
    notes, of_run = made()
    of_run.add(3, metrics(loss=0.25, skipped=1, in_a_row=1), wait=True)
    assert next(iter(notes.lines[3])) == 'loss' and notes.lines[3]['loss'] == 0.25
    assert notes.lines[3]['learning_rate'] == 0.5  # two steps before, of which one was skipped
    assert of_run.skipped_in_a_row == 1


def test_speed_counts_finished_steps_and_leaves_out_pauses(clock):
    notes, of_run = made()
    of_run.add(1, metrics(), wait=False)
    clock[0] = 2.0
    of_run.add(2, {'loss': Late(True)}, wait=False)
    of_run.add(3, {'loss': Late(False)}, wait=False)  # reads step 1, when 2 is finished and 3 is not
    assert notes.lines[1]['images_per_second'] == 2 * 8 / 2

    notes, of_run = made()
    clock[0] = 100.0
    of_run.restart_clock(5)
    clock[0] = 101.0
    of_run.add(6, metrics(), wait=True)
    assert notes.lines[6]['images_per_second'] == 8.0


def test_a_run_that_diverges_is_noticed_before_its_step_is_logged():
    notes, of_run = made(step=1)
    of_run.add(2, metrics(in_a_row=1), wait=False)
    of_run.add(3, metrics(in_a_row=2), wait=False)
    with pytest.raises(Diverged, match=r'2 steps in a row up to 3 .*the last good one is 4; .*learning_rate'):
        of_run.add(4, metrics(), wait=True)
    assert notes.advanced == [2] and notes.lines == {}
