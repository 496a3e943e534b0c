"""The light of a face of which everything else is known, in closed form.

A vertex's colour is linear in the light (`render.vertex.responses`), so what of dib21's eq. 2 depends on it, E_ph over
vertices (eq. 7) and the priors on light and exposure, is convex. Yu and Smith (InverseRenderNet, CVPR 2019) have a
network whose light is found by least squares in this way; here the sum is one of absolute values, which hair, glasses
and shadows move less, and its minimum is that of least squares with weights that are made anew a few times.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import lax

from jfrecon.geometry import cameras, uv
from jfrecon.render import surface, vertex
from jfrecon.shading import colour, sh
from jfrecon.types import MorphableModel

ROUNDS = 4  # after eight the light is hardly another
TIP = 0.02  # residuals below it, of linear RGB, count squared
RIDGE = 1e-6  # keeps at zero what no vertex answers to, where the weights of the priors do not

_HIGHEST = lax.Precision.HIGHEST


def solved(
    model: MorphableModel,
    face: surface.Surface,
    light: jax.Array,
    image: jax.Array,
    weights: Mapping[str, float],
    roughness: float,
) -> jax.Array:
    """The light [B, L², 3] that explains photographs best, in linear RGB; no gradient.

    All that the face covers counts: where hair or glasses are is not known.

    Args:
      face: with its albedo at the vertices; leaves [B, ...].
      light: where to start, [B, L², 3].
      image: [B, H, W, 3] sRGB in 0..1.
      weights: of 'vertex', 'light' and 'exposure', as in `jfrecon.losses.energies`.
      roughness: of the specular lobe.
    """
    _, height, width, _ = image.shape
    visible = surface.visible(model, face, surface.rasterise(model, face, (height, width))).astype(image.dtype)
    # A hidden vertex may lie behind the camera, as in `render.vertex.photometric`.
    pixels = jnp.where(visible[..., None] > 0, face.pixels, 0.5)
    target = uv.sample_image(colour.srgb_to_linear(image), pixels)
    view = cameras.towards(face.camera, face.vertices)
    bands = sh.bands_of(light)

    def one(known: tuple[jax.Array, ...]) -> jax.Array:
        normals, view, diffuse, specular, visible, target, light = known
        design = vertex.responses(normals, view, diffuse, specular, bands, roughness)
        share = weights['vertex'] * visible / jnp.maximum(visible.sum(), 1.0)
        return absolute_fit(design, target, share, light, weights['light'], weights['exposure'])

    # One at a time: the responses of a fine mesh to nine bands fill tens of megabytes.
    known = face.normals, view, face.diffuse, face.specular, visible, target, light
    return lax.stop_gradient(lax.map(one, known))


def absolute_fit(
    design: jax.Array, target: jax.Array, share: jax.Array, light: jax.Array, steady: float, exposure: float
) -> jax.Array:
    """The light [L², 3] at which sum_v share_v |design_v light - target_v|_1, with its priors, is least.

    Args:
      design: [V, 3, L²] as of `render.vertex.responses`.
      target: [V, 3] linear.
      share: [V] weights of the vertices.
      light: [L², 3] where to start.
      steady, exposure: weights of the priors 'light' and 'exposure' of `jfrecon.losses.energies.priors`.
    """
    ridge = jnp.full(len(light), steady + RIDGE).at[0].set(exposure / sh.GREY**2 + RIDGE)
    grey = jnp.zeros(len(light)).at[0].set(sh.GREY)

    def channel(design: jax.Array, target: jax.Array, light: jax.Array) -> jax.Array:
        """One of RGB: [V, L²], [V], [L²]."""
        for _ in range(ROUNDS):
            residual = target - jnp.dot(design, light, precision=_HIGHEST)
            weighted = design * (0.5 * share / jnp.maximum(jnp.abs(residual), TIP))[:, None]
            normal = jnp.dot(weighted.T, design, precision=_HIGHEST) + jnp.diag(ridge)
            light = jax.scipy.linalg.solve(
                normal, jnp.dot(weighted.T, target, precision=_HIGHEST) + ridge * grey, assume_a='pos'
            )
        return light

    return jax.vmap(channel, in_axes=(1, 1, 1), out_axes=1)(design, target, light)
