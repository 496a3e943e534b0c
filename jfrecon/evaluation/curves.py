"""Cumulative error distributions (CED): which share of the images has an error of at most so much."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jfrecon import files


def cumulative(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The errors in rising order [N], and the share of the images [N] whose error is at most that."""
    ordered = np.sort(np.asarray(errors, np.float64).ravel())
    return ordered, np.arange(1, len(ordered) + 1) / len(ordered)


def draw(path: str | Path, errors: Mapping[str, np.ndarray], limit: float, label: str = 'NME (%)') -> None:
    """Write the curves of several methods, name -> errors [N], up to a limit, as a PNG picture."""
    figure = Figure(figsize=(5, 4), dpi=120, layout='constrained')  # not pyplot: no global state, no display
    axes = figure.add_subplot(xlabel=label, ylabel='images (%)', xlim=(0, limit), ylim=(0, 100))
    for name, values in errors.items():
        steps, share = cumulative(values)
        axes.step([0, *steps, max(limit, steps[-1])], [0, *100 * share, 100], where='post', label=name)
    axes.grid(alpha=0.3)
    axes.legend(loc='lower right')
    encoded = io.BytesIO()
    figure.savefig(encoded, format='png')
    files.write_bytes(path, encoded.getvalue())
