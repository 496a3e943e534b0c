"""Primary visibility by a scatter-min rasteriser.

Triangles are sorted into lists by the size of their bounding box. Each list is worked through in chunks; a
chunk tests one small window of pixels per triangle, scatters the minimum depth into the depth buffer, and the
triangle's id where it holds the minimum. A face of 18,000 triangles is then a few large array operations
instead of a loop over triangles or over pixels, and chunks that would be empty are never run.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jfrecon.render.interpolation import SMALLEST_AREA, Corners, barycentric, centres
from jfrecon.types import Array, Fragments

# A pixel centre on an edge belongs to both triangles, so that rounding opens no cracks between them.
EDGE = 1e-5


class Window(NamedTuple):
    """One list: ``capacity`` triangles with bounding boxes of up to ``height`` x ``width`` pixel centres."""

    capacity: int
    height: int
    width: int

    @property
    def chunk(self) -> int:
        """Triangles per step: 8,000 pixel tests stay in a CPU's inner cache, 65,000 in a batch fill an accelerator."""
        tests = 2**13 if jax.default_backend() == 'cpu' else 2**16
        return max(1, min(self.capacity, tests // (self.height * self.width)))


def windows(triangles: int, size: tuple[int, int]) -> tuple[Window, ...]:
    """The lists for a mesh at this size of image; the last one takes triangles as large as the image.

    Small windows have room for the whole mesh, the last for 256 triangles or 16 million pixel tests: a mesh
    that a network has put in front of the lens must not take minutes.
    """
    height, width = size
    rooms = ((3, triangles), (12, triangles), (48, 4096), (192, 1024))
    lists = [
        Window(min(triangles, room), min(side, height), min(side, width))
        for side, room in rooms
        if 3 * side < 2 * max(size)  # a window of nearly the whole image is not worth compiling
    ]
    return (*lists, Window(min(triangles, max(256, 2**24 // (height * width))), height, width))


@partial(jax.jit, static_argnames=('size', 'cull', 'perspective', 'near', 'lists'))
def rasterise(
    pixels: jax.Array,
    depth: jax.Array,
    triangles: Array,
    size: tuple[int, int],
    *,
    cull: bool = False,
    perspective: bool = True,
    near: float = 1.0,
    lists: tuple[Window, ...] | None = None,
) -> Fragments:
    """The front-most triangle through the centre of each pixel of one image.

    Edges are inclusive; of triangles at exactly the same depth the highest id wins. Nothing is drawn for
    triangles with a vertex nearer than ``near`` or not finite, nor for those of zero area. Triangles that did
    not fit their list are counted in ``overflow``. There is NO gradient: `interpolation.barycentric` has one.

    Args:
      pixels: [V, 2] projected vertices, x right, y down, first pixel centre at (0.5, 0.5).
      depth: [V] mm in front of the camera.
      triangles: [T, 3] int32, counter-clockwise seen from outside.
      size: (H, W).
      cull: leave out triangles that show their back.
      perspective: depth is that of a pinhole, linear in 1/z over the image; False for weak perspective, whose
        depth is linear itself, has any sign and knows no ``near``.
      near: mm.
      lists: by default those of `windows`.

    Returns:
      Fragments without batch axes.
    """
    pixels, depth = lax.stop_gradient((jnp.asarray(pixels), jnp.asarray(depth)))
    triangles = jnp.asarray(triangles, jnp.int32)
    height, width = size
    corners = Corners.of(triangles, pixels, depth)
    column, columns = _span(corners.x0, corners.x1, corners.x2, width)
    row, rows = _span(corners.y0, corners.y1, corners.y2, height)

    z = jnp.stack([corners.z0, corners.z1, corners.z2])
    left = (columns > 0) & (rows > 0) & jnp.isfinite(z).all(0)
    left &= (corners.area < -SMALLEST_AREA) if cull else (jnp.abs(corners.area) > SMALLEST_AREA)
    if perspective:
        left &= z.min(0) >= near

    buffers = (jnp.full(height * width, jnp.inf, depth.dtype), jnp.full(height * width, -1, jnp.int32))
    overflow = jnp.zeros((), jnp.int32)
    for window in windows(len(triangles), size) if lists is None else lists:
        fits = left & (columns <= window.width) & (rows <= window.height)
        left &= ~fits
        ids, count = _compact(fits, window)
        overflow += fits.sum(dtype=jnp.int32) - count
        buffers = _draw(buffers, ids, count, corners, column, row, window, size, perspective)
    overflow += left.sum(dtype=jnp.int32)

    nearest, winner = (x.reshape(size) for x in buffers)
    weights = barycentric(
        winner, centres(height, width, pixels.dtype), pixels, depth, triangles, perspective=perspective
    )
    # Inclusive edges let weights of -EDGE through; attributes must not leave the triangle.
    weights = jnp.maximum(weights, 0)
    weights = weights / jnp.where(winner < 0, 1, weights.sum(-1))[..., None]
    return Fragments(winner, weights, nearest, overflow)


def rasterise_batch(
    pixels: jax.Array,
    depth: jax.Array,
    triangles: Array,
    size: tuple[int, int],
    strategy: str | None = None,
    **options,
) -> Fragments:
    """`rasterise` for pixels [B, V, 2] and depth [B, V].

    Args:
      pixels, depth, triangles, size: as there, with a batch axis.
      strategy: 'map' one image after another (8x less memory, and faster on a CPU), 'vmap' all at once, None
        chooses by the default backend.
      **options: of `rasterise`.

    Returns:
      Fragments with one batch axis.
    """
    if strategy is None:
        strategy = 'map' if jax.default_backend() == 'cpu' else 'vmap'
    images = lax.stop_gradient((jnp.asarray(pixels), jnp.asarray(depth)))

    def draw(image):
        return rasterise(*image, triangles, size, **options)

    return {'map': lambda x: lax.map(draw, x), 'vmap': jax.vmap(draw)}[strategy](images)


@partial(jax.jit, static_argnames=('tolerance', 'perspective', 'near'))
def visible_vertices(
    pixels: jax.Array,
    depth: jax.Array,
    triangles: Array,
    fragments: Fragments,
    *,
    tolerance: float = 3.0,
    perspective: bool = True,
    near: float = 1.0,
) -> jax.Array:
    """Which vertices the camera sees: in the frame, on a triangle that faces the camera, and not hidden.

    A vertex is hidden when at least three of the four pixel centres around it show a surface that is nearer
    by more than ``tolerance``. Each of those surfaces is continued as a plane to the vertex, so that a steep
    cheek does not hide itself in a coarse depth buffer; three of four, because beside a silhouette one may
    look past it.

    The tolerance has to exceed the bend of the surface within a pixel and stay below the gap between surfaces
    that hide one another. A pixel of a face at 64 to 256 px covers 5 to 1 mm; nine tenths of hidden vertices
    lie more than 5 mm behind what hides them. From 2 to 4 mm the result hardly depends on it. No gradient.

    Args:
      pixels: [V, 2].
      depth: [V] mm.
      triangles: [T, 3] int32.
      fragments: `rasterise` of these, any size at least a pixel.
      tolerance: mm.
      perspective, near: as in `rasterise`.

    Returns:
      [V] bool.
    """
    pixels, depth = lax.stop_gradient((pixels, depth))
    triangles = jnp.asarray(triangles)
    height, width = fragments.triangle.shape
    x, y = pixels[:, 0], pixels[:, 1]

    facing = Corners.of(triangles, pixels, depth).area < 0
    seen = jnp.zeros(depth.shape, bool).at[triangles].max(facing[:, None])
    seen &= (x >= 0) & (x < width) & (y >= 0) & (y < height)
    if perspective:
        seen &= depth >= near

    column, row = (jnp.floor(a - 0.5).astype(jnp.int32) for a in (x, y))
    votes = jnp.zeros(depth.shape, jnp.int32)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        cell = jnp.clip(row + down, 0, height - 1), jnp.clip(column + right, 0, width - 1)
        shown = fragments.triangle[cell]
        corners = Corners.of(triangles[jnp.maximum(shown, 0)], pixels, depth)
        front = corners.depth(corners.weights(x, y), perspective)
        # A plane seen edge-on may continue to behind the camera: no evidence.
        believed = (shown >= 0) & ((front >= near) if perspective else True)
        votes += believed & (front < depth - tolerance)
    return seen & (votes < 3)


def _span(a: jax.Array, b: jax.Array, c: jax.Array, end: int) -> tuple[jax.Array, jax.Array]:
    """First pixel and number of pixels with centres between the corners, on an axis of ``end`` pixels."""
    low, high = jnp.minimum(jnp.minimum(a, b), c), jnp.maximum(jnp.maximum(a, b), c)
    first = jnp.clip(jnp.ceil(low - 0.5), 0, end)
    last = jnp.clip(jnp.floor(high - 0.5), -1, end - 1)
    good = jnp.isfinite(low) & jnp.isfinite(high)
    return jnp.where(good, first, 0).astype(jnp.int32), jnp.where(good, last - first + 1, 0).astype(jnp.int32)


def _compact(mask: jax.Array, window: Window) -> tuple[jax.Array, jax.Array]:
    """The first ``capacity`` ids where the mask holds, in an array of whole chunks, and how many they are."""
    length = -(-window.capacity // window.chunk) * window.chunk
    rank = jnp.cumsum(mask, dtype=jnp.int32) - 1
    slots = jnp.where(mask & (rank < window.capacity), rank, length)
    ids = jnp.zeros(length, jnp.int32).at[slots].set(jnp.arange(len(mask), dtype=jnp.int32), mode='drop')
    return ids, jnp.minimum(mask.sum(dtype=jnp.int32), window.capacity)


def _draw(buffers, ids, count, corners, column, row, window, size, perspective):
    """Draws the first ``count`` triangles of a list into the (depth, id) buffers, [H W] each."""
    height, width = size
    nothing = height * width  # an index past the end: dropped
    cells = jnp.arange(window.height * window.width)

    def step(state):
        done, nearest, winner = state
        chunk = lax.dynamic_slice(ids, (done,), (window.chunk,))

        def take(values):
            return values.at[chunk].get(mode='promise_in_bounds')[:, None]

        x, y = take(column) + cells % window.width, take(row) + cells // window.width
        corner = Corners(*map(take, corners))
        b = corner.weights(x.astype(nearest.dtype) + 0.5, y.astype(nearest.dtype) + 0.5)
        inside = (b[0] >= -EDGE) & (b[1] >= -EDGE) & (b[2] >= -EDGE) & (x < width) & (y < height)
        inside &= (done + jnp.arange(window.chunk) < count)[:, None]
        where = jnp.where(inside, y * width + x, nothing).reshape(-1)
        z = corner.depth(b, perspective).reshape(-1)
        # Materialised, so that the depth that is scattered is bit for bit the depth that is compared.
        where, z = lax.optimization_barrier((where, z))

        before, nearest = nearest, nearest.at[where].min(z, mode='drop')
        winner = jnp.where(nearest < before, -1, winner)
        first = z <= nearest.at[jnp.minimum(where, nothing - 1)].get(mode='promise_in_bounds')
        claim = jnp.broadcast_to(chunk[:, None], inside.shape).reshape(-1)
        winner = winner.at[jnp.where(first, where, nothing)].max(claim, mode='drop')
        return done + window.chunk, nearest, winner

    return lax.while_loop(lambda state: state[0] < count, step, (jnp.int32(0), *buffers))[1:]
