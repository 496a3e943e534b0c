"""Find faces with MediaPipe's two BlazeFace networks (Bazarevsky et al. 2019, arXiv:1907.05047).

The short-range network sees large faces in 128 pixels, the full-range one small faces in 192. Both look at the whole
photograph, as it is and in quarter turns: they find heads on their side and upside down, but take them for upright
ones, with a lower score, so the turn with the best score tells which way up a head is. The full-range network also
looks at tiles of half the photograph's side, which finds the faces of a group.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.special import expit

from jfrecon import assets
from jfrecon.nets import tflite

FOLDER = 'face_detection'
# Least scores: of what is seen in the whole photograph, in tiles, and in turned photographs. A head that is taken for
# upright while it lies on its side or upside down has a lower score than in the turn that sets it upright.
LEAST, IN_TILE, TURNED = 0.5, 0.6, 0.78
# What has less than a third of the largest face's size is a badge, an ear or a hand, unless its score is as high.
BESIDE, SURE = 1 / 3, 0.75
OVERLAP = 0.3  # intersection over union of boxes that are one face
SMALLEST_TILE = 96  # pixels; smaller ones show nothing that the whole photograph does not
POINTS = 6  # right eye, left eye, tip of the nose, mouth, right ear, left ear


class Anchors(NamedTuple):
    """A network's file, and where its predictions start from: (stride in pixels, predictions at each place)."""

    file: str
    layers: tuple[tuple[int, int], ...]


SHORT = Anchors('face_detection_short_range.tflite', ((8, 2), (16, 6)))
FULL = Anchors('face_detection_full_range_sparse.tflite', ((4, 1),))


class Candidate(NamedTuple):
    """What may be a face.

    Attributes:
      score: in 0..1.
      centre, size: [2] pixels of the box, about as large as the landmarks' bounding box.
      points: [6, 2] pixels, see `POINTS`.
    """

    score: float
    centre: np.ndarray
    size: np.ndarray
    points: np.ndarray


class View(NamedTuple):
    """A square of an image: the first corner and the side, in pixels, and by how many quarter turns it is looked at."""

    x: float
    y: float
    side: float
    turns: int = 0


def search(image: np.ndarray, views: Sequence[View] | None = None) -> list[Candidate]:
    """Return what may be a face in an image [H, W, 3] uint8, or in some squares of it; the best first.

    views: by default the whole image, and tiles of it for the full-range network.
    """
    if views is None:
        return search_each([image])[0]
    return _search([image], [views], [[]])[0]


def search_each(images: Sequence[np.ndarray]) -> list[list[Candidate]]:
    """The same for each of many images, of any sizes, which the networks see together."""
    return _search(images, [[whole_view(image)] for image in images], [tile_views(image) for image in images])


def _search(
    images: Sequence[np.ndarray], upright: Sequence[Sequence[View]], tiles: Sequence[Sequence[View]]
) -> list[list[Candidate]]:
    turned = [[view._replace(turns=turns) for turns in (1, 2, 3) for view in views] for views in upright]
    found: list[list[Candidate]] = [[] for _ in images]
    for anchors, views, least in (
        (SHORT, upright, LEAST), (FULL, upright, LEAST), (SHORT, turned, TURNED), (FULL, turned, TURNED),
        (FULL, tiles, IN_TILE),
    ):  # fmt: skip
        for k, candidate in _ask(anchors, images, views, least):
            found[k].append(candidate)
    return [beside(merged(candidates)) for candidates in found]


def whole_view(image: np.ndarray) -> View:
    """The square around an image."""
    height, width = image.shape[:2]
    side = max(height, width)
    return View((width - side) / 2, (height - side) / 2, side)


def tile_views(image: np.ndarray) -> list[View]:
    """Squares of half the longer side that cover an image, each overlapping the next by half."""
    height, width = image.shape[:2]
    side = max(height, width) / 2
    if side < SMALLEST_TILE:
        return []
    starts = [np.linspace(0, size - side, int(np.ceil(2 * (size - side) / side)) + 1) if size > side
              else np.array([(size - side) / 2]) for size in (height, width)]  # fmt: skip
    return [View(float(x), float(y), side) for y in starts[0] for x in starts[1]]


def merged(found: Sequence[Candidate]) -> list[Candidate]:
    """One candidate for each face: the score-weighted mean of those that overlap with the best one (`OVERLAP`).

    Candidates whose eyes stand more than 60 degrees otherwise than the best one's do not count for the mean.
    """
    left = sorted(found, key=lambda candidate: -candidate.score)
    kept = []
    while left:
        same = [candidate for candidate in left if candidate is left[0] or overlap(candidate, left[0]) > OVERLAP]
        left = [candidate for candidate in left if not any(candidate is other for other in same)]
        axis = _eyes(same[0])
        same = [candidate for candidate in same if _eyes(candidate) @ axis >= 0.5 or candidate is same[0]]
        weight = np.array([candidate.score for candidate in same])
        mean = lambda values, weight=weight: np.tensordot(weight / weight.sum(), np.stack(values), 1)
        kept.append(
            Candidate(same[0].score, mean([c.centre for c in same]), mean([c.size for c in same]),
                      mean([c.points for c in same]))
        )  # fmt: skip
    return kept


def beside(found: Sequence[Candidate]) -> list[Candidate]:
    """Candidates without those that are small beside the largest one and not sure."""
    largest = max((float(candidate.size.max()) for candidate in found), default=0.0)
    return [one for one in found if one.score >= SURE or one.size.max() >= BESIDE * largest]


def overlap(a: Candidate, b: Candidate) -> float:
    """Intersection over union of two boxes."""
    low = np.maximum(a.centre - a.size / 2, b.centre - b.size / 2)
    high = np.minimum(a.centre + a.size / 2, b.centre + b.size / 2)
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / max(float(np.prod(a.size) + np.prod(b.size)) - shared, 1e-12)


def _eyes(candidate: Candidate) -> np.ndarray:
    """[2] unit direction from the right eye to the left."""
    across = candidate.points[1] - candidate.points[0]
    return across / max(float(np.linalg.norm(across)), 1e-9)


def _ask(
    anchors: Anchors, images: Sequence[np.ndarray], views: Sequence[Sequence[View]], least: float
) -> list[tuple[int, Candidate]]:
    """What a network sees in views of each image, with the number of the image."""
    network = _network(anchors.file)
    size = network.input_shape[0]
    asked = [(k, view) for k, some in enumerate(views) for view in some]
    pictures = [np.rot90(cut(images[k], view, size), view.turns) for k, view in asked]
    crops = np.stack(pictures) if pictures else np.zeros((0, *network.input_shape))
    regressed, scores = tflite.in_batches(network, crops.astype(np.float32) / 127.5 - 1)
    chances = expit(scores[..., 0].astype(np.float64))
    centres = _centres(size, anchors.layers)
    found = []
    for n, i in zip(*np.nonzero(chances > least)):
        (k, view), row = asked[n], regressed[n, i]
        scale = view.side / size
        origin = np.array([view.x, view.y])
        points = row.reshape(-1, 2)[[0, *range(2, 2 + POINTS)]] + centres[i]
        for _ in range(view.turns):  # a quarter turn takes (x, y) to (y, size - x)
            points = np.stack([size - points[:, 1], points[:, 0]], -1)
        points = points * scale + origin
        if row[2:4].min() > 0:
            found.append((k, Candidate(float(chances[n, i]), points[0], row[2:4] * scale, points[1:])))
    return found


def cut(image: np.ndarray, view: View, size: int) -> np.ndarray:
    """A square of an image as ``size`` x ``size`` pixels, uint8; black outside of the image."""
    picture = Image.fromarray(image)
    factor = max(1, int(view.side / size / 2))
    if factor > 1:  # twice the resolution that is needed, which the filter below halves without aliasing
        picture = picture.reduce(factor)
    x, y, side = view.x / factor, view.y / factor, view.side / factor
    left, top = int(np.floor(x)), int(np.floor(y))
    right, bottom = int(np.ceil(x + side)), int(np.ceil(y + side))
    part = picture.crop((left, top, right, bottom))
    box = (x - left, y - top, min(x - left + side, part.width), min(y - top + side, part.height))
    return np.asarray(part.resize((size, size), Image.Resampling.BILINEAR, box=box))


@functools.cache
def _network(file: str) -> tflite.Network:
    return tflite.read(assets.folder('mediapipe') / FOLDER / file)


@functools.cache
def _centres(size: int, layers: tuple[tuple[int, int], ...]) -> np.ndarray:
    """[N, 2] pixels: where each prediction starts from."""
    grids = []
    for stride, count in layers:
        along = (np.arange(size // stride) + 0.5) * stride
        grid = np.stack(np.meshgrid(along, along), -1).reshape(-1, 2)
        grids.append(np.repeat(grid, count, axis=0))
    return np.concatenate(grids)
