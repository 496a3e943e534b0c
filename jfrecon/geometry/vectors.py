"""Short vectors along the last axis, of points, directions and colours, written out component by component.

XLA hands a reduction to a library's kernel on a CPU, and over three numbers that costs some 50 ns a row; a broadcast
along such an axis has that reduction as its gradient. Neither is in here, and the ray tracer's forward and backward
pass at 256 px, 8 samples, takes 211 ms of one core instead of 365.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """The inner product of [..., C] and [..., C], [...]."""
    return functools.reduce(operator.add, (x * y for x, y in zip(_components(a), _components(b), strict=True)))


def scale(factor: jax.Array, x: jax.Array) -> jax.Array:
    """Vectors [..., C] times numbers [...]; [..., C]."""
    return jnp.stack([factor * component for component in _components(x)], -1)


def combine(factors: Sequence[jax.Array], parts: Sequence[jax.Array]) -> jax.Array:
    """The sum of vectors [..., C] times numbers [...]; [..., C]."""
    return functools.reduce(operator.add, (scale(factor, x) for factor, x in zip(factors, parts, strict=True)))


def normalise(x: jax.Array, eps: float = 1e-8) -> jax.Array:
    """x / |x| of vectors [..., C], same shape; zero, with zero gradient, where |x| <= eps."""
    square = dot(x, x)
    # Decided before the square root, whose derivative at zero is infinite: 0 * inf is NaN.
    good = square > eps**2
    return jnp.where(good[..., None], scale(1 / jnp.sqrt(jnp.where(good, square, 1)), x), 0)


def _components(x: jax.Array) -> list[jax.Array]:
    # split's transpose is one concatenation, that of indexing a sum of padded arrays
    return [part[..., 0] for part in jax.lax.split(x, (1,) * x.shape[-1], x.ndim - 1)]
