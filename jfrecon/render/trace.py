"""Rays against a tree: is anything in the way (any hit), and what is the first thing in the way (closest hit).

Rays need very different numbers of steps, so they are not marched in lock-step. A pool of lanes walks the tree; every
few steps the lanes whose ray is finished take the next one (Aila and Laine 2009, persistent threads, as array
operations). Nothing here has a gradient: what a ray has hit is recomputed from the triangle's corners by whoever
differentiates.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jfrecon.render.tree import Tree

# Barycentric slack of the inclusive edges: rounding opens no cracks between neighbours.
EDGE = 1e-6
_BLOCKED = -(2**30)  # a lane whose ray has found something and needs to know no more


class Pool(NamedTuple):
    """How the work is laid out.

    Attributes:
      lanes: rays under way at once.
      steps: nodes that each visits between two looks for finished ones.
    """

    lanes: int
    steps: int


class Hits(NamedTuple):
    """First hits, leaves [B, ...].

    Attributes:
      triangle: int32, -1 for a ray that hits nothing.
      distance: in lengths of the ray's direction, +inf there.
    """

    triangle: jax.Array
    distance: jax.Array


def default_pool(rays: int) -> Pool:
    """4,096 lanes fit a CPU's cache; an accelerator wants as many as there are rays."""
    if jax.default_backend() == 'cpu':
        return Pool(min(rays, 4096), 10)
    return Pool(min(rays, 2**20), 16)


def occluded(
    tree: Tree,
    origins: jax.Array,
    directions: jax.Array,
    active: jax.Array,
    pool: Pool | None = None,
    leaving: jax.Array | None = None,
) -> jax.Array:
    """Which rays hit anything in front of their origin, bool [B, ...]; False where not active. No gradient.

    Args:
      tree: of B meshes; ray b, ... meets mesh b.
      origins, directions: [B, ..., 3] mm, or broadcasting to the shape of active; directions of any length but 0.
      active: [B, ...] bool, the rays to be traced. It takes less time when neighbours are alike.
      pool: by default `default_pool`.
      leaving: [B, ...] or broadcasting to it, int32 triangles that the rays start at. Any will do, but from there the
        walk saves the boxes around the origin, which are hit for certain.
    """
    return _trace(tree, origins, directions, active, pool, leaving, closest=False).triangle >= 0


def closest(tree: Tree, origins: jax.Array, directions: jax.Array, active: jax.Array, pool: Pool | None = None) -> Hits:
    """The first triangle in front of each ray's origin, for the arguments of `occluded`. No gradient.

    Of triangles at exactly the same distance any may be named.
    """
    return _trace(tree, origins, directions, active, pool, None, closest=True)


class _Lanes(NamedTuple):
    """The pool's state: nodes to look at (negative: a leaf to be tested; 0: idle), rays [W], what they have found.

    Each ray has a numbering of the nodes of its own, in which the leaf that it starts at is the first one: that of the
    tree, with the bits of the way to this leaf, ``home``, turned over. So a walk that starts there goes through the
    whole tree but for the nodes above it.
    """

    node: jax.Array
    home: jax.Array
    ray: jax.Array
    origin: tuple[jax.Array, ...]
    direction: tuple[jax.Array, ...]
    distance: jax.Array
    found: jax.Array


def _trace(tree, origins, directions, active, pool, leaving, closest):
    batch, total = len(active), active.size
    pool = default_pool(total) if pool is None else pool
    origins, directions = lax.stop_gradient((jnp.asarray(origins), jnp.asarray(directions)))

    # The rays to be traced, first to last, so that no lane is spent on others.
    wanted = active.reshape(-1)
    rank = jnp.cumsum(wanted, dtype=jnp.int32) - 1
    numbers = jnp.arange(total, dtype=jnp.int32)
    queue = jnp.zeros(total, jnp.int32).at[jnp.where(wanted, rank, total)].set(numbers, mode='drop')
    waiting = rank[-1] + 1

    boxes = tuple(values.reshape(-1) for values in tree.boxes)
    corners = tuple(values.reshape(-1) for values in tree.corners)
    leaves, per_leaf = tree.leaves, tree.per_leaf
    first = 1 if leaving is None else -leaves

    def mesh_of(ray):
        """Which mesh of the batch; without a batch a constant, and the offsets below cost nothing."""
        return jnp.int32(0) if batch == 1 else jnp.minimum(ray, total - 1) // (total // batch)

    def vector(values, ray):
        """x, y and z of rays [W]; three gathers from the array as it is, which broadcasts to all rays."""
        place = 3 * _place(ray, active.shape, values.shape[:-1])
        return tuple(_get(values.reshape(-1), place + axis) for axis in range(3))

    def home(ray):
        if leaving is None:
            return jnp.zeros_like(ray)
        return _get(tree.leaf, _get(leaving.reshape(-1), _place(ray, active.shape, leaving.shape)))

    def refill(started, lanes, found, distance):
        """Write down what finished lanes have found, and give them the next rays of the queue."""
        done = (lanes.node == 0) | (lanes.node == _BLOCKED)
        where = jnp.where(done, lanes.ray, total)
        found = found.at[where].set(lanes.found, mode='drop')
        if closest:
            distance = distance.at[where].set(lanes.distance, mode='drop')
        place = started + jnp.cumsum(done, dtype=jnp.int32) - 1
        new = done & (place < waiting)
        ray = jnp.where(new, _get(queue, jnp.clip(place, 0, total - 1)), jnp.where(done, total, lanes.ray))
        ray = lax.optimization_barrier(ray)
        fetch = jnp.minimum(ray, total - 1)
        lanes = _Lanes(
            node=jnp.where(new, first, jnp.where(done, 0, lanes.node)),
            home=home(fetch),
            ray=ray,
            origin=vector(origins, fetch),
            direction=vector(directions, fetch),
            distance=jnp.where(new, jnp.inf, lanes.distance),
            found=jnp.where(new, -1, lanes.found),
        )
        return jnp.minimum(started + done.sum(dtype=jnp.int32), waiting), lanes, found, distance

    last = 32 - leaves.bit_length()  # leading zeros of a leaf's number

    def walk(lanes, mesh, start, slope):
        """One node: into its first child or, at a leaf, to its triangles, if the box is hit; else past it."""
        node = jnp.maximum(lanes.node, 0)
        place = mesh * (2 * leaves) + (node ^ _shift(lanes.home, lax.clz(node) - last))
        near = far = None
        for axis in range(3):
            box = _get(boxes[axis], place)
            low, high = (box & 0xFFFF).astype(jnp.float32), (box >> 16).astype(jnp.float32)
            a, b = (low - start[axis]) * slope[axis], (high - start[axis]) * slope[axis]
            enter, leave = jnp.minimum(a, b), jnp.maximum(a, b)
            near = enter if near is None else jnp.maximum(near, enter)
            far = leave if far is None else jnp.minimum(far, leave)
        hit = (near <= far * 1.000001) & (far >= 0)
        if closest:
            hit &= near * 0.999999 <= lanes.distance
        return jnp.where(
            lanes.node > 0, jnp.where(hit, jnp.where(node >= leaves, -node, 2 * node), _past(node)), lanes.node
        )

    def test(lanes, mesh):
        """The triangles of the leaves that lanes stand at."""
        there = (lanes.node < 0) & (lanes.node != _BLOCKED)
        node = jnp.where(there, -lanes.node, leaves ^ lanes.home)
        distance, found = lanes.distance, lanes.found
        for k in range(per_leaf):
            slot = ((node ^ lanes.home) - leaves) * per_leaf + k
            triangle = tuple(_get(values, mesh * (leaves * per_leaf) + slot) for values in corners)
            hit, t = intersect(triangle, lanes.origin, lanes.direction)
            hit &= there & (t < distance)
            distance, found = jnp.where(hit, t, distance), jnp.where(hit, slot, found)
        after = _past(node) if closest else jnp.where(found >= 0, _BLOCKED, _past(node))
        return lanes._replace(node=jnp.where(there, after, lanes.node), distance=distance, found=found)

    def body(state):
        started, lanes, found, distance = refill(*state)
        mesh = mesh_of(lanes.ray)
        lanes = test(lanes, mesh)
        scale = tree.scale[mesh]
        start = tuple((o - tree.origin[mesh, axis]) * scale for axis, o in enumerate(lanes.origin))
        slope = tuple(1 / (jnp.where(jnp.abs(d) < 1e-12, 1e-12, d) * scale) for d in lanes.direction)
        node, start, slope = lax.optimization_barrier((lanes.node, start, slope))
        for _ in range(pool.steps):
            # XLA on a CPU would repeat the gathers for each use of their results
            node = lax.optimization_barrier(walk(lanes._replace(node=node), mesh, start, slope))
        return started, lanes._replace(node=node), found, distance

    width = pool.lanes
    zeros = (jnp.zeros(width),) * 3
    idle = _Lanes(
        jnp.zeros(width, jnp.int32),
        jnp.zeros(width, jnp.int32),
        jnp.full(width, total, jnp.int32),
        zeros,
        zeros,
        jnp.full(width, jnp.inf),
        jnp.full(width, -1, jnp.int32),
    )
    state = (jnp.int32(0), idle, jnp.full(total, -1, jnp.int32), jnp.full(total if closest else 0, jnp.inf))
    state = lax.while_loop(lambda s: (s[0] < waiting) | (s[1].node != 0).any(), body, state)
    _, _, slot, distance = refill(*state)
    triangle = jnp.where(slot >= 0, _get(tree.ids, jnp.maximum(slot, 0)), -1)
    return Hits(triangle.reshape(active.shape), distance.reshape(active.shape) if closest else None)


def intersect(triangle, origin, direction):
    """Whether rays hit triangles in front of their origins, and at what distance (Möller and Trumbore 1997).

    triangle: nine arrays [...] as in `Tree.corners`; origin, direction: three arrays [...]. Both sides are hit, edges
    belong to the triangle; one of zero area is never hit.
    """
    a, e, f = triangle[:3], triangle[3:6], triangle[6:]
    p = _cross(direction, f)
    determinant = _dot(e, p)
    flat = determinant == 0
    inverse = 1 / jnp.where(flat, 1, determinant)
    s = tuple(o - corner for o, corner in zip(origin, a))
    u = _dot(s, p) * inverse
    q = _cross(s, e)
    v = _dot(direction, q) * inverse
    t = _dot(f, q) * inverse
    return ~flat & (u >= -EDGE) & (v >= -EDGE) & (u + v <= 1 + EDGE) & (t > 0), t


def _past(node: jax.Array) -> jax.Array:
    """The next node of the walk once all below ``node`` is done with; 0 at the end."""
    after = node + 1
    after = after >> (31 - lax.clz(after & -after))
    return jnp.where(after == 1, 0, after)


def _shift(x: jax.Array, places: jax.Array) -> jax.Array:
    return lax.shift_right_logical(x, jnp.minimum(places, 31))


def _place(number: jax.Array, whole: tuple[int, ...], part: tuple[int, ...]) -> jax.Array:
    """Where an array of shape ``part`` that broadcasts to ``whole`` has what is at a number there; row by row."""
    place, stride, over = jnp.zeros_like(number), 1, 1
    for size, own in zip(whole[::-1], part[::-1], strict=True):
        if own > 1:
            place += lax.rem(lax.div(number, jnp.int32(over)), jnp.int32(size)) * stride
        stride, over = stride * own, over * size
    return number if whole == part else place


def _get(values: jax.Array, index: jax.Array) -> jax.Array:
    return jnp.asarray(values).at[index].get(mode='promise_in_bounds')


def _cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
