"""python -m jfrecon.morphable.calibration --ict=FOLDER --out=FILE: people, as weights of MakeHuman's targets.

ICT-FaceKit's mean and modes come from scans; MakeHuman's head with its targets can be brought close to any of them.
First the head is registered to ICT's mean face, point to plane and by landmarks, where each of its vertices then stands
on ICT's surface. There every face of ICT's model says where that vertex would be, and the weights of the targets that
come closest are linear in the face: one ridge regression carries the mean and all modes over. About 15 seconds on one
CPU core.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save
from scipy.spatial import cKDTree

from jfrecon import commands, files
from jfrecon.geometry import alignment, closest, mesh
from jfrecon.morphable import obj, people
from jfrecon.morphable.coat import SKIN, TEETH
from jfrecon.morphable.models import ict, makehuman

ANCHORS = (8, *range(17, 68))  # landmarks: all but the jaw's, which are somewhere along an outline
WEIGHT_SKIN = 0.15  # of skin outside the face, over the face's; ears are modelled too differently to count
ANCHOR, TANGENT = 10.0, 0.02  # squared millimetres of a landmark, and along the surface, over those to the plane
ROUNDS = 30
NEAR = 20.0, 6.0  # mm, how far a point may lie in the first and in the last rounds
STIFF = (10.0,) * 5 + (3.0,) * 7 + (1.0,)  # times `RIDGE`, round by round
RIDGE = 3.0  # mm² that a target's weight of 1 costs; ten times less or more hardly changes who comes out
EYES_STAND, LIPS_SHUT, TEETH_HIDE = 30.0, 3.0, 0.5  # of `_inside`'s rows, over those of a vertex
LIPS_APART, OVERLAP, TEETH_BEHIND = 4.0, 0.2, 12.0  # mm
MATCHED = 4.0  # mm, between surfaces, of a vertex that counts in the regression
SOURCE = 'ICT Face Model Light, github.com/ICT-VGL/ICT-FaceKit: the mean and 100 modes of its identities'


class Registered(NamedTuple):
    """MakeHuman's head on ICT's mean face.

    Attributes:
      triangle, weights: [V], [V, 3] the place of each vertex of the skin on ICT's surface.
      counted: [V] how much a vertex counts, 0 where it has no place there.
      placed: [V, 3] mm, where the registration leaves the vertices.
      residual: mm, mean distance of the face's vertices from ICT's surface.
      growth: by which share the body had to grow.
    """

    triangle: np.ndarray
    weights: np.ndarray
    counted: np.ndarray
    placed: np.ndarray
    residual: float
    growth: float


def main(arguments: list[str] | None = None) -> None:
    """Carry the statistics of ICT-FaceKit's people over to the targets of the embedded head."""
    parser = commands.Parser(
        prog='python -m jfrecon.morphable.calibration',
        description=main.__doc__,
        epilog='example: python -m jfrecon.morphable.calibration --ict=ICT-FaceKit --out=calibration.safetensors',
    )
    parser.add_argument('--ict', type=Path, required=True, help='the folder FaceXModel of ICT-FaceKit, or a packed npz')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='*.safetensors')
    options = parser.parse_args(arguments)
    statistics, report = calibrate(ict.read(options.ict))
    files.write_bytes(options.out, packed(statistics))
    for line in report:
        print(line)
    print(options.out)


def calibrate(source: ict.Source) -> tuple[people.Statistics, list[str]]:
    """The statistics, and lines that say how close the two models come."""
    data = makehuman.folder()
    neutral = source.neutral.vertices * ict.MILLIMETRES
    polygons = np.concatenate([source.neutral.polygons[a:b] for a, b, part in ict.PARTS if part == SKIN])
    triangles = obj.triangulate(polygons, neutral)[0]
    marks = neutral[list(ict.LANDMARKS)]

    plain = makehuman.read_body(data, 1.0)
    anchors = list(ANCHORS)
    ours = plain.vertices[list(makehuman.LANDMARKS)][anchors]
    scale, turn, shift = alignment.similarity(ours, marks[anchors])
    # ICT's faces come into the frame of MakeHuman's, whose body grows to their millimetres.
    surface = closest.Surface((neutral - shift) @ turn, triangles)
    body = makehuman.read_body(data, scale)
    moved, _ = _free(body, data)
    rest, skin = body.vertices[body.skin], body.at(body.skin)
    growth = (rest - rest.mean(0))[None]
    found = _register(body, rest, np.concatenate([moved[:, skin], growth]), surface, (marks - shift) @ turn)
    scale *= 1 + found.growth
    body = makehuman.read_body(data, scale)
    moved, targets = _free(body, data)
    rest, skin_moved = body.vertices[body.skin], moved[:, skin]
    on_surface = lambda points: np.einsum('vk,...vkc->...vc', found.weights, points[..., triangles[found.triangle], :])
    modes = on_surface(source.identity.astype(np.float64) * ict.MILLIMETRES @ turn)
    wanted = np.concatenate([(on_surface(surface.vertices) - rest)[None], modes])
    rows, goals = _inside(body, moved, source, lambda points: (points - shift) @ turn, turn)
    design = np.concatenate([(skin_moved * np.sqrt(found.counted)[:, None]).reshape(len(moved), -1), rows], axis=1)
    goal = np.concatenate([(wanted * np.sqrt(found.counted)[:, None]).reshape(len(wanted), -1), goals], axis=1)
    ridge = np.r_[np.full(len(targets), RIDGE), np.full(len(moved) - len(targets), 1e-6)]
    amounts = np.linalg.solve(design @ design.T + np.diag(ridge), design @ goal.T).T

    face = np.isin(plain.skin, plain.region) & (found.counted > 0)
    left = wanted[:, face] - np.tensordot(amounts, skin_moved[:, face], 1)
    somebody = np.random.default_rng(0).normal(size=(200, len(modes)))
    distance = lambda offsets: np.linalg.norm(offsets, axis=-1).mean()
    report = [
        f'registered: {found.residual:.2f} mm from the surface over {face.sum()} vertices of the face',
        f'mean face: {distance(left[0]):.2f} mm',
        f'200 people: {distance(np.tensordot(somebody, left[1:], 1)):.2f} mm of '
        f'{distance(np.tensordot(somebody, modes[:, face], 1)):.2f} mm',
        f'scale: {scale:.4f}',
    ]
    mean, factor = amounts[0, : len(targets)], amounts[1:, : len(targets)]
    return people.Statistics(targets, mean, factor, scale), report


def _free(body: makehuman.Body, data: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """How targets without rigid motion, and rigid motions, move the head [K + 6, H, 3] mm; the targets' names."""
    head, region = body.vertices[body.head], body.at(body.region)
    targets = body.displaced(makehuman.adult_targets(data))
    deltas = people.rigid_free(np.stack(list(targets.values())), head, region)
    return np.concatenate([deltas, people.motions(head, region)]), tuple(targets)


def _inside(
    body: makehuman.Body, moved: np.ndarray, source: ict.Source, place: Callable[[np.ndarray], np.ndarray],
    turn: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Equations, times the roots of their weights, for what is behind the skin: [K, R], and [1 + N, R] their goals.

    Eyeballs stand where ICT's do, by their middle and by how far they come forward; lips that touch go on to touch; the
    front teeth stay behind the lips as far as they are.
    """
    rows, goals = [], []
    neutral = place(source.neutral.vertices * ict.MILLIMETRES)
    modes = source.identity * ict.MILLIMETRES @ turn
    for ours, theirs in zip(makehuman.EYEBALLS, ict.EYEBALLS):
        a, b = np.arange(*ours), np.arange(*theirs)
        place_of = lambda points, ids, tip: np.concatenate([points[..., ids, :2].mean(-2), points[..., tip, 2:]], -1)
        tip, their_tip = a[body.vertices[a, 2].argmax()], b[neutral[b, 2].argmax()]
        change = place_of(modes, b, their_tip)
        away = place_of(neutral, b, their_tip) - place_of(body.vertices, a, tip)
        rows.append(EYES_STAND**0.5 * place_of(moved, body.at(a), int(body.at(tip))))
        goals.append(EYES_STAND**0.5 * np.concatenate([away[None], change]))
    for weight, pairs in ((LIPS_SHUT, _lips(body)), (TEETH_HIDE, _teeth(body))):
        a, b = body.at(pairs[0]), body.at(pairs[1])
        rows.append(weight**0.5 * (moved[:, a] - moved[:, b]).reshape(len(moved), -1))
        goal = np.zeros((1 + len(modes), len(a), 3))
        if weight == LIPS_SHUT:  # shut, in the mean
            goal[0, :, 1] = -(body.vertices[pairs[0]] - body.vertices[pairs[1]])[:, 1] - OVERLAP
        goals.append(weight**0.5 * goal.reshape(len(goal), -1))
    return np.concatenate(rows, 1), np.concatenate(goals, 1)


def _lips(body: makehuman.Body) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the upper and of the lower lip that touch."""
    triangles = obj.triangulate(body.base.polygons[body.part >= 0], body.vertices)[0]
    normals = _normals(body.vertices, triangles)
    marks = body.vertices[list(makehuman.LANDMARKS)]
    corners, inner = marks[[60, 64]], marks[61:68]
    near = np.linalg.norm(body.vertices[:, None] - inner, axis=-1).min(-1) < 9.0
    near &= np.abs(body.vertices[:, 0]) < np.abs(corners[:, 0]).min()
    near[np.setdiff1d(np.arange(len(near)), np.unique(triangles))] = False
    upper, lower = np.flatnonzero(near & (normals[:, 1] < -0.2)), np.flatnonzero(near & (normals[:, 1] > 0.2))
    distance, partner = cKDTree(body.vertices[lower]).query(body.vertices[upper])
    close = distance < LIPS_APART
    return upper[close], lower[partner[close]]


def _teeth(body: makehuman.Body) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the front teeth, and those of the skin before them."""
    teeth = np.unique(body.base.polygons[body.part == TEETH])
    distance, partner = cKDTree(body.vertices[body.region]).query(body.vertices[teeth])
    close = distance < TEETH_BEHIND
    return teeth[close], body.region[partner[close]]


def packed(statistics: people.Statistics) -> bytes:
    """A file for `people.read`, half precision, with its source and licence in it."""
    arrays = {'mean': statistics.mean, 'factor': statistics.factor}
    tensors = {name: np.ascontiguousarray(array, np.float16) for name, array in arrays.items()}
    tensors['scale'] = np.array([statistics.scale], np.float32)
    notes = {'targets': json.dumps(statistics.targets), 'source': SOURCE, 'licence': ict.NOTICE}
    return save(tensors, notes)


def _register(
    body: makehuman.Body, rest: np.ndarray, moved: np.ndarray, surface: closest.Surface, marks: np.ndarray
) -> Registered:
    """Bring the skin onto a surface.

    Args:
      rest: [V, 3] mm, vertices of the skin.
      moved: [K, V, 3] what they can do; the last seven are rigid motions and growth, which cost nothing.
      surface: of ICT's mean face, in the same frame.
      marks: [68, 3] its landmarks.
    """
    where = np.full(len(body.vertices), -1)
    where[body.skin] = np.arange(len(body.skin))
    triangles = where[obj.triangulate(body.base.polygons[body.part == SKIN], body.vertices)[0]]
    landmarks, anchors = where[list(makehuman.LANDMARKS)], list(ANCHORS)
    in_face = np.isin(body.skin, body.region)
    counted = np.where(in_face, 1.0, WEIGHT_SKIN) * ~makehuman.in_ears(body)[body.skin]
    smooth = _normals(surface.vertices, surface.triangles.astype(np.int32))
    flat, pulled = moved.reshape(len(moved), -1), moved[:, landmarks[anchors]].reshape(len(moved), -1)
    pull = (marks[anchors] - rest[landmarks[anchors]]).ravel()
    placed = rest
    for k in range(ROUNDS):
        distance, triangle, foot = surface.closest(placed)
        weights = closest.on_triangles(foot, surface.vertices[surface.triangles[triangle]])
        normal = np.einsum('vk,vkc->vc', weights, smooth[surface.triangles[triangle]])
        facing = (_normals(placed, triangles) * normal).sum(-1) > 0.5 * np.linalg.norm(normal, axis=-1)
        matched = facing & (distance < max(NEAR[0] - k, NEAR[1]))
        count = counted * matched
        design, goal = np.einsum('kvc,vc->vk', moved, normal), ((foot - rest) * normal).sum(-1)
        along = np.repeat(TANGENT * count, 3)
        hessian = (design.T * count) @ design + (flat * along) @ flat.T + ANCHOR * pulled @ pulled.T
        gradient = design.T @ (count * goal) + flat @ (along * (foot - rest).ravel()) + ANCHOR * pulled @ pull
        ridge = np.full(len(moved), RIDGE * STIFF[min(k, len(STIFF) - 1)])
        ridge[-7:] = 1e-6
        amount = np.linalg.solve(hessian + np.diag(ridge), gradient)
        placed = rest + np.tensordot(amount, moved, 1)
    distance, triangle, foot = surface.closest(placed)
    weights = closest.on_triangles(foot, surface.vertices[surface.triangles[triangle]])
    residual = float(distance[in_face & matched].mean())
    return Registered(triangle, weights, count * (distance < MATCHED), placed, residual, float(amount[-1]))


def _normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    return np.asarray(mesh.vertex_normals(jnp.asarray(vertices, jnp.float32), triangles))


if __name__ == '__main__':
    commands.run(main)
