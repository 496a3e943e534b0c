"""From a face's parameters to its posed, shaded surface: the steps that every method and renderer shares."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from jfrecon.geometry import camera as cameras
from jfrecon.geometry import mesh, rotations, uv, vectors
from jfrecon.morphable import model as morphable
from jfrecon.render import fragments as hits
from jfrecon.render import raster, vertex
from jfrecon.shading import brdf, colour
from jfrecon.types import Camera, FaceParameters, Fragments, MorphableModel


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
    """

    vertices: jax.Array
    normals: jax.Array
    diffuse: jax.Array
    specular: jax.Array
    pixels: jax.Array
    depth: jax.Array


def surface(model: MorphableModel, chi: FaceParameters, camera: Camera) -> Surface:
    """Decode geometry and albedo (dib21 3.1), pose them and project them; differentiable in everything."""
    shape = morphable.shape(model, chi.identity, chi.expression)
    vertices = rotations.transform(chi.rotation, chi.translation, shape)
    diffuse, specular = morphable.albedo(model, chi.albedo)
    pixels, depth = cameras.project(camera, vertices)
    normals = mesh.vertex_normals(vertices, model.topology.triangles)
    return Surface(vertices, normals, diffuse, specular, pixels, depth)


def colours(face: Surface, light: jax.Array, roughness: float) -> jax.Array:
    """Linear radiance [B, V, 3] that each vertex sends to a pinhole at the origin (dib21 appendix B)."""
    view = vectors.normalise(-face.vertices)
    return vertex.shade(face.normals, view, face.diffuse, face.specular, light, roughness)


def fragments(model: MorphableModel, face: Surface, size: tuple[int, int]) -> Fragments:
    """What each pixel of an [H, W] image sees of the outside of the face; leaves [B, H, W, ...]. No gradient."""
    return raster.rasterise_batch(face.pixels, face.depth, model.topology.triangles, size, cull=True)


def visible(model: MorphableModel, face: Surface, size: tuple[int, int]) -> jax.Array:
    """[B, V] bool: vertices that a camera with an [H, W] image sees. No gradient."""
    return jax.vmap(hits.visible_vertices, in_axes=(0, 0, None, 0))(
        face.pixels, face.depth, model.topology.triangles, fragments(model, face, size)
    )


def picture(
    model: MorphableModel, seen: Fragments, attributes: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Interpolate vertex attributes [B, V, C] into images: ([B, H, W, C], coverage [B, H, W])."""
    images = jax.vmap(hits.interpolate, in_axes=(0, None, 0))(seen, model.topology.triangles, attributes)
    return images, (seen.triangle >= 0).astype(images.dtype)


@struct.dataclass
class Layers:
    """Pictures of a face, 0 where it is not; linear.

    Attributes:
      normal: [B, H, W, 3] unit, camera space.
      diffuse: [B, H, W, 3] albedo, specular: [B, H, W, 1] weight.
      radiance: [B, H, W, 3] as the vertex renderer has it.
      coverage: [B, H, W] 1 where the face is.
    """

    normal: jax.Array
    diffuse: jax.Array
    specular: jax.Array
    radiance: jax.Array
    coverage: jax.Array


def layers(model: MorphableModel, face: Surface, chi: FaceParameters, seen: Fragments, roughness: float) -> Layers:
    """What the camera sees in fragments, with the albedo of the vertices or, where chi has maps, that of the maps.

    With maps irradiance and gloss are interpolated between the vertices and meet the albedo in the pixel. Beyond the
    maps, where u > 1 (eyes and teeth of a portrait), the albedo is that of the vertices.
    """
    view = vectors.normalise(-face.vertices)
    white = vertex.irradiance(face.normals, chi.light)
    gloss = vertex.gloss(face.normals, view, chi.light, roughness)
    if chi.maps is None:
        shaded = brdf.blend(face.specular, face.diffuse * white, gloss)
        drawn, coverage = picture(
            model, seen, jnp.concatenate([face.normals, face.diffuse, face.specular, shaded], -1)
        )
        normal, diffuse, specular, radiance = jnp.split(drawn, [3, 6, 7], -1)
    else:
        attributes = [face.normals, white, gloss, face.diffuse, face.specular]
        drawn, coverage = picture(model, seen, jnp.concatenate(attributes, -1))
        normal, white, gloss, *beyond = jnp.split(drawn, [3, 6, 9, 12], -1)
        corners = jnp.broadcast_to(jnp.asarray(model.topology.uv), (len(drawn), *model.topology.uv.shape))
        place = jax.vmap(hits.interpolate, in_axes=(0, None, 0))(seen, model.topology.uv_triangles, corners)
        look_up = lambda values: uv.sample(values, place.reshape(len(place), -1, 2)).reshape(*coverage.shape, -1)
        mapped = (place[..., :1] <= 1) & (coverage[..., None] > 0)
        diffuse, specular = (
            jnp.where(mapped, look_up(values), other)
            for values, other in zip((chi.maps.diffuse, chi.maps.specular), beyond, strict=True)
        )
        radiance = brdf.blend(specular, diffuse * white, gloss)
    return Layers(vectors.normalise(normal), diffuse, specular, radiance, coverage)


def photo(
    model: MorphableModel, chi: FaceParameters, camera: Camera, size: tuple[int, int], roughness: float
) -> tuple[jax.Array, jax.Array]:
    """The re-rendered photograph, sRGB [B, H, W, 3] in 0..1 and black where no face is, and coverage [B, H, W]."""
    face = surface(model, chi, camera)
    drawn = layers(model, face, chi, fragments(model, face, size), roughness)
    return jnp.clip(colour.linear_to_srgb(drawn.radiance), 0, 1) * drawn.coverage[..., None], drawn.coverage
