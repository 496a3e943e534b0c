"""Statistics of MakeHuman heads: plausible people as weights of targets, and their principal components.

MakeHuman has no scans behind it: an artist's targets say how a head can vary, not how often. What is drawn
here is a modest, mirror-symmetric population; its spread was set by looking at samples.
"""

from __future__ import annotations

import re

import numpy as np

ORIGINS = ('african', 'asian', 'caucasian')
# Opposite ends of one slider; a target whose name ends in the second word is the positive end.
OPPOSITES = (
    ('decr', 'incr'), ('down', 'up'), ('in', 'out'), ('backward', 'forward'),
    ('concave', 'convex'), ('compress', 'uncompress'),
)  # fmt: skip
# Standard deviations of sliders. Whole-skull sliders move far more millimetres a unit than those of features.
SLIDER = 0.3
CALMER = (
    ('asym-', 0.10), ('forehead-nubian', 0.04), ('forehead-scale-vert', 0.10), ('head-back', 0.15),
    ('neck-double', 0.10), ('neck-', 0.15), ('head-angle', 0.05), ('head-scale', 0.12), ('head-fat', 0.2),
    ('head-diamond', 0.2), ('head-oval', 0.2), ('head-round', 0.2), ('head-square', 0.2),
    ('head-rect', 0.2), ('head-triang', 0.2), ('head-inverted', 0.2), ('ear-', 0.2), ('nose-trans-in', 0.08),
    ('nose-point-down', 0.2), ('mouth-trans-in', 0.05), ('mouth-angles', 0.15), ('mouth-laugh', 0.2),
    ('lip-ext', 0.2), ('chin-height', 0.2), ('chin-jaw-drop', 0.2), ('cheek-inner', 0.2),
    ('cheek-volume', 0.2),
)  # fmt: skip
SIDES = 0.06  # Standard deviation of the difference between a left slider and its right twin.


def macro_weights(random: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Weights [count] of the origin x sex x age and body-weight targets, as MakeHuman multiplies them.

    Sex, age (young to old) and the share of three origins are each a mixture weight; a target's weight is the
    product of the weights of the words in its name.
    """
    male = random.beta(0.6, 0.6, count)
    old = random.beta(0.8, 1.2, count)
    origin = random.dirichlet([0.6] * 3, count)
    weight = np.clip(random.normal(0, 0.5, count), -1, 1)
    sexes = {'female': 1 - male, 'male': male}
    ages = {'young': 1 - old, 'old': old}
    result = {}
    for sex, s in sexes.items():
        for age, a in ages.items():
            for k, name in enumerate(ORIGINS):
                result[f'{name}-{sex}-{age}'] = origin[:, k] * s * a
            stem = f'universal-{sex}-{age}-averagemuscle'
            result[f'{stem}-maxweight'] = np.maximum(weight, 0) * s * a
            result[f'{stem}-minweight'] = np.maximum(-weight, 0) * s * a
    return result


def slider_weights(random: np.random.Generator, count: int, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Weights [count] of local targets: a signed slider for opposite ends, nearly the same on both sides."""
    sliders: dict[str, np.ndarray] = {}
    result = {}
    for name in sorted(names):
        side = re.match('[lr]-', name)
        key, sign = _slider(name)
        deviation = next((d for part, d in CALMER if part in name), SLIDER)
        if key not in sliders:
            sliders[key] = np.clip(random.normal(0, deviation, count), -2.5 * deviation, 2.5 * deviation)
        own = f'{side.group()}{key}' if side else key
        if own not in sliders:
            sliders[own] = sliders[key] + random.normal(0, SIDES * deviation / SLIDER, count)
        result[name] = np.maximum(sign * sliders[own], 0)
    return result


def _slider(name: str) -> tuple[str, int]:
    """The slider that a target belongs to, without its side, and the sign of the target's end."""
    stem = re.sub('^[lr]-', '', name)
    if stem.startswith('asym-'):
        return stem[:-2], 1 if stem.endswith('l') else -1
    for low, high in OPPOSITES:
        for word, sign in ((low, -1), (high, 1)):
            if stem.endswith(f'-{word}'):
                return stem[: -len(word) - 1], sign
    return stem, 1


def rigid_free(deltas: np.ndarray, mean: np.ndarray, region: np.ndarray, keep_size: float) -> np.ndarray:
    """Displacements [K, V, 3] without the rigid motion, and most of the growth, that they make of a region.

    Linearised Procrustes alignment: subtract the least-squares combination of the seven infinitesimal
    similarities of ``mean[region]``; a share ``keep_size`` of the growth is left in.
    """
    centre = mean[region].mean(axis=0)
    p = mean - centre
    motions = np.concatenate([
        np.broadcast_to(np.eye(3)[:, None], (3, *p.shape)),
        np.stack([np.cross(axis, p) for axis in np.eye(3)]),
        p[None],
    ])  # fmt: skip
    design = motions[:, region].reshape(7, -1)
    amount = np.linalg.solve(design @ design.T, design @ deltas[:, region].reshape(len(deltas), -1).T)
    amount[6] *= 1 - keep_size
    return deltas - np.einsum('mk,mvc->kvc', amount, motions)


def principal_modes(
    weights: np.ndarray,
    deltas: np.ndarray,
    mirror: np.ndarray,
    mean: np.ndarray,
    region: np.ndarray,
    count: int,
) -> tuple[np.ndarray, float]:
    """Principal components of the people ``weights @ deltas`` and of their mirror images.

    With every person also comes the mirror image, so the covariance splits exactly into a part whose modes
    are symmetric (the mirrored half-sums of the deltas, with the covariance of the weights) and one whose
    modes are antisymmetric (the half-differences, with the second moment). Each is diagonalised in the small
    space of targets.

    Args:
      weights: [N, K].
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
    centred = weights - weights.mean(axis=0)
    halves = (
        ((deltas + flipped) / 2, centred.T @ centred / len(weights)),
        ((deltas - flipped) / 2, weights.T @ weights / len(weights)),
    )
    values, modes = [], []
    for half, covariance in halves:
        basis = half[:, region].reshape(len(half), -1)
        root = _root(covariance)
        value, vector = np.linalg.eigh(root.T @ (basis @ basis.T) @ root)
        order = np.argsort(value)[::-1][:count]
        values.append(value)
        modes.append((value[order], np.einsum('km,kvc->mvc', root @ vector[:, order], half)))
    best = np.argsort(np.concatenate([v for v, _ in modes]))[::-1][:count]
    found = np.concatenate([m for _, m in modes])[best]
    left = region[mean[region, 0] > 0]
    outward = np.einsum('mvc,vc->m', found[:, left], mean[left] - mean[region].mean(axis=0))
    share = np.concatenate([v for v, _ in modes])[best].sum() / np.concatenate(values).sum()
    return found * np.where(outward < 0, -1.0, 1.0)[:, None, None], float(share)


def _root(covariance: np.ndarray) -> np.ndarray:
    value, vector = np.linalg.eigh(covariance)
    return vector * np.sqrt(np.maximum(value, 0))
