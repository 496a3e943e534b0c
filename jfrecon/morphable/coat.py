"""The colours of a whole head: the generic skin model, and plain eyes, teeth, mouth, lashes and hair."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jfrecon.morphable import cache
from jfrecon.types import Topology

MODES = 80
SKIN, EYE, TEETH, MOUTH, LASH, HAIR = range(6)
# Linear RGB and specular weight of what is not skin, the same for everybody.
PLAIN = {
    EYE: ((0.72, 0.69, 0.66), 0.05),
    TEETH: ((0.68, 0.61, 0.48), 0.05),
    MOUTH: ((0.30, 0.085, 0.075), 0.05),
    LASH: ((0.015, 0.012, 0.010), 0.0),
    HAIR: ((0.045, 0.030, 0.020), 0.03),
}
IRIS, IRIS_RADIUS = (0.10, 0.055, 0.025), 6.1  # mm
PUPIL, PUPIL_RADIUS = (0.004, 0.004, 0.004), 2.0


def coat(
    mean: np.ndarray,
    topology: Topology,
    part: np.ndarray,
    landmark_ids: np.ndarray,
    eyeballs: list[np.ndarray],
) -> tuple[np.ndarray, ...]:
    """Diffuse mean [V, 3] and basis [80, V, 3], specular mean [V, 1] and basis [80, V, 1] of a head.

    A vertex that skin shares with another part is skin. Cached (`jfrecon.morphable.cache`): painting takes
    seconds.

    Args:
      mean: [V, 3] mm, model space.
      part: [T] part of each triangle.
      eyeballs: ids of the vertices of each eyeball; they look along +z.
    """
    from jfrecon.morphable.skin import skin_basis

    triangles = np.asarray(topology.triangles)
    skin, local = np.unique(triangles[part == SKIN], return_inverse=True)
    local = local.reshape(-1, 3).astype(np.int32)
    inputs = (mean[skin].astype(np.float32), local, np.searchsorted(skin, landmark_ids))
    sources = Path(__file__).parent.glob('skin*.py')

    def paint() -> tuple[np.ndarray, ...]:
        painted = Topology(local, np.asarray(topology.uv), np.asarray(topology.uv_triangles)[part == SKIN])
        return tuple(np.asarray(a, np.float32) for a in skin_basis(inputs[0], painted, inputs[2], modes=MODES))

    painted = cache.arrays('skin', cache.fingerprint(inputs, sources), paint)
    count = len(mean)
    result = tuple(
        np.zeros((*shape, count, c), np.float32) for shape, c in (((), 3), ((MODES,), 3), ((), 1), ((MODES,), 1))
    )
    for label, (colour, specular) in PLAIN.items():
        ids = np.unique(triangles[part == label])
        result[0][ids], result[2][ids] = colour, specular
    for ids in eyeballs:
        axis = mean[ids] - (mean[ids].min(axis=0) + mean[ids].max(axis=0)) / 2
        off_axis = np.where(axis[:, 2] > 0, np.hypot(axis[:, 0], axis[:, 1]), np.inf)
        result[0][ids[off_axis < IRIS_RADIUS]] = IRIS
        result[0][ids[off_axis < PUPIL_RADIUS]] = PUPIL
    for whole, values in zip(result, painted):
        whole[..., skin, :] = values
    return result
