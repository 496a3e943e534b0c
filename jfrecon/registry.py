"""Parts that are found by their name: a module in one of our packages, or one that an installed package declares.

Names come from configs, checkpoints and face folders, which may be hostile. A name only chooses among the parts that
are there already: nothing in a file can say what to import. Another project adds parts without a change here by an
entry point in its ``pyproject.toml``, whose group is the name of our package:

    [project.entry-points.'jfrecon.methods']
    mine = 'my_project.my_method'
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib import metadata
from types import ModuleType
from typing import Any

from jfrecon.errors import UserError


def names(package: str, only_packages: bool = False) -> tuple[str, ...]:
    """The names of all parts, sorted.

    Args:
      package: of ours, such as ``jfrecon.methods``.
      only_packages: leave out its plain modules, which the parts share.
    """
    return tuple(sorted({*_ours(package, only_packages), *metadata.entry_points(group=package).names}))


def find(package: str, name: Any, asked: str, only_packages: bool = False) -> ModuleType:
    """The module of a name. A part of ours comes before an installed one of the same name.

    Args:
      package, only_packages: see `names`.
      name: whatever a config or a file says.
      asked: how the error begins, such as ``config.method is 'x'``.

    Raises:
      UserError: there is no such part; the message lists those that there are.
    """
    known = names(package, only_packages)
    if name not in known:
        raise UserError(f'{asked}; there are {", ".join(known)}')
    if name in _ours(package, only_packages):
        return importlib.import_module(f'{package}.{name}')
    return metadata.entry_points(group=package)[name].load()


def _ours(package: str, only_packages: bool) -> list[str]:
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return [module.name for module in modules if module.ispkg or not only_packages]
