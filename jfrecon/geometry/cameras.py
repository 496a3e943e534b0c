"""Cameras: camera space (x right, y up, z towards the camera, mm) to pixels (x right, y down) and back.

The leaves of a camera broadcast over the leading axes of points: focal [...], principal [..., 2], points
[..., N, 3].
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jfrecon.geometry.vectors import normalise
from jfrecon.types import Camera, Pinhole, WeakPerspective

# mm. Points nearer than this, or behind the camera, project as if they were this far: finite, and never
# drawn.
NEAR = 1.0
R2 = (0.7548776662466927, 0.5698402909980532)  # 1/g and 1/g² of the plastic number g


def project(camera: Camera, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Projects points to the image: p = c + f (x, -y) / (-z), or c + s (x, -y) for weak perspective.

    Behind a pinhole (-z < NEAR) the division uses NEAR, so that values and gradients stay finite; the
    returned depth is the true one and tells such points apart.

    Args:
      camera: Pinhole or WeakPerspective.
      points: [..., N, 3] mm, camera space.

    Returns:
      pixels [..., N, 2], and depth [..., N] = -z in mm.
    """
    depth = -points[..., 2]
    plane = points[..., :2] * jnp.array([1.0, -1.0], points.dtype)
    if isinstance(camera, Pinhole):
        scale = jnp.asarray(camera.focal)[..., None] / jnp.maximum(depth, NEAR)
    else:
        scale = jnp.broadcast_to(jnp.asarray(camera.scale)[..., None], depth.shape)
    return jnp.asarray(camera.principal)[..., None, :] + scale[..., None] * plane, depth


def unproject(camera: Camera, pixels: jax.Array, depth: jax.Array) -> jax.Array:
    """Points at a known depth behind pixels; the inverse of ``project`` in front of the camera.

    Args:
      camera: Pinhole or WeakPerspective.
      pixels: [..., N, 2].
      depth: [..., N] mm.

    Returns:
      [..., N, 3] mm, camera space.
    """
    plane = pixels - jnp.asarray(camera.principal)[..., None, :]
    if isinstance(camera, Pinhole):
        plane = plane * (depth / jnp.asarray(camera.focal)[..., None])[..., None]
    else:
        plane = plane / jnp.asarray(camera.scale)[..., None, None]
    return jnp.concatenate([plane[..., :1], -plane[..., 1:], -depth[..., None]], -1)


def crop(camera: Camera, origin: jax.Array, scale: jax.Array) -> Camera:
    """The camera of a crop whose pixels are (p - origin) * scale: focal length and principal point follow.

    Args:
      camera: Pinhole or WeakPerspective.
      origin: [..., 2] pixels, the crop's upper left corner in the image.
      scale: [...] crop pixels per image pixel.

    Returns:
      A camera of the same kind.
    """
    scale = jnp.asarray(scale)
    principal = (jnp.asarray(camera.principal) - origin) * scale[..., None]
    if isinstance(camera, Pinhole):
        return Pinhole(focal=camera.focal * scale, principal=principal)
    return WeakPerspective(scale=camera.scale * scale, principal=principal)


def subpixel(camera: Camera, key: jax.Array, count: int) -> Camera:
    """The camera through ``count`` points of its pixels, spread evenly: a leading axis [count] on its leaves.

    The mean of what these see through their pixel centres is a box filter over the pixels. The points are those of the
    R2 sequence (Roberts, The Unreasonable Effectiveness of Quasirandom Sequences, 2018) from a random start.
    """
    points = (jax.random.uniform(key, (2,)) + jnp.arange(count)[:, None] * jnp.asarray(R2)) % 1
    several = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), camera)
    between = points.reshape(count, *(1,) * (several.principal.ndim - 2), 2)
    return several.replace(principal=several.principal + 0.5 - between)


def weakened(camera: Pinhole, distance: jax.Array) -> WeakPerspective:
    """Weak perspective that magnifies everything as the pinhole does what is at a distance [...] mm in front of it."""
    return WeakPerspective(camera.focal / jnp.maximum(distance, NEAR), camera.principal)


def towards(camera: Camera, points: jax.Array) -> jax.Array:
    """Unit vectors from points [..., N, 3] mm to the camera: -p / |p|, or +z for weak perspective."""
    if isinstance(camera, Pinhole):
        return normalise(-points)
    return jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0], points.dtype), points.shape)
