"""Differential geometry of triangle meshes: normals and tangent frames."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jfrecon.types import Array, Topology


def normalise(x: jax.Array, eps: float = 1e-8) -> jax.Array:
    """x / |x| along the last axis; zero, with zero gradient, where |x| <= eps."""
    square = jnp.sum(x**2, -1, keepdims=True)
    # Decided before the square root: its derivative at zero is infinite, and 0 * inf is NaN in a backward pass.
    good = square > max(eps**2, jnp.finfo(x.dtype).tiny)
    return jnp.where(good, x / jnp.sqrt(jnp.where(good, square, 1.0)), 0.0)


def triangle_normals(vertices: jax.Array, triangles: Array) -> jax.Array:
    """Normals (b - a) x (c - a) of the triangles, not normalised: their length is twice the area.

    Args:
      vertices: [..., V, 3] mm.
      triangles: [T, 3] int32, counter-clockwise seen from outside.

    Returns:
      [..., T, 3] mm², pointing outwards.
    """
    a, b, c = (vertices[..., triangles[:, k], :] for k in range(3))
    return jnp.cross(b - a, c - a)


def vertex_normals(vertices: jax.Array, triangles: Array) -> jax.Array:
    """Unit vertex normals: the area-weighted mean of the adjacent triangles' normals.

    A vertex without triangles, or whose triangles cancel, gets zero.

    Args:
      vertices: [..., V, 3] mm.
      triangles: [T, 3] int32.

    Returns:
      [..., V, 3].
    """
    return normalise(_gather_to_vertices(triangle_normals(vertices, triangles), triangles, vertices.shape[-2]))


def tangents(vertices: jax.Array, normals: jax.Array, topology: Topology) -> tuple[jax.Array, jax.Array]:
    """Tangent and bitangent of the UV parametrisation at the vertices (s2f2 3.4).

    For a triangle with edges e1, e2 and UV edges (du1, dv1), (du2, dv2), det = du1 dv2 - du2 dv1:
    T = (dv2 e1 - dv1 e2) / det, averaged to the vertices; then T <- normalise(T - n (n·T)), B <- sign(det) n x T, so
    that [T B n] stays orthonormal, right-handed unless the UV layout is mirrored there. The paper leaves the weights
    of the average open; with |det|, the triangle's UV area, the division cancels and degenerate UVs are harmless.
    Where T vanishes, any unit vector in the tangent plane stands in.

    Args:
      vertices: [..., V, 3] mm.
      normals: [..., V, 3] unit.
      topology: triangles and texture coordinates.

    Returns:
      T and B, [..., V, 3] each.
    """
    triangles, uv = jnp.asarray(topology.triangles), jnp.asarray(topology.uv)[topology.uv_triangles]
    a, b, c = (vertices[..., triangles[:, k], :] for k in range(3))
    (du1, dv1), (du2, dv2) = (uv[:, 1] - uv[:, 0]).T, (uv[:, 2] - uv[:, 0]).T
    det = du1 * dv2 - du2 * dv1
    sign = jnp.where(det < 0, -1.0, 1.0).astype(vertices.dtype)
    per_triangle = sign[:, None] * (dv2[:, None] * (b - a) - dv1[:, None] * (c - a))
    count = vertices.shape[-2]
    t = normalise(_gather_to_vertices(per_triangle, triangles, count))
    t = t - normals * jnp.sum(normals * t, -1, keepdims=True)
    # The axis least aligned with the normal never vanishes when made orthogonal to it.
    axis = jax.nn.one_hot(jnp.argmin(jnp.abs(normals), -1), 3, dtype=vertices.dtype)
    spare = axis - normals * jnp.sum(normals * axis, -1, keepdims=True)
    t = normalise(jnp.where(jnp.sum(t**2, -1, keepdims=True) > 1e-12, t, spare))
    # At a seam between a chart and its mirror image the larger UV area decides.
    handed = _gather_to_vertices(det[:, None], triangles, count)
    return t, jnp.where(handed < 0, -1.0, 1.0) * jnp.cross(normals, t)


def _gather_to_vertices(values: jax.Array, triangles: Array, count: int) -> jax.Array:
    """Sums [..., T, C] of triangles into [..., V, C] of their corners."""
    total = jnp.zeros((*values.shape[:-2], count, values.shape[-1]), values.dtype)
    for k in range(3):
        total = total.at[..., triangles[:, k], :].add(values)
    return total
