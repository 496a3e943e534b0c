"""Triangle meshes: normals and tangent frames (differentiable), and subdivision (NumPy, done once)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from jfrecon.geometry.vectors import combine, dot, normalise, scale
from jfrecon.types import Array, Topology


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
    T = (dv2 e1 - dv1 e2) / det, averaged to the vertices; then T <- normalise(T - n (n·T)), B <- sign(det) n
    x T, so that [T B n] stays orthonormal, right-handed unless the UV layout is mirrored there. The paper
    leaves the weights of the average open; with |det|, the triangle's UV area, the division cancels and
    degenerate UVs are harmless. Where T vanishes, any unit vector in the tangent plane stands in.

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
    t = t - scale(dot(normals, t), normals)
    # The axis least aligned with the normal never vanishes when made orthogonal to it.
    axis = jax.nn.one_hot(jnp.argmin(jnp.abs(normals), -1), 3, dtype=vertices.dtype)
    spare = axis - scale(dot(normals, axis), normals)
    t = normalise(jnp.where((dot(t, t) > 1e-12)[..., None], t, spare))
    # At a seam between a chart and its mirror image the larger UV area decides.
    handed = _gather_to_vertices(det[:, None], triangles, count)
    return t, jnp.where(handed < 0, -1.0, 1.0) * jnp.cross(normals, t)


def bend(bumps: jax.Array, tangent: jax.Array, bitangent: jax.Array, normal: jax.Array) -> jax.Array:
    """Normals [..., 3] bent by those of a normal map (s2f2 3.4): normalise([T B n] bumps).

    bumps: [..., 3] tangent space; the frame [T B n]: [..., 3] each, see `tangents`.
    """
    frame = [tangent, bitangent, normal]
    return normalise(combine([bumps[..., k] for k in range(3)], frame))


def relief(raw: jax.Array) -> jax.Array:
    """Unit normals [..., 3] in tangent space, normalise(dx, dy, 1 + dz): zero is a smooth surface (s2f2 3.4).

    With |dz| < 1 the length is never zero.
    """
    bump = raw + jnp.array([0.0, 0.0, 1.0])
    return bump * jax.lax.rsqrt(jnp.sum(jnp.square(bump), -1, keepdims=True) + 1e-12)


def raw_relief(normal: jax.Array) -> jax.Array:
    """Values [..., 3] of which `relief` makes these unit normals, in tangent space."""
    return normal - jnp.array([0.0, 0.0, 1.0])


def _gather_to_vertices(values: jax.Array, triangles: Array, count: int) -> jax.Array:
    """Sums [..., T, C] of triangles into [..., V, C] of their corners."""
    total = jnp.zeros((*values.shape[:-2], count, values.shape[-1]), values.dtype)
    for k in range(3):
        total = total.at[..., triangles[:, k], :].add(values)
    return total


def subdivide(topology: Topology, vertices: int, smooth: bool = False) -> tuple[Topology, sparse.csr_matrix]:
    """Splits every triangle in four, as a linear map that also takes means and bases to the finer mesh.

    Old vertices keep their ids; one new vertex per edge follows them. Triangle t becomes 4t (at its first
    corner), 4t + 1, 4t + 2 (at the second and third) and 4t + 3 (the middle). Texture coordinates are split
    at midpoints.

    Args:
      topology: of a manifold mesh, with or without border.
      vertices: V, how many vertices the mesh has.
      smooth: Loop's subdivision with Warren's weights (old vertices move too; a border stays on its own
        curve) instead of plain midpoints, which leave the surface as it is.

    Returns:
      The finer topology, and a matrix [V', V] with rows that sum to one; see `apply_map`.
    """
    triangles = np.asarray(topology.triangles)
    fine, edges, sides = _split(triangles, vertices)
    uv = np.asarray(topology.uv)
    fine_uv, uv_edges, _ = _split(np.asarray(topology.uv_triangles), len(uv))
    midpoints = sparse.csr_matrix(
        (np.full(2 * len(edges), 0.5), (np.repeat(np.arange(len(edges)), 2), edges.ravel())),
        shape=(len(edges), vertices),
    )
    old = sparse.identity(vertices, format='csr')
    if smooth:
        old, midpoints = _loop(triangles, edges, sides, vertices, midpoints)
    finer = Topology(
        triangles=fine,
        uv=np.concatenate([uv, uv[uv_edges].mean(1)]).astype(uv.dtype),
        uv_triangles=fine_uv,
    )
    return finer, sparse.vstack([old, midpoints], format='csr')


def apply_map(matrix: sparse.csr_matrix, attributes: np.ndarray) -> np.ndarray:
    """Applies a `subdivide` matrix [V', V] to attributes [..., V, C]; gives [..., V', C] of their dtype."""
    attributes = np.asarray(attributes)
    columns = np.moveaxis(attributes, -2, 0)
    result = (matrix @ columns.reshape(len(columns), -1)).reshape(-1, *columns.shape[1:])
    return np.moveaxis(result, 0, -2).astype(attributes.dtype)


def _split(triangles: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finer triangles [4T, 3], edges [E, 2] in the order of their vertices, each triangle's edges [T, 3]."""
    pairs = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]], -1).reshape(-1, 2)
    edges, sides = np.unique(pairs, axis=0, return_inverse=True)
    sides = sides.reshape(-1, 3)
    (a, b, c), (ab, bc, ca) = triangles.T, (sides + count).T
    fine = np.stack([np.stack(t, -1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))], 1)
    return fine.reshape(-1, 3).astype(np.int32), edges, sides


def _loop(triangles, edges, sides, count, midpoints):
    """Loop's rules for old vertices [V, V] and edges [E, V]; border and non-manifold edges stay midpoints."""
    faces = np.bincount(sides.ravel(), minlength=len(edges))
    inner = faces == 2
    # An inner edge: 3/8 of its ends and 1/8 of the two corners across; the row below holds those corners.
    across = sparse.csr_matrix(
        (np.ones(sides.size), (sides.ravel(), triangles[:, [2, 0, 1]].ravel())), shape=midpoints.shape
    )
    split = sparse.diags(np.where(inner, 0.75, 1.0)) @ midpoints + sparse.diags(inner * 0.125) @ across

    def neighbours(chosen):
        i, j = edges[chosen].T
        links = sparse.coo_matrix((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(count, count)).tocsr()
        return links, np.asarray(links.sum(1)).ravel()

    everyone, valence = neighbours(np.ones(len(edges), bool))
    border, ends = neighbours(~inner)
    n = np.maximum(valence, 1)
    # 1/8 of each border neighbour on a border, nothing at a corner of it, else Warren's beta.
    beta = np.where(n == 3, 3 / 16, 3 / (8 * n))
    links = sparse.diags((ends == 0) * beta) @ everyone + sparse.diags((ends == 2) * 0.125) @ border
    return links + sparse.diags(1 - np.asarray(links.sum(1)).ravel()), split
