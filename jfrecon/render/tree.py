"""A bounding-volume tree over a triangle mesh: ordered once per topology, refitted to every new set of vertices.

The tree is a complete binary one in an array: the root is node 1, the children of node n are 2 n and 2 n + 1, the
leaves are the last L nodes. It needs no pointers and a walk through it no stack: whoever is done with node n goes on
at (n + 1) >> ctz(n + 1), and is done with the tree when that is the root again.

Which triangles share a leaf is decided on the host, on the mean face: a face that moves changes the boxes, not the
order. Boxes have 16 bits a side and are rounded outwards, so they may cost a ray a visit, never a hit.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.types import Array

LEAF = 3  # triangles in a leaf at most; two to three walk fastest
LEVELS = 65535  # of a quantised coordinate
# Quantised units by which boxes are wider than their triangles: a ray's origin far outside is rounded, too.
MARGIN = 0.25


@struct.dataclass
class Tree:
    """A mesh, or a batch of B meshes of one topology, ready for `jfrecon.render.trace`.

    Attributes:
      boxes: three arrays [B, 2 L] uint32, for x, y and z: the low end in the lower, the high end in the upper 16 bits.
        Node 0 is not used.
      corners: nine arrays [B, L K] of triangles in the order of the leaves: x, y, z of the first corner, then of the
        edges from it to the second and to the third. Separate, because nine 1-D gathers cost a third of a 2-D one.
      ids: [L K] int32, the mesh's number of each of them.
      leaf: [T] int32, the leaf 0 ... L - 1 of each triangle of the mesh.
      origin: [B, 3] mm and scale: [B], quantised units per mm, of the boxes.
    """

    boxes: tuple[jax.Array, ...]
    corners: tuple[jax.Array, ...]
    ids: Array
    leaf: Array
    origin: jax.Array
    scale: jax.Array

    @property
    def leaves(self) -> int:
        """L, a power of two."""
        return self.boxes[0].shape[-1] // 2

    @property
    def per_leaf(self) -> int:
        """K."""
        return self.corners[0].shape[-1] // self.leaves


def order(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The triangles of each leaf, [L, K] int32, by balanced splits at the median along the longest axis.

    A leaf with fewer than K names its first triangle again.

    Args:
      vertices: [V, 3], of a typical member of the topology, such as the mean face.
      triangles: [T, 3], T >= 1.
    """
    triangles = np.asarray(triangles)
    if not len(triangles):
        raise ValueError('a mesh without triangles has no tree')
    centres = np.asarray(vertices)[triangles].mean(axis=1)
    groups = [np.arange(len(triangles))]
    while len(groups) * LEAF < len(triangles):
        halves = []
        for group in groups:
            spread = np.ptp(centres[group], axis=0)
            group = group[np.argsort(centres[group, np.argmax(spread)], kind='stable')]
            halves += [group[: len(group) // 2], group[len(group) // 2 :]]
        groups = halves
    longest = max(len(group) for group in groups)
    return np.stack([np.resize(group, longest) if len(group) > 1 else np.repeat(group, longest) for group in groups])


def refit(leaves: Array, triangles: Array, vertices: jax.Array) -> Tree:
    """The tree of vertices [B, V, 3]. No gradient.

    Args:
      leaves: [L, K] from `order`.
      triangles: [T, 3] int32.
      vertices: [B, V, 3] mm. A mesh with vertices that are not finite has a tree in which nothing may be hit; the
        other meshes of the batch are not touched by it.
    """
    vertices = jax.lax.stop_gradient(vertices)
    batch, (count, per_leaf) = vertices.shape[0], leaves.shape
    ids = jnp.asarray(leaves, jnp.int32).reshape(-1)
    points = vertices[:, jnp.asarray(triangles)[ids]]  # [B, L K, 3 corners, 3]
    first = points[:, :, 0]
    edges = jnp.concatenate([first, points[:, :, 1] - first, points[:, :, 2] - first], -1)

    around = points.reshape(batch, count, per_leaf * 3, 3)
    low, high = [around.min(2)], [around.max(2)]
    while low[-1].shape[1] > 1:
        low.append(jnp.minimum(low[-1][:, 0::2], low[-1][:, 1::2]))
        high.append(jnp.maximum(high[-1][:, 0::2], high[-1][:, 1::2]))
    # one unit of room at either end for MARGIN and rounding; no mesh is so small that its boxes have no size
    extent = jnp.maximum((high[-1] - low[-1])[:, 0].max(-1), 1e-6)
    scale = (LEVELS - 2) / extent
    origin = low[-1][:, 0] - 1 / scale[:, None]
    units = lambda levels: jnp.concatenate(levels[::-1], 1) - origin[:, None]
    starts = jnp.floor(units(low) * scale[:, None, None] - MARGIN)
    ends = jnp.ceil(units(high) * scale[:, None, None] + MARGIN)
    whole = lambda x: jnp.nan_to_num(jnp.clip(x, 0, LEVELS)).astype(jnp.uint32)
    packed = jnp.pad(whole(starts) | (whole(ends) << 16), ((0, 0), (1, 0), (0, 0)))
    return Tree(
        boxes=tuple(packed[..., axis] for axis in range(3)),
        corners=tuple(edges[..., k] for k in range(9)),
        ids=ids,
        leaf=jnp.zeros(len(triangles), jnp.int32)
        .at[ids]
        .set(jnp.arange(count * per_leaf, dtype=jnp.int32) // per_leaf),
        origin=origin,
        scale=scale,
    )
