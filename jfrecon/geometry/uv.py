"""UV maps: from vertices to texels, look-ups, the mirror image of a face, and photographs unwrapped into UV.

u points right and v up, row 0 of a map is near v = 1. What depends on the topology alone (`texel_map`,
`mirror_map`) is NumPy, done once when a model is built; everything else is differentiable and takes any
leading axes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy.ndimage import distance_transform_edt

from jfrecon.geometry.cameras import project
from jfrecon.geometry.closest import closest_points, on_triangles
from jfrecon.types import Array, Camera, Topology


@struct.dataclass
class TexelMap:
    """Which point of the surface each texel of an S x S map shows.

    Around the charts a margin of texels repeats the nearest point of the chart, so that a bilinear look-up at
    a border finds no background.

    Attributes:
      triangle: [S, S] int32, -1 beyond the margin.
      vertices: [S, S, 3] int32, corners of that triangle, 0 beyond the margin.
      barycentric: [S, S, 3] float32, 0 beyond the margin.
      coverage: [S, S] bool, texels whose centre lies in a triangle; False in the margin.
    """

    triangle: Array
    vertices: Array
    barycentric: Array
    coverage: Array


@struct.dataclass
class Atlas:
    """The UV maps of S x S texels that go with a model.

    Attributes:
      texels: which point of the surface each texel shows.
      mirror: [S, S, 2] for `flip`.
      vertices: [V, 2] texture coordinates of the vertices.
    """

    texels: TexelMap
    mirror: Array
    vertices: Array


def atlas(topology: Topology, mean: np.ndarray, size: int) -> Atlas:
    """The atlas of S = `size` texels of a model with vertices `mean` [V, 3]; NumPy, takes a second."""
    texels = texel_map(topology, size)
    return Atlas(texels, mirror_map(topology, mean, texels), of_vertices(topology, len(mean)))


def texel_centres(size: int) -> np.ndarray:
    """UV coordinates [S, S, 2] of the centres of the texels."""
    u = (np.arange(size) + 0.5) / size
    return np.stack(np.meshgrid(u, u[::-1]), -1)


def texel_map(topology: Topology, size: int, margin: int = 4) -> TexelMap:
    """Rasterises the UV triangles; where several cover a texel the first one wins. Triangles outside [0, 1]²
    are left.

    Args:
      topology: triangles and texture coordinates.
      size: S.
      margin: texels around the charts that take the nearest point of the chart.

    Returns:
      TexelMap of NumPy arrays.
    """
    triangles = np.asarray(topology.triangles)
    corners = np.asarray(topology.uv, np.float64)[np.asarray(topology.uv_triangles)]
    grid = np.stack([corners[..., 0] * size, (1 - corners[..., 1]) * size], -1)  # texel units, y down
    low = np.clip(np.ceil(grid.min(1) - 0.5), 0, size).astype(int)
    high = np.clip(np.floor(grid.max(1) - 0.5), -1, size - 1).astype(int)
    width, height = np.maximum(high - low + 1, 0).T

    # One row per (triangle, texel of its bounding box).
    count = width * height
    owner = np.repeat(np.arange(len(triangles)), count)
    cell = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    column, row = low[owner, 0] + cell % width[owner], low[owner, 1] + cell // width[owner]
    inside = _planar_weights(np.stack([column, row], -1) + 0.5, grid[owner]).min(-1) >= -1e-9
    winner = np.full(size * size, len(triangles))
    np.minimum.at(winner, (row * size + column)[inside], owner[inside])
    coverage = (winner < len(triangles)).reshape(size, size)
    triangle = np.where(coverage, winner.reshape(size, size), -1)

    if coverage.any():
        distance, (y, x) = distance_transform_edt(~coverage, return_indices=True)
        triangle = np.where(distance <= margin, triangle[y, x], -1)
    hit = triangle >= 0
    barycentric = np.zeros((size, size, 3), np.float32)
    barycentric[hit] = on_triangles(texel_centres(size)[hit] * size, corners[triangle[hit]] * size)
    vertices = np.where(hit[..., None], triangles[np.maximum(triangle, 0)], 0)
    return TexelMap(triangle.astype(np.int32), vertices.astype(np.int32), barycentric, coverage)


def _planar_weights(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Barycentric coordinates [N, 3] of points [N, 2] in triangles [N, 3, 2]; -1 where they have no area."""
    e1, e2, p = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    safe = np.where(np.abs(area) > 1e-12, area, np.inf)
    b1 = (p[:, 0] * e2[:, 1] - p[:, 1] * e2[:, 0]) / safe
    b2 = (e1[:, 0] * p[:, 1] - e1[:, 1] * p[:, 0]) / safe
    return np.where(np.isfinite(safe)[:, None], np.stack([1 - b1 - b2, b1, b2], -1), -1)


def of_vertices(topology: Topology, count: int) -> np.ndarray:
    """[count, 2] texture coordinates of the vertices; of one on a seam, those of its first triangle."""
    found = np.zeros((count, 2), np.float32)
    triangles, corners = np.asarray(topology.triangles).ravel(), np.asarray(topology.uv_triangles).ravel()
    found[triangles[::-1]] = np.asarray(topology.uv)[corners[::-1]]  # the first is written last
    return found


def to_uv(texels: TexelMap, attributes: jax.Array) -> jax.Array:
    """Interpolates vertex attributes [..., V, C] into a UV map [..., S, S, C], zero beyond the margin."""
    ids, w = jnp.asarray(texels.vertices), jnp.asarray(texels.barycentric).astype(attributes.dtype)[..., None]
    a, b, c = (attributes[..., ids[..., k], :] for k in range(3))
    return w[..., 0, :] * a + w[..., 1, :] * b + w[..., 2, :] * c


def sample_image(image: jax.Array, pixels: jax.Array) -> jax.Array:
    """Bilinear look-up at pixel coordinates, differentiable in both; beyond the frame the border is repeated.

    Args:
      image: [..., H, W, C].
      pixels: [..., N, 2], x right, y down, first pixel centre at (0.5, 0.5).

    Returns:
      [..., N, C].
    """

    def look_up(image, pixels):
        height, width, channels = image.shape
        x = jnp.clip(pixels[:, 0] - 0.5, 0, width - 1)
        y = jnp.clip(pixels[:, 1] - 0.5, 0, height - 1)
        # The last cell starts one pixel before the last: no look-up past the end.
        left = jnp.clip(jnp.floor(x), 0, max(width - 2, 0)).astype(jnp.int32)
        top = jnp.clip(jnp.floor(y), 0, max(height - 2, 0)).astype(jnp.int32)
        right, down = min(width - 1, 1), min(height - 1, 1) * width
        flat, corner = image.reshape(-1, channels), top * width + left
        fx, fy = (x - left)[:, None], (y - top)[:, None]
        upper = flat[corner] * (1 - fx) + flat[corner + right] * fx
        lower = flat[corner + down] * (1 - fx) + flat[corner + down + right] * fx
        return upper * (1 - fy) + lower * fy

    return jnp.vectorize(look_up, signature='(h,w,c),(n,k)->(n,c)')(image, pixels)


def sample(uv_map: jax.Array, uv: jax.Array) -> jax.Array:
    """Bilinear look-up of a map [..., S, S, C] at texture coordinates uv [..., N, 2]; gives [..., N, C]."""
    height, width = uv_map.shape[-3:-1]
    return sample_image(uv_map, jnp.stack([uv[..., 0] * width, (1 - uv[..., 1]) * height], -1))


def mirror_map(topology: Topology, mean: np.ndarray, texels: TexelMap) -> np.ndarray:
    """For each texel the texture coordinates of the surface point across the face's symmetry plane x = 0.

    The point is taken on the mean shape, mirrored (x -> -x) and moved to the closest point of the mean shape,
    whose UV it gets: nothing is assumed about the UV layout. Texels beyond the margin keep their own
    coordinates.

    Args:
      topology: triangles and texture coordinates.
      mean: [V, 3] mm, model space.
      texels: of the same topology.

    Returns:
      [S, S, 2] float32, for `flip`.
    """
    mean, hit = np.asarray(mean, np.float64), np.asarray(texels.triangle) >= 0
    points = (np.asarray(texels.barycentric)[hit][..., None] * mean[np.asarray(texels.vertices)[hit]]).sum(-2)
    _, triangle, weights = closest_points(points * [-1, 1, 1], mean, np.asarray(topology.triangles))
    corners = np.asarray(topology.uv)[np.asarray(topology.uv_triangles)[triangle]]
    uv = texel_centres(len(hit))
    uv[hit] = (weights[..., None] * corners).sum(-2)
    return uv.astype(np.float32)


def flip(uv_map: jax.Array, mirror: Array) -> jax.Array:
    """The map of the mirrored face, dib21's flip(): bilinear look-up of [..., S, S, C] through a
    `mirror_map`.

    Twice is the identity up to the blur of two bilinear look-ups.
    """
    mirrored = sample(uv_map, jnp.asarray(mirror).astype(uv_map.dtype).reshape(-1, 2))
    return mirrored.reshape(*uv_map.shape[:-3], *mirror.shape[:2], uv_map.shape[-1])


def unwrap(
    image: jax.Array, vertices: jax.Array, camera: Camera, visible: jax.Array, texels: TexelMap
) -> tuple[jax.Array, jax.Array]:
    """A photograph in UV: texel -> surface point -> pixel, bilinear (cest 3.3).

    Interpolates in 3D and then projects, so that the perspective within a triangle is right. Differentiable
    in image and vertices; the mask has no gradient.

    Args:
      image: [..., H, W, C].
      vertices: [..., V, 3] mm, camera space.
      camera: leaves broadcast.
      visible: [..., V] bool, see `jfrecon.render.raster.visible_vertices`.
      texels: texel map of the topology.

    Returns:
      texture [..., S, S, C], looked up for every texel, seen or not; and mask [..., S, S] bool, texels on a
      chart, in the frame, with all three corners of their triangle visible.
    """
    points = to_uv(texels, vertices)
    size = points.shape[-3:-1]
    pixels, _ = project(camera, points.reshape(*points.shape[:-3], -1, 3))
    texture = sample_image(image, pixels)
    frame = jnp.array(image.shape[-2:-4:-1], pixels.dtype)
    in_frame = ((pixels >= 0) & (pixels < frame)).all(-1).reshape(*pixels.shape[:-2], *size)
    mask = in_frame & visible[..., jnp.asarray(texels.vertices)].all(-1) & jnp.asarray(texels.coverage)
    return texture.reshape(*texture.shape[:-2], *size, texture.shape[-1]), mask
