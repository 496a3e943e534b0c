"""Light that is turned, for tests of what must not depend on how everything together is turned."""

from __future__ import annotations

import jax
import numpy as np

from jfrecon.shading import sh


def rotated(light: np.ndarray | jax.Array, matrix: np.ndarray | jax.Array) -> np.ndarray:
    """Coefficients [L², C] of f(R^T d), f that of ``light`` and R [3, 3]: fitted where there are more directions."""
    bands = sh.bands_of(light)
    directions = np.random.default_rng(0).normal(size=(4 * bands**2, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    basis = lambda d: np.stack(sh.polynomials(*d.T, range(bands)), -1)
    values = basis(directions @ np.asarray(matrix, np.float64)) @ np.asarray(light, np.float64)
    return np.float32(np.linalg.lstsq(basis(directions), values)[0])
