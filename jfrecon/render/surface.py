"""From a face's parameters to its posed, shaded surface: the steps that every method and renderer shares."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.geometry import cameras, mesh, rotations, uv, vectors
from jfrecon.morphable import linear
from jfrecon.render import interpolation, raster, vertex
from jfrecon.shading import brdf
from jfrecon.types import Array, Camera, FaceParameters, Fragments, Maps, MorphableModel, Pinhole, Topology


@struct.dataclass
class Surface:
    """A posed face, vertex by vertex, before any light falls on it.

    Attributes:
      vertices: [B, V, 3] mm, camera space.
      normals: [B, V, 3] unit, camera space.
      diffuse: [B, V, 3] linear albedo.
      specular: [B, V, 1] weight of the specular lobe.
      pixels: [B, V, 2] projections.
      depth: [B, V] mm in front of the camera.
      camera: that sees it.
    """

    vertices: jax.Array
    normals: jax.Array
    diffuse: jax.Array
    specular: jax.Array
    pixels: jax.Array
    depth: jax.Array
    camera: Camera


def seen_by(chi: FaceParameters, camera: Camera) -> Camera:
    """The camera that sees a face: the photograph's, or what is left of a pinhole in weak perspective."""
    if chi.perspective or not isinstance(camera, Pinhole):
        return camera
    return cameras.weakened(camera, -jnp.asarray(chi.translation)[..., 2])


def posed(model: MorphableModel, chi: FaceParameters, camera: Camera) -> Surface:
    """Decode geometry and albedo (dib21 3.1), pose them and project them; differentiable in everything.

    camera: of the photograph, see `seen_by`.
    """
    camera = seen_by(chi, camera)
    shape = linear.shape(model, chi.identity, chi.expression)
    vertices = rotations.transform(chi.rotation, chi.translation, shape)
    diffuse, specular = linear.albedo(model, chi.albedo)
    pixels, depth = cameras.project(camera, vertices)
    normals = mesh.vertex_normals(vertices, model.topology.triangles)
    return Surface(vertices, normals, diffuse, specular, pixels, depth, camera)


def colours(face: Surface, light: jax.Array, roughness: float) -> jax.Array:
    """Linear radiance [B, V, 3] that each vertex sends to the camera (dib21 appendix B)."""
    view = cameras.towards(face.camera, face.vertices)
    return vertex.shade(face.normals, view, face.diffuse, face.specular, light, roughness)


def prior_maps(model: MorphableModel, texels: uv.TexelMap, albedo: jax.Array) -> Maps:
    """The morphable model's reflectance, D and S, of coefficients [B, A], in UV; leaves [B, S, S, C]."""
    return Maps(*(uv.to_uv(texels, values) for values in linear.albedo(model, albedo)))


def textured(model: MorphableModel, face: Surface, maps: Maps, places: Array) -> Surface:
    """The face with the albedo and the bent normals that maps have at its vertices.

    places: [V, 2] texture coordinates of the vertices; maps: leaves [B, S, S, C].
    """
    at = lambda values: uv.sample(values, jnp.broadcast_to(jnp.asarray(places), face.pixels.shape))
    normals = face.normals
    if maps.normal is not None:
        tangent, bitangent = mesh.tangents(face.vertices, normals, model.topology)
        normals = mesh.bend(at(maps.normal), tangent, bitangent, normals)
    return dataclasses.replace(face, diffuse=at(maps.diffuse), specular=at(maps.specular), normals=normals)


def rasterise(model: MorphableModel, face: Surface, size: tuple[int, int]) -> Fragments:
    """What each pixel of an [H, W] image sees of the outside of the face; leaves [B, H, W, ...]. No gradient."""
    return raster.rasterise_batch(
        face.pixels, face.depth, model.topology.triangles, size, cull=True, perspective=_perspective(face)
    )


def visible(model: MorphableModel, face: Surface, fragments: Fragments) -> jax.Array:
    """[B, V] bool: vertices that the camera sees, of which ``fragments`` are an image. No gradient."""
    look = functools.partial(raster.visible_vertices, perspective=_perspective(face))
    return jax.vmap(look, in_axes=(0, 0, None, 0))(face.pixels, face.depth, model.topology.triangles, fragments)


def unwrapped(
    model: MorphableModel, face: Surface, fragments: Fragments, image: jax.Array, texels: uv.TexelMap
) -> tuple[jax.Array, jax.Array]:
    """A photograph [B, H, W, C] in UV, [B, S, S, C], by the face's pose and shape, and [B, S, S] 1 where it shows it.

    fragments: of the same size. Differentiable in image and vertices, see `jfrecon.geometry.uv.unwrap`.
    """
    texture, shown = uv.unwrap(image, face.vertices, face.camera, visible(model, face, fragments), texels)
    return texture, shown.astype(texture.dtype)


def _perspective(face: Surface) -> bool:
    return isinstance(face.camera, Pinhole)


def picture(model: MorphableModel, fragments: Fragments, attributes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Interpolate vertex attributes [B, V, C] into images: ([B, H, W, C], coverage [B, H, W])."""
    images = jax.vmap(interpolation.interpolate, in_axes=(0, None, 0))(fragments, model.topology.triangles, attributes)
    return images, (fragments.triangle >= 0).astype(images.dtype)


@struct.dataclass
class Layers:
    """Pictures of a face, 0 where it is not; linear.

    Attributes:
      normal: [B, H, W, 3] unit, camera space.
      diffuse: [B, H, W, 3] albedo, specular: [B, H, W, 1] weight.
      radiance: [B, H, W, 3] as the vertex renderer has it.
      arriving: [B, H, W, 3] share of the irradiance that the face does not keep from itself, 1 where nothing is traced.
      coverage: [B, H, W] 1 where the face is.
    """

    normal: jax.Array
    diffuse: jax.Array
    specular: jax.Array
    radiance: jax.Array
    arriving: jax.Array
    coverage: jax.Array


def layers(
    model: MorphableModel, face: Surface, light: jax.Array, maps: Maps | None, fragments: Fragments, roughness: float
) -> Layers:
    """What the camera sees in fragments, with the albedo of the vertices or, where there are maps, that of the maps.

    Where the maps have light it takes the place of ``light`` in what is matte; gloss stays as it is.

    Without maps the colours of the vertices are interpolated; with them each pixel is shaded by itself, with its albedo
    and its bent normal. Beyond the maps, where u > 1 (eyes and teeth of a portrait), albedo and normal are those of the
    vertices.
    """
    if maps is None:
        shaded = colours(face, light, roughness)
        drawn, coverage = picture(
            model, fragments, jnp.concatenate([face.normals, face.diffuse, face.specular, shaded], -1)
        )
        normal, diffuse, specular, radiance = jnp.split(drawn, [3, 6, 7], -1)
        return Layers(vectors.normalise(normal), diffuse, specular, radiance, _everywhere(coverage), coverage)

    attributes = [face.vertices, face.normals, coloured(face.diffuse, maps.behind), face.specular]
    if maps.normal is not None:
        attributes += mesh.tangents(face.vertices, face.normals, model.topology)
    drawn, coverage = picture(model, fragments, jnp.concatenate(attributes, -1))
    ends = np.cumsum([values.shape[-1] for values in attributes])[:-1]
    point, normal, diffuse, specular, *frame = jnp.split(drawn, ends, -1)
    normal = vectors.normalise(normal)
    corners = jnp.broadcast_to(jnp.asarray(model.topology.uv), (len(drawn), *model.topology.uv.shape))
    place = jax.vmap(interpolation.interpolate, in_axes=(0, None, 0))(fragments, model.topology.uv_triangles, corners)
    mapped = (place[..., :1] <= 1) & (coverage[..., None] > 0)

    def look_up(values: jax.Array, other: jax.Array) -> jax.Array:
        found = uv.sample(values, place.reshape(len(place), -1, 2)).reshape(other.shape)
        return jnp.where(mapped, found, other)

    diffuse, specular = look_up(maps.diffuse, diffuse), look_up(maps.specular, specular)
    if maps.normal is not None:
        flat = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), normal.shape)
        tangent, bitangent = frame
        normal = mesh.bend(look_up(maps.normal, flat), tangent, bitangent, normal)
    in_line = lambda x: x.reshape(len(x), -1, x.shape[-1])
    n, p, c, s = (in_line(x) for x in (normal, point, diffuse, specular))
    view = cameras.towards(face.camera, p)
    if maps.light is None:
        radiance = vertex.shade(n, view, c, s, light, roughness)
    else:
        *grid, count, rgb = maps.light.shape
        everywhere = jnp.broadcast_to(light.reshape(len(light), 1, 1, -1), (*normal.shape[:3], count * rgb))
        local = look_up(maps.light.reshape(*grid, -1), everywhere).reshape(*n.shape[:2], count, rgb)
        body = c * vertex.irradiance(n[..., None, :], local)[..., 0, :]
        radiance = brdf.blend(s, body, vertex.gloss(n, view, light, roughness))
    radiance = radiance.reshape(point.shape) * coverage[..., None]
    return Layers(normal, diffuse, specular, radiance, _everywhere(coverage), coverage)


def mapped(topology: Topology) -> jax.Array:
    """[T] bool: the triangles that have a place in the maps; eyes and teeth of a portrait have u > 1."""
    return (jnp.asarray(topology.uv)[jnp.asarray(topology.uv_triangles), 0] <= 1).all(-1)


def coloured(diffuse: jax.Array, behind: jax.Array | None) -> jax.Array:
    """Albedo [..., V, 3] of a portrait's vertices, the last W of which have that of ``behind`` [..., W, 3] if given."""
    if behind is None:
        return diffuse
    return jnp.concatenate([diffuse[..., : diffuse.shape[-2] - behind.shape[-2], :], behind], -2)


def _everywhere(coverage: jax.Array) -> jax.Array:
    return jnp.broadcast_to(coverage[..., None], (*coverage.shape, 3))
