"""What the mask of a face shows beside the face: hair, glasses, the background behind a jaw that is fitted too wide.

`at_rim` goes by colour alone, for what reaches the rim of the face. `within` finds what lies in its middle, where
brows, lips and beards differ from the drawn face no less than the frames of glasses do: it begins where the parsing
network sees no skin, too.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from skimage.draw import polygon

BLUR = 1.0  # pixels
ODD, LEAST = 3.0, 0.06  # how many times the median difference is odd, and no less than that (sRGB)
REACH = 0.05  # how far occluders reach in from the rim, in widths of the face; above the brows as far as they like
AROUND = 1  # pixels around them that their colour has bled into

# Of `within`, chosen by looking at 20 photographs and not measured. How many times the median difference is odd, and
# strong, and the least and most that this may be (sRGB).
ODD_WITHIN, STRONG_WITHIN = (3.0, 0.06, 0.12), (4.0, 0.12, 0.18)
SMALLEST, HOLE = 0.001, 0.005  # of the face: what is found at least, and what is left out in the middle of it at least
GLASSES = 0.05  # of the bridge of the nose, from which on it carries glasses
AROUND_WITHIN = 2  # as AROUND: of thin frames the edges are not as odd, and would be left as two lines
TOUCHED, SURROUNDED = 0.2, 0.6  # of what is around the mouth, or an eye: part of it, or all of it, is hidden too
# Distances in those of the outer corners of the eyes: what belongs to an eye with its brow, to the opening of an eye,
# to the lips; where shadows of the lips and of the nose end; how wide a ring around an eye or the mouth is.
EYE_AND_BROW, EYE, LIPS, SHADOWS, RING = 0.07, 0.06, 0.08, 0.15, 0.05
BROWS, EYES = ((17, 22), (22, 27)), ((36, 42), (42, 48))  # iBUG
MOUTH = (48, 60)
BRIDGE = [21, 22, 42, 39, 27, 28]


def at_rim(drawn: np.ndarray, photo: np.ndarray, face: np.ndarray, forehead: np.ndarray) -> np.ndarray:
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
    difference = _difference(drawn, photo, face)
    odd = face & (difference > max(ODD * np.median(difference[face]), LEAST))
    width = np.sqrt(face.sum())
    odd &= forehead | (ndimage.distance_transform_edt(np.pad(face, 1))[1:-1, 1:-1] <= max(1, REACH * width))
    rim = face & ~ndimage.binary_erosion(face)
    found = ndimage.binary_propagation(odd & rim, mask=odd)
    return face & ndimage.binary_dilation(found, iterations=AROUND) if found.any() else found


def within(
    drawn: np.ndarray, photo: np.ndarray, face: np.ndarray, skin: np.ndarray, landmarks: np.ndarray
) -> np.ndarray:
    """The pixels of a face in front of which something is: glasses, a microphone, hair; [H, W] bool.

    It begins with pixels that are no skin, and whose colour is odd, apart from eyes, brows and lips, which neither the
    parsing network nor the morphable model counts as skin; from there it goes on to what is joined to them and differs
    strongly: the network sees frames that are thinner than its pixels here and there. What crosses the bridge of the
    nose are glasses, which are followed over brows and lids as well. Eyes and lips are kept unless it surrounds them. A
    hand, which is skin, is found as far as it is odd all the way to the rim (`at_rim`).

    Args:
      drawn: [H, W, 3] the face as far as the morphable model knows it, and ``photo``: sRGB in 0..1.
      face: [H, W] bool, where both are to be compared.
      skin: [H, W] in 0..1, that a pixel is skin (`jfrecon.data.detection.skin`).
      landmarks: [68, 2] pixels.
    """
    nothing = np.zeros_like(face)
    between = float(np.linalg.norm(landmarks[EYES[1][0] + 3] - landmarks[EYES[0][0]]))
    if not face.any() or not between > 1:
        return nothing
    difference = _difference(drawn, photo, face)
    median = np.median(difference[face])
    odd, strong = (
        difference > np.clip(times * median, least, most) for times, least, most in (ODD_WITHIN, STRONG_WITHIN)
    )
    bare = skin < 0.5
    area = lambda ids, reach: _grown(_hull(landmarks[ids], face.shape), reach * between)
    eyes = [area([*range(*eye)], EYE) for eye in EYES]
    sides = [area([*range(*brow), *range(*eye)], EYE_AND_BROW) for brow, eye in zip(BROWS, EYES)]
    mouth, shadows = (area([*range(*MOUTH)], reach) for reach in (LIPS, SHADOWS))

    may = face & (strong | (odd & bare))
    free = ~(sides[0] | sides[1])
    found = _joined(may & free & ~mouth, may & free & ~shadows & odd & bare, SMALLEST * face.sum())
    bridge = area(BRIDGE, 0.0) & face & free
    glasses = bridge.any() and found[bridge].mean() > GLASSES
    if glasses:
        free = ~(eyes[0] | eyes[1])
        found = _joined(may & free & ~mouth, found, 0)
    around = lambda part, hidden: hidden[ring].mean() if (ring := _ring(part, face, RING * between)).any() else 0.0
    if around(mouth, found) > TOUCHED:
        found = _joined(may & free, found, 0)
    for part, hidden in [*((eye, found | bare) for eye in eyes if glasses), (mouth, found)]:
        if around(part, hidden) > SURROUNDED:
            found |= part & face
    if not found.any():
        return nothing
    holes, count = ndimage.label(face & ~found)
    found |= (np.bincount(holes.ravel(), minlength=count + 1) < HOLE * face.sum())[holes] & face
    return face & ndimage.binary_dilation(found, iterations=AROUND_WITHIN)


def _difference(drawn: np.ndarray, photo: np.ndarray, face: np.ndarray) -> np.ndarray:
    """[H, W] mean over the colours, blurred within the face: what is beyond is not drawn."""
    weight = ndimage.gaussian_filter(face.astype(np.float64), BLUR)
    inside = np.where(face[..., None], photo.astype(np.float64) - drawn, 0)
    smooth = ndimage.gaussian_filter(inside, (BLUR, BLUR, 0)) / np.maximum(weight, 1e-6)[..., None]
    return np.abs(smooth).mean(-1)


def _joined(pixels: np.ndarray, seeds: np.ndarray, least: float) -> np.ndarray:
    """The connected parts of pixels [H, W] that hold ``least`` seeds, and one."""
    labels, count = ndimage.label(pixels, np.ones((3, 3)))
    seeded = np.bincount(labels[seeds], minlength=count + 1) >= max(1, least)
    seeded[0] = False
    return seeded[labels]


def _hull(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[H, W] bool: the convex hull of points (x, y), whose pixels' centres lie in it."""
    filled = np.zeros(shape, bool)
    try:
        x, y = points[ConvexHull(points).vertices].T
    except (QhullError, ValueError):  # all on a line, or not finite: no area
        return filled
    filled[polygon(y - 0.5, x - 0.5, shape)] = True
    return filled


def _ring(area: np.ndarray, face: np.ndarray, width: float) -> np.ndarray:
    """The pixels of a face that are just outside of an area."""
    return face & _grown(area, width) & ~area


def _grown(area: np.ndarray, reach: float) -> np.ndarray:
    """An area and the pixels that are so near to it."""
    return ndimage.distance_transform_edt(~area) <= reach if area.any() else area
