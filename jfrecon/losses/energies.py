"""What a face in a photograph costs, term by term and one number a face, and their weighted sum.

Means over what counts (pixels, vertices, landmarks, texels), sums over coefficients: dib21's eqs. 2 and 3, s2f2's 1
to 6.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jfrecon.errors import UserError
from jfrecon.geometry import uv
from jfrecon.geometry.uv import sample_image
from jfrecon.losses import terms
from jfrecon.render import interpolation, vertex
from jfrecon.shading import colour, sh
from jfrecon.types import Array, Batch, FaceParameters, Maps, MorphableModel

DOMAINS = ('linear', 'srgb')
PRIORS = ('identity', 'albedo', 'expression', 'box', 'light', 'exposure')  # what `priors` gives of activations
ALBEDO_TERMS = ('symmetry', 'consistency_diffuse', 'consistency_specular', 'smoothness', 'albedo_box')
RELIEF_TERMS = ('smoothness_normal', 'symmetry_normal', 'consistency_normal')
RELAX = 'relax'  # no term: what the weight of the diffuse consistency is multiplied by after each epoch


def vertex_photometric(
    colours: jax.Array, pixels: jax.Array, visible: jax.Array, batch: Batch, domain: str = 'linear'
) -> jax.Array:
    """E_ph as dib21's appendix B, eq. 7, and s2f2's eq. 4 have it, averaged over the vertices that are seen on skin.

    colours: [B, V, 3] linear; pixels: [B, V, 2]; visible: [B, V]; domain: in which colours are compared, of `DOMAINS`:
    in sRGB, as by eyes, dark skin counts for more than in linear light. The mask is read at the projections without
    gradient, or a face would slide to where fewer of its vertices count. Returns [B].
    """
    mask = sample_image(batch.mask[..., None], jax.lax.stop_gradient(pixels))[..., 0]
    residual = vertex.photometric(*compared(colours, batch, domain), pixels, visible)
    return terms.masked_mean(residual, mask * visible, axis=-1)


def pixel_photometric(
    rendered: jax.Array,
    coverage: jax.Array,
    batch: Batch,
    domain: str = 'linear',
    pixels: jax.Array | None = None,
) -> jax.Array:
    """E_ph over pixels, dib21 eq. 2, s2f2 eq. 3 and cest eq. 6, averaged over those where it shows skin; [B].

    rendered: [B, H, W, 3] linear; coverage: [B, H, W]; domain: as above; pixels: [B, H, W, 2], where in the photograph
    what is rendered lies: the centres of the pixels, but with a gradient, by which what is rendered moves. Mask and
    coverage have no gradient.
    """
    radiance, photograph = compared(rendered, batch, domain)
    if pixels is not None:
        # From its centre each pixel looks as far along the photograph's slope as its point has moved. Where nothing is
        # rendered a point may lie behind the camera.
        height, width = coverage.shape[1:]
        away = jnp.where(coverage[..., None] > 0, pixels - interpolation.centres(height, width), 0.0)
        down, right = jnp.gradient(photograph, axis=(1, 2))
        photograph += away[..., :1] * right + away[..., 1:] * down
    residual = terms.photometric(radiance, photograph)
    return terms.masked_mean(residual, jax.lax.stop_gradient(batch.mask * coverage), axis=(-2, -1))


def compared(radiance: jax.Array, batch: Batch, domain: str) -> tuple[jax.Array, jax.Array]:
    """Radiance and the photograph, both in a domain of `DOMAINS`."""
    if domain == 'linear':
        return radiance, colour.srgb_to_linear(batch.image)
    return colour.linear_to_srgb(radiance), jnp.asarray(batch.image)


def landmark_distance(projected: jax.Array, batch: Batch) -> jax.Array:
    """E_land: mean distance of the 68 projections [B, 68, 2] to the given landmarks, in image widths; [B]."""
    distance = terms.landmark_distance(projected, batch.landmarks) / batch.image.shape[-2]
    return terms.masked_mean(distance, batch.landmark_weight, axis=-1)


def prior_terms(model: MorphableModel) -> tuple[str, ...]:
    """Return those of `PRIORS` that `priors` gives for a model: 'box' only where activations live in [0, 1]."""
    return tuple(name for name in PRIORS if name != 'box' or model.expression_prior == 'box')


def priors(chi: FaceParameters, model: MorphableModel) -> dict[str, jax.Array]:
    """E_p and E_b of dib21's eq. 2, each a sum over coefficients; [B], by the names of `prior_terms`.

    Half of the expressions of a Gaussian basis are negative: a box would forbid them, 'expression' is what bounds them.
    'light' and 'exposure' are ours: the bands above the first, and the distance of the mean radiance from a white of 1.
    They keep the light from explaining the skin, its colour and how dark it is.
    """
    found = {
        'identity': jnp.sum(terms.prior(chi.identity), -1),
        'albedo': jnp.sum(terms.prior(chi.albedo), -1),
        'expression': jnp.sum(terms.prior(chi.expression), -1),
        'box': jnp.sum(terms.soft_box(chi.expression), -1),
        'light': jnp.sum(jnp.square(chi.light[..., 1:, :]), (-2, -1)),
        'exposure': jnp.sum(jnp.square(chi.light[..., 0, :] / sh.GREY - 1.0), -1),
    }
    return {name: found[name] for name in prior_terms(model)}


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


def relief_terms(normal: jax.Array, texels: uv.TexelMap, mirror: Array) -> dict[str, jax.Array]:
    """What keeps a normal map [B, S, S, 3] in tangent space plain (s2f2 eq. 6 and section 7); [B].

    'smoothness_normal' is the paper's. 'symmetry_normal', whose mirrored normal points the other way along the tangent,
    and 'consistency_normal', the distance from the smooth surface, are what section 7 says would keep shadows out of
    the relief at the cost of detail: the tangent of the mirrored point is the mirrored tangent only where the UV layout
    is symmetric.
    """
    on_chart = jnp.asarray(texels.coverage)
    mean = lambda values: terms.masked_mean(values, on_chart, axis=(-2, -1))
    mirrored = uv.flip(normal, mirror) * jnp.array([-1.0, 1.0, 1.0])
    return {
        'smoothness_normal': mean(terms.smoothness(normal, on_chart.astype(normal.dtype))),
        'symmetry_normal': mean(terms.symmetry(normal, mirrored)),
        'consistency_normal': mean(terms.symmetry(normal, jnp.array([0.0, 0.0, 1.0]))),
    }


def relaxed(weights: Mapping[str, float], epochs: jax.Array | int) -> dict[str, float | jax.Array]:
    """The weights after so many epochs of a stage, by each of which that of the diffuse consistency is multiplied."""
    factor = weights[RELAX] ** epochs
    return {**weights, 'consistency_diffuse': weights['consistency_diffuse'] * factor}


def weighed(
    terms: Mapping[str, jax.Array], weights: Mapping[str, float | jax.Array]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum of the terms' means over the batch, and these means. Each term [B] has a weight of its name.

    Raises:
      UserError: a term has no weight. Of declared terms `jfrecon.methods.parts.weights` says so before tracing.
    """
    if missing := [name for name in terms if name not in weights]:
        raise UserError(f'config.loss has no weight for the term {missing[0]}')
    means = {name: jnp.mean(term) for name, term in terms.items()}
    return functools.reduce(operator.add, (weights[name] * mean for name, mean in means.items())), means
