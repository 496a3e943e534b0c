"""The Basel Face Model of 2019 (Gerig et al. 2018), see `jfrecon.morphable.basel`."""

from __future__ import annotations

from pathlib import Path

from jfrecon.morphable import basel
from jfrecon.types import MorphableModel

MISSING = basel.MISSING


def load(path: Path) -> MorphableModel:
    """The model from its file, or from a folder with a file of a published name.

    Raises:
      UserError: as `jfrecon.morphable.basel.load`.
    """
    return basel.load(path, 'basel2019')
