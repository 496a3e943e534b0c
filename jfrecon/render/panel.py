"""The row of pictures that shows what was made of a photograph."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.render import face as faces
from jfrecon.render import vertex
from jfrecon.shading import colour, sh
from jfrecon.types import FaceParameters, MorphableModel, Pinhole

COLUMNS = ('input', 'overlay', 'geometry', 'albedo', 'light')


def rows(
    model: MorphableModel, chi: FaceParameters, image: jax.Array, camera: Pinhole, roughness: float
) -> np.ndarray:
    """Input, re-rendering over the input, grey geometry, diffuse albedo, and a matte sphere under the light.

    image: [B, H, W, 3] sRGB in 0..1. Returns uint8 [B, H, 5 W, 3], columns in the order of `COLUMNS`.
    """
    pictures = _rows(model, chi, jnp.asarray(image), camera, roughness)
    return np.asarray(jnp.round(jnp.clip(pictures, 0, 1) * 255).astype(jnp.uint8))


@functools.partial(jax.jit, static_argnums=4)
def _rows(model, chi, image, camera, roughness):
    height, width = image.shape[1:3]
    face = faces.surface(model, chi, camera)
    seen = faces.fragments(model, face, (height, width))
    # a lamp behind the viewer's left shoulder and a dim room: shows shape without flattering it
    studio = sh.directional(jnp.array([-0.4, 0.5, 0.77]), jnp.full(3, 2.2), 3).at[0].add(0.35 * sh.GREY)
    clay = jnp.full_like(face.diffuse, 0.6) * vertex.irradiance(face.normals, studio)
    drawn = faces.layers(model, face, chi, seen, roughness)
    pictures = drawn.radiance, faces.picture(model, seen, clay)[0], drawn.diffuse
    rendering, geometry, albedo = map(colour.linear_to_srgb, pictures)
    coverage = drawn.coverage[..., None]
    overlay = coverage * rendering + (1 - coverage) * image
    columns = [image, overlay, geometry * coverage, albedo * coverage, sphere(chi.light, height, width)]
    return jnp.concatenate(columns, -2)


def sphere(light: jax.Array, height: int, width: int) -> jax.Array:
    """A matte white sphere under the light [B, L², 3], as the camera sees it; sRGB [B, H, W, 3], grey outside."""
    y, x = jnp.mgrid[1 : -1 : height * 1j, -1 : 1 : width * 1j] * 1.1
    inside = x**2 + y**2 < 1
    z = jnp.sqrt(jnp.where(inside, 1 - x**2 - y**2, 1.0))
    normals = jnp.stack([x, y, z], -1).reshape(1, -1, 3)
    normals = normals / jnp.linalg.norm(normals, axis=-1, keepdims=True)
    normals = jnp.broadcast_to(normals, (light.shape[0], *normals.shape[1:]))
    white, none = jnp.ones_like(normals), jnp.zeros_like(normals[..., :1])
    # the specular weight is zero, so the view and the roughness have no effect
    shaded = vertex.shade(normals, normals, white, none, light, 1.0).reshape(light.shape[0], height, width, 3)
    return jnp.where(inside[None, ..., None], colour.linear_to_srgb(shaded), 0.2)
