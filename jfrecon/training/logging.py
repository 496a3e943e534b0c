"""What a training says of itself: metrics.jsonl, TensorBoard events, panels, a bar or lines of text."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from jfrecon import files
from jfrecon.data import images

METRICS = 'metrics.jsonl'
SECONDS_BETWEEN_LINES = 20.0


class Journal:
    """The record in a working directory; each step stands there once, also when an interrupted run goes on.

    Args:
      workdir: exists.
      step: the training goes on from here; what an earlier run wrote of later steps is removed.
      steps: of the whole training.
    """

    def __init__(self, workdir: Path, step: int, steps: int) -> None:
        self._workdir = workdir
        from tensorboardX import SummaryWriter  # imports PyTorch where there is one, which takes seconds

        truncate(workdir / METRICS, step)
        self._file = open(workdir / METRICS, 'a', encoding='utf-8')
        self._events = SummaryWriter(str(workdir), purge_step=step + 1)
        self._progress = Progress(step, steps)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl, null where a value is not finite; the same to TensorBoard."""
        numbers = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({'step': step, **numbers}) + '\n')
        self._file.flush()
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        self._progress.say(step, values)

    def panels(self, step: int, pictures: np.ndarray) -> None:
        """Pictures [N, H, W, 3] uint8, one below the other, as panels/<step>.png and to TensorBoard."""
        sheet = np.concatenate(list(pictures))
        files.write_bytes(self._workdir / 'panels' / f'{step}.png', images.encode(sheet))
        self._events.add_image('panels', sheet, step, dataformats='HWC')

    def advance(self, step: int) -> None:
        """Moves the bar; cheap."""
        self._progress.advance(step)

    def close(self) -> None:
        """Flushes everything."""
        self._file.close()
        self._events.close()
        self._progress.close()


class Progress:
    """A bar on a terminal; elsewhere (a log file, a job's output) a plain line now and then."""

    def __init__(self, step: int, steps: int) -> None:
        terminal = sys.stderr.isatty()
        self._bar = tqdm(initial=step, total=steps, unit='step', dynamic_ncols=True) if terminal else None
        self._steps = steps
        self._start = step, time.monotonic()
        self._said = -math.inf

    def say(self, step: int, values: Mapping[str, float]) -> None:
        """The loss and the speed."""
        rate = values.get('images_per_second', math.nan)
        text = f'loss {values["loss"]:.4g}, {rate:.3g} images/s'
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
        elif now - self._said >= SECONDS_BETWEEN_LINES or step >= self._steps:
            self._said = now
            first, began = self._start
            left = (self._steps - step) * (now - began) / max(step - first, 1)
            left_text = f', {left / 60:.0f} min left' if step < self._steps else ''
            print(f'step {step}/{self._steps}: {text}{left_text}', file=sys.stderr, flush=True)

    def advance(self, step: int) -> None:
        """Moves the bar to ``step``."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


class Silence:
    """The journal of the processes that are not the first: writes nothing."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Journal.write`."""

    def panels(self, step: int, pictures: np.ndarray) -> None:
        """See `Journal.panels`."""

    def advance(self, step: int) -> None:
        """See `Journal.advance`."""

    def close(self) -> None:
        """See `Journal.close`."""


def truncate(path: Path, step: int) -> None:
    """Removes from a metrics file the lines after ``step``, and a last one that was cut off in writing."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
        try:
            if json.loads(line)['step'] <= step:
                kept.append(line + '\n')
        except (ValueError, KeyError, TypeError):
            continue
    files.write_text(path, ''.join(kept))
