"""Square crops of photographs: where to cut, and how image, landmarks, mask and camera follow.

A crop's pixel is (p - origin) * scale of the photo's pixel p, in the convention that the first pixel's centre
is at (0.5, 0.5). None of the papers gives its numbers ("aligned and cropped", dib21 5, s2f2 4; yang21 and
cest crop by 68 landmarks), so side and scale are arguments.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.spatial import ConvexHull, QhullError
from skimage.draw import polygon

from jfrecon.data import landmark_layout
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.errors import UserError

MIN_SIDE, MAX_SIDE = 8, 16  # of a box: in pixels, and in sides of the photo
CHIN, BROWS = 8, slice(17, 27)  # iBUG
BRIDGE, EYES, LIPS = 27, (36, 45), ((61, 67), (62, 66), (63, 65))
FOREHEAD = 0.2  # see `hull_mask`; stays below most hairlines
AJAR = 0.05  # how far apart detectors leave shut lips, in distances of the outer corners of the eyes


def _mirror() -> np.ndarray:
    pairs = [(i, 16 - i) for i in range(8)] + [(i, 43 - i) for i in range(17, 22)] + [(31, 35), (32, 34)]
    pairs += [(36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)]
    pairs += [(48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)]
    permutation = np.arange(68)
    for left, right in pairs:
        permutation[left], permutation[right] = right, left
    return permutation


MIRROR = _mirror()  # MIRROR[i] is the iBUG landmark that landmark i becomes in a mirrored face


class Box(NamedTuple):
    """A square in pixels of the photo: its top left corner and its side, not necessarily inside the photo."""

    x: float
    y: float
    side: float


@dataclasses.dataclass(frozen=True)
class Jitter:
    """How much training crops vary.

    Attributes:
      scale: the side is multiplied by exp(u), |u| <= scale.
      shift: the centre moves by up to this fraction of the side, along x and y.
      flip: probability of mirroring.
      colour: gamma, brightness and white balance vary by up to this fraction, on sRGB values.
    """

    scale: float = 0.1
    shift: float = 0.05
    flip: float = 0.5
    colour: float = 0.1

    def __post_init__(self):
        if not 0 <= self.shift <= math.exp(-abs(self.scale)) / 2 or abs(self.scale) > math.log(4):
            raise UserError(f'jitter of scale {self.scale} and shift {self.shift} would lose the face')


def box_from_landmarks(landmarks: np.ndarray, scale: float = 1.6) -> Box:
    """The square around the centre of the landmarks' bounding box whose side is ``scale`` times its longer
    side.

    Landmarks that are NaN lie where the others say (`landmark_layout.completed`), or are left out. Raises
    ``Unreadable`` where fewer than two different points are left.
    """
    landmarks = landmark_layout.completed(landmarks)
    known = landmarks[np.isfinite(landmarks).all(axis=1)]
    if not len(known):
        raise Unreadable('no landmark is known')
    low, high = known.min(axis=0).astype(np.float64), known.max(axis=0).astype(np.float64)
    side = scale * float((high - low).max())
    if not side > 0:
        raise Unreadable('the landmarks fall on a single point')
    x, y = (low + high) / 2 - side / 2
    return Box(float(x), float(y), side)


def whole_image(image: np.ndarray) -> Box:
    """The smallest centred square that holds a photo which is cropped to the face already."""
    height, width = image.shape[:2]
    side = max(height, width)
    return Box((width - side) / 2, (height - side) / 2, float(side))


def require_face(box: Box, image: np.ndarray, jittered: bool = False) -> None:
    """Raises ``Unreadable`` unless the centre of the box lies in the photo and its side is of a sane size.

    A box that was jittered since then has to meet the photo only, which ``Jitter``'s bounds ensure.
    """
    height, width = image.shape[:2]
    reach, slack = (box.side / 2, 4) if jittered else (0.0, 1)
    x, y, limit = box.x + box.side / 2, box.y + box.side / 2, MAX_SIDE * max(height, width)
    placed = -reach <= x < width + reach and -reach <= y < height + reach
    if not (placed and MIN_SIDE / slack <= box.side <= limit * slack):
        place = f'{box.x:.0f}, {box.y:.0f}, side {box.side:.0f}'
        raise Unreadable(f'the face box ({place}) does not fit the photo')


def jitter_box(box: Box, jitter: Jitter, rng: np.random.Generator) -> Box:
    """A box of randomly changed size and place."""
    side = box.side * math.exp(rng.uniform(-jitter.scale, jitter.scale))
    dx, dy = rng.uniform(-jitter.shift, jitter.shift, size=2) * box.side
    return Box(box.x + (box.side - side) / 2 + dx, box.y + (box.side - side) / 2 + dy, side)


def crop(sample: Sample, box: Box, size: int, default_focal: float, forehead: float = 0.0) -> Sample:
    """The sample cut to a box and resampled to ``size`` x ``size`` pixels, with everything known filled in.

    Downsampling weighs all pixels under a triangle of the width of the new pixel (no aliasing). Black outside
    the photo, mask 0 there. Without a mask the hull of the landmarks is taken (``hull_mask``, grown by
    ``forehead``), of all 68 where enough are known; without landmarks, the photo. An unknown focal length becomes
    ``default_focal`` x ``size`` about the centre of the crop; a known one follows the crop. Ground truth maps follow
    too, weighted by ``face``. Raises ``Unreadable`` (``require_face``).
    """
    height, width = sample.image.shape[:2]
    require_face(box, sample.image, jittered=True)
    scale = size / box.side
    origin = np.array([box.x, box.y])

    inside = _inside(box.x, size, box.side, width)[None, :] & _inside(box.y, size, box.side, height)[:, None]
    image = _resample(sample.image, box, size) * inside[..., None]
    landmarks = ((sample.landmarks - origin) * scale).astype(np.float32)
    if sample.mask is not None:
        mask = (_resample(sample.mask, box, size) > 127) & inside
    elif np.isfinite(sample.landmarks).any():
        mask = hull_mask(landmark_layout.completed(landmarks), size, forehead) & inside
    else:
        mask = inside

    if np.isfinite(sample.focal):
        centre = np.array([width / 2, height / 2])
        principal = (np.where(np.isfinite(sample.principal), sample.principal, centre) - origin) * scale
        focal = float(sample.focal) * scale
    else:
        principal, focal = np.full(2, size / 2), default_focal * size
    return sample.replace(
        image=image,
        landmarks=landmarks,
        mask=mask.astype(np.uint8) * np.uint8(255),
        focal=focal,
        principal=principal.astype(np.float32),
        box=None,
        truth=None if sample.truth is None else _crop_truth(sample.truth, box, size, inside),
    )


def shrink(sample: Sample, box: Box, size: int) -> Sample:
    """The sample as it is, or averaged in blocks of whole pixels as far as crops of ``size`` lose nothing by it.

    Twice the crop's resolution is left, or more: cutting one of the many crops that training takes from a photo costs
    by the pixels of the photo. Drops truth.
    """
    factor = int(box.side / size / 2)
    if factor < 2:
        return sample.replace(truth=None)
    height, width = sample.image.shape[:2]
    centre = np.array([width / 2, height / 2], np.float32)
    average = lambda values: np.asarray(Image.fromarray(values).reduce(factor))
    return sample.replace(
        image=average(sample.image),
        landmarks=sample.landmarks / np.float32(factor),
        mask=None if sample.mask is None else average(sample.mask),
        focal=sample.focal / factor,
        principal=np.where(np.isfinite(sample.principal), sample.principal, centre) / np.float32(factor),
        box=None if sample.box is None else tuple(value / factor for value in sample.box),
        truth=None,
    )


def flip(sample: Sample) -> Sample:
    """The mirrored photo: x -> width - x, landmarks renamed (a left eye becomes a right one). Drops truth."""
    width = sample.image.shape[1]
    landmarks = sample.landmarks[MIRROR].copy()
    landmarks[:, 0] = width - landmarks[:, 0]
    return sample.replace(
        image=np.ascontiguousarray(sample.image[:, ::-1]),
        landmarks=landmarks,
        confidence=None if sample.confidence is None else sample.confidence[MIRROR],
        mask=None if sample.mask is None else np.ascontiguousarray(sample.mask[:, ::-1]),
        principal=np.array([width - sample.principal[0], sample.principal[1]], np.float32),
        box=None if sample.box is None else (width - sample.box[0] - sample.box[2], *sample.box[1:]),
        truth=None,
    )


def shut_lips(landmarks: np.ndarray) -> np.ndarray:
    """A detector's landmarks [68, 2] with lips that it left ajar shut, and those a little further apart nearly so.

    face-alignment puts the inner points of shut lips about 0.045 of the outer eyes' distance apart (31 portraits of 20
    people), which is 4 mm: faces that follow them show teeth. Lips twice `AJAR` apart stay as they are.
    """
    eyes = np.linalg.norm(landmarks[EYES[0]] - landmarks[EYES[1]])
    width = max(eyes, 0.8 * np.linalg.norm(landmarks[BRIDGE] - landmarks[CHIN]))  # eyes in profile are close
    upper, lower = np.array(LIPS).T
    apart = landmarks[upper] - landmarks[lower]
    gap = np.linalg.norm(apart, axis=-1).mean()
    if not (np.isfinite(gap) and np.isfinite(width) and width > 0):
        return landmarks
    kept = np.clip(gap / width / AJAR - 1, 0, 1)
    shut = landmarks.copy()
    shut[upper] -= apart * (1 - kept) / 2
    shut[lower] += apart * (1 - kept) / 2
    return shut


def jitter_colour(image: np.ndarray, jitter: Jitter, rng: np.random.Generator) -> np.ndarray:
    """[H, W, 3] uint8 with random gamma, brightness and white balance; black stays black."""
    if not jitter.colour:
        return image
    gain = 1 + rng.uniform(-jitter.colour, jitter.colour) + rng.uniform(-jitter.colour, jitter.colour, size=3) / 2
    exponent = 1 + rng.uniform(-jitter.colour, jitter.colour)
    table = (np.arange(256)[:, None] / 255.0) ** exponent * gain
    table = np.round(np.clip(table, 0, 1) * 255).astype(np.uint8)
    return np.stack([table[image[..., channel], channel] for channel in range(3)], axis=-1)


def hull_mask(landmarks: np.ndarray, size: int, forehead: float = 0.0) -> np.ndarray:
    """[size, size] bool: the pixels whose centre lies in the convex hull of the known landmarks.

    The hull ends at the brows. ``forehead`` > 0 adds the brow points moved away from the chin by that
    fraction of the distance from the chin to the middle of the brows.
    """
    points = landmarks[np.isfinite(landmarks).all(axis=1)].astype(np.float64)
    if forehead > 0 and np.isfinite(landmarks[[CHIN, *range(17, 27)]]).all():
        brows = landmarks[BROWS].astype(np.float64)
        points = np.concatenate([points, brows + forehead * (brows.mean(axis=0) - landmarks[CHIN])])
    mask = np.zeros((size, size), bool)
    try:
        corners = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):  # fewer than three points, or all on a line: no area
        return mask
    rows, columns = polygon(corners[:, 1] - 0.5, corners[:, 0] - 0.5, (size, size))
    mask[rows, columns] = True
    return mask


def below_brows(sample: Sample) -> Sample:
    """The sample with a mask that ends where the hull of its landmarks does: at the brows."""
    assert sample.mask is not None, 'a mask is what is cut'
    height, width = sample.mask.shape
    hull = hull_mask(landmark_layout.completed(sample.landmarks), max(height, width))[:height, :width]
    return sample.replace(mask=sample.mask * hull)


def _inside(start: float, size: int, side: float, limit: int) -> np.ndarray:
    """[size] bool: crop pixels, along one axis, whose centre lies in the photo."""
    centres = start + (np.arange(size) + 0.5) * side / size
    return (centres >= 0) & (centres < limit)


def _resample(values: np.ndarray, box: Box, size: int) -> np.ndarray:
    """[size, size, ...] of a uint8 or float32 [H, W, ...] array; the edge pixels are repeated beyond it."""
    if values.dtype != np.uint8:
        return np.stack([_resample_plane(values[..., i], box, size) for i in range(values.shape[-1])], axis=-1)
    return _resample_plane(values, box, size)


def _resample_plane(values: np.ndarray, box: Box, size: int) -> np.ndarray:
    if values.shape[:2] == (size, size) and box == (0.0, 0.0, size):
        return values  # cropped before, as synthetic faces are
    # Blocks of a large photo are averaged first, which bounds the patch below at about 8 x size.
    factor = int(box.side / size / 4)
    if factor > 1:
        values = np.asarray(Image.fromarray(values).reduce(factor))
        box = Box(box.x / factor, box.y / factor, box.side / factor)
    margin = math.ceil(max(box.side / size, 1.0)) + 1  # the triangle reaches one new pixel beyond the box
    left, top = math.floor(box.x) - margin, math.floor(box.y) - margin
    columns = np.arange(left, math.ceil(box.x + box.side) + margin)
    rows = np.arange(top, math.ceil(box.y + box.side) + margin)
    height, width = values.shape[:2]
    patch = values[np.clip(rows, 0, height - 1)][:, np.clip(columns, 0, width - 1)]
    window = (box.x - left, box.y - top, box.x - left + box.side, box.y - top + box.side)
    return np.asarray(Image.fromarray(patch).resize((size, size), Image.Resampling.BILINEAR, box=window))


def _crop_truth(truth: dict[str, np.ndarray], box: Box, size: int, inside: np.ndarray) -> dict[str, np.ndarray]:
    """Truth at the crop's size; a pixel belongs to the face where more than half of it does."""
    weight = truth['face'].astype(np.float32)[..., None]
    coverage = _resample(weight, box, size)
    maps = {}
    for field in ('diffuse', 'normal'):
        total = _resample(truth[field].astype(np.float32) * weight, box, size)
        maps[field] = total / np.maximum(coverage, 1e-6)
    face = (coverage[..., 0] > 0.5) & inside
    length = np.linalg.norm(maps['normal'], axis=-1, keepdims=True)
    maps['normal'] = maps['normal'] / np.maximum(length, 1e-6)
    maps = {field: (values * face[..., None]).astype(np.float32) for field, values in maps.items()}
    return {**truth, **maps, 'face': face.astype(np.float32)}
