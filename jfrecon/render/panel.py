"""The row of pictures that shows what was made of a photograph."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.render import portraits, vertex
from jfrecon.render.portraits import Portrait
from jfrecon.shading import colour, sh
from jfrecon.types import FaceParameters, Pinhole

COLUMNS = ('input', 'overlay', 'geometry', 'albedo', 'light')
#: The columns of s2f2's figures: re-rendering, shading of grey skin, normals in camera space, both albedos.
LAYERS = ('input', 'overlay', 'final', 'shading', 'normal', 'albedo', 'specular', 'light')
#: The same of surfaces without gloss and light without colour of its own.
MATTE = ('input', 'overlay', 'final', 'shading', 'normal', 'albedo', 'light')

#: Albedo of clay. White would be white wherever the light is brighter than skin, which is dark, needs it to be.
CLAY = 0.5


def rows(
    portrait: Portrait,
    chi: FaceParameters,
    image: jax.Array,
    camera: Pinhole,
    columns: tuple[str, ...] = COLUMNS,
) -> np.ndarray:
    """A picture for each column: those of `COLUMNS` or of `LAYERS`.

    'overlay' is the re-rendering over the input, 'geometry' the face in grey clay, 'light' a matte sphere under it and
    'shading' the face as matte as that.

    image: [B, H, W, 3] sRGB in 0..1. Returns uint8 [B, H, W columns, 3].
    """
    pictures = _rows(portrait, chi, jnp.asarray(image), camera, columns)
    return np.asarray(jnp.round(jnp.clip(pictures, 0, 1) * 255).astype(jnp.uint8))


@functools.partial(jax.jit, static_argnums=4)
def _rows(portrait, chi, image, camera, columns):
    height, width = image.shape[1:3]
    _, drawn = portraits.draw(portrait, chi, camera, (height, width))
    coverage = drawn.coverage[..., None]
    encoded = lambda values: colour.linear_to_srgb(values) * coverage
    lit = lambda light: vertex.irradiance(drawn.normal.reshape(len(image), -1, 3), light).reshape(image.shape)
    # a lamp behind the viewer's left shoulder and a dim room: shows shape without flattering it
    studio = sh.directional(jnp.array([-0.4, 0.5, 0.77]), jnp.full(3, 2.2), 3).at[0].add(0.35 * sh.GREY)
    pictures = {
        'input': image,
        'overlay': encoded(drawn.radiance) + (1 - coverage) * image,
        'final': encoded(drawn.radiance),
        'geometry': encoded(CLAY * lit(jnp.broadcast_to(studio, (len(image), *studio.shape)))),
        'shading': encoded(CLAY * lit(chi.light) * drawn.arriving),
        'normal': (0.5 + 0.5 * drawn.normal) * coverage,
        'albedo': encoded(drawn.diffuse),
        'specular': encoded(jnp.broadcast_to(drawn.specular, image.shape)),
        'light': sphere(chi.light, height, width),
    }
    return jnp.concatenate([pictures[name] for name in columns], -2)


def sphere(light: jax.Array, height: int, width: int) -> jax.Array:
    """A matte grey sphere under the light [B, L², 3], as the camera sees it; sRGB [B, H, W, 3], grey outside."""
    y, x = jnp.mgrid[1 : -1 : height * 1j, -1 : 1 : width * 1j] * 1.1
    inside = x**2 + y**2 < 1
    z = jnp.sqrt(jnp.where(inside, 1 - x**2 - y**2, 1.0))
    normals = jnp.stack([x, y, z], -1).reshape(1, -1, 3)
    normals = normals / jnp.linalg.norm(normals, axis=-1, keepdims=True)
    normals = jnp.broadcast_to(normals, (light.shape[0], *normals.shape[1:]))
    shaded = CLAY * vertex.irradiance(normals, light).reshape(light.shape[0], height, width, 3)
    return jnp.where(inside[None, ..., None], colour.linear_to_srgb(shaded), 0.2)
