"""Points on a mesh: barycentric coordinates with a gradient, and attributes interpolated between vertices.

One mesh here; a batch goes under `jax.vmap`.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jfrecon.geometry import vectors
from jfrecon.types import Array, Fragments

# px². The rounding of coordinates near 256 px is 3e-5 px: a smaller triangle has no meaningful orientation.
SMALLEST_AREA = 1e-6


class MeshPoints(NamedTuple):
    """Points on a mesh, of any shape [...]; `Fragments` are such points, too.

    Attributes:
      triangle: [...] int32, the triangle that each lies in, -1 for none.
      barycentric: [..., 3] weights of its corners.
    """

    triangle: jax.Array
    barycentric: jax.Array


class Corners(NamedTuple):
    """Pixels and depths of the corners of triangles: nine arrays, as 1-D gathers cost a third of 2-D ones."""

    x0: jax.Array
    x1: jax.Array
    x2: jax.Array
    y0: jax.Array
    y1: jax.Array
    y2: jax.Array
    z0: jax.Array
    z1: jax.Array
    z2: jax.Array

    @classmethod
    def of(cls, ids: jax.Array, pixels: jax.Array, depth: jax.Array) -> Corners:
        """Looks up ids [..., 3] in pixels [V, 2] and depth [V]."""
        x, y = pixels[:, 0], pixels[:, 1]
        return cls(*(values[ids[..., k]] for values in (x, y, depth) for k in range(3)))

    @property
    def area(self) -> jax.Array:
        """Twice the signed area in px²; negative for a front face, because y points down."""
        return (self.x1 - self.x0) * (self.y2 - self.y0) - (self.y1 - self.y0) * (self.x2 - self.x0)

    def weights(self, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Barycentric coordinates of image points, linear in the image; zero for a triangle without area."""
        area = self.area
        good = jnp.abs(area) > SMALLEST_AREA
        scale = jnp.where(good, 1 / jnp.where(good, area, 1), 0)
        # Differences to a corner first: products of raw coordinates would cancel in float32.
        b0 = ((self.x2 - self.x1) * (y - self.y1) - (self.y2 - self.y1) * (x - self.x1)) * scale
        b1 = ((self.x0 - self.x2) * (y - self.y2) - (self.y0 - self.y2) * (x - self.x2)) * scale
        b2 = ((self.x1 - self.x0) * (y - self.y0) - (self.y1 - self.y0) * (x - self.x0)) * scale
        return b0, b1, b2

    def depth(self, b: tuple[jax.Array, ...], perspective: bool) -> jax.Array:
        """Depth in mm at barycentric coordinates b: linear in 1/z for a pinhole, else linear itself."""
        if perspective:
            return 1 / (b[0] / self.z0 + b[1] / self.z1 + b[2] / self.z2)
        return b[0] * self.z0 + b[1] * self.z1 + b[2] * self.z2


def centres(height: int, width: int, dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """Pixel centres (x, y) of an image, [H, W, 2]."""
    return jnp.stack(jnp.meshgrid(*(jnp.arange(n, dtype=dtype) + 0.5 for n in (width, height))), -1)


@partial(jax.jit, static_argnames='perspective')
def barycentric(
    triangle: jax.Array,
    points: jax.Array,
    pixels: jax.Array,
    depth: jax.Array,
    triangles: Array,
    *,
    perspective: bool = True,
) -> jax.Array:
    """Perspective-correct barycentric coordinates of image points in the triangles that they show.

    w_i = (b_i / z_i) / sum_j (b_j / z_j) with b linear in the image. Differentiable in pixels and depth, for
    the fixed visibility that ``triangle`` is: ``fragments.replace(barycentric=barycentric(fragments.triangle, ...))``
    lets image gradients reach the vertices. Where nothing is shown, or the triangle has shrunk to nothing, weights and
    gradients are zero.

    Args:
      triangle: [...] int32, the triangle that each point shows, -1 for none.
      points: [..., 2] pixels, such as `centres`.
      pixels: [V, 2] projected vertices.
      depth: [V] mm.
      triangles: [T, 3] int32.
      perspective: False for weak perspective, where w = b.

    Returns:
      [..., 3].
    """
    covered = triangle >= 0
    corners = Corners.of(jnp.asarray(triangles)[jnp.maximum(triangle, 0)], pixels, depth)
    weights: list[jax.Array] = list(corners.weights(points[..., 0], points[..., 1]))
    if perspective:
        # Points that show nothing look at triangle 0, which may lie in the plane of the lens.
        depths = corners.z0, corners.z1, corners.z2
        weights = [b / jnp.where(covered, z, 1) for b, z in zip(weights, depths)]
        total = weights[0] + weights[1] + weights[2]
        weights = [b / jnp.where(covered & (total != 0), total, 1) for b in weights]
    return jnp.stack([jnp.where(covered, b, 0) for b in weights], -1)


def interpolate(points: MeshPoints | Fragments, triangles: Array, attributes: jax.Array) -> jax.Array:
    """Attributes at points of the surface, zero where there is none.

    Differentiable in the attributes, and in ``points.barycentric`` where that has a gradient.

    Args:
      points: [...] on one mesh, such as the fragments of an image [H, W].
      triangles: [T, 3] int32, rows of ``attributes``: vertices, or texture coordinates with ``uv_triangles``.
      attributes: [V, C].

    Returns:
      [..., C].
    """
    ids = jnp.asarray(triangles)[jnp.maximum(points.triangle, 0)]
    w = jnp.asarray(points.barycentric)
    return vectors.combine([w[..., k] for k in range(3)], [attributes[ids[..., k]] for k in range(3)])
