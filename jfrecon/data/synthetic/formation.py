"""Image formation: a posed scene to linear radiance, by deferred shading of rasterised layers.

What is seen is rasterised, the key lamp's shadow ray-traced; the other lamps are as wide as a room or the sky, and
their shade is that of the head at rest (`pose`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.data.synthetic import lighting, materials, shadow, strands
from jfrecon.data.synthetic.pose import Layer, Posed
from jfrecon.data.synthetic.scenes import Scene
from jfrecon.data.synthetic.stages import Stage
from jfrecon.geometry import cameras, vectors
from jfrecon.render import interpolation, raster
from jfrecon.types import Fragments, Pinhole

SAMPLES = 1.25  # per pixel and axis
LIFTS = 2.0, 9.0, 4.0  # mm from head, hair and things in front to where the rays for their shadow start


@struct.dataclass
class Formed:
    """What the camera sees before film and background.

    Attributes:
      radiance: [H, W, 3] linear, premultiplied by `cover`.
      cover: [H, W] the share of each pixel that anything covers.
      face: [H, W] the share of unoccluded skin of the face region.
      diffuse: [H, W, 3] albedo, and normal: [H, W, 3] camera space, of that skin; zero where there is none.
    """

    radiance: jax.Array
    cover: jax.Array
    face: jax.Array
    diffuse: jax.Array
    normal: jax.Array


def form(stage: Stage, scene: Scene, posed: Posed, albedo: materials.Albedo, size: int) -> Formed:
    """Render a picture of size x size pixels, with SAMPLES² samples for each, whose mean under its square it takes."""
    fine = round(size * SAMPLES)
    camera = Pinhole(posed.camera.focal * fine / size, posed.camera.principal * fine / size)
    at = jnp.arange(fine) + 0.5
    rays = jnp.stack(jnp.broadcast_arrays(at[None, :], at[:, None]), -1).reshape(-1, 2)

    layers = [
        _see(layer, camera, fine, rays, both_sides=layer is not posed.solid)
        for layer in (posed.solid, posed.hair, posed.front)
    ]
    keys = _key_shares(stage, scene, posed, layers)

    solid, point, normal, values = layers[0]
    surface = materials.solid(stage, scene, posed, albedo, solid, point, normal, values)
    colour = _lit(scene.lamps, keys[0], surface, point, values[:, :3], values[:, 3])
    depth = solid.depth.reshape(-1)
    cover = jnp.isfinite(depth).astype(jnp.float32)
    colour = colour * cover[:, None]
    skin = surface.face * cover

    hair, hair_point, hair_normal, hair_values = layers[1]
    hair_colour, alpha = strands.shade(scene.hair, scene.lamps, keys[1], hair_point, hair_normal, hair_values)
    hair_depth = hair.depth.reshape(-1)
    alpha = jnp.where(hair_depth < depth, alpha, 0.0)
    colour = colour * (1 - alpha[:, None]) + hair_colour * alpha[:, None]
    cover = cover + alpha * (1 - cover)
    skin = skin * (1 - alpha)

    front, front_point, front_normal, kind = layers[2]
    front_depth = front.depth.reshape(-1)
    through, added = materials.front(scene, keys[2], front_point, front_normal, kind[:, 0])
    nearest = jnp.where(alpha > 0.5, hair_depth, depth)
    there = (front_depth < nearest)[:, None]
    through, added = jnp.where(there, through, 1.0), jnp.where(there, added, 0.0)
    colour = colour * through + added
    cover = 1 - (1 - cover) * jnp.mean(through, -1)
    # Clear glass leaves skin to be seen, a dark lens does not.
    skin = skin * jnp.where(jnp.mean(through, -1) > 0.5, 1.0, 0.0)

    box = _overlaps(size, fine)
    shrink = lambda x: jnp.einsum('yi,xj,ijc->yxc', box, box, x.reshape(fine, fine, -1))
    shares = shrink(jnp.concatenate([cover[:, None], skin[:, None]], -1))
    face = shares[..., 1]
    seen = shrink(jnp.concatenate([surface.diffuse, normal], -1) * skin[:, None])
    return Formed(
        radiance=shrink(colour),
        cover=shares[..., 0],
        face=face,
        diffuse=seen[..., :3] / jnp.maximum(face, 1e-4)[..., None],
        normal=vectors.normalise(seen[..., 3:]),
    )


def _key_shares(stage: Stage, scene: Scene, posed: Posed, layers: list[tuple]) -> jax.Array:
    """[3, N] the share of the key lamp that arrives at each layer, where it is in front of the others behind it."""
    depths = [fragments.depth.reshape(-1) for fragments, *_ in layers]
    seen = [jnp.isfinite(depths[0]), depths[1] < depths[0], depths[2] < depths[0]]
    starts = [point + lift * normal for (_, point, normal, _), lift in zip(layers, LIFTS)]
    key = jax.random.fold_in(jax.random.wrap_key_data(scene.photograph.seed), 1)
    normals = [normal for _, _, normal, _ in layers]
    side = layers[0][0].depth.shape[0]
    pictures = (jnp.stack(x).reshape(len(layers), side, side, *x[0].shape[1:]) for x in (starts, normals, seen))
    return shadow.visible(stage, scene, posed, key, *pictures).reshape(len(layers), -1)


def _overlaps(size: int, fine: int) -> np.ndarray:
    """[size, fine] the share of each of `size` equal pieces of a line that lies in each of `fine` pieces."""
    low, high = (np.arange(fine) + k for k in (0, 1))
    ends = np.arange(size + 1)[:, None] * fine / size
    overlap = np.minimum(high, ends[1:]) - np.maximum(low, ends[:-1])
    return (np.maximum(overlap, 0.0) * size / fine).astype(np.float32)


def _see(
    layer: Layer, camera: Pinhole, size: int, rays: jax.Array, both_sides: bool = True
) -> tuple[Fragments, jax.Array, jax.Array, jax.Array]:
    """Rasterise a layer: fragments, and per pixel points [N, 3], normals [N, 3], attributes [N, C].

    Surfaces with two sides have normals that face the camera.
    """
    pixels, depth = cameras.project(camera, layer.vertices)
    fragments = raster.rasterise(pixels, depth, layer.triangles, (size, size), cull=not both_sides)
    values = interpolation.interpolate(
        fragments, layer.triangles, jnp.concatenate([layer.normals, layer.attributes], -1)
    ).reshape(size * size, -1)
    far = jnp.where(jnp.isfinite(fragments.depth), fragments.depth, 1e3).reshape(-1)
    point = cameras.unproject(camera, rays, far)
    normal = vectors.normalise(values[:, :3])
    if both_sides:
        normal = normal * jnp.where(jnp.sum(normal * point, -1, keepdims=True) > 0.0, -1.0, 1.0)
    return fragments, point, normal, values[:, 3:]


def _lit(
    lamps: lighting.Lamps,
    key_share: jax.Array,
    surface: materials.Surface,
    point: jax.Array,
    soft: jax.Array,
    share: jax.Array,
) -> jax.Array:
    """Radiance [N, 3] of points under all lamps: (1 - s) diffuse + s specular, as the renderers have it.

    soft: [N, 3] what all lamps but the key give a white surface; share: [N] what of them arrives, key_share: [N] what
    of the key.
    """
    # Light that went through the skin softens the edge of the key's shadow, in red most.
    cosine = surface.normal @ lamps.direction[0]
    bleed = surface.scatter[:, None] * jnp.array([0.28, 0.1, 0.06])
    wrapped = jnp.maximum(cosine[:, None] + bleed, 0.0) / (1.0 + bleed)
    key = jnp.maximum(lighting.received(cosine, lamps.softness[0]), 0.0)[:, None]
    key = key + jnp.exp(-9.0 * jnp.square(lamps.softness[0])) * (wrapped - jnp.maximum(cosine, 0.0)[:, None])
    white = soft + key * key_share[:, None] * lamps.irradiance[0]
    view = vectors.normalise(-point)
    mirrored = 2.0 * jnp.sum(view * surface.normal, -1, keepdims=True) * surface.normal - view
    shine = materials.reflected(lamps, mirrored, surface.lobe, key_share, share)
    s = surface.specular[:, None]
    return (1 - s) * surface.diffuse * white + s * shine
