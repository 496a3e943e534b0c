"""Real spherical harmonics of any number of bands: light as `[..., L², 3]` radiance coefficients.

Orthonormal on the sphere, without the Condon-Shortley sign, pole along +z: index l² + l + m, m < 0 the sines
and m > 0 the cosines of |m| phi, so bands 0 and 1 are 0.2821, 0.4886 (y, z, x). `bands` (L) is always a
Python int. Radiance is signed: nothing here clamps.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.shading import brdf, sphere

#: sqrt(4 pi), 1 / Y_00: the first coefficient of uniform light of unit radiance.
GREY = math.sqrt(4.0 * math.pi)

_HIGHEST = jax.lax.Precision.HIGHEST


def bands_of(coefficients: jax.Array) -> int:
    """The number of bands of coefficients [..., L², C].

    Raises:
      ValueError: the second to last axis is not a square number.
    """
    count = coefficients.shape[-2]
    bands = math.isqrt(count)
    if bands * bands != count or not bands:
        raise ValueError(f'{count} spherical-harmonics coefficients are not a whole number of bands (1, 4, 9, ...)')
    return bands


def basis(directions: jax.Array, bands: int) -> jax.Array:
    """The functions Y_lm at unit directions [..., 3] -> [..., L²].

    Each is a polynomial in x, y, z (`polynomials`): no angle is taken, so value and gradient are smooth
    everywhere, the poles included. The gradient's part along the direction itself has no meaning; normalise
    upstream.
    """
    return jnp.stack(polynomials(*_split(directions), range(bands)), axis=-1)


def polynomials(x, y, z, kept: Sequence[int]) -> list:
    """Y_lm of the bands in `kept`, in the order of their index; works on NumPy and JAX arrays.

    Y_lm = Q_l^|m|(z) times Re or Im of (x + i y)^|m|, where Q is the normalised associated Legendre function
    without its sin^m theta. With Q_m^m constant,

        Q_l^m = a_lm z Q_(l-1)^m - (a_lm / a_(l-1)m) Q_(l-2)^m,   a_lm² = (4 l² - 1) / (l² - m²),

    a recurrence in l that is stable in single precision.
    """
    bands = max(kept) + 1
    one = 0.0 * z + 1.0
    cosine, sine = [one], [0.0 * z]
    for _ in range(1, bands):
        cosine, sine = [*cosine, x * cosine[-1] - y * sine[-1]], [*sine, x * sine[-1] + y * cosine[-1]]

    values = {}
    diagonal = 1.0 / GREY
    for m in range(bands):
        if m:
            diagonal *= math.sqrt((2 * m + 1) / (2 * m))
        before, q = 0.0 * z, diagonal * (math.sqrt(2.0) if m else 1.0) * one
        a_before = 1.0
        for l in range(m, bands):
            if l > m:
                a = math.sqrt((4 * l * l - 1) / (l * l - m * m))
                q, before = a * (z * q - before / a_before), q
                a_before = a
            if l in kept:
                values[l, m] = q * cosine[m]
                if m:
                    values[l, -m] = q * sine[m]
    return [values[l, m] for l in kept for m in range(-l, l + 1)]


def evaluate(
    coefficients: jax.Array, directions: jax.Array, kernel: np.ndarray | Sequence[float] | None = None
) -> jax.Array:
    """Sum_lm k_l c_lm Y_lm(d): coefficients [..., L², C] at unit directions [..., N, 3] -> [..., N, C].

    `kernel` [L] is constant (not traced), 1 if left out; the functions of bands where it is zero are never
    computed, which for `cosine_kernel` at nine bands leaves 48 of 81.
    """
    bands = bands_of(coefficients)
    scale = np.ones(bands) if kernel is None else np.asarray(kernel)
    kept = tuple(int(l) for l in np.flatnonzero(scale))
    index = np.concatenate([np.arange(l * l, (l + 1) * (l + 1)) for l in kept])
    weighted = convolve(coefficients, scale)[..., index, :]
    # Functions before points: each is one contiguous write.
    functions = jnp.stack(polynomials(*_split(directions), kept), axis=-2)
    return jnp.einsum('...kn,...kc->...nc', functions, weighted, precision=_HIGHEST)


def convolve(coefficients: jax.Array, kernel: jax.Array | np.ndarray) -> jax.Array:
    """Scale band l of coefficients [..., L², C] by kernel [..., L]: convolution with a radial function.

    Funk-Hecke: k_l = 2 pi ∫ k(mu) P_l(mu) dmu.
    """
    bands = bands_of(coefficients)
    return coefficients * jnp.asarray(kernel, coefficients.dtype)[..., _band_index(bands), None]


def project(environment: jax.Array, bands: int) -> jax.Array:
    """Coefficients [..., L², C] of a latitude-longitude map [..., H, W, C] (`sphere` has its directions).

    c_lm = sum of w L Y_lm with quadrature weights that are exact when the map is band-limited to these bands
    and 2 (bands - 1) < min(H, W). Rows are taken in turn, so a large map needs no [H W, L²] table.
    """
    height, width = environment.shape[-3:-1]
    dtype = environment.dtype
    directions = jnp.asarray(sphere.latlong_directions(height, width), dtype)
    weights = jnp.asarray(sphere.latlong_weights(height, width), dtype)

    def row(inputs: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        radiance, direction, weight = inputs
        functions = basis(direction, bands) * weight[:, None]
        return jnp.einsum('wk,...wc->...kc', functions, radiance, precision=_HIGHEST)

    rows = jnp.moveaxis(environment, -3, 0)
    batch = max(1, 16384 // width)
    return jax.lax.map(row, (rows, directions, weights), batch_size=batch).sum(axis=0)


def directional(direction: jax.Array, irradiance: jax.Array, bands: int, softness: float = 0.0) -> jax.Array:
    """A distant lamp: coefficients [..., L², C] of light from a unit direction [..., 3].

    `irradiance` [..., C] is what a surface that faces the lamp receives:

        c_lm = E Y_lm(d) exp(-l (l + 1) softness² / 2).

    The exponential is the heat kernel on the sphere: a Gaussian of `softness` radians, which
    also damps the ringing of the truncated delta (0: no window).
    """
    l = np.arange(bands)
    window = jnp.exp(-0.5 * l * (l + 1.0) * jnp.square(softness))
    return convolve(basis(direction, bands)[..., :, None] * irradiance[..., None, :], window)


def cosine_kernel(bands: int) -> np.ndarray:
    """A_l / pi [L], constant: what a diffuse BRDF c / pi gathers (1, 2/3, 1/4, 0, -1/24, 0, 1/64, ...).

    Ramamoorthi and Hanrahan 2001, eq. 19: odd l > 1 vanish, even l have
    A_l = 2 pi (-1)^(l/2 - 1) / ((l + 2)(l - 1)) l! / (2^l (l/2)!²).
    """
    kernel = np.zeros(bands)
    for l in range(bands):
        if l == 1:
            kernel[l] = 2.0 / 3.0
        elif l % 2 == 0:
            sign = -1.0 if (l // 2) % 2 == 0 else 1.0
            kernel[l] = 2.0 * sign / ((l + 2) * (l - 1)) * math.comb(l, l // 2) / 2.0**l
    return kernel


def brdf_kernel(roughness: jax.Array | float, bands: int) -> jax.Array:
    """S_l [..., L] of the specular lobe (`brdf.lobe`) at normal incidence (dib21 appendix B, eq. 5).

    With n = v = r the lobe is radial about r. Light at the angle theta from r has its half vector at half of
    theta, and

        S_l = 2 pi ∫_0^1 f_s(mu) mu P_l(mu) dmu,   mu = cos theta.

    f_s is as narrow as alpha² = roughness⁴, so the integral is taken over u, the share of the microfacets'
    projected area (D cos dω) that is tilted less: tan²(theta / 2) = alpha² u / (1 - u). There 4 cos of the
    half vector (dω_l = 4 (v·h) dω_h) cancels the BRDF's denominator. With u = (1 - t²) / (1 + alpha²), which
    resolves the tail, what is left is smooth:

        S_l = 2 / (1 + alpha²) ∫_0^1 G1(mu) P_l(mu) t dt, mu = (1 + alpha²) t² / (2 alpha² + (1 - alpha²) t²).

    Differentiable in the roughness [...]. At other angles than normal incidence this radial lobe only
    approximates the microfacet lobe.
    """
    alpha2 = brdf.squared_alpha(roughness)[..., None]
    t, weight = (jnp.asarray(values, alpha2.dtype) for values in _unit_gauss(96))
    mu = (1.0 + alpha2) * t * t / (2.0 * alpha2 + (1.0 - alpha2) * t * t)
    weight = 2.0 / (1.0 + alpha2) * t * weight * brdf.shadowing(mu, alpha2)
    legendre = [jnp.ones_like(mu), mu]
    for l in range(2, bands):
        legendre.append(((2 * l - 1) * mu * legendre[-1] - (l - 1) * legendre[-2]) / l)
    return jnp.stack([jnp.sum(weight * p, axis=-1) for p in legendre[:bands]], axis=-1)


def _split(directions: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    return directions[..., 0], directions[..., 1], directions[..., 2]


@functools.lru_cache(maxsize=4)
def _unit_gauss(count: int) -> tuple[np.ndarray, np.ndarray]:
    node, weight = np.polynomial.legendre.leggauss(count)
    return 0.5 * (node + 1.0), 0.5 * weight


def _band_index(bands: int) -> np.ndarray:
    return np.repeat(np.arange(bands), 2 * np.arange(bands) + 1)
