"""The journal: one line a step, whatever happened before."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from jfrecon.training.logging import METRICS, Journal, truncate


def lines(workdir):
    return [json.loads(line) for line in (workdir / METRICS).read_text().splitlines()]


def test_lines_are_appended_and_later_ones_removed(tmp_path):
    journal = Journal(tmp_path, 0, 4)
    for step in (1, 2, 3):
        journal.write(step, {'loss': step / 2, 'images_per_second': 1.0})
    journal.close()
    resumed = Journal(tmp_path, 2, 4)
    resumed.write(3, {'loss': float('nan'), 'size': float('inf'), 'images_per_second': 1.0})
    resumed.close()
    assert [line['step'] for line in lines(tmp_path)] == [1, 2, 3]
    assert lines(tmp_path)[0] == {'step': 1, 'loss': 0.5, 'images_per_second': 1.0}
    assert lines(tmp_path)[2] == {'step': 3, 'loss': None, 'size': None, 'images_per_second': 1.0}
    assert len(list(tmp_path.glob('events.out.tfevents.*'))) >= 1


def test_torn_and_foreign_lines_are_dropped(tmp_path):
    path = tmp_path / METRICS
    path.write_bytes(b'{"step": 1, "loss": 2.0}\n\xff\xfe\n[1]\n{"loss": 1}\n{"step": 2, "lo')
    truncate(path, 5)
    assert path.read_text() == '{"step": 1, "loss": 2.0}\n'
    truncate(tmp_path / 'absent.jsonl', 5)
    assert not (tmp_path / 'absent.jsonl').exists()


def test_panels_stand_below_each_other(tmp_path):
    journal = Journal(tmp_path, 0, 4)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 3), np.uint8)
    journal.panels(4, pictures)
    journal.close()
    sheet = np.asarray(Image.open(tmp_path / 'panels' / '4.png'))
    np.testing.assert_array_equal(sheet, np.concatenate([pictures[0], pictures[1]]))
    assert [path.name for path in (tmp_path / 'panels').iterdir()] == ['4.png']


def test_plain_lines_where_there_is_no_terminal(tmp_path, capsys):
    journal = Journal(tmp_path, 0, 1000)
    for step in range(1, 1001):
        journal.write(step, {'loss': 0.25, 'images_per_second': 8.0})
        journal.advance(step)
    journal.close()
    said = capsys.readouterr().err.splitlines()
    # the first, the last, and none of those that follow within seconds
    assert said[0].startswith('step 1/1000: loss 0.25, 8 images/s') and said[-1].startswith('step 1000/1000')
    assert len(said) == 2
