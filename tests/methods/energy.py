"""Energies as sums of their terms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def loud(weights: Mapping[str, float]) -> dict[str, float]:
    """Weights of about one, no two alike: no term drowns in the others or goes by another's weight."""
    return {name: weights[name] if name == 'relax' else 1 + k / 7 for k, name in enumerate(sorted(weights))}


def check_sum(value, metrics: Mapping, weights: Mapping, silent: frozenset[str] = frozenset()) -> None:
    """The value is the weighted sum of the terms, each of which is felt in it, but the silent ones.

    Boxes need not be felt: they are wide.
    """
    parts = {name: float(weights[name] * metrics[name]) for name in metrics if name != 'loss'}
    faint = {name for name, part in parts.items() if abs(part) < 1e-4 * value}
    assert silent <= faint <= silent | {'box', 'albedo_box'}
    np.testing.assert_allclose(value, sum(parts.values()), rtol=1e-5)
