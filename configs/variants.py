"""How variants are named: a size, and changes added to it with a plus, as in `configs/dib21.py:cpu+bands3+vertex`."""

from __future__ import annotations

from collections.abc import Mapping

SIZES = ('paper', 'cpu', 'quicktest')


def taken_apart(variant: str, file: str, changes: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the size and the changes that a variant names; without a size it is the paper's.

    Args:
      variant: for example 'cpu+bands3', 'cpu' or 'bands3'.
      file: name of the config file, for the message.
      changes: all changes that the file knows, each with what it does.

    Raises:
      ValueError: the file has no such size or change.
    """
    named = variant.split('+')
    size, added = (named[0], named[1:]) if named[0] in SIZES else ('paper', named)
    if not set(added) <= changes.keys():
        raise ValueError(
            f'{file} has the variants {", ".join(SIZES)}, each with any of +{", +".join(changes)}; not {variant!r}'
        )
    return size, added
