"""Batches made ahead of time, from a given step on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar('T')


def prefetched(make: Callable[[int], T], start: int, stop: int, ahead: int = 2, threads: int = 1) -> Iterator[T]:
    """Yields make(start), ..., make(stop - 1), in order, while ``ahead`` further ones are made on threads.

    An error in ``make`` is raised where its value would have been yielded.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix='prefetch') as pool:
        pending: deque[Any] = deque()
        try:
            for step in range(start, stop):
                pending.append(pool.submit(make, step))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
