from __future__ import annotations

import numpy as np
import pytest

from jfrecon.data.cropping import Box
from jfrecon.data.sample import Sample
from jfrecon.reconstruction import residual
from jfrecon.reconstruction.photograph import Face


@pytest.mark.parametrize('colourless', [False, True])
def test_a_black_and_white_photograph_is_compared_without_colours(colourless):
    """A rendering of skin colour against a photograph that shows it, and against one that shows its mean."""
    y, x = np.mgrid[:64, :64] / 64
    linear = np.stack([0.2 + 0.5 * x, 0.1 + 0.3 * y, 0.1 + 0.2 * x], -1)
    encoded = lambda values: np.where(values < 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    shown = linear.mean(-1, keepdims=True).repeat(3, -1) if colourless else linear
    given = Face(Sample(np.round(255 * encoded(shown)).astype(np.uint8), focal=200.0), Box(8.0, 8.0, 48.0))
    assert given.black_and_white == colourless
    layers = {'photo': encoded(linear).astype(np.float32), 'coverage': np.ones((64, 64), np.float32)}
    found = residual.measure(None, None, given, layers)
    # both are rounded to 255 levels and resampled
    assert found.landmarks is None and found.photograph < 0.004
