"""Ctrl-C and SIGTERM end a training between two steps."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType, TracebackType

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """While entered, the first signal is noted; the second kills the process as if nobody listened.

    Several processes have to stop after the same step, whichever of them is told to. There JAX's own handler
    keeps SIGTERM (set by `jax.distributed.initialize`), spreads the word and agrees on the step; Ctrl-C is
    passed on to it.

    Attributes:
      signal: the one that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._several = jax.process_count() > 1
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stopping:
        for number in SIGNALS[:1] if self._several else SIGNALS:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def after(self, step: int) -> bool:
        """Whether to stop now; to be asked once after each step, by every process."""
        if self._several and multihost_utils.reached_preemption_sync_point(step):
            self.signal = self.signal or signal.SIGTERM
            return True
        return not self._several and self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that this signal ended."""
        return 128 + (self.signal or 0)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL)
        if self._several:
            os.kill(os.getpid(), signal.SIGTERM)
        print('\nfinishing this step and saving; once more to leave at once', file=sys.stderr, flush=True)
