"""Short vectors along the last axis, of points, directions and colours, written out component by component.

XLA hands a reduction to a library's kernel on a CPU, and over three numbers that costs some 50 ns a row; a broadcast
along such an axis has that reduction as its gradient. Neither is in here.

Vectors are arrays [..., C] or lists of C components [...], and what is made of them is of the same kind. Code that
takes most of a program's time works with lists: each loop then runs over arrays without gaps, which a CPU vectorises,
and gradients add up component by component instead of as vectors that are put together for it and taken apart again.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp

Vectors = TypeVar('Vectors', jax.Array, list[jax.Array])


def components(x: jax.Array | list[jax.Array]) -> list[jax.Array]:
    """The components [...] of vectors."""
    if isinstance(x, list):
        return x
    # split's transpose is one concatenation, that of indexing a sum of padded arrays
    return [part[..., 0] for part in jax.lax.split(x, (1,) * x.shape[-1], x.ndim - 1)]


def alike(x: Vectors, parts: list[jax.Array]) -> Vectors:
    """Vectors of these components, of the same kind as x."""
    return parts if isinstance(x, list) else jnp.stack(parts, -1)


def dot(a: Vectors, b: Vectors) -> jax.Array:
    """The inner product, [...]."""
    return functools.reduce(operator.add, (x * y for x, y in zip(components(a), components(b), strict=True)))


def cross(a: Vectors, b: Vectors) -> Vectors:
    """The cross product of vectors of three components."""
    (ax, ay, az), (bx, by, bz) = components(a), components(b)
    return alike(a, [ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def add(a: Vectors, b: Vectors) -> Vectors:
    """The sum of two vectors."""
    return alike(a, [x + y for x, y in zip(components(a), components(b), strict=True)])


def scale(factor: jax.Array, x: Vectors) -> Vectors:
    """Vectors times numbers [...]."""
    return alike(x, [factor * component for component in components(x)])


def combine(factors: Sequence[jax.Array], parts: Sequence[Vectors]) -> Vectors:
    """The sum of vectors times numbers [...]."""
    scaled = ([factor * component for component in components(x)] for factor, x in zip(factors, parts, strict=True))
    return alike(parts[0], [functools.reduce(operator.add, terms) for terms in zip(*scaled, strict=True)])


def where(condition: jax.Array, x: Vectors, y: float) -> Vectors:
    """Vectors where a condition [...] holds, elsewhere the number y in each component."""
    return alike(x, [jnp.where(condition, component, y) for component in components(x)])


def normalise(x: Vectors, eps: float = 1e-8) -> Vectors:
    """x / |x|; zero, with zero gradient, where |x| <= eps."""
    square = dot(x, x)
    # Decided before the square root, whose derivative at zero is infinite: 0 * inf is NaN.
    good = square > eps**2
    return where(good, scale(1 / jnp.sqrt(jnp.where(good, square, 1)), x), 0)
