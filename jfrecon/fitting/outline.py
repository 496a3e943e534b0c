"""The outline of a face in its photograph: where the face should end on the side that turns away from the camera.

Landmarks say little about a cheek or a forehead that is seen edge-on, and shades have no gradient there. Along the
rim of the drawn face, where its surface turns away from the camera, `found` looks outwards and inwards for the edge at
which the colour of the skin ends, and `distance` is how far the projected face is from there along the rim's normal: a
rim may slide along itself. (Contours as in Bas et al. 2016, "Fitting a 3D morphable model to edges"; here each rim
point has one edge, which its neighbours must confirm.)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy import ndimage, sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from jfrecon.types import Array, Topology

POINTS = 256  # of an outline
UNIT = 256  # all lengths below are in parts of the crop's width: pixels of a crop that is so wide
GRAZING = 0.4  # cosine of the angle to the view below which a surface turns away
ALONG = 0.7  # cosine of the angle between the rim's normal and the surface's, in the picture
REACH = (-3, 12)  # how far in and out the edge may be
MARGIN = 12.0  # mm from the mesh's own border, along it: there the face ends where the model does, not the person
# How an edge is judged: a step in colour (sRGB), less the largest step that would be skipped on the way there, less
# how far the colour has drifted from that of the skin, less a little for its distance. Looked at on 35 portraits and
# on turned heads of `experiments.real_heads`, not measured by a command.
SKIPPED, DRIFTED, DRIFT, FAR, LEAST = 1.5, 0.5, 0.1, 0.004, 0.06
NEAR, AGREE, CONFIRMED = 10.0, 2.0, 0.6  # neighbours of a rim point, how near their edges are, and how many have one
BLUR = 0.7


@struct.dataclass
class Outline:
    """Points of a face and the lines on which they should be.

    Attributes:
      corners: [B, K, 3] vertices of the triangle that a point lies in.
      weights: [B, K, 3] barycentric.
      place: [B, K, 2] pixels, on the edge that was found.
      outward: [B, K, 2] unit normal of the line.
      share: [B, K] what a point counts, 0 where no edge was found; all points of an outline together count at most 1.
    """

    corners: Array
    weights: Array
    place: Array
    outward: Array
    share: Array


def nothing(count: int) -> Outline:
    """Return the outlines of ``count`` photographs in which no edge is known."""
    zeros = lambda *shape: np.zeros((count, POINTS, *shape), np.float32)
    return Outline(np.zeros((count, POINTS, 3), np.int32), zeros(3), zeros(2), zeros(2), zeros())


def distance(pixels: jax.Array, outline: Outline, width: int) -> jax.Array:
    """Return the mean distance of outlines to their edges, in widths of the image, [B].

    pixels: [B, V, 2] projected vertices.
    """
    corners = jnp.asarray(outline.corners)
    points = jnp.take_along_axis(pixels, corners.reshape(len(corners), -1, 1), axis=1)
    points = jnp.sum(points.reshape(*corners.shape, 2) * jnp.asarray(outline.weights)[..., None], axis=-2)
    away = jnp.abs(jnp.sum((points - outline.place) * outline.outward, axis=-1))
    return jnp.sum(outline.share * away, axis=-1) / width


def from_border(topology: Topology, vertices: np.ndarray) -> np.ndarray:
    """Return how far vertices [V, 3] are from the mesh's outer border along its edges, [V] mm; inf without a border."""
    triangles = np.asarray(topology.triangles)
    sides = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    edges, used = np.unique(sides, axis=0, return_counts=True)
    count, rim = len(vertices), edges[used == 1]
    if not len(rim):
        return np.full(count, np.inf)
    graph = lambda edges, lengths: sparse.coo_matrix((lengths, tuple(edges.T)), shape=(count, count))
    _, loop = csgraph.connected_components(graph(rim, np.ones(len(rim))), directed=False)
    on_rim = np.unique(rim)
    # Eyes and mouth have rims, too: the outer one is the longest.
    size = lambda one: np.ptp(vertices[on_rim[loop[on_rim] == one]], axis=0).max()
    outer = max(np.unique(loop[on_rim]), key=size)
    lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=-1)
    sources = on_rim[loop[on_rim] == outer]
    return csgraph.dijkstra(graph(edges, lengths), directed=False, indices=sources, min_only=True)


def found(
    image: np.ndarray,
    triangle: np.ndarray,
    barycentric: np.ndarray,
    normals: np.ndarray,
    view: np.ndarray,
    triangles: np.ndarray,
    inner: np.ndarray,
) -> Outline:
    """Look for the edge of a face around where it is drawn.

    Args:
      image: [H, W, 3] sRGB in 0..1.
      triangle: [H, W] that a pixel sees, -1 for none, and ``barycentric``: [H, W, 3] where in it.
      normals: [H, W, 3] of the surface in camera space, and ``view``: [H, W, 3] unit, towards the camera.
      triangles: [F, 3] of the mesh.
      inner: [F] bool, not near the mesh's own border.

    Returns:
      One outline, leaves [1, K, ...].
    """
    empty = nothing(1)
    rows, columns, outward = _rim(triangle >= 0, normals, view)
    kept = inner[triangle[rows, columns]]
    rows, columns, outward = rows[kept], columns[kept], outward[kept]
    if not len(rows):
        return empty
    place = np.stack([columns, rows], -1) + 0.5
    unit = image.shape[1] / UNIT
    away, known = _edges(image, place, outward, unit)
    chosen = np.linspace(0, len(place) - 1, min(POINTS, len(place))).round().astype(int)
    edge = place + away[:, None] * unit * outward
    filled = lambda blank, values: np.concatenate([values[chosen], blank[0, len(chosen) :]])[None].astype(blank.dtype)
    return Outline(
        filled(empty.corners, triangles[triangle[rows, columns]]),
        filled(empty.weights, barycentric[rows, columns]),
        filled(empty.place, edge),
        filled(empty.outward, outward),
        filled(empty.share, known / len(chosen)),
    )


def _rim(covered: np.ndarray, normals: np.ndarray, view: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows and columns of the pixels at which a face ends because its surface turns away, and the rim's normals."""
    around = 8  # holes at the frame are closed, too
    solid = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(covered, around), iterations=3))
    assert solid is not None
    solid = solid[around:-around, around:-around]
    depth = ndimage.distance_transform_edt(solid) - ndimage.distance_transform_edt(~solid)
    outward = -np.stack(np.gradient(ndimage.gaussian_filter(depth, 2.0))[::-1], -1)
    outward = _unit(outward)
    across = _unit(normals[..., :2] * [1, -1])
    turned = ((normals * view).sum(-1) < GRAZING) & ((across * outward).sum(-1) > ALONG)
    rows, columns = np.nonzero(covered & (depth > 0) & (depth <= 1.5) & turned)
    return rows, columns, outward[rows, columns]


def _edges(image: np.ndarray, place: np.ndarray, outward: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """How far out of places [K, 2] the skin ends, [K] in units, and whether that is known, [K] bool."""
    steps = np.arange(-8, 17)
    at = place[:, None] + steps[:, None] * unit * outward[:, None]
    smooth = ndimage.gaussian_filter(image.astype(np.float64), (BLUR * unit, BLUR * unit, 0))
    look = lambda channel: ndimage.map_coordinates(
        channel, [at[..., 1] - 0.5, at[..., 0] - 0.5], order=1, mode='nearest'
    )
    colours = np.stack([look(smooth[..., channel]) for channel in range(3)], -1)  # [K, steps, 3]
    skin = colours[:, 1:5].mean(1, keepdims=True)
    drift = np.maximum(np.abs(colours - skin).mean(-1) - DRIFT, 0)
    jumps = np.abs(np.diff(colours, axis=1)).mean(-1)
    first, tried = 4, np.arange(REACH[0], REACH[1] + 1)

    score = []
    for distance in tried:
        k = distance - steps[0]
        step = np.abs(colours[:, k + 1 : k + 4].mean(1) - colours[:, k - 4 : k].mean(1)).mean(-1)
        skipped = jumps[:, first : k - 1].max(1) if k - 1 > first else 0.0
        score.append(step - SKIPPED * skipped - DRIFTED * drift[:, first:k].sum(1) - FAR * abs(distance))
    scores = np.stack(score, 1)
    best = scores.argmax(1)
    away = tried[best].astype(np.float64)
    known = (scores.max(1) > LEAST) & (best > 0) & (best < len(tried) - 1)
    confirmed = np.zeros_like(known)
    tree = cKDTree(place)
    for k in np.flatnonzero(known):
        near = np.array(tree.query_ball_point(place[k], NEAR * unit))
        agreed = abs(np.median(away[near[known[near]]]) - away[k]) <= AGREE
        confirmed[k] = agreed and known[near].mean() > CONFIRMED
    return away, confirmed


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
