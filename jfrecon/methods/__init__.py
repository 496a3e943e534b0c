"""The papers as code, one package each."""

from __future__ import annotations

from collections.abc import Callable

from ml_collections import ConfigDict

from jfrecon.errors import UserError
from jfrecon.methods import cest, dib21, s2f2, yang21
from jfrecon.methods.method import Method

_BUILDERS: dict[str, Callable[[ConfigDict, str | None], Method]] = {
    'cest': cest.build,
    'dib21': dib21.build,
    's2f2': s2f2.build,
    'yang21': yang21.build,
}


def build(config: ConfigDict, axis_name: str | None = None) -> Method:
    """The method that a config describes; ``axis_name`` is the device axis over which its batch norms synchronise."""
    if config.method not in _BUILDERS:
        raise UserError(f'config.method is {config.method!r}; there are {", ".join(_BUILDERS)}')
    return _BUILDERS[config.method](config, axis_name)
