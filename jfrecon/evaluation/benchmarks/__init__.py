"""Benchmarks by name: what each needs, and whether it is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jfrecon.errors import UserError
from jfrecon.evaluation.benchmarks import arranged, reference
from jfrecon.evaluation.benchmarks.aflw2000 import Aflw2000
from jfrecon.evaluation.benchmarks.arranged import Arranged
from jfrecon.evaluation.benchmarks.micc import Micc
from jfrecon.evaluation.benchmarks.now_challenge import Now
from jfrecon.evaluation.benchmarks.photographs import Benchmark
from jfrecon.evaluation.benchmarks.realy_export import Realy
from jfrecon.evaluation.benchmarks.reference import Reference

SYNTHETIC = 'synthetic'
ALONE: dict[str, Callable[[Path], Benchmark]] = {'aflw2000': Aflw2000, 'now': Now, 'micc': Micc, 'realy': Realy}
NAMES = (SYNTHETIC, 'aflw2000', 'micc', 'now', *arranged.BENCHMARKS, *reference.MISSING, 'realy')


def load(name: str, folder: Path | None) -> Benchmark:
    """A benchmark of `NAMES` other than the synthetic one, its folder checked.

    Raises:
      UserError: the folder is missing something; the message says where to get it and where it goes.
    """
    folder = Path('data') / name if folder is None else folder
    if name in ALONE:
        return ALONE[name](folder)
    if name in arranged.BENCHMARKS:
        return Arranged(name, folder)
    if name in reference.MISSING:
        return Reference(name, folder)
    raise UserError(f'no benchmark {name!r}; there are {", ".join(NAMES)}')
