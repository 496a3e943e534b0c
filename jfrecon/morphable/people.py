"""Statistics of MakeHuman heads: people as weights of targets, and their principal components.

MakeHuman has no scans behind it: an artist's targets say how a head can vary, not how often.
`jfrecon.morphable.calibration` found what weights people have.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jfrecon.errors import UserError

FILE = Path(__file__).parent / 'calibration.safetensors'


class Statistics(NamedTuple):
    """A Gaussian of weights of targets: ``mean + z @ factor``, with z standard normal.

    Attributes:
      targets: [K] their names.
      mean: [K].
      factor: [N, K].
      scale: size of the body, over its file's decimetres.
    """

    targets: tuple[str, ...]
    mean: np.ndarray
    factor: np.ndarray
    scale: float


def read(path: Path = FILE) -> Statistics:
    """What `jfrecon.morphable.calibration` wrote.

    Raises:
      UserError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, 'numpy') as file:
            targets = tuple(json.loads((file.metadata() or {})['targets']))
            mean, factor, scale = (file.get_tensor(name).astype(np.float64) for name in ('mean', 'factor', 'scale'))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UserError(f'{path}: no readable statistics of people ({error})') from error
    return Statistics(targets, mean, factor, float(scale[0]))


def rigid_free(deltas: np.ndarray, mean: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Displacements [K, V, 3] without the rigid motion that they make of a region.

    Linearised Procrustes alignment: subtract the least-squares combination of the six infinitesimal rigid `motions`
    of ``mean[region]``. Growth stays.
    """
    moved = motions(mean, region)
    design = moved[:, region].reshape(6, -1)
    amount = np.linalg.solve(design @ design.T, design @ deltas[:, region].reshape(len(deltas), -1).T)
    return deltas - np.einsum('mk,mvc->kvc', amount, moved)


def motions(mean: np.ndarray, region: np.ndarray) -> np.ndarray:
    """[6, V, 3] mm: a shift by 1 mm along each axis, and a turn by 1 radian about each through a region's middle."""
    p = mean - mean[region].mean(axis=0)
    shifts = np.broadcast_to(np.eye(3)[:, None], (3, *p.shape))
    return np.concatenate([shifts, np.stack([np.cross(axis, p) for axis in np.eye(3)])])


def principal_modes(
    factor: np.ndarray,
    deltas: np.ndarray,
    mirror: np.ndarray,
    mean: np.ndarray,
    region: np.ndarray,
    count: int,
) -> tuple[np.ndarray, float]:
    """Principal components of the people ``z @ factor @ deltas``, z standard normal, and of their mirror images.

    With every person also comes the mirror image, so the covariance splits exactly into a part whose modes
    are symmetric (the mirrored half-sums of the deltas) and one whose modes are antisymmetric (the half-differences).
    Each is diagonalised in the small space of targets.

    Args:
      factor: [N, K]; the weights' covariance is ``factor.T @ factor``.
      deltas: [K, V, 3] mm.
      mirror: [V] id of each vertex' mirror image (x -> -x).
      mean: [V, 3] mm; fixes the signs: a mode spreads the subject's left half outwards.
      region: [R] vertices whose displacement counts.
      count: modes wanted.

    Returns:
      modes [count, V, 3], each scaled by its standard deviation, and the share of the region's variance they
      carry.
    """
    flipped = deltas[:, mirror] * np.array([-1.0, 1.0, 1.0])
    values, modes = [], []
    for half in ((deltas + flipped) / 2, (deltas - flipped) / 2):
        basis = factor @ half[:, region].reshape(len(half), -1)
        value, vector = np.linalg.eigh(basis @ basis.T)
        order = np.argsort(value)[::-1][:count]
        values.append(value)
        modes.append((value[order], np.einsum('mk,kvc->mvc', vector[:, order].T @ factor, half)))
    best = np.argsort(np.concatenate([v for v, _ in modes]))[::-1][:count]
    found = np.concatenate([m for _, m in modes])[best]
    left = region[mean[region, 0] > 0]
    outward = np.einsum('mvc,vc->m', found[:, left], mean[left] - mean[region].mean(axis=0))
    share = np.concatenate([v for v, _ in modes])[best].sum() / np.concatenate(values).sum()
    return found * np.where(outward < 0, -1.0, 1.0)[:, None, None], float(share)
