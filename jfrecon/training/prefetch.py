"""Batches made ahead of time, from a given step on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from jfrecon import commands

T = TypeVar('T')

# more would only take memory: decoding and cropping a batch is faster than a training step
MOST_THREADS = 8


def prefetched(make: Callable[[int], T], start: int, stop: int, threads: int | None = None) -> Generator[T, None, None]:
    """Yields make(start), ..., make(stop - 1), in order, while the next ones are made, one on each thread.

    An error in ``make`` is raised where its value would have been yielded.
    """
    threads = threads or min(MOST_THREADS, commands.cores())
    with ThreadPoolExecutor(threads, thread_name_prefix='prefetch') as pool:
        pending: deque[Future[T]] = deque()
        try:
            for step in range(start, stop):
                pending.append(pool.submit(make, step))
                if len(pending) > threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
