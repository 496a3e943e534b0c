"""Morphable models behind one pytree: `load` gives the face, `load_portrait` its eyes too, `load_head` a whole head.

Each is a module of `jfrecon.morphable.models`, found by its name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from jfrecon import registry
from jfrecon.errors import UserError
from jfrecon.morphable.heads import Head, portrait
from jfrecon.types import MorphableModel

_MODELS = f'{__name__}.models'
_HEADS: dict[str, Head] = {}


def names(with_head: bool = False) -> tuple[str, ...]:
    """What ``config.model.name`` may be: all models, or those that have a whole head."""
    return tuple(name for name in registry.names(_MODELS) if not with_head or has_head(name))


def has_head(name: str) -> bool:
    """Whether there is a whole head around the face of a model.

    Raises:
      UserError: unknown name.
    """
    return hasattr(_module(name), 'load_head')


def load(name: str = 'makehuman', path: str | Path | None = None, subdivisions: int = 0) -> MorphableModel:
    """A morphable model by name.

    Args:
      name: one of `names`.
      path: file or folder of the model; needed by all that are not embedded.
      subdivisions: 0, or 1 for four times the triangles, of models that can be subdivided.

    Raises:
      UserError: unknown name, or missing or broken files; the message says where to get them.
    """
    module = _module(name)
    return _called(module, module.load, name, path, subdivisions)


def load_head(name: str = 'makehuman', path: str | Path | None = None, subdivisions: int = 0) -> Head:
    """The whole head around `load`'s face, for synthetic photographs.

    Raises:
      UserError: as `load`, or the model has none.
    """
    module = _module(name)
    if not has_head(name):
        raise UserError(
            f'no whole head for {name!r}, which synthetic faces need; there is one for '
            f'{", ".join(names(with_head=True))}'
        )
    head = _called(module, module.load_head, name, path, subdivisions)
    _HEADS[head.model.name] = head
    return head


def head_around(model: MorphableModel) -> Head | None:
    """The head that a face or a portrait was cut out of, if this process loaded it last of those with its name."""
    head = _HEADS.get(model.name)
    if head is None:
        return None
    face = np.asarray(head.model.mean)[np.asarray(head.face_vertices)]
    return head if np.array_equal(face, np.asarray(model.mean)[: len(face)]) else None


def load_portrait(name: str = 'makehuman', path: str | Path | None = None) -> MorphableModel:
    """`load`'s face and, where a model has them, the eyes, the teeth and the mouth behind its openings; for pictures.

    Its first vertices are those of `load`, see `jfrecon.morphable.heads.portrait`.
    """
    return portrait(load_head(name, path)) if has_head(name) else load(name, path)


def _module(name: str) -> ModuleType:
    return registry.find(_MODELS, name, f'no morphable model {name!r}')


def _called(module: ModuleType, load: Callable[..., Any], name: str, path: str | Path | None, subdivisions: int) -> Any:
    """What a model's ``load`` or ``load_head`` returns, given what its parameters take.

    A path without a default is needed, and only one with ``subdivisions`` can be subdivided.
    """
    parameters, settings = inspect.signature(load).parameters, dict[str, Any]()
    if path is not None:
        settings['path'] = Path(path)
    elif parameters['path'].default is inspect.Parameter.empty:
        raise UserError(f'the morphable model {name!r} needs a path: {module.MISSING}')
    if subdivisions not in (0, 1):
        raise UserError(f'subdivisions={subdivisions}: 0 or 1')
    if 'subdivisions' in parameters:
        settings['subdivisions'] = subdivisions
    elif subdivisions:
        raise UserError(f'subdivisions={subdivisions}: {name} has its own resolution, 0 only')
    return load(**settings)
