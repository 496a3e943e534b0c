"""Pose and expression of a known person in every frame of a video, from the points that a detector follows.

All frames are solved together: a least-squares problem whose unknowns are the pose x and the expression e of each of F
frames, by Levenberg and Marquardt's method. A frame pays for

    landmarks    how far the 68 landmarks are from where they were found
    openings     the same for the way from the upper to the lower lip and lid. A shared error of both sides, by far the
                 larger part of a landmark's, cancels in it, so that it counts for more
    gaze         the same for the way from the corners of the eyes to the irises, the mean of both: they turn together
    prior        expressions far from rest, and outside of their box

and its neighbours in time for what changes between them: a head has inertia, so its acceleration counts; lips, lids and
eyes jump, brows and cheeks do not, and each expression has the rate of its kind. Nothing links the two sides of a cut.

The blocks of the normal equations come from one program for `FRAMES` frames, whatever the length of the video; the
sparse system is solved on the host.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy import sparse
from scipy.sparse import linalg
from scipy.spatial.transform import Rotation

from jfrecon.data import landmark_layout
from jfrecon.fitting import gaze
from jfrecon.geometry import alignment, rotations
from jfrecon.geometry.cameras import NEAR
from jfrecon.morphable import linear
from jfrecon.types import Array, FaceParameters, MorphableModel, Pinhole

FRAMES = 32  # that one call of the program linearises
POSE = 6  # unknowns: a turn in radians, a shift in mm

# Standard deviations, mm at the face, and of a landmark in the image besides, in pixels.
JAW, BROWS, INNER = 6.0, 3.0, 3.0
LIDS, LIPS, GAZE = 0.4, 0.15, 0.4
PIXELS = 0.4
SHARED = 0.5, 1.0  # mm and pixels of what all landmarks of a frame are shifted by together
FAR = 2.0  # standard deviations from which on what is off counts linearly (Huber 1964)
# Of expressions whose activations live in a box, by the beginnings of their names; and of those that have a variance.
REST, UNIT = (
    (('brow', 0.4), ('eyeSquint', 0.2), ('eye', 0.35), ('jaw', 0.35), ('cheek', 0.1), ('nose', 0.1), ('', 0.2)),
    1.0,
)
OUTSIDE = 0.02  # of the box

# In a second of white noise: of the head's velocity (radians and mm a second), and of expressions by their names.
TURNING, MOVING, NEARING = 1.2, 200.0, 200.0
QUICK, SLOW = 1.8, 0.6
GAZING, LOOKS = 1.0, 'eyeLook'
SLUGGISH = ('brow', 'cheek', 'nose', 'eyeSquint')
# Both eyes look the same way: activations that are equal but for such a standard deviation.
PAIRED, TIED = tuple(('eyeLook' + a, 'eyeLook' + b) for a, b in (
    ('InLeft', 'OutRight'), ('InRight', 'OutLeft'), ('UpLeft', 'UpRight'), ('DownLeft', 'DownRight'),
)), 0.05  # fmt: skip
JUMP = 0.35  # sizes of the face by which its landmarks move, or change their size, at a cut

STEPS, ENOUGH = 40, 1e-4  # iterations at most; the share of the energy, and of 1 a frame, that a step has to promise


Bases = tuple[np.ndarray, np.ndarray, np.ndarray]  # mean [2, 3], of identity and of expressions [K, 2, 3], mm


class Seen(NamedTuple):
    """What a detector saw in F frames, in pixels; NaN where it saw nothing.

    Attributes:
      times: [F] seconds, increasing.
      landmarks: [F, 68, 2].
      confidence: [F, 68] in 0..1 of the landmarks.
      openings: [F, 7, 2] from the lower to the upper point of each pair of `landmark_layout.OPENINGS`.
      gaze: [F, 2] from the corners of the eyes to the irises, the mean of both.
    """

    times: np.ndarray
    landmarks: np.ndarray
    confidence: np.ndarray
    openings: np.ndarray
    gaze: np.ndarray


class Motion(NamedTuple):
    """The face in F frames: ``rotation`` and ``translation`` [F, 3], ``expression`` [F, E]."""

    rotation: np.ndarray
    translation: np.ndarray
    expression: np.ndarray


@struct.dataclass
class _Person:
    """What does not change.

    Attributes:
      points: [P, 3] mm, model space: the landmarks at rest, points of the lower lip, and irises.
      moves: [E, P, 3] mm of an activation of 1.
      ways: [8, P] weights of the points: openings and gaze.
      landmark, way: [68], [8] standard deviations, mm.
      ties: [T, E] combinations of expressions that are 0, in standard deviations.
      rest: [E] standard deviations of expressions; ``box``: 1 where they live in 0..1, else 0.
      turn: [3, 3] from which turns count; camera.
    """

    points: Array
    moves: Array
    ways: Array
    landmark: Array
    way: Array
    ties: Array
    rest: Array
    box: Array
    turn: Array
    camera: Pinhole
    perspective: bool = struct.field(pytree_node=False)


@struct.dataclass
class _Frames:
    """What was seen, leaves [F, ...]: landmarks, ways, what each weighs, and pixels of a mm."""

    landmarks: Array
    confidence: Array
    ways: Array
    known: Array
    scale: Array


def follow(
    model: MorphableModel, person: FaceParameters, camera: Pinhole, seen: Seen, irises: Bases | None = None
) -> Motion:
    """The motion of a person that explains best what was seen.

    Args:
      model: the morphable model.
      person: unbatched; the identity, and a pose to begin with.
      camera: of all frames.
      irises: of the right and the left eye, see `jfrecon.morphable.heads.irises`; modes that the model does not have
        are left out. None: the eyes stay where the lids leave them.
    """
    fixed = _person(model, person, camera, irises)
    frames = _frames(fixed, seen)
    unknowns = _start(fixed, camera, seen)
    link = _link(model, fixed, seen)
    unknowns = _solved(fixed, frames, link, unknowns)
    turns = Rotation.from_rotvec(unknowns[:, :3]) * Rotation.from_matrix(np.asarray(fixed.turn, np.float64))
    expression = unknowns[:, POSE:]
    if model.expression_prior == 'box':
        expression = np.clip(expression, 0, 1)
    made = turns.as_rotvec(), unknowns[:, 3:POSE], expression
    return Motion(*(values.astype(np.float32) for values in made))


def _person(model: MorphableModel, person: FaceParameters, camera: Pinhole, irises: Bases | None) -> _Person:
    ids, identity = np.asarray(model.landmark_ids), np.asarray(person.identity)
    neutral = linear.shape(model, jnp.asarray(identity), jnp.zeros(len(model.expression_basis)))
    points, moves = np.asarray(neutral)[ids], np.asarray(model.expression_basis)[:, ids]
    pairs, eyes, names = landmark_layout.OPENINGS, landmark_layout.OF_EYES, list(model.expression_names)
    # Shut lips of a model may overlap: their way begins where the lower lip's point would meet the upper one's.
    upper, lower = np.array(pairs[eyes:]).T
    points, moves = np.concatenate([points, points[upper]]), np.concatenate([moves, moves[:, lower]], 1)
    if irises is not None:
        mean, of_identity, of_expressions = irises
        points = np.concatenate([points, mean + np.tensordot(identity, of_identity[: len(identity)], 1)])
        moves = np.concatenate([moves, of_expressions[: len(moves)]], 1)
    ways = np.zeros((len(pairs) + 1, len(points)))
    for k, (row, (above, below)) in enumerate(zip(ways, pairs)):
        row[above], row[below if k < eyes else 68 + k - eyes] = 1, -1
    if irises is not None:
        ways[-1, -2:], ways[-1, np.ravel(landmark_layout.CORNERS)] = 1 / 2, -1 / 4
    landmark = np.full(68, INNER)
    landmark[:17], landmark[17:27] = JAW, BROWS
    paired = [[names.index(name) for name in both] for both in PAIRED if set(both) <= set(names)]
    ties = np.zeros((len(paired), len(moves)))
    for row, (one, other) in zip(ties, paired):
        row[one], row[other] = 1 / TIED, -1 / TIED
    box = model.expression_prior == 'box'
    made = _Person(
        points=points,
        moves=moves,
        ways=ways,
        landmark=landmark,
        way=np.r_[np.where(np.arange(len(pairs)) < eyes, LIDS, LIPS), GAZE],
        ties=ties,
        rest=_rest(names or [''] * len(moves)) if box else np.full(len(moves), UNIT),
        box=float(box),
        turn=Rotation.from_rotvec(np.asarray(person.rotation, np.float64)).as_matrix(),
        camera=camera,
        perspective=person.perspective,
    )
    return jax.tree.map(jnp.float32, made)


def _rest(names: Sequence[str]) -> np.ndarray:
    return np.array([next(deviation for start, deviation in REST if name.startswith(start)) for name in names])


def _frames(fixed: _Person, seen: Seen) -> _Frames:
    known = np.isfinite(seen.landmarks).all(-1)
    ways = np.concatenate([seen.openings, seen.gaze[:, None]], 1)
    known_ways = (np.isfinite(ways).all(-1) & (np.abs(np.asarray(fixed.ways)).sum(-1) > 0)).astype(float)
    known_ways[:, -1] *= gaze.open_share(seen.openings, seen.landmarks)
    zero = lambda values: np.nan_to_num(values).astype(np.float32)
    confidence = np.where(known, np.nan_to_num(seen.confidence), 0)
    leaves = seen.landmarks, confidence, ways, known_ways, _similar(fixed, seen)[:, 0]
    return _Frames(*map(zero, leaves))


def _similar(fixed: _Person, seen: Seen) -> np.ndarray:
    """Pixels a mm, turn in the image (radians, towards y) and middle in pixels of the landmarks, [F, 4].

    By the 2D similarity that lays the person's landmarks on them; where too few were seen, between the frames around.
    """
    model = np.asarray(fixed.points, np.float64)[:68] @ np.asarray(fixed.turn).T
    model = (model - model.mean(0))[:, :2] * [1, -1]
    found = np.full((len(seen.times), 4), np.nan)
    for row, points in zip(found, seen.landmarks):
        known = np.isfinite(points).all(-1)
        if known.sum() >= landmark_layout.ENOUGH:
            scale, turn, middle = alignment.similarity(model[known], points[known])
            row[:] = scale, np.arctan2(turn[1, 0], turn[0, 0]), *middle
    known = np.isfinite(found).all(-1)
    found[known, 1] = np.unwrap(found[known, 1])
    every = np.arange(len(found))
    return np.stack([np.interp(every, every[known], column[known]) for column in found.T], -1)


def _start(fixed: _Person, camera: Pinhole, seen: Seen) -> np.ndarray:
    """Unknowns [F, N]: the person's pose, tilted, moved and put as far away as the landmarks say; no expression."""
    scale, angle, *middle = _similar(fixed, seen).T
    depth = float(camera.focal) / np.maximum(scale, 1e-6)
    away = (np.stack(middle, -1) - np.asarray(camera.principal)) / scale[:, None]
    unknowns = np.zeros((len(scale), POSE + len(fixed.rest)))
    unknowns[:, 2] = -np.arctan2(np.sin(angle), np.cos(angle))
    points = np.asarray(fixed.points)[:68].mean(0) @ np.asarray(fixed.turn).T
    unknowns[:, 3:POSE] = np.c_[away * [1, -1], -depth] - Rotation.from_rotvec(unknowns[:, :3]).apply(points)
    return unknowns


def _link(model: MorphableModel, fixed: _Person, seen: Seen) -> sparse.csc_matrix:
    """The quadratic form [F N, F N] of what changes from frame to frame."""
    times = np.asarray(seen.times, np.float64)
    count, gaps = len(times), np.diff(times)
    together = ~cuts(seen)
    weight = np.where(together, 1 / np.maximum(gaps, 1e-6), 0)
    first = sparse.diags_array([-np.ones(count - 1), np.ones(count - 1)], offsets=[0, 1], shape=(count - 1, count))
    expressions = first.T @ sparse.diags_array(weight) @ first
    still = together[1:] & together[:-1]
    speed = (sparse.diags_array(1 / np.maximum(gaps, 1e-6)) @ first).tocsr()
    second = speed[1:] - speed[:-1] if count > 2 else sparse.csr_array((0, count))
    middle = np.maximum((gaps[1:] + gaps[:-1]) / 2, 1e-6)
    pose = second.T @ sparse.diags_array(still / middle) @ second
    names = model.expression_names or ('',) * len(fixed.rest)
    kinds = lambda name: SLOW if name.startswith(SLUGGISH) else GAZING if name.startswith(LOOKS) else QUICK
    rate = np.array([kinds(name) for name in names])
    inertia = np.r_[np.full(3, TURNING), MOVING, MOVING, NEARING]
    both = sparse.kron(pose, sparse.diags_array(np.r_[1 / inertia**2, 0 * rate])) + sparse.kron(
        expressions, sparse.diags_array(np.r_[0 * inertia, 1 / rate**2])
    )
    return sparse.csc_matrix(both)


def cuts(seen: Seen) -> np.ndarray:
    """[F - 1] whether another scene begins between two frames: the landmarks are suddenly elsewhere."""
    landmarks = seen.landmarks
    size = np.ptp(landmarks, axis=1).max(-1)
    moved = np.linalg.norm(np.diff(landmarks, axis=0), axis=-1).mean(-1)
    grown = np.abs(np.diff(np.log(np.maximum(size, 1e-6))))
    smaller = np.minimum(size[1:], size[:-1])
    return np.nan_to_num(np.maximum(moved / np.maximum(smaller, 1e-6), grown)) > JUMP


def _solved(fixed: _Person, frames: _Frames, link: sparse.csc_matrix, unknowns: np.ndarray) -> np.ndarray:
    """Levenberg-Marquardt: the damped step is taken where it lowers the energy, else damped more."""
    damping = 1e-2
    energy, slope, curvature = _linearised(fixed, frames, link, unknowns)
    for _ in range(STEPS):
        diagonal = curvature.diagonal()
        system = curvature + sparse.diags_array(damping * np.maximum(diagonal, 1e-9), format='csc')
        options = {'SymmetricMode': True}
        step = linalg.splu(system.tocsc(), permc_spec='NATURAL', diag_pivot_thresh=0.0, options=options).solve(slope)
        if slope @ step < ENOUGH * (energy + len(unknowns)):
            break
        tried = unknowns - step.reshape(unknowns.shape)
        found = _linearised(fixed, frames, link, tried)
        if not found[0] < energy:
            damping *= 8
            if damping > 1e6:
                break
            continue
        unknowns, (energy, slope, curvature), damping = tried, found, max(damping / 5, 1e-7)
    return unknowns


def _linearised(
    fixed: _Person, frames: _Frames, link: sparse.csc_matrix, unknowns: np.ndarray
) -> tuple[float, np.ndarray, sparse.csc_matrix]:
    """Half the sum of squares, its slope [F N] and the Gauss-Newton matrix [F N, F N]."""
    count, width = unknowns.shape
    parts = []
    for start in range(0, count, FRAMES):
        some = np.arange(start, min(start + FRAMES, count))
        padded = np.r_[some, np.full(FRAMES - len(some), some[-1])]
        these = jax.tree.map(lambda leaf, padded=padded: leaf[padded], frames)
        made = _blocks(fixed, these, unknowns[padded].astype(np.float32))
        parts.append([np.asarray(leaf, np.float64)[: len(some)] for leaf in made])
    energies, slopes, blocks = (np.concatenate(leaves) for leaves in zip(*parts))
    flat = unknowns.ravel()
    pulled = link @ flat
    places = np.arange(count), np.arange(count + 1)
    own = sparse.bsr_matrix((blocks, *places), shape=(count * width,) * 2)
    energy = float(energies.sum() + 0.5 * flat @ pulled)
    return energy, slopes.ravel() + pulled, sparse.csc_matrix(own + link)


@jax.jit
def _blocks(fixed: _Person, frames: _Frames, unknowns: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Energy [F], slope [F, N] and Gauss-Newton matrix [F, N, N] of frames by themselves."""

    def one(frame: _Frames, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        away = lambda x: _residual(fixed, frame, x)
        r, jacobian = away(x), jax.jacfwd(away)(x)
        off = jnp.linalg.norm(r[: 2 * _points(fixed)].reshape(-1, 2), axis=-1)
        share = jnp.minimum(1.0, FAR / jnp.maximum(off, 1e-9))
        robust = jnp.concatenate([jnp.repeat(share, 2), jnp.ones(len(r) - 2 * _points(fixed))])
        huber = jnp.where(off < FAR, 0.5 * off**2, FAR * (off - 0.5 * FAR))
        energy = huber.sum() + 0.5 * jnp.square(r[2 * _points(fixed) :]).sum()
        weighed = jacobian * robust[:, None]
        product = functools.partial(jnp.matmul, precision=linear.HIGHEST)
        return energy, product(weighed.T, r), product(weighed.T, jacobian)

    return jax.vmap(one)(frames, unknowns)


def _points(fixed: _Person) -> int:
    return 68 + fixed.ways.shape[0]


def _residual(fixed: _Person, frame: _Frames, x: jax.Array) -> jax.Array:
    """[2 (68 + 8) + 2 + T + 3 E] in standard deviations."""
    expression = x[POSE:]
    model = fixed.points + jnp.tensordot(expression, fixed.moves, 1, precision=linear.HIGHEST)
    turned = rotations.rotate(rotations.matrix(x[:3]), rotations.rotate(fixed.turn, model))
    space = turned + x[3:POSE]
    depth = -space[:, 2] if fixed.perspective else jnp.broadcast_to(-x[5], space.shape[:1])
    magnified = fixed.camera.focal / jnp.maximum(depth, NEAR)
    pixels = fixed.camera.principal + magnified[:, None] * space[:, :2] * jnp.array([1.0, -1.0])
    ways = jnp.matmul(fixed.ways, pixels, precision=linear.HIGHEST)
    weight = frame.confidence / (jnp.square(fixed.landmark * frame.scale) + PIXELS**2)
    off = pixels[:68] - frame.landmarks
    # A shift of all landmarks, marginalised: their mean counts for less than so many independent ones.
    mean = weight @ off / jnp.maximum(weight.sum(), 1e-9)
    shared = jnp.square(SHARED[0] * frame.scale) + SHARED[1] ** 2
    mean_weight = jnp.sqrt(weight.sum() / (1 + shared * weight.sum()))
    landmarks = (off - mean) * jnp.sqrt(weight)[:, None]
    ways = (ways - frame.ways) * (frame.known / (fixed.way * frame.scale))[:, None]
    outside = jnp.concatenate([jnp.minimum(expression, 0), jnp.maximum(expression - 1, 0)]) * fixed.box / OUTSIDE
    return jnp.concatenate(
        [landmarks.ravel(), ways.ravel(), mean * mean_weight, expression / fixed.rest, fixed.ties @ expression, outside]
    )
