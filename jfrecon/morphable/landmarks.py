"""The 68 iBUG landmarks on models that come with other landmarks, or with none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from jfrecon.errors import UserError

FILE = 'landmarks68.txt'
# Which iBUG landmarks (0-based; the mean of several) lie where the Basel models' named landmarks are. Their
# brows and ears are at other points than iBUG's.
NAMED: dict[str, tuple[int, ...]] = {
    'center.chin.tip': (8,),
    'center.nose.tip': (30,),
    'center.nose.attachement_to_philtrum': (33,),
    'right.nose.wing.tip': (31,),
    'left.nose.wing.tip': (35,),
    'right.eye.corner_outer': (36,),
    'right.eye.top': (37, 38),
    'right.eye.corner_inner': (39,),
    'right.eye.bottom': (40, 41),
    'left.eye.corner_inner': (42,),
    'left.eye.top': (43, 44),
    'left.eye.corner_outer': (45,),
    'left.eye.bottom': (46, 47),
    'right.lips.corner': (48,),
    'right.lips.philtrum_ridge': (50,),
    'center.lips.upper.outer': (51,),
    'left.lips.philtrum_ridge': (52,),
    'left.lips.corner': (54,),
    'center.lips.lower.outer': (57,),
    'center.lips.upper.inner': (62,),
    'center.lips.lower.inner': (66,),
}
FEWEST = 4  # of the named ones, that a similarity in space can be fitted to
REACH = 20.0  # mm over which a named landmark pulls at its neighbours


def read(path: Path, vertices: int) -> np.ndarray:
    """[68] vertex ids from a text file: one id a line, or lines of "landmark id" (both counted from 0).

    Raises:
      UserError: not 68 ids below ``vertices``.
    """
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
        rows = np.array([line.split() for line in lines if line.strip()], np.int64)
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f'{path}: not a table of vertex ids') from error
    if rows.shape == (68, 2):
        rows = rows[np.argsort(rows[:, 0], kind='stable')]
        complete = np.array_equal(rows[:, 0], np.arange(68))
    else:
        complete = rows.shape == (68, 1)
    ids = rows.reshape(len(rows), -1)[:, -1] if complete else np.array([-1])
    if ids.min() < 0 or ids.max() >= vertices:
        raise UserError(f'{path}: needs the vertex ids, 0 to {vertices - 1}, of the 68 iBUG landmarks')
    return ids.astype(np.int32)


def transfer(named: dict[str, int], mean: np.ndarray, template: np.ndarray) -> np.ndarray:
    """[68] vertex ids: the named landmarks where there are any, the others from a template face.

    The template's landmarks get the similarity that suits the named ones best, then each named one pulls its
    neighbourhood into place (a Gaussian of 20 mm), then each moves to the nearest vertex. Between MakeHuman
    and ICT-FaceKit, whose 68 landmarks are both known, what is not named lands within 1.5 mm on average on
    eyes, nose and mouth, 5 at most, but 10 and up to 18 mm off along brows and jaw, about as far as the two
    heads differ anyway. A user's own file of ids is better.

    Args:
      named: vertex ids by the names in `NAMED`, at least `FEWEST`.
      mean: [V, 3] mm, axes as in model space.
      template: [68, 3] mm, landmarks of any face with the same axes.
    """
    names = [name for name in NAMED if name in named]
    source = np.stack([template[list(NAMED[name])].mean(0) for name in names]).astype(np.float64)
    target = np.asarray(mean, np.float64)[[named[name] for name in names]]
    move = _similarity(source, target)
    placed = move(source)
    pull = RBFInterpolator(placed, target - placed, kernel='gaussian', epsilon=1 / REACH, degree=-1)
    moved = move(np.asarray(template, np.float64))
    ids = cKDTree(mean).query(moved + pull(moved))[1]
    for name in names:
        if len(NAMED[name]) == 1:
            ids[NAMED[name][0]] = named[name]
    return ids.astype(np.int32)


def _similarity(source: np.ndarray, target: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The rotation, scale and shift that take points [N, 3] closest to others (Umeyama 1991)."""
    s0, t0 = source.mean(0), target.mean(0)
    u, values, vt = np.linalg.svd((target - t0).T @ (source - s0))
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = (values * sign).sum() / ((source - s0) ** 2).sum()
    return lambda points: scale * (points - s0) @ ((u * sign) @ vt).T + t0
