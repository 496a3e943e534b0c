"""Where on a face the paint goes: canonical coordinates and soft regions from 68 landmarks, in NumPy.

A surface point becomes (angle about the vertical axis of the head, height), and a thin-plate spline takes the
68 landmarks of this head to those of one template. Regions are drawn once, on the template. Everything is in
units of the distance between the eyes' centres, `Canvas.unit` mm; the template is symmetric, so a mirrored
head gets mirrored paint.
"""

from __future__ import annotations

import numpy as np
from flax import struct
from scipy.interpolate import RBFInterpolator, make_interp_spline
from scipy.spatial import cKDTree

from jfrecon.types import Array

# Left half of the template by iBUG index: x outwards from the midline, y up, origin between the eyes.
_LEFT = {
    8: (0.00, -1.75), 9: (0.25, -1.70), 10: (0.60, -1.62), 11: (0.95, -1.50), 12: (1.28, -1.25),
    13: (1.50, -0.92), 14: (1.62, -0.60), 15: (1.70, -0.30), 16: (1.75, 0.05),
    22: (0.18, 0.36), 23: (0.38, 0.42), 24: (0.62, 0.44), 25: (0.84, 0.39), 26: (1.04, 0.25),
    27: (0.00, 0.05), 28: (0.00, -0.13), 29: (0.00, -0.30), 30: (0.00, -0.48),
    33: (0.00, -0.74), 34: (0.09, -0.73), 35: (0.19, -0.72),
    42: (0.34, -0.03), 43: (0.44, 0.07), 44: (0.62, 0.07), 45: (0.78, 0.00), 46: (0.63, -0.06),
    47: (0.46, -0.07),
    51: (0.00, -0.95), 52: (0.10, -0.93), 53: (0.26, -0.99), 54: (0.41, -1.10), 55: (0.27, -1.19),
    56: (0.14, -1.23), 57: (0.00, -1.24),
}  # fmt: skip
# iBUG index of the mirror image of each landmark.
MIRROR = np.array(
    [
        *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46,
        39, 38, 37, 36, 41, 40,
        54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
    ]
)  # fmt: skip


@struct.dataclass
class Canvas:
    """N surface points, ready to be painted; lengths in units of the distance between the eyes' centres.

    Attributes:
      position: [N, 3] model space over the unit, what noise is a function of.
      spacing: [N] distance to the nearest other points: noise finer than that is left out.
      side: [N] -1 on the subject's right, 1 on the left, smooth across the midline.
      lip: [N] signed distance into the lips' red; lip_upper: [N] 1 on the upper lip, 0 on the lower; seam:
        [N] distance from the line where the lips meet.
      brow: [N, 2] (s, t): s along the brow, 0 at the nose and 1 at the tail; t above its middle line.
      lid: [N] signed distance into the opening of the eye, negative on the skin.
      beard, moustache, scalp: [N] signed distance into where that hair grows.
      forehead, cheek, nose, nose_tip, eyelid, under_eye, perioral, chin, ear, neck, nostril: [N] 0..1, soft.
      unit: [] mm.
    """

    position: Array
    spacing: Array
    side: Array
    lip: Array
    lip_upper: Array
    seam: Array
    brow: Array
    lid: Array
    beard: Array
    moustache: Array
    scalp: Array
    forehead: Array
    cheek: Array
    nose: Array
    nose_tip: Array
    eyelid: Array
    under_eye: Array
    perioral: Array
    chin: Array
    ear: Array
    neck: Array
    nostril: Array
    unit: Array


def canvas(points: np.ndarray, landmarks: np.ndarray, normals: np.ndarray | None = None) -> Canvas:
    """The canvas of any points on the surface of a head at rest.

    Args:
      points: [N, 3] mm, model space: vertices of a face or a head, or texels of a UV map.
      landmarks: [68, 3] mm of that head.
      normals: [N, 3] unit; with them the insides of the nostrils are found.
    """
    points, landmarks = np.asarray(points, np.float64), np.asarray(landmarks, np.float64)
    right, left = landmarks[36:42].mean(0), landmarks[42:48].mean(0)
    unit = float(np.linalg.norm(left - right))
    xy = _to_template(points, landmarks, unit)
    seam = _seam(_to_template(landmarks, landmarks, unit))
    x, y = np.abs(xy[:, 0]), xy[:, 1]
    half = np.stack([x, y], -1)

    lip_line = np.interp(x, seam[:, 0], seam[:, 1])
    lip = _inside(half, _lip_outline())
    lid = _inside(half, _curve([42, 43, 44, 45], [45, 46, 47, 42]))
    nostril = _blob(half, (0.09, -0.69), (0.05, 0.035))
    if normals is not None:
        nostril = nostril * _step(-np.asarray(normals)[:, 1], 0.2, 0.7)
    neighbours = cKDTree(points).query(points, k=min(5, len(points)))[0][:, 1:]
    fields = dict(
        position=(points - (left + right) / 2) / unit,
        spacing=np.median(neighbours, axis=1) / unit if neighbours.size else np.zeros(len(points)),
        side=np.tanh(xy[:, 0] / 0.1),
        lip=lip,
        lip_upper=_step(y - lip_line, -0.02, 0.02),
        seam=_distance(half, seam),
        brow=_along_brow(half),
        lid=lid,
        beard=_beard(x, y),
        moustache=0.1 - _distance(half, np.array([[0, -0.82], [0.24, -0.9], [0.42, -1.03], [0.52, -1.3]])),
        scalp=_scalp(x, y),
        forehead=_step(y, 0.42, 0.75) * _step(-x, -1.35, -0.9),
        cheek=_blob(half, (0.72, -0.48), (0.36, 0.32)),
        nose=_blob(half, (0.0, -0.45), (0.22, 0.33)),
        nose_tip=_blob(half, (0.0, -0.56), (0.16, 0.15)),
        eyelid=_blob(half, (0.56, 0.02), (0.30, 0.16)),
        under_eye=_blob(half, (0.50, -0.19), (0.26, 0.085), angle=-0.12),
        perioral=_blob(half, (0.0, -1.08), (0.55, 0.30)),
        chin=_blob(half, (0.0, -1.52), (0.26, 0.17)),
        ear=_step(x, 1.72, 1.9) * _step(-x, -2.6, -2.4) * _step(y, -0.8, -0.55) * _step(-y, -0.5, -0.3),
        neck=_step(-y, 1.7, 2.1),
        nostril=nostril,
        unit=np.asarray(unit),
    )
    return Canvas(**{name: np.asarray(value, np.float32) for name, value in fields.items()})


def _to_template(points: np.ndarray, landmarks: np.ndarray, unit: float) -> np.ndarray:
    """[N, 2] template coordinates, by cylinder and thin-plate spline.

    The inner lips carry no control points: in a closed mouth they coincide, and a spline would fold there.
    """
    axis = landmarks[[0, 16], 2].mean()
    eyes = landmarks[36:48].mean(0)
    radius = landmarks[27, 2] - axis

    def cylinder(p: np.ndarray) -> np.ndarray:
        angle = np.arctan2(p[:, 0] - eyes[0], p[:, 2] - axis)
        return np.stack([radius * angle, p[:, 1] - eyes[1]], -1) / unit

    target = np.array([_LEFT.get(i) or (-_LEFT[MIRROR[i]][0], _LEFT[MIRROR[i]][1]) for i in range(60)])
    source = cylinder(landmarks[:60])
    # Far from the landmarks the map turns affine; without this ring it bends the scalp and the neck.
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False) + np.pi / 16
    ring = np.stack([3.2 * np.cos(turn), -0.3 + 3.2 * np.sin(turn)], -1)
    affine = np.linalg.lstsq(np.c_[source, np.ones(60)], target, rcond=None)[0]
    # Jaw landmarks slide along the jaw from model to model, so they pull softly.
    smoothing = np.concatenate([np.full(17, 3e-2), np.full(43, 1e-6), np.full(16, 1e-2)])
    spline = RBFInterpolator(
        np.concatenate([source, ring]),
        np.concatenate([target, np.c_[ring, np.ones(16)] @ affine]),
        kernel='thin_plate_spline',
        smoothing=smoothing,
    )
    return spline(cylinder(points))


def _curve(*strokes: list[int], count: int = 16) -> np.ndarray:
    """Polyline through template landmarks, each stroke its own spline, with a corner where strokes meet."""
    pieces = []
    for stroke in strokes:
        knots = np.array([_LEFT[i] for i in stroke])
        length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))]
        spline = make_interp_spline(length, knots, k=min(3, len(knots) - 1))
        pieces.append(spline(np.linspace(0, length[-1], count)))
    return np.concatenate(pieces)


def _lip_outline() -> np.ndarray:
    """Closed outline of the left half of the lips, carried past the midline so that nothing ends there."""
    upper, lower = _curve([51, 52, 53, 54]), _curve([54, 55, 56, 57])
    return np.concatenate([upper, lower, [[-0.3, -1.24], [-0.3, -0.95]]])


def _seam(warped: np.ndarray) -> np.ndarray:
    """[K, 2] the line where the lips meet, left half, from the inner lips' landmarks on the template."""
    inner = warped[60:68]
    mirrored = inner[MIRROR[60:68] - 60] * [-1, 1]
    inner = (inner + mirrored) / 2
    middle, side, corner = (inner[2] + inner[6]) / 2, (inner[3] + inner[5]) / 2, inner[4]
    return np.array([[-0.3, middle[1]], [0.0, middle[1]], side, corner, _LEFT[54]])


def _along_brow(half: np.ndarray) -> np.ndarray:
    """[N, 2] arc length over the brow's length and height above its middle line."""
    # Landmarks run along the upper half of the brow.
    line = _curve([22, 23, 24, 25, 26], count=48) - [0.0, 0.025]
    step = np.diff(line, axis=0)
    length = np.linalg.norm(step, axis=1)
    s = np.r_[0, np.cumsum(length)]
    along = np.einsum('nkd,kd->nk', half[:, None] - line[:-1], step) / length**2
    # The first and last pieces run on, so that s is defined beyond the ends.
    lowest, highest = np.zeros(len(step)), np.ones(len(step))
    lowest[0], highest[-1] = -np.inf, np.inf
    along = np.clip(along, lowest, highest)
    offset = half[:, None] - (line[:-1] + along[..., None] * step)
    best = np.argmin((offset**2).sum(-1), axis=1)
    row = np.arange(len(half))
    d = offset[row, best]
    t = np.linalg.norm(d, axis=1) * np.sign(step[best, 0] * d[:, 1] - step[best, 1] * d[:, 0])
    return np.stack([(s[best] + along[row, best] * length[best]) / s[-1], t], -1)


def _beard(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance, roughly, below the edge of a full beard, from under the lower lip to the sideburns."""
    edge_x = [0.0, 0.2, 0.45, 0.6, 0.85, 1.15, 1.38, 1.52, 1.62, 1.75]
    edge_y = [-1.36, -1.34, -1.28, -1.12, -1.02, -0.88, -0.55, -0.1, 0.2, 0.5]
    return np.minimum(np.minimum(-_above(x, y, edge_x, edge_y), 1.78 - x), y + 2.25)


def _scalp(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance (roughly) into the hair of the head, around the ears and down to the nape."""
    line_x = [0.0, 0.3, 0.6, 0.9, 1.15, 1.35, 1.5, 1.6, 1.75, 1.95, 2.35, 2.5, 2.8, 3.6]
    line_y = [1.40, 1.42, 1.38, 1.22, 1.00, 0.72, 0.55, 0.3, 0.2, 0.38, 0.3, -0.4, -0.8, -0.95]
    return _above(x, y, line_x, line_y)


def _above(x: np.ndarray, y: np.ndarray, line_x: list[float], line_y: list[float]) -> np.ndarray:
    """Height over the graph of a polyline, divided by its steepness: nearly the distance."""
    slope = np.interp(x, line_x, np.gradient(line_y, line_x))
    return (y - np.interp(x, line_x, line_y)) / np.sqrt(1 + slope**2)


def _blob(half: np.ndarray, centre: tuple, radii: tuple, angle: float = 0.0) -> np.ndarray:
    (x, y), c, s = (half - np.array(centre)).T, np.cos(angle), np.sin(angle)
    return np.exp(-0.8 * (((x * c + y * s) / radii[0]) ** 2 + ((y * c - x * s) / radii[1]) ** 2))


def _step(value: np.ndarray, low: float, high: float) -> np.ndarray:
    ramp = np.clip((value - low) / (high - low), 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def _distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """[N] to an open polyline."""
    start, step = line[:-1], np.diff(line, axis=0)
    along = np.einsum('nkd,kd->nk', points[:, None] - start, step) / np.maximum((step**2).sum(-1), 1e-12)
    nearest = start + np.clip(along, 0, 1)[..., None] * step
    return np.sqrt(((points[:, None] - nearest) ** 2).sum(-1).min(1))


def _inside(points: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """[N] signed distance to a closed outline, positive inside (even-odd rule)."""
    closed = np.concatenate([outline, outline[:1]])
    (x0, y0), (x1, y1) = closed[:-1].T, closed[1:].T
    px, py = points[:, :1], points[:, 1:]
    crosses = (y0 <= py) != (y1 <= py)
    slope = (x1 - x0) / np.where(y1 == y0, 1.0, y1 - y0)
    odd = (crosses & (px < x0 + (py - y0) * slope)).sum(1) % 2
    return np.where(odd == 1, 1.0, -1.0) * _distance(points, closed)
