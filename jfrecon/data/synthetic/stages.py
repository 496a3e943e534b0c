"""What all synthetic faces of one head share, worked out once: triangle groups, the scalp as a grid, self-occlusion."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy import ndimage

from jfrecon.geometry import mesh, vectors
from jfrecon.morphable.coat import HAIR, LASH, MOUTH, SKIN, TEETH
from jfrecon.morphable.heads import Head, in_face
from jfrecon.render import raster
from jfrecon.shading import sphere
from jfrecon.types import Array, MorphableModel

ROWS, COLUMNS = 26, 48
#: The scalp's grid goes from the crown down to this polar angle.
LOWEST = np.radians(140.0)
DIRECTIONS = 96
TORSO_COLUMNS = 37
TORSO_ANGLES = np.linspace(0.0, 2 * np.pi, TORSO_COLUMNS)  # from the front, to the subject's left


@struct.dataclass
class Stage:
    """A head made ready to be photographed.

    The scalp's grid has ROWS x COLUMNS points, by polar angle from the crown and by azimuth from the front (positive to
    the subject's left, the seam at the back); the last column repeats the first.

    Attributes:
      model: the whole head.
      opaque: [To, 3] int32 triangles of skin, eyes, teeth and mouth, whose parts are `part` [To].
      face: [To] 1 where the triangle belongs to the skin of the face model's region.
      corner_uv: [To, 3, 2] texture coordinates of the triangles' corners.
      lashes: [Tl, 3] int32 triangles.
      face_vertices: [Vf] int32, the face model's vertices in the head.
      eyeballs: left and right, vertices of the subject's left and right eyeball.
      scalp_ids, scalp_weights: [G, 3] the grid's points on the head, as weights of vertices.
      scalp_lift: [G] mm from those points to a skull without ears.
      scalp_angles: [G, 2] polar angle and azimuth, radians.
      scalp_origin: [3] mm, where the angles are taken.
      hairline: polar angle of the natural hairline over the nose.
      neck_ids, neck_weights: [TORSO_COLUMNS, 3] a ring around the neck, just above its cut, as weights of vertices.
      unoccluded: [V, DIRECTIONS] 1 where the mean head is seen from far away along that direction.
      directions: [DIRECTIONS, 3] unit, model space.
      mouth: [V] the share of the light that reaches the inside of an open mouth, 0 on all other vertices.
      casters: [Tc, 3] int32, what casts shadows, over the vertices of head, torso and hair; leaves: [L, K] the order of
        a tree over it; both None before `shadow.prepare`.
    """

    model: MorphableModel
    opaque: Array
    part: Array
    face: Array
    corner_uv: Array
    lashes: Array
    face_vertices: Array
    eyeballs: tuple[Array, Array]
    scalp_ids: Array
    scalp_weights: Array
    scalp_lift: Array
    scalp_angles: Array
    scalp_origin: Array
    hairline: float
    neck_ids: Array
    neck_weights: Array
    unoccluded: Array
    directions: Array
    mouth: Array
    casters: Array | None = None
    leaves: Array | None = None


def build(head: Head) -> Stage:
    """Prepare a head; takes a second or two."""
    model = head.model
    triangles, part = np.asarray(model.topology.triangles), np.asarray(head.part)
    mean = np.asarray(model.mean)
    drawn = (part != HAIR) & (part != LASH)
    opaque, opaque_part = triangles[drawn], part[drawn]
    corner_uv = np.asarray(model.topology.uv)[np.asarray(model.topology.uv_triangles)[drawn]]
    landmarks = mean[np.asarray(model.landmark_ids)]
    origin = np.array([0.0, landmarks[27, 1] + 12.0, landmarks[[0, 16], 2].mean() - 12.0])
    ids, weights, lift, angles = _scalp(mean, opaque[opaque_part == SKIN], origin)
    neck_ids, neck_weights = _neck(mean, opaque[opaque_part == SKIN], landmarks[8, 1])
    directions = sphere.fibonacci(DIRECTIONS)
    return Stage(
        model=jax.tree.map(jnp.asarray, model),
        opaque=jnp.asarray(opaque, jnp.int32),
        part=jnp.asarray(opaque_part, jnp.int32),
        face=jnp.asarray(in_face(head)[drawn], jnp.float32),
        corner_uv=jnp.asarray(corner_uv, jnp.float32),
        lashes=jnp.asarray(triangles[part == LASH], jnp.int32),
        face_vertices=jnp.asarray(head.face_vertices),
        eyeballs=(jnp.asarray(head.left_eyeball), jnp.asarray(head.right_eyeball)),
        scalp_ids=jnp.asarray(ids, jnp.int32),
        scalp_weights=jnp.asarray(weights, jnp.float32),
        scalp_lift=jnp.asarray(lift, jnp.float32),
        scalp_angles=jnp.asarray(angles, jnp.float32),
        scalp_origin=jnp.asarray(origin, jnp.float32),
        hairline=jnp.float32(_hairline(landmarks, mean, origin)),
        neck_ids=jnp.asarray(neck_ids, jnp.int32),
        neck_weights=jnp.asarray(neck_weights, jnp.float32),
        unoccluded=_unoccluded(mean, opaque, directions),
        mouth=jnp.asarray(_mouth(mean, opaque, opaque_part, landmarks), jnp.float32),
        directions=jnp.asarray(directions, jnp.float32),
    )


def _hairline(landmarks: np.ndarray, mean: np.ndarray, origin: np.ndarray) -> float:
    """Thirds of the face: to the hairline it is about as far from the brows as to the base of the nose."""
    brows, nose = landmarks[17:27, 1].mean(), landmarks[33, 1]
    height = brows + 0.95 * (brows - nose)
    front = (np.abs(mean[:, 0]) < 12) & (np.abs(mean[:, 1] - height) < 12) & (mean[:, 2] > origin[2])
    reach = np.max(mean[front, 2]) - origin[2] if front.any() else 80.0
    return float(np.arctan2(reach, height - origin[1]))


def _neck(mean: np.ndarray, triangles: np.ndarray, chin: float) -> tuple[np.ndarray, np.ndarray]:
    """Where rays from the neck's axis leave it in a plane just above its cut: vertex ids and weights.

    triangles: of the skin; chin: its height, below which an open edge of the mesh must be the cut.
    """
    edges = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), -1)
    edges, count = np.unique(edges, axis=0, return_counts=True)
    cut = mean[np.unique(edges[count == 1])]
    cut = cut[cut[:, 1] < chin - 20.0]
    height, slope = np.linalg.lstsq(np.stack([np.ones(len(cut)), cut[:, 2]], -1), cut[:, 1], rcond=None)[0]
    middle = (cut[:, 2].max() + cut[:, 2].min()) / 2
    above = np.max(cut[:, 1] - height - slope * cut[:, 2]) + 3.0
    origin = np.array([0.0, height + slope * middle + above, middle])
    c, s = np.cos(TORSO_ANGLES), np.sin(TORSO_ANGLES)
    ids, weights, _ = _leave(mean, triangles, origin, np.stack([s, slope * c, c], -1))
    return ids, weights


def _mouth(mean: np.ndarray, triangles: np.ndarray, part: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The mean head's mouth is shut, so what it says of occlusion is of no use: light falls off behind the lips."""
    inside = np.setdiff1d(triangles[(part == TEETH) | (part == MOUTH)], triangles[part == SKIN])
    share = np.zeros(len(mean))
    behind = landmarks[60:68, 2].max() - mean[inside, 2]
    share[inside] = 0.8 * np.exp(-np.maximum(behind, 0.0) / 40.0)
    return share


def _leave(
    mean: np.ndarray, triangles: np.ndarray, origin: np.ndarray, rays: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where rays [R, 3] from the origin leave the mesh for good: vertex ids [R, 3], weights [R, 3], distances [R]."""
    a, b, c = (mean[triangles[:, k]] - origin for k in range(3))
    volume = np.einsum('tc,tc->t', a, np.cross(b - a, c - a))
    over = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], -1)
    ids, weights, distances = np.zeros((len(rays), 3), np.int64), np.zeros((len(rays), 3)), np.zeros(len(rays))
    for i, ray in enumerate(rays):
        # Signed volumes over the ray's edges; the ray meets the plane where they sum to that of the triangle.
        w = np.einsum('tck,c->tk', over, ray)
        total = w.sum(-1)
        hit = (np.min(w, -1) >= -1e-6 * np.abs(total)) & (total > 1e-6)
        distance = np.where(hit, volume / np.where(hit, total, 1.0), -np.inf)
        t = int(np.argmax(distance))
        if np.isfinite(distance[t]):
            ids[i], weights[i], distances[i] = triangles[t], w[t] / total[t], distance[t]
        else:  # through the hole where the neck is cut: the vertex nearest to the ray
            cosine = a @ ray / np.linalg.norm(a, axis=-1)
            t = int(np.argmax(cosine))
            ids[i], weights[i], distances[i] = triangles[t, 0], [1, 0, 0], np.linalg.norm(a[t])
    return ids, weights, distances


def _scalp(mean: np.ndarray, triangles: np.ndarray, origin: np.ndarray):
    """Where rays of the grid leave the head: vertex ids, weights, lift over ears and into the neck, angles."""
    polar, azimuth = np.meshgrid(np.linspace(0.02, LOWEST, ROWS), np.linspace(-np.pi, np.pi, COLUMNS), indexing='ij')
    rays = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1).reshape(
        -1, 3
    )
    ids, weights, radius = _leave(mean, triangles, origin, rays)
    grid = radius.reshape(ROWS, COLUMNS)
    wrapped = np.concatenate([grid[:, -9:-1], grid, grid[:, 1:9]], 1)
    smooth = ndimage.gaussian_filter(ndimage.median_filter(wrapped, (5, 7)), 0.7)[:, 8:-8]
    smooth[:, -1] = smooth[:, 0]
    return ids, weights, (smooth - grid).ravel(), np.stack([polar.ravel(), azimuth.ravel()], -1)


def _unoccluded(mean: np.ndarray, triangles: np.ndarray, directions: np.ndarray) -> jax.Array:
    """[V, D] by depth maps of the mean head, one per direction; a bias of 4 mm lets a surface see past itself."""
    used = mean[np.unique(triangles)]
    centre = used.mean(0)
    reach = float(np.max(np.linalg.norm(used - centre, axis=-1))) + 2.0
    size, vertices = 160, jnp.asarray(mean)
    normals = mesh.vertex_normals(vertices, triangles)

    @jax.jit
    def seen(direction):
        pixels, depth = orthographic(vertices - jnp.asarray(centre, jnp.float32), direction, reach, size)
        fragments = raster.rasterise(pixels, depth, triangles, (size, size), perspective=False)
        bias = 4.0 + 4.0 * (1.0 - jnp.maximum(normals @ direction, 0.0))
        return taps(fragments.depth, pixels, depth - bias, 1)

    return jax.lax.map(seen, jnp.asarray(directions, jnp.float32)).T


def orthographic(points: jax.Array, direction: jax.Array, reach: float, size: int) -> tuple[jax.Array, jax.Array]:
    """Pixels [N, 2] and depth [N] (mm, positive) of points around the origin seen from far along `direction`."""
    right = aside(direction)
    plane = jnp.stack([points @ right, -points @ jnp.cross(direction, right)], -1)
    return (plane / reach + 1.0) * (size / 2), 2.0 * reach - points @ direction


def aside(direction: jax.Array) -> jax.Array:
    """A unit vector [3] square to a unit vector, level unless that one is nearly upright."""
    up = jnp.where(jnp.abs(direction[1]) > 0.95, jnp.array([0.0, 0.0, 1.0]), jnp.array([0.0, 1.0, 0.0]))
    return vectors.normalise(jnp.cross(up, direction))


def taps(depth_map: jax.Array, pixels: jax.Array, depth: jax.Array, radius: int) -> jax.Array:
    """[N] the share of a (2 radius + 1)² neighbourhood of each pixel that is not in front of `depth`, bilinear."""
    size = depth_map.shape[0]
    x, y = pixels[..., 0] - 0.5, pixels[..., 1] - 0.5
    i, j = jnp.floor(x).astype(jnp.int32), jnp.floor(y).astype(jnp.int32)
    fx, fy = x - i, y - j
    lit = jnp.zeros(depth.shape)
    steps = range(-radius, radius + 2)
    for dy in steps:
        for dx in steps:
            # A box of width 2 radius + 1, moved smoothly.
            wx = 1 - fx if dx == -radius else fx if dx == radius + 1 else 1.0
            wy = 1 - fy if dy == -radius else fy if dy == radius + 1 else 1.0
            column, row = jnp.clip(i + dx, 0, size - 1), jnp.clip(j + dy, 0, size - 1)
            lit += wx * wy * (depth_map.reshape(-1)[row * size + column] > depth)
    return lit / (2 * radius + 1) ** 2
