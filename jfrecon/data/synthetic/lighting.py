"""Natural light as a handful of soft lamps around the head, which is also what its spherical harmonics are made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.data.synthetic.dice import Dice
from jfrecon.shading import sh

LAMPS = 6
BANDS = 9

# Per lamp: azimuth and elevation in degrees (0, 0 shines on the face from the camera, 90, 0 from the image's
# right), each followed by its spread, softness in radians, irradiance relative to the others, warmth (-1 blue sky
# .. 1 candle) and its spread. A lamp of softness above 1 is sky, ground or room.
_KINDS = {
    'studio': [
        (0, 25, 25, 12, 0.35, 1.0, 0.0, 0.1),
        (60, 15, 10, 15, 0.5, 0.5, 0.0, 0.1),
        (-60, 15, 10, 15, 0.5, 0.5, 0.0, 0.1),
        (180, 30, 40, 20, 0.4, 0.2, 0.0, 0.1),
        (0, 1, 80, 5, 1.3, 0.8, 0.0, 0.1),
        (0, 1, -80, 5, 1.3, 0.4, 0.05, 0.1),
    ],
    'portrait': [
        (45, 20, 35, 12, 0.3, 1.6, 0.05, 0.15),
        (-50, 25, 10, 15, 0.7, 0.35, 0.0, 0.2),
        (160, 25, 35, 20, 0.3, 0.5, 0.0, 0.2),
        (-120, 30, 20, 20, 0.4, 0.15, 0.0, 0.2),
        (0, 1, 80, 5, 1.3, 0.4, 0.0, 0.15),
        (0, 1, -80, 5, 1.3, 0.2, 0.1, 0.15),
    ],
    'sun': [
        (0, 75, 45, 18, 0.1, 2.2, 0.2, 0.15),
        (0, 90, 30, 20, 0.9, 0.3, -0.25, 0.15),
        (0, 90, 10, 20, 0.8, 0.15, 0.1, 0.2),
        (180, 60, 15, 20, 0.7, 0.15, 0.1, 0.2),
        (0, 1, 85, 5, 1.2, 0.9, -0.35, 0.15),
        (0, 1, -85, 5, 1.2, 0.5, 0.15, 0.15),
    ],
    'overcast': [
        (0, 90, 60, 15, 0.7, 0.8, -0.1, 0.1),
        (0, 90, 20, 20, 0.8, 0.3, -0.05, 0.1),
        (90, 60, 10, 20, 0.8, 0.2, -0.05, 0.1),
        (-90, 60, 10, 20, 0.8, 0.2, -0.05, 0.1),
        (0, 1, 85, 5, 1.3, 1.4, -0.12, 0.1),
        (0, 1, -85, 5, 1.3, 0.4, 0.1, 0.1),
    ],
    'indoor': [
        (75, 30, 15, 12, 0.35, 1.1, -0.25, 0.2),
        (0, 60, 65, 12, 0.3, 0.7, 0.35, 0.25),
        (-60, 50, 55, 15, 0.25, 0.4, 0.3, 0.25),
        (150, 40, 30, 20, 0.35, 0.3, 0.2, 0.25),
        (0, 1, 70, 10, 1.4, 0.5, 0.2, 0.15),
        (0, 1, -70, 10, 1.4, 0.3, 0.25, 0.15),
    ],
    'stage': [
        (0, 50, 40, 15, 0.15, 2.0, 0.2, 0.5),
        (-100, 30, 30, 20, 0.2, 0.8, -0.2, 0.8),
        (110, 30, 25, 20, 0.2, 0.6, 0.3, 0.8),
        (180, 30, 50, 15, 0.2, 0.6, 0.0, 0.6),
        (0, 1, 70, 10, 1.4, 0.12, 0.0, 0.4),
        (0, 1, -70, 10, 1.4, 0.1, 0.1, 0.4),
    ],
    'flash': [
        (0, 6, 8, 6, 0.12, 1.6, 0.05, 0.1),
        (30, 40, 60, 15, 0.4, 0.15, 0.3, 0.2),
        (-60, 40, 40, 15, 0.4, 0.12, 0.3, 0.2),
        (180, 40, 40, 15, 0.4, 0.1, 0.3, 0.2),
        (0, 1, 75, 5, 1.4, 0.3, 0.25, 0.2),
        (0, 1, -75, 5, 1.4, 0.2, 0.25, 0.2),
    ],
}
_TABLE = np.array(list(_KINDS.values()), np.float32)  # [kind, lamp, 8]
_SHARE = np.array([0.2, 0.2, 0.17, 0.13, 0.18, 0.05, 0.07])


@struct.dataclass
class Lamps:
    """Distant lamps, each a Gaussian on the sphere of directions.

    Attributes:
      direction: [LAMPS, 3] unit, camera space, towards the lamp. The first is the key: it casts the sharpest shadow.
      irradiance: [LAMPS, 3] linear RGB on a surface that faces the lamp, over pi: what a white surface would send back.
      softness: [LAMPS] radians.
    """

    direction: jax.Array
    irradiance: jax.Array
    softness: jax.Array


def warmth(amount: jax.Array) -> jax.Array:
    """The colour [..., 3] of light between blue sky (-1) and candle (1), of green value 1 at 0."""
    return jnp.exp(amount[..., None] * jnp.array([0.45, -0.02, -0.6]))


def sample(dice: Dice) -> Lamps:
    """Random lamps of one of seven kinds, scaled so that a frontal white surface sends back about 1."""
    kind = dice.choice(_SHARE)
    azimuth, d_azimuth, elevation, d_elevation, softness, power, warm, d_warm = jnp.asarray(_TABLE)[kind].T
    azimuth = (azimuth + d_azimuth * dice.normal(LAMPS)) * dice.sign()
    elevation = jnp.clip(elevation + d_elevation * dice.normal(LAMPS), -88.0, 88.0)
    a, e = jnp.radians(azimuth), jnp.radians(elevation)
    direction = jnp.stack([jnp.cos(e) * jnp.sin(a), jnp.sin(e), jnp.cos(e) * jnp.cos(a)], -1)
    power = power * jnp.exp(0.4 * dice.normal(LAMPS))
    irradiance = power[:, None] * warmth(warm + d_warm * dice.normal(LAMPS))
    softness = jnp.clip(softness * jnp.exp(0.4 * dice.normal(LAMPS)), 0.08, 1.5)
    frontal = received(direction[:, 2], softness) @ irradiance
    # Towards one, not all the way: some pictures stay contrasty or dark.
    level = jnp.maximum(jnp.mean(frontal), 0.05)
    return Lamps(direction, irradiance / level**0.9, softness)


def received(cosine: jax.Array, softness: jax.Array) -> jax.Array:
    """The share of a Gaussian lamp's light that falls on a surface, by its cosine [...] to the lamp's centre.

    Funk-Hecke on `sh.directional` and the clamped cosine: sum_l A_l exp(-l (l + 1) softness² / 2) (2 l + 1) / (4 pi)
    P_l(c), which is max(0, c) for a point and 1/4 for light from everywhere. 17 terms are within 0.003 of it.
    """
    kernel = np.pi * sh.cosine_kernel(17)
    before, polynomial = jnp.ones_like(cosine), cosine
    total = jnp.full_like(cosine, kernel[0] / (4 * np.pi))
    for l in range(1, len(kernel)):
        if kernel[l]:
            window = jnp.exp(-0.5 * l * (l + 1) * jnp.square(softness))
            total += kernel[l] * (2 * l + 1) / (4 * np.pi) * window * polynomial
        before, polynomial = polynomial, ((2 * l + 1) * cosine * polynomial - l * before) / (l + 1)
    return jnp.maximum(total, 0.0)


def harmonics(lamps: Lamps) -> jax.Array:
    """The radiance of all lamps as spherical-harmonics coefficients [BANDS², 3], camera space."""
    coefficients = jax.vmap(lambda d, e, s: sh.directional(d, jnp.pi * e, BANDS, s))(
        lamps.direction, lamps.irradiance, lamps.softness
    )
    return jnp.sum(coefficients, axis=0)
