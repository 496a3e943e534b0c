"""The tree against brute force in float64, and against what a tree must be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from jfrecon.render import trace, tree

RNG = np.random.default_rng(7)


def brute_force(vertices, triangles, origins, directions):
    """First hit of each ray in float64: (id or -1, distance, doubtful).

    Doubtful: the ray passes an edge of some triangle within 1e-5 (barycentric), or two triangles lie within a relative
    1e-5 of the first distance. Single precision has a few units of 6e-8 there, times the conditioning of slanted rays.
    """
    a, b, c = np.asarray(vertices, np.float64)[triangles].transpose(1, 0, 2)
    e, f = b - a, c - a
    o, d = (np.asarray(x, np.float64)[:, None] for x in (origins, directions))
    p = np.cross(d, f[None])
    determinant = (e * p).sum(-1)
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        s = o - a
        u = (s * p).sum(-1) / determinant
        q = np.cross(s, e[None])
        v = (d * q).sum(-1) / determinant
        t = (f * q).sum(-1) / determinant
        margin = np.minimum(np.minimum(u, v), 1 - u - v)
    ok = np.isfinite(t) & (t > 0)
    hit = ok & (margin >= 0)
    distance = np.where(hit, t, np.inf)
    first = distance.min(1)
    close = ok & (np.abs(margin) < 1e-5) & (t <= first[:, None] * (1 + 1e-5))
    ties = (distance <= first[:, None] * (1 + 1e-5)).sum(1) > 1
    return np.where(np.isfinite(first), distance.argmin(1), -1), first, close.any(1) | (ties & np.isfinite(first))


def soup(count):
    middle = RNG.uniform(-100, 100, size=(count, 1, 3))
    size = np.exp(RNG.uniform(0, 4, size=(count, 1, 1)))
    vertices = (middle + size * RNG.normal(size=(count, 3, 3))).reshape(-1, 3)
    return np.float32(vertices), np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def sphere():
    made = trimesh.creation.icosphere(3, 80.0)
    return np.float32(made.vertices), np.int32(made.faces)


def rays(count, aims=None):
    """From everywhere, also from far outside; most towards ``aims`` [N, 3] (or the middle), some along an axis."""
    origins = RNG.normal(size=(count, 3)) * np.exp(RNG.uniform(1, 6.5, size=(count, 1)))
    directions = RNG.normal(size=(count, 3)) * np.exp(RNG.uniform(-1, 1, size=(count, 1)))
    towards = RNG.random(count) < 0.7
    aims = RNG.normal(scale=60, size=(200, 3)) if aims is None else aims
    directions[towards] = aims[RNG.integers(len(aims), size=towards.sum())] - origins[towards]
    along = np.arange(count) % 50 == 0
    directions[along] = np.eye(3)[RNG.integers(3, size=along.sum())] * RNG.choice([-1, 1], size=(along.sum(), 1))
    return np.float32(origins), np.float32(directions)


def build(vertices, triangles):
    leaves = tree.order(vertices, triangles)
    return jax.jit(tree.refit)(leaves, triangles, jnp.asarray(vertices)[None])


closest = jax.jit(trace.closest, static_argnames='pool')
occluded = jax.jit(trace.occluded, static_argnames='pool')


@pytest.mark.parametrize('mesh', [lambda: soup(700), sphere, lambda: soup(1), lambda: soup(5)])
def test_finds_what_brute_force_finds(mesh):
    vertices, triangles = mesh()
    inside = np.einsum('nk,nkc->nc', RNG.dirichlet([1, 1, 1], size=400), vertices[RNG.choice(triangles, 400)])
    origins, directions = rays(3000, inside)
    bvh = build(vertices, triangles)
    active = jnp.ones((1, len(origins)), bool)
    found = closest(bvh, origins[None], directions[None], active, pool=trace.Pool(512, 6))
    anywhere = jnp.asarray(RNG.integers(len(triangles), size=(1, len(origins))))  # where rays start only saves time
    blocked = occluded(bvh, origins[None], directions[None], active, pool=trace.Pool(512, 6), leaving=anywhere)
    ids, distance, doubt = brute_force(vertices, triangles, origins, directions)
    sure = ~doubt
    assert sure.mean() > 0.9 and (ids[sure] >= 0).mean() > 0.5
    np.testing.assert_array_equal(np.asarray(found.triangle[0])[sure], ids[sure])
    np.testing.assert_array_equal(np.asarray(blocked[0])[sure], ids[sure] >= 0)
    hit = sure & (ids >= 0)
    # Single precision: the numerator cancels where the origin is far away or the triangle is seen at a slant.
    np.testing.assert_allclose(np.asarray(found.distance[0])[hit], distance[hit], rtol=2e-3)
    assert np.median(np.abs(np.asarray(found.distance[0])[hit] / distance[hit] - 1)) < 1e-6


def test_pool_and_batch_do_not_matter():
    vertices, triangles = sphere()
    both = np.stack([vertices, vertices * [0.5, 1, 2] + [30, 0, 0]])
    leaves = tree.order(vertices, triangles)
    origins, directions = (np.stack(x) for x in zip(rays(900), rays(900)))
    active = RNG.random((2, 900)) < 0.8
    together = closest(jax.jit(tree.refit)(leaves, triangles, both), origins, directions, active, trace.Pool(256, 4))
    for i in range(2):
        alone = closest(
            jax.jit(tree.refit)(leaves, triangles, both[i : i + 1]),
            *(x[i : i + 1] for x in (origins, directions, active)),
            trace.Pool(900, 9),
        )
        np.testing.assert_array_equal(together.triangle[i], alone.triangle[0])
        np.testing.assert_array_equal(together.distance[i], alone.distance[0])
    assert (together.triangle[~active] == -1).all() and np.isinf(together.distance[~active]).all()
    assert (together.triangle[active] >= 0).mean() > 0.3


def test_origins_and_directions_broadcast_to_the_rays():
    vertices, triangles = sphere()
    bvh = jax.jit(tree.refit)(tree.order(vertices, triangles), triangles, np.stack([vertices, vertices * 0.8]))
    origins, directions = rays(24)
    origins, directions = origins.reshape(2, 3, 1, 4, 3), directions[:20].reshape(1, 1, 5, 4, 3)
    active = RNG.random((2, 3, 5, 4)) < 0.8
    leaving = RNG.integers(len(triangles), size=(2, 3, 1, 4))
    whole = lambda x: np.broadcast_to(x, (*active.shape, 3)).reshape(2, 60, 3)
    expected = occluded(bvh, whole(origins), whole(directions), active.reshape(2, 60), pool=trace.Pool(64, 4))
    found = occluded(bvh, origins, directions, active, pool=trace.Pool(64, 4), leaving=leaving)
    np.testing.assert_array_equal(found.reshape(2, 60), expected)
    assert 0.1 < expected.mean() < 0.9


def test_order_holds_every_triangle_in_balanced_leaves():
    for count in (1, 2, 3, 4, 7, 100, 1001):
        vertices, triangles = soup(count)
        leaves = tree.order(vertices, triangles)
        assert set(leaves.reshape(-1)) == set(range(count))
        assert leaves.shape[1] <= tree.LEAF and bin(len(leaves)).count('1') == 1
        assert max(len(set(leaf)) for leaf in leaves) - min(len(set(leaf)) for leaf in leaves) <= 1


def test_boxes_hold_their_triangles_at_every_level():
    vertices, triangles = soup(200)
    bvh = build(vertices, triangles)
    points = vertices[triangles][np.asarray(bvh.ids)].reshape(bvh.leaves, -1, 3)
    units = (points.astype(np.float64) - np.asarray(bvh.origin[0])) * float(bvh.scale[0])
    for axis in range(3):
        box = np.asarray(bvh.boxes[axis][0])
        low, high = box & 0xFFFF, box >> 16
        for node in range(1, 2 * bvh.leaves):
            depth = bvh.leaves.bit_length() - node.bit_length()
            below = units[(node << depth) - bvh.leaves : ((node + 1) << depth) - bvh.leaves, :, axis]
            assert low[node] <= below.min() and below.max() <= high[node]
        # and not much more: rounding and margin
        assert high[1] - low[1] <= 65535 and np.median((high - low)[bvh.leaves :]) < 30000


def test_a_mesh_that_is_not_finite_leaves_its_neighbour_alone():
    vertices, triangles = sphere()
    both = np.stack([np.where(np.arange(len(vertices))[:, None] % 7, vertices, np.nan), vertices])
    leaves = tree.order(vertices, triangles)
    origins, directions = (np.stack([x, x]) for x in rays(400))
    active = np.ones((2, 400), bool)
    found = closest(jax.jit(tree.refit)(leaves, triangles, both), origins, directions, active, trace.Pool(256, 4))
    alone = closest(build(vertices, triangles), origins[1:], directions[1:], active[1:], trace.Pool(256, 4))
    np.testing.assert_array_equal(found.triangle[1], alone.triangle[0])


def test_a_mesh_without_triangles_is_an_error():
    with pytest.raises(ValueError, match='without triangles'):
        tree.order(np.zeros((3, 3)), np.zeros((0, 3), np.int32))
