"""Find the 478 points of MediaPipe's face mesh (Grishchenko et al. 2020, arXiv:2006.10962), and 68 landmarks from them.

A face is looked at twice: around what the detector says, and again, upright, around the points that were found; more
often while that moves them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.special import expit

from jfrecon import assets
from jfrecon.data.detection import blazeface
from jfrecon.data.detection.blazeface import Candidate, View
from jfrecon.nets import tflite

FILE = 'face_landmark/face_landmark_with_attention.tflite'
TABLE = Path(__file__).with_name('landmarks68.json')  # by `python -m experiments.landmark_table`
POINTS = 478
MARGIN = 1.5  # side of a crop over the longer side of the face's box
LOOKS, STEADY = 6, 0.05  # looks after the first, at most; part of its side by which a square may still move
PRESENCE = 0.9  # that it is a face, at least; what faces have says experiments.finding_faces
FOLLOWED = 0.5  # of one that was there a frame ago
OUTER_EYES = 33, 263  # of the mesh
ACROSS, ALONG = (234, 454), (152, 10)  # from cheek to cheek, from chin to forehead
# Upper and lower points in the order of `landmark_layout.OPENINGS`; corners and iris of the right and the left eye.
OPENINGS = (160, 144), (158, 153), (385, 380), (387, 373), (81, 178), (13, 14), (311, 402)
CORNERS, IRISES = ((33, 133), (362, 263)), (468, 473)
SAME = 0.5  # part of the smaller box of points that lies in the larger one, where both are one face
# A landmark whose normal points this far away from the camera is hidden; one that does less so is seen.
HIDDEN, SEEN = -0.5, -0.2
# Of the jaw's landmarks, which lie somewhere along an outline; chosen on the frontal heads of `experiments.real_heads`,
# whose pose came out truer than with 1.
OUTLINE = 0.1
LEAST = 0.01  # confidence of a hidden one, whose place is known all the same


class Mesh(NamedTuple):
    """A face.

    Attributes:
      points: [478, 3] pixels of the image; z too, negative towards the camera, no measured depth.
      presence: in 0..1, that it is a face.
    """

    points: np.ndarray
    presence: float


class Square(NamedTuple):
    """A turned square of an image.

    Attributes:
      centre: [2] pixels, and ``side``.
      angle: radians by which its x axis is turned, towards y.
    """

    centre: np.ndarray
    side: float
    angle: float

    @property
    def matrix(self) -> np.ndarray:
        """[2, 2] the directions of its axes, as columns."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        return np.array([[cosine, -sine], [sine, cosine]])


def find(image: np.ndarray) -> list[Mesh]:
    """Return the faces in an image [H, W, 3] uint8, the largest first, but none of which half lies outside."""
    return find_each([image])[0]


def find_each(images: Sequence[np.ndarray]) -> list[list[Mesh]]:
    """The same for each of many images, of any sizes, which the networks see together."""
    seen = [(k, _around(one)) for k, some in enumerate(blazeface.search_each(images)) for one in some]
    found: list[list[Mesh]] = [[] for _ in images]
    for (k, _), mesh in zip(seen, _looked_at([images[k] for k, _ in seen], [square for _, square in seen])):
        if mesh is not None and _inside(mesh, images[k]):
            found[k].append(mesh)
    return [distinct(meshes) for meshes in found]


def follow(image: np.ndarray, before: Sequence[np.ndarray]) -> list[Mesh | None]:
    """Return faces that had points [478, 2] in the frame before, None where one is no longer seen."""
    looked = _looked([image] * len(before), [_upright(points) for points in before])
    return [mesh if mesh.presence > FOLLOWED else None for mesh in looked]


def find_in(image: np.ndarray, boxes: np.ndarray) -> list[Mesh | None]:
    """Return the face in each box [K, 4] (x, y, w, h), None where none is seen."""
    return [_in_box(image, box) for box in np.asarray(boxes, np.float64)]


def distinct(found: Sequence[Mesh]) -> list[Mesh]:
    """Faces, each once, the largest first."""
    kept: list[Mesh] = []
    for mesh in sorted(found, key=lambda mesh: -mesh.presence):
        if all(_shared(mesh, other) < SAME for other in kept):
            kept.append(mesh)
    return sorted(kept, key=lambda mesh: -float(np.ptp(mesh.points[:, :2], axis=0).max()))


def landmarks68(points: np.ndarray) -> np.ndarray:
    """The iBUG landmarks [..., 68, 2] of mesh points [..., 478, 3]: weighted means of few points each (`TABLE`)."""
    ids, weights, _ = _table()
    return (points[..., ids, :2] * weights[..., None]).sum(-2)


def openings(points: np.ndarray) -> np.ndarray:
    """[..., 7, 2] from the lower to the upper lid and lip of mesh points [..., 478, 3], see `OPENINGS`."""
    upper, lower = np.array(OPENINGS).T
    return points[..., upper, :2] - points[..., lower, :2]


def gaze(points: np.ndarray) -> np.ndarray:
    """[..., 2, 2] from the middle of the corners of either eye to its iris, of mesh points [..., 478, 3]."""
    return points[..., list(IRISES), :2] - points[..., list(map(list, CORNERS)), :2].mean(-2)


def confidence68(points: np.ndarray) -> np.ndarray:
    """How far the landmarks of mesh points [478, 3] are seen, [68] in 0..1: those behind a turned head have `LEAST`.

    The head's turn is that of the mesh's own depth; a landmark is hidden where the mean head's normal, turned so,
    points away from the camera.
    """
    frame = points * [1, -1, -1]  # x right, y up, z towards the camera
    unit = lambda vector: vector / max(float(np.linalg.norm(vector)), 1e-9)
    x = unit(frame[ACROSS[1]] - frame[ACROSS[0]])
    y = frame[ALONG[1]] - frame[ALONG[0]]
    z = unit(np.cross(x, y))
    towards = _table()[2] @ np.array([x[2], np.cross(z, x)[2], z[2]])
    share = np.clip((towards - HIDDEN) / (SEEN - HIDDEN), 0, 1)
    share = share * share * (3 - 2 * share)
    share[:17] *= OUTLINE
    return np.maximum(share, LEAST)


def _looked_at(images: Sequence[np.ndarray], squares: Sequence[Square]) -> list[Mesh | None]:
    """The face in each square of an image, looked at again around the points that were found; None: there is none.

    Where a look moves the square, the face did not fit into it: then it is looked at once more, up to `LOOKS` times.
    """
    meshes = dict(enumerate(_looked(images, squares)))
    moving = [k for k, mesh in meshes.items() if mesh.presence > PRESENCE / 10]
    for _ in range(LOOKS):
        around = [_upright(meshes[k].points) for k in moving]
        again = dict(zip(moving, _looked([images[k] for k in moving], around)))
        moving = [k for k, square in zip(moving, around) if _moved(square, _upright(again[k].points))]
        meshes |= again
    return [mesh if mesh.presence > PRESENCE else None for mesh in meshes.values()]


def _moved(square: Square, other: Square) -> bool:
    """Whether two squares differ by more than `STEADY` of their sides."""
    away = max(float(np.abs(other.centre - square.centre).max()), abs(other.side - square.side))
    return away > STEADY * square.side


def _looked(images: Sequence[np.ndarray], squares: Sequence[Square]) -> list[Mesh]:
    network = _network()
    size = network.input_shape[0]
    crops = np.zeros((len(squares), size, size, 3), np.float32)
    for k, (image, square) in enumerate(zip(images, squares)):
        crops[k] = cut(image, square, size)
    mesh, *refined, flag = tflite.in_batches(network, crops / np.float32(255))
    points = np.zeros((len(squares), POINTS, 3))
    points[:, :468] = mesh.reshape(-1, 468, 3)
    for ids, values in zip(_refined(), refined):
        points[:, ids, :2] = values.reshape(len(values), len(ids), 2)
        if ids[0] >= 468:  # an iris has no depth of its own: its eye's
            points[:, ids, 2] = points[:, _refined()[1 if ids[0] == 468 else 2][:16], 2].mean(1, keepdims=True)
    for k, square in enumerate(squares):
        scale = square.side / size
        points[k, :, :2] = square.centre + (points[k, :, :2] - size / 2) * scale @ square.matrix.T
        points[k, :, 2] *= scale
    return [Mesh(p, float(presence)) for p, presence in zip(points, expit(flag.reshape(-1).astype(np.float64)))]


def cut(image: np.ndarray, square: Square, size: int) -> np.ndarray:
    """A turned square of an image as ``size`` x ``size`` pixels; black outside of the image."""
    picture = Image.fromarray(image)
    scale = square.side / size
    factor = max(1, int(scale))
    if factor > 1:
        picture = picture.reduce(factor)
    linear = square.matrix * scale / factor
    origin = square.centre / factor - linear @ np.full(2, size / 2)
    data = (*linear[0], origin[0], *linear[1], origin[1])
    return np.asarray(picture.transform((size, size), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR))


def _around(candidate: Candidate) -> Square:
    right, left = candidate.points[:2]
    angle = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
    return Square(candidate.centre, MARGIN * float(candidate.size.max()), angle)


def _upright(points: np.ndarray) -> Square:
    right, left = points[list(OUTER_EYES), :2]
    angle = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
    axes = Square(np.zeros(2), 1.0, angle).matrix
    along = points[:, :2] @ axes
    low, high = along.min(0), along.max(0)
    return Square(axes @ ((low + high) / 2), MARGIN * float((high - low).max()), angle)


def _in_box(image: np.ndarray, box: np.ndarray) -> Mesh | None:
    centre, side = box[:2] + box[2:] / 2, float(box[2:].max())
    view = View(float(centre[0]) - side, float(centre[1]) - side, 2 * side)
    inside = [c for c in blazeface.search(image, [view]) if (np.abs(c.centre - centre) < box[2:] / 2).all()]
    # where the detector sees nothing, the mesh may: upright, or turned
    squares = [_around(inside[0])] if inside else [Square(centre, MARGIN * side, k * np.pi / 2) for k in range(4)]
    found = [mesh for mesh in _looked_at([image] * len(squares), squares) if mesh is not None]
    return max(found, key=lambda mesh: mesh.presence) if found else None


def _inside(mesh: Mesh, image: np.ndarray) -> bool:
    """Whether most of a face lies in the image."""
    points = mesh.points[:, :2]
    return bool(np.mean(((points > 0) & (points < image.shape[1::-1])).all(-1)) > 0.5)


def _shared(mesh: Mesh, other: Mesh) -> float:
    """The part of the smaller one's box that lies in the larger one's."""
    boxes = [np.stack([one.points[:, :2].min(0), one.points[:, :2].max(0)]) for one in (mesh, other)]
    low, high = np.maximum(boxes[0][0], boxes[1][0]), np.minimum(boxes[0][1], boxes[1][1])
    smaller = min(float(np.prod(box[1] - box[0])) for box in boxes)
    return float(np.prod(np.maximum(high - low, 0))) / max(smaller, 1e-9)


@functools.cache
def _network() -> tflite.Network:
    return tflite.read(assets.folder('mediapipe') / FILE)


@functools.cache
def _refined() -> list[np.ndarray]:
    """The points that lips, eyes and irises replace: as the file's own options say, and 468 to 477."""
    given = [
        np.asarray(operation.options['subset_idxs'])
        for operation in _network().operations
        if 'subset_idxs' in operation.options
    ]
    return [*given, np.arange(468, 473), np.arange(473, 478)]


@functools.cache
def _table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[68, K] points and their weights, and [68, 3] normals of the mean head."""
    table = json.loads(TABLE.read_text())
    return np.array(table['points']), np.array(table['weights']), np.array(table['normals'])
