"""Skin's reflectance: the simplified Cook-Torrance BRDF with one constant roughness (dib21 3.1, B eq. 6).

    f(l, v) = (1 - s) c / pi + s D(h) G(l, v) / (4 n·l n·v)

with GGX normals D, alpha = roughness², the separable Smith shadowing G = G1(l) G1(v) and no Fresnel term
(F = 1). The paper names neither D nor G. Directions are unit, of one frame, and point away from the surface;
batch axes broadcast. Vectors are arrays or lists of components, see `jfrecon.geometry.vectors`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jfrecon.geometry.vectors import Vectors, add, alike, components, cross, dot, scale

#: Below this the lobe is a mirror at every resolution in use, and single precision loses its peak.
MIN_ROUGHNESS = 0.03


def evaluate(
    normal: Vectors,
    light: Vectors,
    view: Vectors,
    diffuse: Vectors,
    specular: Vectors,
    roughness: jax.Array | float,
) -> Vectors:
    """The BRDF f, 1/sr, without the cosine: [..., C]; 0 where the light or the viewer is below the horizon.

    Args:
      normal, light, view: [..., 3] unit.
      diffuse: [..., C] albedo c.
      specular: [..., 1] or [..., C] weight s.
      roughness: [...] or a number, at least `MIN_ROUGHNESS` (clamped).
    """
    above = (dot(normal, light) > 0) & (dot(normal, view) > 0)
    body = scale(jnp.where(above, 1 / jnp.pi, 0.0), diffuse)
    gloss = lobe(normal, light, view, roughness)
    return blend(specular, body, alike(body, [gloss] * len(components(body))))


def blend(specular: Vectors, body: Vectors, gloss: Vectors) -> Vectors:
    """(1 - s) body + s gloss of [..., C], for weights s [..., 1] or [..., C]; one channel stands for all."""
    parts = [components(x) for x in (specular, body, gloss)]
    channels = max(map(len, parts))
    parts = [part * (channels // len(part)) for part in parts]
    return alike(body, [(1.0 - s) * matte + s * shine for s, matte, shine in zip(*parts, strict=True)])


def lobe(normal: Vectors, light: Vectors, view: Vectors, roughness: jax.Array | float) -> jax.Array:
    """The specular part D G / (4 n·l n·v), [...]; finite, with finite gradients, down to grazing angles.

    G1(mu) / mu is evaluated as one bounded expression, so nothing divides by a cosine.
    """
    alpha2 = squared_alpha(roughness)
    cos_l, cos_v = dot(normal, light), dot(normal, view)
    half = add(light, view)
    # Opposite directions have no half vector; any will do, since one of the two is below the horizon.
    meet = dot(half, half) > 1e-12
    half = alike(half, [jnp.where(meet, h, n) for h, n in zip(components(half), components(normal), strict=True)])
    inverse = 1 / dot(half, half)
    # The sine from the cross product: 1 - cos² would cancel just where a narrow lobe has its peak.
    across = cross(normal, half)
    density = distribution(dot(normal, half) ** 2 * inverse, dot(across, across) * inverse, alpha2)
    shadowing = _shadowing_over_cosine(cos_l, alpha2) * _shadowing_over_cosine(cos_v, alpha2)
    return jnp.where((cos_l > 0) & (cos_v > 0), 0.25 * density * shadowing, 0.0)


def distribution(cos2: jax.Array, sin2: jax.Array, alpha2: jax.Array) -> jax.Array:
    """GGX density of microfacet normals, 1/sr (Walter et al. 2007, eq. 33).

    D = alpha² / (pi (alpha² cos² + sin²)²);
    cos2, sin2: [...] of the angle from the normal to the half vector.
    """
    return alpha2 / (jnp.pi * (cos2 * alpha2 + sin2) ** 2)


def shadowing(cosine: jax.Array, alpha2: jax.Array) -> jax.Array:
    """Smith's G1 = 2 mu / (mu + sqrt(alpha² + (1 - alpha²) mu²)) for mu >= 0 (Walter et al. 2007, eq. 34)."""
    return cosine * _shadowing_over_cosine(cosine, alpha2)


def squared_alpha(roughness: jax.Array | float) -> jax.Array:
    """alpha² = roughness⁴ with the roughness kept above `MIN_ROUGHNESS`."""
    return jnp.maximum(roughness, MIN_ROUGHNESS) ** 4


def _shadowing_over_cosine(cosine: jax.Array, alpha2: jax.Array) -> jax.Array:
    mu = jnp.maximum(cosine, 0.0)
    return 2.0 / (mu + jnp.sqrt(alpha2 + (1.0 - alpha2) * mu * mu))
