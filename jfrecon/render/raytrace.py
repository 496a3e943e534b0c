"""Direct light with self-shadows, by Monte Carlo integration over an environment map (dib21 3.1, eq. 1; s2f2 3.1).

    L_o(p) = ∫ f(l, v) L(l) V(p, l) (n·l)+ dl  ≈  1/S sum_s f L V (n·l)+ / pdf(l_s)

What the camera sees is rasterised through the pixel centres (`final`: through other points of the pixels in turn).
Each pixel then draws S directions in proportion to the light's radiance and asks the tree (`jfrecon.render.tree`)
whether the face itself is in the way. The estimate of a pixel is unbiased for a light that is constant over each texel
of its map and ends `HORIZON` above the triangle; radiance from spherical harmonics is signed and stays so.

There is a gradient in the vertices, the albedo, the normal map, the light and the camera. There is NONE through what
is seen: which triangle a pixel shows, which rays are blocked, which directions are drawn. So silhouettes and shadow
edges do not move with the gradient. Where the surface is seen at a slant (`GRAZING`) a change of a vertex moves the
hit point so far that the gradient is noise; those pixels keep their appearance and lose their geometry gradient.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from jfrecon.geometry import cameras, mesh, uv, vectors
from jfrecon.render import interpolation, raster, trace, tree
from jfrecon.render.interpolation import MeshPoints
from jfrecon.shading import brdf, environment
from jfrecon.types import Array, Camera, Pinhole, Topology

ENVIRONMENT = 64  # rows and columns of the map that spherical harmonics are turned into (dib21 3.1)
CHUNK = 4096  # pixels of an image that are shaded at a time where one image follows another
VIEWS, MOST = 32, 64  # pictures that a final frame is the mean of at least, and samples of each at most
TABLE = 4096  # directions that the pixels of an image share
GRAZING = 0.1  # cosine between the view and the face of a triangle
HORIZON = 1e-3  # cosine between a shadow ray and the triangle that it leaves
LIFT = 1e-4  # shadow rays start so far above the surface, in sizes of the mesh
FLOOR = 0.01  # share of the mean radiance with which even black directions are drawn
R2 = (0.7548776662466927, 0.5698402909980532)  # 1/g and 1/g² of the plastic number g (Roberts 2018)


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
    chunk = CHUNK if strategy == 'map' else size[0] * size[1]

    def draw(batch):
        return _render(batch, topology, leaves, size, samples, roughness, shadows, chunk)

    if strategy == 'vmap':
        return draw(images)
    one = lambda image: jax.tree.map(lambda x: x[0], draw(jax.tree.map(lambda x: x[None], image)))
    return lax.map(one, images)


def final(
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
    **options,
) -> Picture:
    """A final frame: antialiased, and any number of samples in the memory of a few.

    The mean of at least `VIEWS` pictures of up to `MOST` samples, each with directions of its own and through another
    point of the pixels (Roberts' R2 sequence, 2018, from a random start), so it is a box filter over the pixel and its
    error goes on falling as 1/sqrt(samples). All layers are means over the whole pixel: where only a part of it is
    covered they are premultiplied by ``coverage``.

    Args:
      samples: directions per pixel, rounded up to whole pictures.
      **options: and all others: of `render`.
    """
    if samples < 1:
        raise ValueError(f'samples must be at least 1, got {samples}')
    each = min(max(samples // VIEWS, 1), MOST)
    passes = -(-samples // each)
    start, key = jax.random.split(key)
    places = jax.random.uniform(start, (2,)) + jnp.arange(passes)[:, None] * jnp.asarray(R2)

    def add(total, drawn):
        place, key = drawn
        moved = camera.replace(principal=camera.principal + 0.5 - place % 1)
        picture = render(
            vertices, topology, leaves, diffuse, specular, light, moved, size, key,
            samples=each, **options,
        )  # fmt: skip
        return jax.tree.map(jnp.add, total, picture), None

    def blank(channels: int) -> jax.Array:
        return jnp.zeros((len(vertices), *size, channels), vertices.dtype)

    flat = blank(1)[..., 0]
    nothing = Picture(blank(3), flat, blank(3), blank(1), blank(3), blank(3), flat)
    total, _ = lax.scan(add, nothing, (places, jax.random.split(key, passes)))
    return jax.tree.map(lambda x: x / passes, total)


def draw_lights(light: jax.Array, keys: jax.Array, count: int = TABLE, guide: jax.Array | None = None) -> Lights:
    """``count`` directions for each light [B, L², 3] or [B, h, w, 3], as likely as they are bright.

    Texels are drawn systematically (one random number, evenly spaced steps through the cumulative density along a curve
    that keeps neighbours together, so that equal parts of the table are patches of light), a direction evenly within
    its texel: over the keys the mean of any function of the entries, weighed by their
    radiance, is its integral over the sphere. The density follows the absolute mean of the channels, plus `FLOOR`.

    A ``guide`` is another light of the same kind whose brightness decides instead.
    """
    light, guide = (
        environment.from_sh(x, ENVIRONMENT, ENVIRONMENT) if x.ndim == 3 else x
        for x in (light, light if guide is None else guide)
    )
    height, width = light.shape[1:3]
    along = _curve(height, width)
    radiance, guide = (x.reshape(len(x), height * width, 3)[:, along] for x in (light, guide))
    angles = jnp.asarray(environment.solid_angles(height, width).reshape(-1)[along])

    def one(radiance, guide, key):
        spread, down, across = jax.random.split(key, 3)
        bright = jnp.abs(lax.stop_gradient(guide)).mean(-1)
        bright = jnp.where(jnp.isfinite(bright), bright, 0)
        mean = (bright * angles).sum() / (4 * jnp.pi)
        density = bright + jnp.where(mean > 0, FLOOR * mean, 1)
        share = density * angles / (density * angles).sum()
        steps = (jnp.arange(count) + jax.random.uniform(spread)) / count
        total = jnp.cumsum(share)
        texel = jnp.minimum(jnp.searchsorted(total, steps * total[-1], method='sort'), height * width - 1)
        row, column = jnp.asarray(along // width)[texel], jnp.asarray(along % width)[texel]
        # evenly in area: evenly in the cosine of the polar angle
        top, bottom = jnp.cos(row * (jnp.pi / height)), jnp.cos((row + 1) * (jnp.pi / height))
        y = top + (bottom - top) * jax.random.uniform(down, (count,))
        phi = (column + jax.random.uniform(across, (count,))) * (2 * jnp.pi / width)
        flat = jnp.sqrt(jnp.maximum(1 - y * y, 0))
        direction = jnp.stack([flat * jnp.sin(phi), y, -flat * jnp.cos(phi)], -1)
        return Lights(direction, radiance[texel] * (angles[texel] / share[texel])[:, None])

    return jax.vmap(one)(radiance, guide, keys)


def _curve(height: int, width: int) -> np.ndarray:
    """The texels of a map in Morton's order, [height width] int32."""
    row, column = np.divmod(np.arange(height * width), width)
    spread = lambda x: sum(((x >> bit) & 1) << (2 * bit) for bit in range(16))
    return np.argsort(spread(row) * 2 + spread(column), kind='stable').astype(np.int32)


def _render(batch, topology, leaves, size, samples, roughness, shadows, chunk):
    vertices, diffuse, specular, light, camera, keys, normal_map = batch
    triangles = jnp.asarray(topology.triangles)
    count, (height, width) = len(vertices), size
    perspective = isinstance(camera, Pinhole)

    # What is seen, which is fixed, and everything about the vertices, which is not.
    pixels, depth = cameras.project(camera, vertices)
    seen = raster.rasterise_batch(pixels, depth, triangles, size, cull=True, perspective=perspective)
    triangle = seen.triangle.reshape(count, height * width)
    normals = mesh.vertex_normals(vertices, triangles)
    attributes = [vertices, normals]
    if normal_map is not None:
        attributes += mesh.tangents(vertices, normals, topology)
    geometry = jnp.concatenate(attributes, -1)
    flat_normals = lax.stop_gradient(vectors.normalise(mesh.triangle_normals(vertices, triangles)))
    lights = draw_lights(light, keys)
    bvh = tree.refit(leaves, triangles, vertices) if shadows else None
    lift = LIFT * jnp.ptp(lax.stop_gradient(vertices), axis=1).max(-1)
    centres = interpolation.centres(height, width, pixels.dtype).reshape(height * width, 2)

    def shade(where):
        """The layers at the pixels of these numbers, [B, C] (one past the last for none)."""
        number = jnp.minimum(where, height * width - 1)
        shown = jnp.where(where < height * width, jnp.take_along_axis(triangle, number, 1), -1)
        covered = shown >= 0
        corners = jax.vmap(
            lambda t, at, p, z: interpolation.barycentric(t, at, p, z, triangles, perspective=perspective)
        )(shown, centres[number], pixels, depth)
        at = lambda points, values: jax.vmap(interpolation.interpolate, in_axes=(0, None, 0))(points, triangles, values)
        behind = lambda x: jnp.where(covered[..., None], x, -1.0)  # any place but the camera's
        fixed = MeshPoints(shown, lax.stop_gradient(corners))
        face = _pick(flat_normals, jnp.maximum(shown, 0))
        slant = vectors.dot(face, cameras.towards(camera, behind(at(fixed, lax.stop_gradient(vertices)))))
        steady = lambda x: jnp.where((slant < GRAZING)[..., None], lax.stop_gradient(x), x)
        points = MeshPoints(shown, steady(corners))

        there = steady(at(points, geometry))
        point, normal = behind(there[..., :3]), there[..., 3:6]
        if normal_map is not None:
            bumps = _lookup(points, topology, normal_map)
            tangent, bitangent = there[..., 6:9], there[..., 9:]
            normal = mesh.bend(bumps, tangent, bitangent, normal)
        normal = vectors.normalise(normal)
        view = cameras.towards(camera, point)
        body = _lookup(points, topology, diffuse) if diffuse.ndim == 4 else at(points, diffuse)
        gloss = _lookup(points, topology, specular) if specular.ndim == 4 else at(points, specular)

        # What light arrives: every pixel's draws from the table of its image, and the rays that find them blocked.
        chosen = _choose(keys, number, samples)  # [S, B, C]
        alive = covered & jax.vmap(lambda i: vectors.dot(face, _pick(lights.direction, i)) > HORIZON)(chosen)
        if shadows:
            start = lax.stop_gradient(point) + lift[:, None, None] * face
            rays = lambda x: jnp.moveaxis(x, 0, 1).reshape(count, -1, *x.shape[3:])
            ends = jax.vmap(lambda index: _pick(lights.direction, index))(chosen)
            blocked = trace.occluded(bvh, rays(jnp.broadcast_to(start, ends.shape)), rays(ends), rays(alive))
            arrives = alive & ~jnp.moveaxis(blocked.reshape(count, samples, -1), 1, 0)
        else:
            arrives = alive
        arrives = checkpoint_name(arrives, 'arrives')

        # Shading, one sample after another, recomputed in the backward pass.
        @jax.checkpoint
        def add(total, sample):
            index, arrives = sample
            direction, radiance = _pick(lights.direction, index), _pick(lights.radiance, index)
            light = vectors.scale(jnp.maximum(vectors.dot(normal, direction), 0) * arrives, radiance)
            f = brdf.evaluate(normal, direction, view, body, gloss, roughness)
            return (total[0] + f * light, total[1] + light), None

        nothing = jnp.zeros(body.shape)
        (radiance, irradiance), _ = lax.scan(add, (nothing, nothing), (chosen, arrives))
        share = arrives.sum(0) / jnp.maximum(alive.sum(0), 1)
        mask = covered[..., None].astype(radiance.dtype)
        layers = (radiance / samples, mask, body, gloss, normal, irradiance / (jnp.pi * samples), share[..., None])
        return Picture(*(jnp.where(covered[..., None], layer, 0) for layer in layers))

    where = _covered_first(triangle >= 0)
    if chunk < height * width:
        # Chunks without anything to see are left out, in the gradient as well; the rays are not traced again for it.
        shade = jax.checkpoint(shade, policy=jax.checkpoint_policies.save_only_these_names('arrives'))
        where = jnp.pad(where, ((0, 0), (0, -where.shape[1] % chunk)), constant_values=height * width)
        chunks = jnp.moveaxis(where.reshape(count, -1, chunk), 1, 0)
        empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(shade, chunks[0]))
        layers = lax.map(lambda w: lax.cond((w < height * width).any(), shade, lambda w: empty, w), chunks)
        layers = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(count, where.shape[1], -1), layers)
    else:
        layers = shade(where)

    def spread(layer):
        blank = jnp.zeros((height * width, layer.shape[-1]), layer.dtype)
        images = jax.vmap(lambda w, values: blank.at[w].set(values, mode='drop', unique_indices=True))(where, layer)
        return images.reshape(count, height, width, -1)

    picture = jax.tree.map(spread, layers)
    return picture.replace(coverage=picture.coverage[..., 0], visibility=picture.visibility[..., 0])


def _covered_first(covered: jax.Array) -> jax.Array:
    """The numbers of the pixels [B, N] that show something, in order, then N for none; [B, N] int32."""
    count = covered.shape[-1]
    rank = jnp.where(covered, jnp.cumsum(covered, -1, dtype=jnp.int32) - 1, count)
    numbers = jnp.arange(count, dtype=jnp.int32)
    return jax.vmap(lambda r: jnp.full(count, count, jnp.int32).at[r].set(numbers, mode='drop'))(rank)


def _pick(values: jax.Array, index: jax.Array) -> jax.Array:
    """Rows [B, N, C] of tables [B, K, C] by numbers [B, N]."""
    return jax.vmap(lambda v, i: v[i])(values, index)


def _choose(keys: jax.Array, pixel: jax.Array, samples: int) -> jax.Array:
    """For pixels of numbers [B, N], entries of their table [S, B, N] int32: one from each of S equal parts of it."""
    seeds = jax.vmap(lambda key: jax.random.bits(jax.random.fold_in(key, 1), (), jnp.uint32))(keys)
    part = jnp.arange(samples, dtype=jnp.uint32)[:, None, None]
    noise = _hash(_hash(pixel.astype(jnp.uint32) * jnp.uint32(samples) + part) ^ seeds[:, None])
    u = (noise >> 8).astype(jnp.float32) * 2.0**-24
    return jnp.minimum(((part.astype(jnp.float32) + u) * (TABLE / samples)).astype(jnp.int32), TABLE - 1)


def _hash(x: jax.Array) -> jax.Array:
    """PCG's output permutation of one step of its generator (O'Neill 2014; Jarzynski and Olano 2020), uint32."""
    x = x * jnp.uint32(747796405) + jnp.uint32(2891336453)
    x = ((x >> ((x >> 28) + 4)) ^ x) * jnp.uint32(277803737)
    return (x >> 22) ^ x


def _lookup(points: MeshPoints, topology: Topology, maps: jax.Array) -> jax.Array:
    """UV maps [B, M, M, C] at points [B, N] of the surface, [B, N, C]."""
    coordinates = jnp.broadcast_to(jnp.asarray(topology.uv), (len(maps), *topology.uv.shape))
    place = jax.vmap(interpolation.interpolate, in_axes=(0, None, 0))(points, topology.uv_triangles, coordinates)
    return uv.sample(maps, place)
