"""The papers as code, one package each, found by its name; `docs/adding.md` says how to add one."""

from __future__ import annotations

from ml_collections import ConfigDict

from jfrecon import registry
from jfrecon.methods.method import Method


def names() -> tuple[str, ...]:
    """What ``config.method`` may be."""
    return registry.names(__name__, only_packages=True)


def build(config: ConfigDict, axis_name: str | None = None) -> Method:
    """The method that a config describes: what ``build`` of the package ``config.method`` returns.

    axis_name: the device axis over which its batch norms synchronise.

    Raises:
      UserError: there is no such method.
    """
    method = registry.find(__name__, config.method, f'config.method is {config.method!r}', only_packages=True)
    return method.build(config, axis_name)
