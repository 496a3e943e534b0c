from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from jfrecon.geometry import mesh, rotations, vectors
from jfrecon.types import Topology

RNG = np.random.default_rng(2)
TANGENTS = jax.jit(mesh.tangents)


def grid(n, mirrored=False):
    """A unit square of n x n vertices with u along x, or against it."""
    x, y = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n))
    i = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
    triangles = np.concatenate([np.stack(t, -1) for t in ((i, i + 1, i + n + 1), (i, i + n + 1, i + n))])
    uv = np.stack([1 - x.ravel() if mirrored else x.ravel(), y.ravel()], -1)
    points = np.stack([x.ravel(), y.ravel()], -1)
    return points, Topology(triangles.astype(np.int32), uv.astype(np.float32), triangles.astype(np.int32))


def wavy(points, topology):
    """A curved sheet over the grid, with its own normals."""
    z = 0.3 * np.sin(3 * points[:, 0]) * np.cos(2 * points[:, 1])
    vertices = jnp.asarray(np.column_stack([points, z]), jnp.float32)
    return vertices, mesh.vertex_normals(vertices, topology.triangles)


def test_normalise_is_safe_at_zero():
    x = jnp.array([[0.0, 0, 0], [3, 0, 4], [1e-20, 0, 0]])
    np.testing.assert_allclose(vectors.normalise(x), [[0, 0, 0], [0.6, 0, 0.8], [0, 0, 0]], atol=1e-7)
    assert np.isfinite(jax.jacobian(vectors.normalise)(x)).all()


def test_triangle_normals_of_one_triangle():
    v = jnp.array([[0.0, 0, 0], [2, 0, 0], [0, 3, 0]])
    np.testing.assert_array_equal(mesh.triangle_normals(v, np.array([[0, 1, 2]])), [[0, 0, 6]])


@pytest.mark.parametrize('level', [2, 3, 4])
def test_vertex_normals_of_a_sphere(level):
    sphere = trimesh.creation.icosphere(level, 50.0)
    n = mesh.vertex_normals(jnp.asarray(sphere.vertices, jnp.float32), sphere.faces)
    error = np.abs(n - sphere.vertices / 50).max(-1)
    # Facets tilt by up to h / 2; a lopsided ring of them leaves a part that shrinks with h. Seen: 0.066 h.
    assert error.max() < 0.08 * sphere.edges_unique_length.max() / 50
    # The twelve corners of the icosahedron have symmetric rings: exact but for float32.
    assert error[sphere.vertex_faces[:, 5] < 0].max() < 2e-6


def test_vertex_normals_are_equivariant_and_batched():
    sphere = trimesh.creation.icosphere(1)
    v = jnp.asarray(sphere.vertices * [1, 2, 3], jnp.float32)
    r = rotations.matrix(jnp.asarray(RNG.normal(size=(2, 3)), jnp.float32))
    turned = mesh.vertex_normals(rotations.rotate(r, v), sphere.faces)
    # float32 rounding of a sum over six triangles.
    np.testing.assert_allclose(turned, rotations.rotate(r, mesh.vertex_normals(v, sphere.faces)), atol=2e-6)


def test_vertex_normals_of_degenerate_meshes_are_finite():
    v = jnp.zeros((4, 3))
    f = jax.value_and_grad(lambda v: mesh.vertex_normals(v, np.array([[0, 1, 2], [0, 0, 1]])).sum())
    value, gradient = f(v)
    assert value == 0 and np.isfinite(gradient).all()


def test_vertex_normal_gradient_matches_finite_differences():
    points, topology = grid(4)
    with jax.enable_x64(True):
        v = jnp.asarray(np.column_stack([points, RNG.normal(size=len(points)) * 0.1]))
        w, d = jnp.asarray(RNG.normal(size=v.shape)), jnp.asarray(RNG.normal(size=v.shape))

        @jax.jit
        def f(v):
            return (mesh.vertex_normals(v, topology.triangles) * w).sum()

        numeric = (f(v + 1e-6 * d) - f(v - 1e-6 * d)) / 2e-6
        # Rounding 1e-16 / 1e-6 and h² times third derivatives of order 1e3.
        np.testing.assert_allclose((jax.grad(f)(v) * d).sum(), numeric, rtol=1e-7)


@pytest.mark.parametrize('mirrored', [False, True])
def test_tangents_follow_u_and_v(mirrored):
    points, topology = grid(9, mirrored)
    vertices, n = wavy(points, topology)
    t, b = TANGENTS(vertices, n, topology)
    frame = np.stack([t, b, n], -1)
    # float32 orthonormality; a mirrored layout has a left-handed frame: B still follows v.
    np.testing.assert_allclose(frame.swapaxes(-1, -2) @ frame, np.tile(np.eye(3), (81, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(frame), -1 if mirrored else 1, atol=1e-5)
    assert (t[:, 0] * (-1 if mirrored else 1) > 0.7).all() and (b[:, 1] > 0.7).all()


def test_tangents_of_a_sphere_are_the_meridian_frame():
    n = 48
    phi, theta = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    _, topology = grid(n)
    v = np.stack([np.sin(phi) * np.cos(theta), np.sin(theta), np.cos(phi) * np.cos(theta)], -1).reshape(-1, 3)
    east = np.stack([np.cos(phi), 0 * phi, -np.sin(phi)], -1).reshape(-1, 3)
    t, b = mesh.tangents(jnp.asarray(v, jnp.float32), jnp.asarray(v, jnp.float32), topology)
    # The averages are one-sided on the border, so first order there: half a cell, 2 / 47 / 2 rad.
    assert np.abs(t - east).max() < 0.5 * 2 / 47 * 1.5
    assert np.abs(b - np.cross(v, east)).max() < 0.5 * 2 / 47 * 1.5


def test_tangents_of_degenerate_uvs_are_still_a_frame():
    points, topology = grid(4)
    topology = topology.replace(uv=np.zeros_like(topology.uv))
    vertices, n = wavy(points, topology)
    t, b = TANGENTS(vertices, n, topology)
    np.testing.assert_allclose(np.linalg.norm(np.cross(t, b), axis=-1), 1, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda v: (mesh.tangents(v, n, topology)[0] ** 3).sum()))(vertices)
    assert np.isfinite(gradient).all()


def test_tangents_match_the_formula_of_the_paper_on_one_triangle():
    uv = np.array([[0.1, 0.2], [0.7, 0.3], [0.3, 0.9]], np.float32)
    ids = np.array([[0, 1, 2]], np.int32)
    v = RNG.normal(size=(3, 3)).astype(np.float32)
    (e1, e2), ((du1, dv1), (du2, dv2)) = v[1:] - v[0], uv[1:] - uv[0]
    det = du1 * dv2 - du2 * dv1
    expected = [(dv2 * e1 - dv1 * e2) / det]
    expected.append(np.cross(np.cross(e1, e2), expected[0]))
    n = mesh.vertex_normals(jnp.asarray(v), ids)
    for ours, truth in zip(mesh.tangents(jnp.asarray(v), n, Topology(ids, uv, ids)), expected):
        # float32 rounding of unit vectors.
        np.testing.assert_allclose(ours, np.tile(truth / np.linalg.norm(truth), (3, 1)), atol=2e-6)


def test_subdivide_keeps_the_surface_and_the_texture():
    points, topology = grid(5)
    vertices, _ = wavy(points, topology)
    finer, matrix = mesh.subdivide(topology, len(points))
    fine = mesh.apply_map(matrix, np.asarray(vertices))
    t, edges = len(topology.triangles), len(finer.uv) - len(topology.uv)
    assert len(finer.triangles) == 4 * t and len(fine) == len(points) + edges
    # The children of each triangle have its area and its side; float32 rounding.
    parents = mesh.triangle_normals(vertices, topology.triangles)
    children = mesh.triangle_normals(jnp.asarray(fine), finer.triangles).reshape(t, 4, 3)
    np.testing.assert_allclose(children, np.tile(parents[:, None] / 4, (1, 4, 1)), atol=1e-7)
    # This grid has u = x, v = y at every corner: also at the new ones.
    np.testing.assert_allclose(fine[finer.triangles][..., :2], finer.uv[finer.uv_triangles], atol=1e-6)


def test_subdivide_respects_seams():
    # Two triangles that share a mesh edge but no texture edge.
    topology = Topology(
        triangles=np.array([[0, 1, 2], [2, 1, 3]], np.int32),
        uv=np.array([[0, 0], [0.4, 0], [0, 0.4], [1, 0.6], [0.6, 1], [1, 1]], np.float32),
        uv_triangles=np.array([[0, 1, 2], [4, 3, 5]], np.int32),
    )
    finer, matrix = mesh.subdivide(topology, 4)
    assert matrix.shape == (9, 4) and len(finer.uv) == 12
    assert trimesh.Trimesh(np.zeros((9, 3)), finer.triangles, process=False).body_count == 1
    charts = finer.uv[finer.uv_triangles]
    assert (charts[:4] <= 0.4).all() and (charts[4:] >= 0.6).all()


def test_bases_subdivide_like_the_shapes_they_make():
    sphere = trimesh.creation.icosphere(1)
    topology = Topology(sphere.faces, np.zeros((1, 2)), np.zeros_like(sphere.faces))
    for smooth in (False, True):
        _, matrix = mesh.subdivide(topology, len(sphere.vertices), smooth)
        basis, c = RNG.normal(size=(4, len(sphere.vertices), 3)), RNG.normal(size=4)
        fine = np.tensordot(c, mesh.apply_map(matrix, basis), 1)
        np.testing.assert_allclose(fine, mesh.apply_map(matrix, np.tensordot(c, basis, 1)), atol=1e-12)
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)


def test_loop_weights_by_hand():
    # Octahedron: valence 4, Warren's beta 3/32; the neighbours of vertex 0, on +x, sum to zero.
    v = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    f = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]], np.int32)
    finer, matrix = mesh.subdivide(Topology(f, np.zeros((1, 2)), 0 * f), 6, smooth=True)
    fine = mesh.apply_map(matrix, v)
    np.testing.assert_allclose(fine[0], [1 - 12 / 32, 0, 0])
    # Edge (0, 2): 3/8 of both ends, 1/8 of +z and -z, which cancel.
    edge = np.flatnonzero((matrix[6:, [0, 2]].toarray() == 3 / 8).all(1))
    np.testing.assert_allclose(fine[6 + edge], [[3 / 8, 3 / 8, 0]])
    assert trimesh.Trimesh(fine, finer.triangles, process=False).is_volume


def test_loop_keeps_flat_regions_and_the_border_curve():
    points, topology = grid(6)
    _, matrix = mesh.subdivide(topology, 36, smooth=True)
    fine = mesh.apply_map(matrix, points)
    inner = (points > 0.25).all(1) & (points < 0.75).all(1)
    # Away from the border the rules are affine-invariant on a regular grid: points stay where they are.
    np.testing.assert_allclose(fine[:36][inner], points[inner], atol=1e-12)
    # 3/4 and 1/8 twice along the border, nothing from inside.
    np.testing.assert_allclose(matrix[3].toarray()[0, :6], [0, 0, 1 / 8, 3 / 4, 1 / 8, 0])
    assert matrix[3].nnz == 3
    # The border is its own cubic B-spline: away from its corners it stays on the sides of the square.
    border = (points == 0).any(1) | (points == 1).any(1)
    corner = ((points == 0) | (points == 1)).all(1)
    side = border & ~corner & (np.abs(points - 0.5).min(1) < 0.35)
    assert (np.abs(np.abs(fine[:36][side] - 0.5).max(1) - 0.5) < 1e-12).all()


def test_loop_rounds_a_coarse_sphere():
    sphere = trimesh.creation.icosphere(1)
    topology = Topology(sphere.faces, np.zeros((1, 2)), 0 * sphere.faces)
    spread = {}
    for smooth in (False, True):
        _, matrix = mesh.subdivide(topology, len(sphere.vertices), smooth)
        radius = np.linalg.norm(mesh.apply_map(matrix, sphere.vertices), axis=1)
        spread[smooth] = radius.std() / radius.mean()
    # Midpoints leave the facets; Loop's limit surface is nearly round. Seen: 0.018 against 0.002.
    assert spread[True] < spread[False] / 4


def test_bent_normals_on_a_plane_are_the_bumps_themselves():
    """u along x, v along y: tangent space is space."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    topology = Topology(triangles, corners[:, :2], triangles)
    normals = mesh.vertex_normals(corners, triangles)
    tangent, bitangent = mesh.tangents(corners, normals, topology)
    bumps = np.array([[0.6, 0, 0.8], [0, -0.6, 0.8], [0.36, 0.48, 0.8], [0, 0, 2]], np.float32)
    found = mesh.bend(bumps, tangent, bitangent, normals)
    np.testing.assert_allclose(found, [[0.6, 0, 0.8], [0, -0.6, 0.8], [0.36, 0.48, 0.8], [0, 0, 1]], atol=1e-6)


def test_relief_goes_back_to_what_it_was_made_of():
    raw = np.random.default_rng(0).normal(scale=0.5, size=(50, 3)).astype(np.float32)
    raw[:, 2] *= 0.3
    normal = mesh.relief(jnp.asarray(raw))
    np.testing.assert_allclose(mesh.relief(mesh.raw_relief(normal)), normal, atol=1e-6)
    np.testing.assert_allclose(mesh.raw_relief(jnp.array([0.0, 0.0, 1.0])), 0)
