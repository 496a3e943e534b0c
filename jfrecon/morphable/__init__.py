"""Morphable models behind one pytree: `load` gives the face, `load_portrait` its eyes too, `load_head` a whole head."""

from __future__ import annotations

from pathlib import Path

from jfrecon.errors import UserError
from jfrecon.morphable.heads import Head, portrait
from jfrecon.types import MorphableModel

MODELS = ('makehuman', 'ict', 'basel2009', 'basel2017', 'basel2019', 'flame')
HEADS = ('makehuman', 'ict')


def load(name: str = 'makehuman', path: str | Path | None = None, subdivisions: int = 0) -> MorphableModel:
    """A morphable model by name.

    Args:
      name: one of `MODELS`.
      path: file or folder of the model; needed for all but ``makehuman``.
      subdivisions: makehuman and ict: 0, or 1 for four times the triangles.

    Raises:
      UserError: unknown name, or missing or broken files; the message says where to get them.
    """
    _check(subdivisions)
    if name == 'makehuman':
        from jfrecon.morphable import makehuman

        return makehuman.load(None if path is None else Path(path), subdivisions)
    if name == 'ict':
        from jfrecon.morphable import ict

        return ict.load(_needed(name, path, ict.MISSING), subdivisions)
    if name not in MODELS:
        raise UserError(f'no morphable model {name!r}; there are {", ".join(MODELS)}')
    if subdivisions:
        raise UserError(f'subdivisions={subdivisions}: {name} has its own resolution, 0 only')
    if name == 'flame':
        from jfrecon.morphable import flame

        return flame.load(_needed(name, path, flame.MISSING))
    from jfrecon.morphable import basel, basel2009

    if name == 'basel2009':
        return basel2009.load(_needed(name, path, basel.MISSING))
    return basel.load(_needed(name, path, basel.MISSING), name)


def load_head(name: str = 'makehuman', path: str | Path | None = None, subdivisions: int = 0) -> Head:
    """The whole head around `load`'s face, for synthetic photographs; makehuman and ict have one."""
    _check(subdivisions)
    if name == 'makehuman':
        from jfrecon.morphable import makehuman

        return makehuman.load_head(None if path is None else Path(path), subdivisions)
    if name == 'ict':
        from jfrecon.morphable import ict

        return ict.load_head(_needed(name, path, ict.MISSING), subdivisions)
    raise UserError(f'no whole head for {name!r}; there is one for {" and ".join(HEADS)}')


def load_portrait(name: str = 'makehuman', path: str | Path | None = None) -> MorphableModel:
    """`load`'s face and, where a model has them, the eyes, the teeth and the mouth behind its openings; for pictures.

    Its first vertices are those of `load`, see `jfrecon.morphable.heads.portrait`.
    """
    return portrait(load_head(name, path)) if name in HEADS else load(name, path)


def _needed(name: str, path: str | Path | None, missing: str) -> Path:
    if path is None:
        raise UserError(f'the morphable model {name!r} needs a path: {missing}')
    return Path(path)


def _check(subdivisions: int) -> None:
    if subdivisions not in (0, 1):
        raise UserError(f'subdivisions={subdivisions}: 0 or 1')
