"""A picture -> the faces in it, each cut out with a margin: a function of picture and settings alone."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from jfrecon.data import detection, images
from jfrecon.data.cropping import Box, require_face, whole_image
from jfrecon.data.detection import Given
from jfrecon.data.sample import Sample, Unreadable, check

CROPS = ('landmarks', 'whole')

# What is kept is so many times as wide as the crop. The default jitter asks for exp(0.1) + 2 x 0.05 = 1.21
# crops, and a training that crops 1.8 times the landmarks' box (configs/dib21.py) instead of 1.6 for 1.21 x
# 1.8 / 1.6 = 1.36.
MARGIN = 1.4


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a face depends on, beside its picture and what was given with it.

    Attributes:
      crop: one of `CROPS`: around the landmarks, or the picture as it is, which is then one face.
      landmarker: the detector that looks for what is not given, as `jfrecon.data.detection.choose` has it.
      scale: side of the crop over the longer side of the landmarks' bounding box, measured or estimated.
      size: pixels; crops that are larger are reduced to it.
      every: every so many frames of a video are used.
      parse: whether the embedded network looks for the skin where no mask is given (`jfrecon.data.detection.skin`).
    """

    crop: str
    landmarker: str = ''
    scale: float = 1.6
    size: int = 512
    every: int = 5
    parse: bool = False


class Rejected(NamedTuple):
    """A file, or a face in it, that was left out, and why."""

    name: str
    reason: str


def faces(photo: Sample, given: Given, settings: Settings) -> tuple[list[Sample], list[Rejected]]:
    """Every face in a photo, named photo_k where there are several, and those that cannot be cut out.

    Raises ``Unreadable`` where there is none.
    """
    check(photo)
    found = detection.find(photo, given, settings.landmarker)
    if settings.crop == 'whole' and given.landmarks is None:
        found = found[:1]
    if not found:
        nothing = given.landmarks is not None or given.boxes is not None
        raise Unreadable('nothing is given for it' if nothing else 'no face found')
    kept, rejected = [], []
    for k, seen in enumerate(found):
        name = photo.name if len(found) == 1 else f'{photo.name}_{k}'
        if isinstance(seen, Unreadable):
            rejected.append(Rejected(name, str(seen)))
            continue
        group = given.groups[k] if k < len(given.groups) else photo.group
        face = photo.replace(name=name, group=group, landmarks=seen.known.astype(np.float32))
        if seen.confidence is not None:
            face = face.replace(confidence=np.asarray(seen.confidence, np.float32))
        try:
            box = whole_image(photo.image) if settings.crop == 'whole' else seen.square(settings.scale)
            part = cut(face, box, settings.size)
            if settings.parse and part.mask is None:
                from jfrecon.data.detection import skin  # with JAX, which takes each process a second

                part = skin.with_mask(part)
            kept.append(part)
        except Unreadable as error:
            rejected.append(Rejected(name, str(error)))
    return kept, rejected


def cut(photo: Sample, box: Box, size: int) -> Sample:
    """The part of a photo in and around (`MARGIN`) a box, reduced where the box is wider than ``size``
    pixels.

    Nothing is made up beyond the photo's edge and nothing is enlarged, so that a crop of the part is the crop
    of the photo. Raises ``Unreadable`` where the box does not fit the photo or shows too little of it.
    """
    require_face(box, photo.image)
    height, width = photo.image.shape[:2]
    border = (MARGIN - 1) / 2 * box.side
    left, top = max(0, math.floor(box.x - border)), max(0, math.floor(box.y - border))
    right = min(width, math.ceil(box.x + box.side + border))
    bottom = min(height, math.ceil(box.y + box.side + border))
    scale = min(1.0, size / box.side)
    shape = int((right - left) * scale), int((bottom - top) * scale)
    if min(shape) < images.MIN_SIDE:
        raise Unreadable('the photo shows too little of the face')

    def reduced(values: np.ndarray) -> np.ndarray:
        part = np.ascontiguousarray(values[top:bottom, left:right])
        if scale == 1:
            return part
        window = (0, 0, shape[0] / scale, shape[1] / scale)  # the same scale along both axes, exactly
        return np.asarray(Image.fromarray(part).resize(shape, Image.Resampling.BILINEAR, box=window))

    origin = np.array([left, top])
    principal = np.where(np.isfinite(photo.principal), photo.principal, [width / 2, height / 2])
    mask = None
    if photo.mask is not None:
        mask = np.where(reduced(photo.mask) > 127, np.uint8(255), np.uint8(0))
    return photo.replace(
        image=reduced(photo.image),
        landmarks=((photo.landmarks - origin) * scale).astype(np.float32),
        mask=mask,
        focal=photo.focal * scale,
        principal=((principal - origin) * scale).astype(np.float32),
        box=((box.x - left) * scale, (box.y - top) * scale, box.side * scale),
    )
