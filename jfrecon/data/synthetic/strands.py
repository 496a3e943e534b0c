"""The look of hair: a noise of strands cuts its edge and shades it, and a highlight runs across them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.data.synthetic import lighting
from jfrecon.data.synthetic.hair import Hair
from jfrecon.geometry import vectors

_ACROSS, _ALONG = 512, 16


def _noise() -> np.ndarray:
    """[_ALONG, _ACROSS, 2] periodic: coarse locks and fine strands, zero mean and unit variance each."""
    draws = np.random.default_rng(7)
    frequency = np.abs(np.fft.fftfreq(_ACROSS, 1 / _ACROSS))
    down = np.abs(np.fft.fftfreq(_ALONG, 1 / _ALONG))[:, None]
    fields = []
    for middle, width, height in ((9, 9, 1.3), (70, 55, 2.2)):
        band = np.exp(-(((frequency - middle) / width) ** 2)) * np.exp(-((down / height) ** 2))
        white = np.fft.fft2(draws.normal(size=(_ALONG, _ACROSS)))
        fields.append(np.fft.ifft2(white * band).real)
    return np.stack([field / field.std() for field in fields], -1).astype(np.float32)


NOISE = _noise()


def shade(
    hair: Hair, lamps: lighting.Lamps, seen: jax.Array, point: jax.Array, normal: jax.Array, values: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Radiance [N, 3] and opacity [N] of hair; `values` [N, 3] are `hair.coordinates`, `seen` [N] the key's share."""
    across, along, margin = values.T
    locks, fibres = _look_up(across / (2 * jnp.pi) + hair.seed[0], along / 3.0 + hair.seed[1]).T
    # At the hairline and at the silhouette single strands stand out.
    view = vectors.normalise(-point)
    facing = jnp.abs(jnp.sum(view * normal, -1))
    stray = 0.6 * locks + 0.6 * fibres
    edge = margin / hair.ragged + stray
    rim = (facing - 0.08) / 0.15 + 0.7 * fibres + 0.4 * locks
    soft = jnp.where(hair.cloth > 0, 4.0, 1.6)
    opacity = jax.nn.sigmoid(soft * edge) * jnp.where(hair.cloth > 0, 1.0, jax.nn.sigmoid(3.0 * rim))
    opacity = hair.opacity * jnp.where(opacity > 0.08, opacity, 0.0)

    white = lighting.received(0.35 + 0.65 * (normal @ lamps.direction.T), lamps.softness)
    white = white.at[:, 0].multiply(seen)
    strand = jnp.maximum(1.0 + hair.grain * (0.45 * fibres + 0.4 * locks), 0.15)
    # Kajiya and Kay 1989: brightest where the half vector is square to the strand.
    tangent = vectors.normalise(jnp.cross(normal, jnp.cross(jnp.array([0.0, 1.0, 0.0]), normal)))
    half = vectors.normalise(lamps.direction[0] + view)
    shine = jnp.maximum(1.0 - jnp.square(jnp.sum(tangent * half, -1)), 0.0) ** 30 * jnp.maximum(strand, 0.0)
    roots = 1.0 - 0.35 * jnp.exp(-jnp.maximum(margin, 0.0) / 0.12)
    diffuse = hair.colour * (white @ lamps.irradiance) * (strand * roots)[:, None]
    light = lamps.irradiance[0] * (seen * jnp.maximum(normal @ lamps.direction[0], 0.0))[:, None]
    gloss = hair.gloss * (0.3 * hair.colour + 0.05) * light * shine[:, None]
    return diffuse + gloss, opacity


def _look_up(u: jax.Array, v: jax.Array) -> jax.Array:
    """The periodic noise [N, 2] at (u, v), both of period one, bilinear."""
    x, y = u * _ACROSS, v * _ALONG
    i, j = jnp.floor(x).astype(jnp.int32), jnp.floor(y).astype(jnp.int32)
    fx, fy = (x - i)[:, None], (y - j)[:, None]
    flat = jnp.asarray(NOISE).reshape(-1, 2)
    at = lambda column, row: flat[(row % _ALONG) * _ACROSS + column % _ACROSS]
    return (at(i, j) * (1 - fx) + at(i + 1, j) * fx) * (1 - fy) + (at(i, j + 1) * (1 - fx) + at(i + 1, j + 1) * fx) * fy
