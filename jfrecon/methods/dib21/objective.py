"""The energies of dib21 (eqs. 2 and 3), term by term, reduced as the config says."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from jfrecon.geometry import uv
from jfrecon.geometry.uv import sample_image
from jfrecon.losses import terms
from jfrecon.render import vertex
from jfrecon.shading import colour
from jfrecon.types import Array, Batch, FaceParameters, Maps


@struct.dataclass
class Weights:
    """Weights of eqs. 2 and 3; the paper's values stand in `configs/dib21.py`.

    Attributes:
      photo: E_ph, mean over the counted pixels or vertices of the L1 over linear RGB; with both, the sum of the two.
      landmarks: alpha_1 of E_land, mean over the known landmarks of the distance in units of the image's width.
      identity, albedo: w_i and w_c, of the sums of squared coefficients.
      expression: of the sum of squared activations; 0 in the paper.
      box: of E_b(delta), a sum over the activations.
      light: of the sum of squares of the bands above the first, which keeps the light from explaining the skin; 0 in
        the paper.
      symmetry: w1; consistency_diffuse: w2D, at the start of a stage, times ``relax`` after each epoch;
        consistency_specular: w2S; smoothness: w3; albedo_box: w4. All are means over the texels of the charts, of the
        diffuse and the specular map together but for w2.
    """

    photo: float = struct.field(pytree_node=False)
    landmarks: float = struct.field(pytree_node=False)
    identity: float = struct.field(pytree_node=False)
    albedo: float = struct.field(pytree_node=False)
    expression: float = struct.field(pytree_node=False)
    box: float = struct.field(pytree_node=False)
    light: float = struct.field(pytree_node=False)
    symmetry: float = struct.field(pytree_node=False)
    consistency_diffuse: float = struct.field(pytree_node=False)
    consistency_specular: float = struct.field(pytree_node=False)
    smoothness: float = struct.field(pytree_node=False)
    albedo_box: float = struct.field(pytree_node=False)
    relax: float = struct.field(pytree_node=False)


def vertex_photometric(
    colours: jax.Array, pixels: jax.Array, visible: jax.Array, batch: Batch
) -> jax.Array:
    """E_ph as appendix B, eq. 7 has it, averaged over the vertices that are seen on skin.

    colours: [B, V, 3] linear; pixels: [B, V, 2]; visible: [B, V]. The mask is read at the projections without
    gradient, or a face would slide to where fewer of its vertices count. Returns [B].
    """
    mask = sample_image(batch.mask[..., None], jax.lax.stop_gradient(pixels))[..., 0]
    residual = vertex.photometric(colours, colour.srgb_to_linear(batch.image), pixels, visible)
    return terms.masked_mean(residual, mask * visible, axis=-1)


def pixel_photometric(rendered: jax.Array, coverage: jax.Array, batch: Batch) -> jax.Array:
    """E_ph as the ray tracer has it, eq. 2: averaged over the pixels where the rendering shows skin; [B].

    rendered: [B, H, W, 3] linear; coverage: [B, H, W]. Mask and coverage have no gradient.
    """
    residual = terms.photometric(rendered, colour.srgb_to_linear(batch.image))
    return terms.masked_mean(residual, jax.lax.stop_gradient(batch.mask * coverage), axis=(-2, -1))


def landmark_distance(projected: jax.Array, batch: Batch) -> jax.Array:
    """E_land: mean distance of the 68 projections [B, 68, 2] to the given landmarks, in image widths; [B]."""
    distance = terms.landmark_distance(projected, batch.landmarks) / batch.image.shape[-2]
    return terms.masked_mean(distance, batch.landmark_weight, axis=-1)


def priors(chi: FaceParameters) -> dict[str, jax.Array]:
    """E_p and E_b of eq. 2, each a sum over coefficients; [B]."""
    return {
        'identity': jnp.sum(terms.prior(chi.identity), -1),
        'albedo': jnp.sum(terms.prior(chi.albedo), -1),
        'expression': jnp.sum(terms.prior(chi.expression), -1),
        'box': jnp.sum(terms.soft_box(chi.expression), -1),
        'light': jnp.sum(jnp.square(chi.light[..., 1:, :]), (-2, -1)),
    }


def albedo_terms(final: Maps, prior: Maps, texels: uv.TexelMap, mirror: Array) -> dict[str, jax.Array]:
    """E_s, E_c, E_m and E_b of eq. 3 by the names of their weights; [B].

    final: D^ and S^, and prior: D and S, leaves [B, S, S, C]; texels and mirror: of the topology, [S, S].
    """
    on_chart = jnp.asarray(texels.coverage)
    mean = lambda values: terms.masked_mean(values, on_chart, axis=(-2, -1))
    both = lambda term: mean(term(final.diffuse)) + mean(term(final.specular))
    return {
        'symmetry': both(lambda albedo: terms.symmetry(albedo, uv.flip(albedo, mirror))),
        'consistency_diffuse': mean(terms.consistency(final.diffuse, prior.diffuse)),
        'consistency_specular': mean(terms.consistency(final.specular, prior.specular)),
        'smoothness': both(lambda albedo: terms.smoothness(albedo, on_chart.astype(albedo.dtype))),
        'albedo_box': both(lambda albedo: jnp.sum(terms.soft_box(albedo), -1)),
    }
