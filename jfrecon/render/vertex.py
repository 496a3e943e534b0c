"""The vertex renderer: one colour per vertex, by convolution in spherical harmonics (dib21 appendix B).

Everything is in camera space, linear RGB. There are no shadows and no occlusion. The specular lobe is the one
at normal incidence turned to the mirrored view, so towards grazing views it departs from the ray tracer's
microfacet lobe.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jfrecon.geometry import uv, vectors
from jfrecon.shading import brdf, sh


def shade(
    normals: jax.Array,
    view: jax.Array,
    diffuse: jax.Array,
    specular: jax.Array,
    light: jax.Array,
    roughness: jax.Array | float,
) -> jax.Array:
    """Radiance towards the viewer, dib21 eq. 6: (1 - s) B_d(n, c) + s B_s(r); [..., V, 3], signed.

    Args:
      normals: [..., V, 3] unit.
      view: [..., V, 3] unit, from the vertex towards the camera.
      diffuse: [..., V, 3] albedo c.
      specular: [..., V, 1] weight s, a scalar as in eq. 6; the three channels of section 3.1 broadcast too.
      light: [..., L², 3] spherical-harmonics radiance.
      roughness: [...] or a number; alpha = roughness².
    """
    body = diffuse * irradiance(normals, light)
    return brdf.blend(specular, body, gloss(normals, view, light, roughness))


def responses(
    normals: jax.Array,
    view: jax.Array,
    diffuse: jax.Array,
    specular: jax.Array,
    bands: int,
    roughness: jax.Array | float,
) -> jax.Array:
    """`shade` under each harmonic of unit amplitude, [..., V, 3, L²]; the light is linear in them.

    ``shade(..., light)[..., v, c]`` is ``responses(...)[..., v, c, :] @ light[..., :, c]``.

    Args:
      normals, view, diffuse, specular, roughness: as in `shade`.
      bands: L of the light.
    """
    under = lambda harmonic: shade(normals, view, diffuse, specular, harmonic[:, None], roughness)
    return jax.vmap(under, out_axes=-1)(jnp.eye(bands**2, dtype=normals.dtype))


def irradiance(normals: jax.Array, light: jax.Array) -> jax.Array:
    """Irradiance over pi, [..., V, 3]: sum A_l / pi B_lm Y_lm(n), dib21 eq. 4 without c; 1 under unit light.

    Eq. 4 prints A_l; the division by pi is the one in the diffuse BRDF c / pi.
    """
    return sh.evaluate(light, normals, sh.cosine_kernel(sh.bands_of(light)))


def gloss(normals: jax.Array, view: jax.Array, light: jax.Array, roughness: jax.Array | float) -> jax.Array:
    """The specular lobe's answer, dib21 eq. 5, [..., V, 3]: sum S_l B_lm Y_lm(r), r the mirrored view."""
    kernel = sh.brdf_kernel(roughness, sh.bands_of(light))
    return sh.evaluate(sh.convolve(light, kernel), mirror(view, normals))


def mirror(view: jax.Array, normals: jax.Array) -> jax.Array:
    """The view [..., 3] mirrored about the normal: r = 2 (n · v) n - v, unit when both are."""
    return vectors.scale(2.0 * vectors.dot(normals, view), normals) - view


def photometric(colours: jax.Array, image: jax.Array, pixels: jax.Array, visible: jax.Array) -> jax.Array:
    """The summands |B_i - I(project(v_i))| of dib21 eq. 7, L1 over RGB, [..., V]; 0 where a vertex is hidden.

    The paper sums all vertices; leaving the hidden ones out is ours, since they would take a stranger's
    colour.

    Args:
      colours: [..., V, 3] in the same domain (linear or sRGB) as the image.
      image: [..., H, W, 3], sampled bilinearly; differentiable in the pixels.
      pixels: [..., V, 2] projections.
      visible: [..., V] bool or 0..1; no gradient.
    """
    visible = jax.lax.stop_gradient(jnp.asarray(visible).astype(colours.dtype))
    # A hidden vertex may lie behind the camera: its pixel must not reach the sampler, not even times zero.
    safe = jnp.where(visible[..., None] > 0, pixels, 0.5)
    target = uv.sample_image(image, safe)
    return visible * jnp.sum(jnp.abs(colours - target), axis=-1)
