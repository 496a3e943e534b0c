"""Direct light with self-shadows, by Monte Carlo integration over an environment map (dib21 3.1, eq. 1; s2f2 3.1).

    L_o(p) = ∫ f(l, v) L(l) V(p, l) (n·l)+ dl  ≈  1/S sum_s f L V (n·l)+ / pdf(l_s)

What the camera sees is rasterised through the pixel centres. Each pixel then draws S directions in proportion to the
light's radiance and asks the tree (`jfrecon.render.tree`) whether the face itself is in the way. The estimate of a
pixel is unbiased for a light that is constant over each texel of its map and ends `HORIZON` above the triangle;
radiance from spherical harmonics is signed and stays so.

There is a gradient in the vertices, the albedo, the normal map, the light and the camera. There is NONE through what
is seen: which triangle a pixel shows, which rays are blocked, which directions are drawn. So silhouettes and shadow
edges do not move with the gradient. Where the surface is seen at a slant (`GRAZING`) a change of a vertex moves the
hit point so far that the gradient is noise; those pixels keep their appearance and lose their geometry gradient.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from jfrecon.geometry import camera as cameras
from jfrecon.geometry import mesh, uv
from jfrecon.render import fragments as hits
from jfrecon.render import raster, trace, tree
from jfrecon.shading import brdf, environment
from jfrecon.types import Array, Camera, Pinhole, Topology

ENVIRONMENT = 64  # rows and columns of the map that spherical harmonics are turned into (dib21 3.1)
TABLE = 4096  # directions that the pixels of an image share
GRAZING = 0.1  # cosine between the view and the face of a triangle
HORIZON = 1e-3  # cosine between a shadow ray and the triangle that it leaves
LIFT = 1e-4  # shadow rays start so far above the surface, in sizes of the mesh
FLOOR = 0.01  # share of the mean radiance with which even black directions are drawn


@struct.dataclass
class Picture:
    """What the camera sees, linear; every layer but ``image`` and ``coverage`` costs nothing unless it is read.

    Attributes:
      image: [B, H, W, 3] radiance, 0 where there is no surface.
      coverage: [B, H, W] 1 where there is.
      diffuse: [B, H, W, 3] albedo, specular: [B, H, W, 1] weight.
      normal: [B, H, W, 3] shading normal, unit, camera space.
      irradiance: [B, H, W, 3] over pi, shadows included: what a white matte surface would send out.
      visibility: [B, H, W] share of the light's samples above the horizon that arrive.
    """

    image: jax.Array
    coverage: jax.Array
    diffuse: jax.Array
    specular: jax.Array
    normal: jax.Array
    irradiance: jax.Array
    visibility: jax.Array


@struct.dataclass
class Lights:
    """Directions drawn from an environment map; leaves [B, K, ...].

    Attributes:
      direction: [B, K, 3] unit, towards the light. No gradient.
      radiance: [B, K, 3] radiance over the density of the direction, 1/sr.
    """

    direction: jax.Array
    radiance: jax.Array


def render(
    vertices: jax.Array,
    topology: Topology,
    leaves: Array,
    diffuse: jax.Array,
    specular: jax.Array,
    light: jax.Array,
    camera: Camera,
    size: tuple[int, int],
    key: jax.Array,
    *,
    samples: int,
    roughness: float,
    normal_map: jax.Array | None = None,
    shadows: bool = True,
    strategy: str | None = None,
) -> Picture:
    """Picture of B posed meshes.

    Args:
      vertices: [B, V, 3] mm, camera space.
      topology: of the mesh; ``leaves``: [L, K] its tree's order, see `tree.order`.
      diffuse: [B, V, 3] linear albedo per vertex, or [B, M, M, 3] a UV map; specular: likewise, one channel.
      light: [B, L², 3] spherical harmonics, or [B, h, w, 3] an environment map, `jfrecon.shading.environment`.
      camera: leaves [B], [B, 2].
      size: (H, W).
      key: of the draws; another key is another, independent estimate.
      samples: S, directions per pixel.
      roughness: of the specular lobe, constant over the face.
      normal_map: [B, M, M, 3] tangent space, unit (0, 0, 1) where the surface is as smooth as its mesh.
      shadows: whether the face is in its own way.
      strategy: as in `raster.rasterise_batch`: 'map' one image after another, 'vmap' all rays in one pool, None by the
        default backend.
    """
    if samples < 1:
        raise ValueError(f'samples must be at least 1, got {samples}')
    if strategy is None:
        strategy = 'map' if jax.default_backend() == 'cpu' else 'vmap'
    keys = jax.random.split(key, len(vertices))
    images = (vertices, diffuse, specular, light, camera, keys, normal_map)

    def draw(batch):
        return _render(batch, topology, leaves, size, samples, roughness, shadows)

    if strategy == 'vmap':
        return draw(images)
    one = lambda image: jax.tree.map(lambda x: x[0], draw(jax.tree.map(lambda x: x[None], image)))
    return lax.map(one, images)


def draw_lights(light: jax.Array, keys: jax.Array, count: int = TABLE) -> Lights:
    """``count`` directions for each light [B, L², 3] or [B, h, w, 3], as likely as they are bright.

    Texels are drawn systematically (one random number, evenly spaced steps through the cumulative density), a
    direction evenly within its texel: over the keys the mean of any function of the entries, weighed by their
    radiance, is its integral over the sphere. The density follows the absolute mean of the channels, plus `FLOOR`.
    """
    if light.ndim == 3:
        light = environment.from_sh(light, ENVIRONMENT, ENVIRONMENT)
    height, width = light.shape[1:3]
    radiance = light.reshape(len(light), height * width, 3)
    angles = jnp.asarray(environment.solid_angles(height, width)).reshape(-1)

    def one(radiance, key):
        spread, down, across = jax.random.split(key, 3)
        bright = jnp.abs(lax.stop_gradient(radiance)).mean(-1)
        bright = jnp.where(jnp.isfinite(bright), bright, 0)
        mean = (bright * angles).sum() / (4 * jnp.pi)
        density = bright + jnp.where(mean > 0, FLOOR * mean, 1)
        share = density * angles / (density * angles).sum()
        steps = (jnp.arange(count) + jax.random.uniform(spread)) / count
        total = jnp.cumsum(share)
        texel = jnp.minimum(jnp.searchsorted(total, steps * total[-1], method='sort'), height * width - 1)
        row, column = texel // width, texel % width
        # evenly in area: evenly in the cosine of the polar angle
        top, bottom = jnp.cos(row * (jnp.pi / height)), jnp.cos((row + 1) * (jnp.pi / height))
        y = top + (bottom - top) * jax.random.uniform(down, (count,))
        phi = (column + jax.random.uniform(across, (count,))) * (2 * jnp.pi / width)
        flat = jnp.sqrt(jnp.maximum(1 - y * y, 0))
        direction = jnp.stack([flat * jnp.sin(phi), y, -flat * jnp.cos(phi)], -1)
        return Lights(direction, radiance[texel] * (angles[texel] / share[texel])[:, None])

    return jax.vmap(one)(radiance, keys)


def _render(batch, topology, leaves, size, samples, roughness, shadows):
    vertices, diffuse, specular, light, camera, keys, normal_map = batch
    triangles = jnp.asarray(topology.triangles)

    # What is seen: fragments, then everything about the surface there as a function of the vertices.
    pixels, depth = cameras.project(camera, vertices)
    perspective = isinstance(camera, Pinhole)
    seen = raster.rasterise_batch(pixels, depth, triangles, size, cull=True, perspective=perspective)
    corners = jax.vmap(lambda f, p, z: hits.barycentric(f, p, z, triangles, perspective=perspective))(
        seen, pixels, depth
    )
    covered = seen.triangle >= 0

    flat_normals = lax.stop_gradient(mesh.normalise(mesh.triangle_normals(vertices, triangles)))
    face = jax.vmap(lambda n, t: n[jnp.maximum(t, 0)])(flat_normals, seen.triangle)
    fixed = seen.replace(barycentric=lax.stop_gradient(corners))
    at = lambda f, values: jax.vmap(hits.interpolate, in_axes=(0, None, 0))(f, triangles, values)
    behind = lambda points: jnp.where(covered[..., None], points, -1.0)  # any place but the camera's
    grazing = jnp.sum(face * cameras.towards(camera, behind(at(fixed, lax.stop_gradient(vertices)))), -1) < GRAZING
    steady = lambda x: jnp.where(grazing[..., None], lax.stop_gradient(x), x)
    seen = seen.replace(barycentric=steady(corners))

    normals = mesh.vertex_normals(vertices, triangles)
    if normal_map is None:
        geometry = at(seen, jnp.concatenate([vertices, normals], -1))
        point, normal = behind(steady(geometry[..., :3])), steady(geometry[..., 3:])
    else:
        tangents, bitangents = mesh.tangents(vertices, normals, topology)
        geometry = steady(at(seen, jnp.concatenate([vertices, normals, tangents, bitangents], -1)))
        point = behind(geometry[..., :3])
        t, b, n = geometry[..., 6:9], geometry[..., 9:], geometry[..., 3:6]
        bumps = _lookup(seen, topology, normal_map)
        normal = bumps[..., :1] * t + bumps[..., 1:2] * b + bumps[..., 2:] * n
    normal = mesh.normalise(normal)
    view = cameras.towards(camera, point)
    body = _lookup(seen, topology, diffuse) if diffuse.ndim == 4 else at(seen, diffuse)
    gloss = _lookup(seen, topology, specular) if specular.ndim == 4 else at(seen, specular)

    # What light arrives: every pixel's draws from the table of its image, and the rays that find them blocked.
    lights = draw_lights(light, keys)
    chosen = _choose(keys, size, samples)  # [S, B, H, W]
    pick = lambda values, index: jax.vmap(lambda v, i: v[i])(values, index)
    above = lambda index: jnp.sum(face * pick(lights.direction, index), -1) > HORIZON
    alive = covered & jax.vmap(above)(chosen)
    if shadows:
        bvh = tree.refit(leaves, triangles, vertices)
        lift = LIFT * jnp.ptp(lax.stop_gradient(vertices), axis=1).max(-1)
        start = lax.stop_gradient(point) + lift[:, None, None, None] * face
        flatten = lambda x: jnp.moveaxis(x, 0, 1).reshape(len(vertices), samples * size[0] * size[1], *x.shape[4:])
        starts = flatten(jnp.broadcast_to(start, (samples, *start.shape)))
        ends = flatten(jax.vmap(lambda index: pick(lights.direction, index))(chosen))
        blocked = trace.occluded(bvh, starts, ends, flatten(alive))
        blocked = jnp.moveaxis(blocked.reshape(len(vertices), samples, *size), 1, 0)
        arrives = alive & ~blocked
    else:
        arrives = alive

    # Shading, one sample after another, recomputed in the backward pass.
    @jax.checkpoint
    def add(total, sample):
        index, arrives = sample
        direction, radiance = pick(lights.direction, index), pick(lights.radiance, index)
        cosine = jnp.maximum(jnp.sum(normal * direction, -1, keepdims=True), 0) * arrives[..., None]
        light = radiance * cosine
        f = brdf.evaluate(normal, direction, view, body, gloss, roughness)
        return (total[0] + f * light, total[1] + light), None

    nothing = jnp.zeros(body.shape)
    (radiance, irradiance), _ = lax.scan(add, (nothing, nothing), (chosen, arrives))
    mask = covered[..., None]
    share = arrives.sum(0) / jnp.maximum(alive.sum(0), 1)
    return Picture(
        image=jnp.where(mask, radiance / samples, 0),
        coverage=covered.astype(radiance.dtype),
        diffuse=jnp.where(mask, body, 0),
        specular=jnp.where(mask, gloss, 0),
        normal=jnp.where(mask, normal, 0),
        irradiance=jnp.where(mask, irradiance / (jnp.pi * samples), 0),
        visibility=share * covered,
    )


def _choose(keys: jax.Array, size: tuple[int, int], samples: int) -> jax.Array:
    """Each pixel's entries of the table, [S, B, H, W] int32: one from each of S equal parts of it."""
    seeds = jax.vmap(lambda key: jax.random.bits(jax.random.fold_in(key, 1), (), jnp.uint32))(keys)
    pixel = jnp.arange(size[0] * size[1], dtype=jnp.uint32).reshape(size)
    part = jnp.arange(samples, dtype=jnp.uint32)[:, None, None, None]
    noise = _hash(_hash(pixel * jnp.uint32(samples) + part) ^ seeds[:, None, None])
    u = (noise >> 8).astype(jnp.float32) * 2.0**-24
    return jnp.minimum(((part.astype(jnp.float32) + u) * (TABLE / samples)).astype(jnp.int32), TABLE - 1)


def _hash(x: jax.Array) -> jax.Array:
    """PCG's output permutation of one step of its generator (O'Neill 2014; Jarzynski and Olano 2020), uint32."""
    x = x * jnp.uint32(747796405) + jnp.uint32(2891336453)
    x = ((x >> ((x >> 28) + 4)) ^ x) * jnp.uint32(277803737)
    return (x >> 22) ^ x


def _lookup(seen, topology: Topology, maps: jax.Array) -> jax.Array:
    """UV maps [B, M, M, C] where the pixels show them, [B, H, W, C]."""
    coordinates = jnp.broadcast_to(jnp.asarray(topology.uv), (len(maps), *topology.uv.shape))
    place = jax.vmap(hits.interpolate, in_axes=(0, None, 0))(seen, topology.uv_triangles, coordinates)
    flat = place.reshape(len(maps), -1, 2)
    return uv.sample(maps, flat).reshape(*place.shape[:-1], maps.shape[-1])
