"""What the mask of a face shows beside the face: hair, a hand, the background behind a jaw that is fitted too wide."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

BLUR = 1.0  # pixels
ODD, LEAST = 3.0, 0.06  # how many times the median difference is odd, and no less than that (sRGB)
REACH = 0.05  # how far occluders reach in from the rim, in widths of the face; above the brows as far as they like
AROUND = 1  # pixels around them that their colour has bled into


def find(drawn: np.ndarray, photo: np.ndarray, face: np.ndarray, forehead: np.ndarray) -> np.ndarray:
    """The pixels of a face whose colour is odd, all the way to its rim; [H, W] bool.

    What differs from the drawn face as much, but is surrounded by face, belongs to it: a mole, a scar, lips. A beard
    does too, but for its rim.

    Args:
      drawn: [H, W, 3] the face as far as the morphable model knows it, and ``photo``: sRGB in 0..1.
      face: [H, W] bool, where both are to be compared.
      forehead: [H, W] bool, above the brows, where hair hangs down.
    """
    if not face.any():
        return np.zeros_like(face)
    # Blurred within the face: what is beyond is not drawn.
    weight = ndimage.gaussian_filter(face.astype(np.float64), BLUR)
    inside = np.where(face[..., None], photo.astype(np.float64) - drawn, 0)
    smooth = ndimage.gaussian_filter(inside, (BLUR, BLUR, 0)) / np.maximum(weight, 1e-6)[..., None]
    difference = np.abs(smooth).mean(-1)
    odd = face & (difference > max(ODD * np.median(difference[face]), LEAST))
    width = np.sqrt(face.sum())
    odd &= forehead | (ndimage.distance_transform_edt(np.pad(face, 1))[1:-1, 1:-1] <= max(1, REACH * width))
    rim = face & ~ndimage.binary_erosion(face)
    found = ndimage.binary_propagation(odd & rim, mask=odd)
    return face & ndimage.binary_dilation(found, iterations=AROUND) if found.any() else found
