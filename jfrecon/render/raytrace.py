"""The ray tracer: direct light with self-shadows, the F of dib21's eq. 1 (sections 3.1 and 3.2; s2f2 3.1).

Eq. 1 compares the pixels of a photograph with p_i = F(chi), where F is the Monte Carlo estimator of the rendering
equation. Without bounces and emission that is

    L_o = ∫ f(l, v) L(l) V(x, l) (n·l)+ dl  ≈  1/S sum_s f(l_s, v) L(l_s) V(x, l_s) (n·l_s)+ / p(l_s)

    L_o   radiance that leaves x in the direction v: the colour of the pixel
    x     surface point that the pixel shows; n its normal, c and s its diffuse and specular albedo
    v     direction from x to the camera
    f     BRDF of c, s and the roughness, `jfrecon.shading.brdf`
    l_s   S directions towards the light, drawn with the densities p(l_s), `jfrecon.render.sampling`
    L     radiance of the light
    V     1 where nothing is in the way from x to the light, else 0

in four steps, `_estimate`: see (x), draw light (l_s), find what is blocked (V), integrate. The estimate of a pixel is
unbiased for a light that is constant over each texel of its map and ends `HORIZON` above the triangle; radiance from
spherical harmonics is signed and stays so.

There is a gradient in the vertices, the albedo, the normal map, the light and the camera. There is NONE through which
triangle a pixel shows (step 1), which directions are drawn and how likely (step 2) and which rays are blocked (step 3).
So silhouettes and shadow edges do not move with the gradient. Where the surface is seen at a slant (`GRAZING`) a change
of a vertex moves x so far that the gradient is noise; those pixels keep their appearance and lose their geometry
gradient.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from jfrecon.geometry import cameras, mesh, uv, vectors
from jfrecon.render import interpolation, raster, sampling, trace, tree
from jfrecon.render.interpolation import MeshPoints
from jfrecon.render.sampling import Draws, Sampler
from jfrecon.shading import brdf, environment
from jfrecon.types import Array, Camera, Pinhole, Topology

ENVIRONMENT = 64  # rows and columns of the map that spherical harmonics are turned into (dib21 3.1)
CHUNK = 4096  # pixels of an image that are shaded at a time where one image follows another
RAYS = 2**19  # shadow rays that are traced at a time there: the last ones of each time leave lanes idle
VIEWS, MOST = 32, 64  # pictures that a final frame is the mean of at least, and samples of each at most
GRAZING = 0.1  # cosine between the view and the face of a triangle
HORIZON = 1e-3  # cosine between a shadow ray and the triangle that it leaves
LIFT = 1e-4  # shadow rays start so far above the surface, in sizes of the mesh


@struct.dataclass
class Scene:
    """What is rendered: B posed meshes of one topology, each with a light and a camera of its own.

    Attributes:
      vertices: [B, V, 3] mm, camera space.
      topology: of the meshes.
      leaves: [N, K] int32, the order of their tree, `tree.order`.
      diffuse: [B, V, 3] linear albedo per vertex, or [B, M, M, 3] a UV map.
      specular: likewise, one channel: the weight of the specular lobe.
      light: [B, L², 3] spherical harmonics, or [B, h, w, 3] an environment map, `jfrecon.shading.environment`.
      camera: leaves [B], [B, 2].
      roughness: a number, that of the specular lobe, constant over the faces.
      normal_map: [B, M, M, 3] tangent space, unit, (0, 0, 1) where the surface is as smooth as its mesh; None where
        it is so everywhere.
    """

    vertices: jax.Array
    topology: Topology
    leaves: Array
    diffuse: jax.Array
    specular: jax.Array
    light: jax.Array
    camera: Camera
    roughness: Array
    normal_map: jax.Array | None = None


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


def render(
    scene: Scene,
    size: tuple[int, int],
    key: jax.Array,
    *,
    samples: int,
    shadows: bool = True,
    sampler: Sampler = sampling.by_radiance,
    strategy: str | None = None,
) -> Picture:
    """Picture of a scene, through the pixel centres.

    Args:
      scene: B meshes.
      size: (H, W).
      key: of the draws; another key is another, independent estimate.
      samples: S, directions per pixel.
      shadows: whether the face is in its own way; False: V = 1.
      sampler: draws the directions; any other converges to the same picture.
      strategy: as in `raster.rasterise_batch`: 'map' one image after another, 'vmap' all rays in one pool, None by the
        default backend.
    """
    if samples < 1:
        raise ValueError(f'samples must be at least 1, got {samples}')
    if strategy is None:
        strategy = 'map' if jax.default_backend() == 'cpu' else 'vmap'
    keys = jax.random.split(key, len(scene.vertices))
    if strategy == 'vmap':
        return _estimate(scene, size, keys, samples, shadows, sampler, size[0] * size[1])

    shared: dict[str, Any] = {name: getattr(scene, name) for name in ('topology', 'leaves', 'roughness')}
    nothing: dict[str, Any] = dict.fromkeys(shared)

    def one(image: tuple[Scene, jax.Array]) -> Picture:
        scene, keys = jax.tree.map(lambda x: x[None], image)
        picture = _estimate(dataclasses.replace(scene, **shared), size, keys, samples, shadows, sampler, CHUNK)
        return jax.tree.map(lambda x: x[0], picture)

    return lax.map(one, (dataclasses.replace(scene, **nothing), keys))


def final(scene: Scene, size: tuple[int, int], key: jax.Array, *, samples: int, **options) -> Picture:
    """A final frame: antialiased, and any number of samples in the memory of a few.

    The mean of at least `VIEWS` pictures of up to `MOST` samples, each with directions of its own and through another
    point of the pixels (`cameras.subpixel`), so it is a box filter over the pixel and its error goes on falling as
    1/sqrt(samples). All layers are means over the whole pixel: where only a part of it is covered they are
    premultiplied by ``coverage``.

    Args:
      scene, size, key: as in `render`.
      samples: directions per pixel, rounded up to whole pictures.
      **options: of `render`.
    """
    if samples < 1:
        raise ValueError(f'samples must be at least 1, got {samples}')
    each = min(max(samples // VIEWS, 1), MOST)
    passes = -(-samples // each)
    start, key = jax.random.split(key)

    def add(total, drawn):
        camera, key = drawn
        picture = render(dataclasses.replace(scene, camera=camera), size, key, samples=each, **options)
        return jax.tree.map(jnp.add, total, picture), None

    def blank(channels: int) -> jax.Array:
        return jnp.zeros((len(scene.vertices), *size, channels), scene.vertices.dtype)

    flat = blank(1)[..., 0]
    nothing = Picture(blank(3), flat, blank(3), blank(1), blank(3), blank(3), flat)
    through = cameras.subpixel(scene.camera, start, passes)
    total, _ = lax.scan(add, nothing, (through, jax.random.split(key, passes)))
    return jax.tree.map(lambda x: x / passes, total)


def _estimate(
    scene: Scene,
    size: tuple[int, int],
    keys: jax.Array,
    samples: int,
    shadows: bool,
    sampler: Sampler,
    chunk: int,
) -> Picture:
    """F: the picture of all images of a scene at once, ``chunk`` pixels of each at a time."""
    # Once for each image: what it shows, and what there is to know about its light.
    view = _project(scene, size)
    light = scene.light if scene.light.ndim == 4 else environment.from_sh(scene.light, ENVIRONMENT, ENVIRONMENT)
    draw = sampler(light, keys)

    def look(pixel: jax.Array) -> tuple[_Points, Draws, jax.Array]:
        """The points that pixels [B, N] show, the directions drawn for them, which of these are above."""
        # ---------------- 1. See: the surface point x that each pixel shows ----------------
        points = _see(scene, view, pixel)

        # ---------------- 2. Draw light: directions l with the density p ----------------
        l, L, p = draw(jnp.minimum(pixel, view.pixels - 1), lax.stop_gradient(points.n), samples)
        l, p = lax.stop_gradient((l, p))
        return points, Draws(l, L, p), points.covered & (vectors.dot(points.n_g, l) > HORIZON)

    def rays(pixel: jax.Array) -> _Rays:
        points, draws, above = look(pixel)
        start = points.x + view.lift[:, None, None] * points.n_g
        return lax.stop_gradient(_Rays(start, points.triangle, draws.direction, above))

    def estimate(shown: tuple[jax.Array, jax.Array | None]) -> Picture:
        """The layers at pixels [B, N] from which V [S, B, N] is free; None: all that is above the horizon."""
        pixel, V = shown
        points, (l, L, p), above = look(pixel)
        V = above if V is None else V

        # ---------------- 4. Integrate: L_o, and the irradiance E, which has no f ----------------
        L_o, E = _integrate(points, scene.roughness, l, L, p, V)

        arriving = V.sum(0) / jnp.maximum(above.sum(0), 1)
        covered = points.covered[..., None].astype(L_o.dtype)
        layers = (L_o, covered, points.c, points.s, points.n, E / jnp.pi, arriving[..., None])
        return Picture(*(jnp.where(points.covered[..., None], layer, 0) for layer in layers))

    where = _covered_first(view.triangle >= 0, size)
    chunks = _chunks(where, chunk, view.pixels)
    # ---------------- 3. Find what is blocked: V(x, l), once for the forward and the backward pass ----------------
    V = None
    if shadows:
        bvh = tree.refit(scene.leaves, scene.topology.triangles, scene.vertices)
        find = lambda chunks: _free(bvh, _map_covered(rays, chunks, chunks, view.pixels))
        V = _in_groups(find, chunks, max(1, RAYS // (chunk * samples)), view.pixels)
    picture = _map_covered(jax.checkpoint(estimate) if len(chunks) > 1 else estimate, (chunks, V), chunks, view.pixels)

    def spread(layer: jax.Array) -> jax.Array:
        """[chunks, B, N, C] of the covered pixels to [B, H, W, C]."""
        values = jnp.moveaxis(layer, 0, 1).reshape(len(where), -1, layer.shape[-1])[:, : view.pixels]
        blank = jnp.zeros((view.pixels, layer.shape[-1]), layer.dtype)
        put = lambda w, values: blank.at[w].set(values, mode='drop', unique_indices=True)
        return jax.vmap(put)(where, values).reshape(len(where), *size, -1)

    picture = jax.tree.map(spread, picture)
    return dataclasses.replace(picture, coverage=picture.coverage[..., 0], visibility=picture.visibility[..., 0])


class _View(NamedTuple):
    """What is known once about each image, before its pixels are looked at.

    Attributes:
      size: (H, W).
      projections: [B, V, 2] pixels of the vertices, depth: [B, V] mm.
      triangle: [B, H W] int32, id of the triangle that each pixel shows, -1 for none. No gradient.
      geometry: [B, V, G] vertices, their normals and, where there is a normal map, tangents and bitangents.
      n_g: [B, T, 3] unit normals of the triangles. No gradient.
      lift: [B] mm from the surface to where shadow rays start. No gradient.
    """

    size: tuple[int, int]
    projections: jax.Array
    depth: jax.Array
    triangle: jax.Array
    geometry: jax.Array
    n_g: jax.Array
    lift: jax.Array

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]


class _Points(NamedTuple):
    """Surface points that N pixels show, leaves [B, N, ...]; arbitrary where no surface is.

    Attributes:
      covered: [B, N] bool, whether the pixel shows a surface.
      triangle: [B, N] int32, the one that it shows; any where it shows none.
      x: [B, N, 3] mm, camera space.
      v: [B, N, 3] unit, towards the camera.
      n: [B, N, 3] unit shading normal: interpolated, and bent by the normal map.
      n_g: [B, N, 3] unit normal of the triangle, which decides the horizon. No gradient.
      c: [B, N, 3] diffuse albedo.
      s: [B, N, 1] weight of the specular lobe.
    """

    covered: jax.Array
    triangle: jax.Array
    x: jax.Array
    v: jax.Array
    n: jax.Array
    n_g: jax.Array
    c: jax.Array
    s: jax.Array


def _project(scene: Scene, size: tuple[int, int]) -> _View:
    """Project the vertices and rasterise the triangles through the pixel centres; what is seen has no gradient."""
    vertices, triangles = scene.vertices, jnp.asarray(scene.topology.triangles)
    projections, depth = cameras.project(scene.camera, vertices)
    fragments = raster.rasterise_batch(
        projections, depth, triangles, size, cull=True, perspective=isinstance(scene.camera, Pinhole)
    )
    normals = mesh.vertex_normals(vertices, triangles)
    geometry = [vertices, normals]
    if scene.normal_map is not None:
        geometry += mesh.tangents(vertices, normals, scene.topology)
    return _View(
        size=size,
        projections=projections,
        depth=depth,
        triangle=fragments.triangle.reshape(len(vertices), -1),
        geometry=jnp.concatenate(geometry, -1),
        n_g=lax.stop_gradient(vectors.normalise(mesh.triangle_normals(vertices, triangles))),
        lift=LIFT * jnp.ptp(lax.stop_gradient(vertices), axis=1).max(-1),
    )


def _see(scene: Scene, view: _View, pixel: jax.Array) -> _Points:
    """The surface points that pixels [B, N] show; pixel numbers run row by row, H W is none.

    Differentiable in vertices, camera, albedo and normal map for the triangle that is seen; where that is grazed, in
    albedo and normal map alone.
    """
    number = jnp.minimum(pixel, view.pixels - 1)
    triangle = jnp.where(pixel < view.pixels, jnp.take_along_axis(view.triangle, number, 1), -1)
    covered = triangle >= 0
    centre = jnp.stack([number % view.size[1], number // view.size[1]], -1).astype(view.projections.dtype) + 0.5
    perspective = isinstance(scene.camera, Pinhole)
    weights = jax.vmap(
        lambda t, at, projections, depth: interpolation.barycentric(
            t, at, projections, depth, scene.topology.triangles, perspective=perspective
        )
    )(triangle, centre, view.projections, view.depth)

    def between(weights: jax.Array, attributes: jax.Array) -> jax.Array:
        points = MeshPoints(triangle, weights)
        return jax.vmap(interpolation.interpolate, (0, None, 0))(points, scene.topology.triangles, attributes)

    # What shows no surface is anywhere but at the camera, which has no direction towards itself.
    somewhere = lambda x: jnp.where(covered[..., None], x, -1.0)
    n_g = _rows(view.n_g, jnp.maximum(triangle, 0))
    still = between(lax.stop_gradient(weights), lax.stop_gradient(scene.vertices))
    slant = vectors.dot(n_g, cameras.towards(scene.camera, somewhere(still)))
    steady = lambda x: jnp.where((slant < GRAZING)[..., None], lax.stop_gradient(x), x)

    weights = steady(weights)
    geometry = steady(between(weights, view.geometry))
    x, n = somewhere(geometry[..., :3]), geometry[..., 3:6]

    def mapped(maps: jax.Array) -> jax.Array:
        coordinates = jnp.broadcast_to(jnp.asarray(scene.topology.uv), (len(maps), *scene.topology.uv.shape))
        points = MeshPoints(triangle, weights)
        place = jax.vmap(interpolation.interpolate, (0, None, 0))(points, scene.topology.uv_triangles, coordinates)
        return uv.sample(maps, place)

    albedo = lambda values: mapped(values) if values.ndim == 4 else between(weights, values)

    if scene.normal_map is not None:
        n = mesh.bend(mapped(scene.normal_map), geometry[..., 6:9], geometry[..., 9:], n)
    return _Points(
        covered=covered,
        triangle=jnp.maximum(triangle, 0),
        x=x,
        v=cameras.towards(scene.camera, x),
        n=vectors.normalise(n),
        n_g=n_g,
        c=albedo(scene.diffuse),
        s=albedo(scene.specular),
    )


class _Rays(NamedTuple):
    """Shadow rays; without the first axis for one chunk.

    Attributes:
      start: [chunks, B, N, 3] mm, triangle: [chunks, B, N] that is there.
      l: [chunks, S, B, N, 3] their directions.
      above: [chunks, S, B, N] bool, those above the horizon, which are to be traced.
    """

    start: jax.Array
    triangle: jax.Array
    l: jax.Array
    above: jax.Array


def _free(bvh: tree.Tree, rays: _Rays) -> jax.Array:
    """Which shadow rays are above the horizon and meet nothing, [chunks, S, B, N] bool. No gradient."""
    image_first = lambda x: jnp.moveaxis(x, 2, 0)
    start, triangle, l, above = map(image_first, (rays.start[:, None], rays.triangle[:, None], rays.l, rays.above))
    return rays.above & ~jnp.moveaxis(trace.occluded(bvh, start, l, above, leaving=triangle), 0, 2)


def _integrate(
    points: _Points, roughness: Array, l: jax.Array, L: jax.Array, p: jax.Array, V: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Means over S draws, [B, N, 3]: radiance f L V (n·l)+ / p and irradiance L V (n·l)+ / p.

    Differentiable in the points and in L, but for draws and visibility that stay as they are. One draw follows another;
    the backward pass computes them again.
    """

    split = vectors.components
    n, v, c, s = (split(x) for x in (points.n, points.v, points.c, points.s))

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def add(total, draw):
        l, L, p, V = draw
        f = brdf.evaluate(n, l, v, c, s, roughness)
        E = vectors.scale(jnp.maximum(vectors.dot(n, l), 0) * V / p, L)
        return jax.tree.map(jnp.add, total, ([a * b for a, b in zip(f, E)], E)), None

    nothing = [jnp.zeros(points.covered.shape, points.x.dtype)] * 3
    (L_o, E), _ = lax.scan(add, (nothing, nothing), (split(l), split(L), p, V))
    return jnp.stack(L_o, -1) / len(l), jnp.stack(E, -1) / len(l)


def _covered_first(covered: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The numbers of the pixels [B, H W] that show something, neighbours together, then H W for none; int32."""
    curve = jnp.asarray(sampling.curve(*size))
    covered = covered[:, curve]
    count = len(curve)
    rank = jnp.where(covered, jnp.cumsum(covered, -1, dtype=jnp.int32) - 1, count)
    return jax.vmap(lambda r: jnp.full(count, count, jnp.int32).at[r].set(curve, mode='drop'))(rank)


def _chunks(where: jax.Array, chunk: int, nothing: int) -> jax.Array:
    """Pixel numbers [B, N] as [chunks, B, chunk], the last one filled up with ``nothing``."""
    where = jnp.pad(where, ((0, 0), (0, -where.shape[1] % chunk)), constant_values=nothing)
    return jnp.moveaxis(where.reshape(len(where), -1, chunk), 1, 0)


def _in_groups(function: Callable[[jax.Array], jax.Array], chunks: jax.Array, together: int, nothing: int) -> jax.Array:
    """What a function gives for chunks, [chunks, ...], of which it is given so many at a time."""
    count = len(chunks)
    if count <= together:
        return function(chunks)
    chunks = jnp.pad(chunks, ((0, -count % together), (0, 0), (0, 0)), constant_values=nothing)
    values = lax.map(function, chunks.reshape(-1, together, *chunks.shape[1:]))
    return values.reshape(-1, *values.shape[2:])[:count]


def _map_covered(function: Callable[[Any], Any], arguments: Any, chunks: jax.Array, nothing: int) -> Any:
    """What a function gives for each chunk; zeros for those with nothing to see, for which it is not asked."""
    if len(chunks) == 1:
        return jax.tree.map(lambda x: x[None], function(jax.tree.map(lambda x: x[0], arguments)))
    one = jax.tree.map(lambda x: x[0], arguments)
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, one))
    ask = lambda given: lax.cond((given[0] < nothing).any(), function, lambda _: empty, given[1])
    return lax.map(ask, (chunks, arguments))


def _rows(values: jax.Array, index: jax.Array) -> jax.Array:
    """Rows [B, N, C] of tables [B, K, C] by numbers [B, N]."""
    return jax.vmap(lambda v, i: v[i])(values, index)
