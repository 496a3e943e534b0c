"""The numbers of a running training: metrics of each step, images a second, and whether it diverges."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

import jax
import optax
from ml_collections import ConfigDict

from jfrecon.methods.method import Metrics
from jfrecon.training.logging import Journal, Silence

# Steps that are under way before the numbers of the oldest are looked at: enough that the device never waits
# for the host, few enough that a diverged run is noticed and that no batches pile up.
LAG = 2


class Diverged(RuntimeError):
    """Too many steps in a row whose loss or gradient was not finite."""


class Meter:
    """Reads the metrics of steps that are done and writes them to a journal.

    Args:
      journal: gets a line of the first step, of the last, after every ``config.log_every``, and with a validation loss.
      config: reads ``steps``, ``log_every``, ``max_skipped_in_a_row``.
      rates: learning rates by the name to log them under.
      images: of one step, on all processes.
      step: that the training goes on from.
      kept: says which state is left, for the message of a run that diverges.

    Attributes:
      skipped_in_a_row: steps without an update up to the newest that was read.
    """

    def __init__(
        self,
        journal: Journal | Silence,
        config: ConfigDict,
        rates: Mapping[str, optax.Schedule],
        images: int,
        step: int,
        kept: Callable[[], str],
    ) -> None:
        self._journal, self._config, self._rates, self._images, self._kept = journal, config, rates, images, kept
        self._pending: deque[tuple[int, Metrics]] = deque()
        self._speed = 0.0
        self.skipped_in_a_row = 0
        self.restart_clock(step)

    def restart_clock(self, step: int) -> None:
        """Keep out of the speed what was done after ``step``: drawing, saving."""
        self._begun = step, time.monotonic()

    def add(self, step: int, metrics: Metrics, wait: bool) -> None:
        """Take the metrics of the step that was the ``step``-th, and read those of steps before it.

        Args:
          step: counted from 1.
          metrics: arrays that the device may still be computing.
          wait: until these are there, and read them too; else the last `LAG` steps stay unread.

        Raises:
          Diverged: ``config.max_skipped_in_a_row`` steps were skipped in a row.
        """
        self._pending.append((step, metrics))
        while len(self._pending) > (0 if wait else LAG):
            self._read(*self._pending.popleft())

    def _read(self, step: int, metrics: Metrics) -> None:
        config = self._config
        self.skipped_in_a_row = int(metrics['skipped_in_a_row'])
        if self.skipped_in_a_row >= config.max_skipped_in_a_row:
            raise Diverged(
                f'{self.skipped_in_a_row} steps in a row up to {step} gave a loss or gradient that is not finite; '
                f'{self._kept()}; lower config.optimiser.learning_rate or look at the data'
            )
        self._journal.advance(step)
        if step in (1, config.steps) or due(step, config.log_every) or 'validation_loss' in metrics:
            speed = self._images_a_second(step)
            self._journal.write(step, self._numbers(step, metrics) | {'images_per_second': speed})

    def _numbers(self, step: int, metrics: Metrics) -> dict[str, float]:
        """Metrics and learning rates of the step that was the ``step``-th, as Python numbers."""
        numbers = {name: value.item() for name, value in jax.device_get(dict(metrics)).items()}
        numbers = {'loss': numbers.pop('loss')} | numbers
        updates_before = max(step - 1 - int(numbers['skipped']), 0)
        return numbers | {name: float(rate(updates_before)) for name, rate in self._rates.items()}

    def _images_a_second(self, step: int) -> float:
        """Since the last call, by the steps that the device has finished, read or not."""
        finished = step + sum(metrics['loss'].is_ready() for _, metrics in self._pending)  # type: ignore[attr-defined]
        first, begun = self._begun
        if finished > first:
            now = time.monotonic()
            self._speed = self._images * (finished - first) / max(now - begun, 1e-9)
            self._begun = finished, now
        return self._speed


def due(step: int, every: int) -> bool:
    """Whether ``step`` is one of every so many; never for 0."""
    return every > 0 and step % every == 0
