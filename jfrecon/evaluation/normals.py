"""How far the normals of a picture point from those of a reference."""

from __future__ import annotations

import numpy as np

from jfrecon.evaluation.surface import angles

THRESHOLDS = (20, 25, 30)  # degrees


def normal_error(predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Angle between normal maps inside a mask: ``mean`` and ``std`` in degrees, share ``under_20``, ``_25``, ``_30``.

    The measure of s2f2's normal maps (after Sengupta et al. 2018). A pixel of the mask that the prediction leaves
    without a normal counts as 90 degrees, what a blind guess is off on average; without a reference it does not count.

    Args:
      predicted, reference: [H, W, 3] in one frame, any length but zero, which means none.
      mask: [H, W] above 0.5 where pixels count.

    Raises:
      ValueError: no pixel counts.
    """
    inside = (mask > 0.5) & reference.any(-1)
    if not inside.any():
        raise ValueError('no pixel of the mask has a reference normal')
    found, wanted = (np.asarray(a, np.float64)[inside] for a in (predicted, reference))
    degrees = np.where(found.any(-1), np.degrees(angles(found, wanted)), 90.0)
    shares = {f'under_{limit}': float((degrees < limit).mean()) for limit in THRESHOLDS}
    return {'mean': float(degrees.mean()), 'std': float(degrees.std()), **shares}
