"""From linear radiance to the file: exposure, white balance, blur, noise, tone curve; JPEG is added on the host."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.data.synthetic.dice import Dice
from jfrecon.shading import colour

REACH = 4  # pixels on each side of the blur's kernel


@struct.dataclass
class Photograph:
    """What camera and file do to a picture.

    Attributes:
      target: the linear grey that the exposure aims at; `insist`: how far it goes there, 0..1.
      balance: [3] gains, the error of the white balance.
      blur: [3] standard deviations along and across (pixels of a picture 100 wide) and angle.
      noise: [2] read noise, and shot noise at full scale, linear.
      gamma, contrast: of the tone curve, 1 and 0 for plain sRGB; `lift`: added black, haze.
      saturation: 0 for a grey-scale picture, 1 unchanged.
      quality: of the JPEG, 30..98.
      seed: uint32 data of the noise's key.
    """

    target: jax.Array
    insist: jax.Array
    balance: jax.Array
    blur: jax.Array
    noise: jax.Array
    gamma: jax.Array
    contrast: jax.Array
    lift: jax.Array
    saturation: jax.Array
    quality: jax.Array
    seed: jax.Array


def sample(dice: Dice, seed: jax.Array) -> Photograph:
    """Mostly good cameras, some bad; `seed` is a key."""
    focus = 0.15 + 0.8 * dice.uniform() ** 4
    motion = 1.2 * dice.uniform() * dice.chance(0.09)
    grain = 0.003 + 0.02 * dice.uniform() ** 4
    # Balance errs along blue-amber more than along green-magenta.
    amber, magenta = jnp.array([1.0, 0.0, -1.0]), jnp.array([1.0, -2.0, 1.0])
    return Photograph(
        target=0.22 * jnp.exp(0.3 * dice.normal()),
        insist=dice.uniform(low=0.4, high=0.9),
        balance=jnp.exp((0.02 + 0.08 * dice.normal()) * amber + 0.012 * dice.normal() * magenta),
        blur=jnp.stack([focus + motion, focus, np.pi * dice.uniform()]),
        noise=jnp.stack([grain * 0.5, grain]),
        gamma=jnp.exp(0.1 * dice.normal()),
        contrast=0.35 + 0.25 * dice.normal(),
        lift=0.03 * dice.uniform() ** 3,
        saturation=jnp.clip(1.1 + 0.15 * dice.normal(), 0.6, 1.5) * (1.0 - dice.chance(0.05)),
        quality=30.0 + 68.0 * dice.uniform() ** 0.5,
        seed=jax.random.key_data(seed),
    )


def gains(photograph: Photograph, radiance: jax.Array, weight: jax.Array) -> jax.Array:
    """Exposure times white balance [3]: mean luminance of [H, W, 3] under weights [H, W] is pulled to the target."""
    level = jnp.sum(colour.luminance(radiance) * weight) / jnp.maximum(jnp.sum(weight), 1e-6)
    return (photograph.target / jnp.maximum(level, 1e-3)) ** photograph.insist * photograph.balance


def develop(photograph: Photograph, exposed: jax.Array) -> jax.Array:
    """sRGB [H, W, 3] in 0..1 of exposed linear radiance [H, W, 3]."""
    size = exposed.shape[0]
    # Highlights beyond the sensor are cut before the lens blurs them only in part: glare stays bounded.
    linear = _blurred(jnp.clip(exposed, 0.0, 3.0), photograph.blur * jnp.array([size / 100, size / 100, 1.0]))
    read, shot = photograph.noise
    key = jax.random.wrap_key_data(photograph.seed)
    deviation = jnp.sqrt(jnp.square(read) + jnp.square(shot) * jnp.maximum(linear, 0.0))
    linear = linear + deviation * jax.random.normal(key, linear.shape)
    grey = colour.luminance(linear)[..., None]
    linear = grey + photograph.saturation * (linear - grey)
    # A shoulder instead of a hard clip: values up to 0.75 are kept, the rest approaches 1.
    knee = 0.75
    over = jnp.maximum(linear - knee, 0.0)
    linear = jnp.minimum(linear, knee) + (1 - knee) * (1 - jnp.exp(-over / (1 - knee)))
    s = jnp.clip(colour.linear_to_srgb(linear), 0.0, 1.0) ** photograph.gamma
    s = s + photograph.contrast * s * (1 - s) * (2 * s - 1) * 1.5
    return jnp.clip(photograph.lift + (1 - photograph.lift) * s, 0.0, 1.0)


def _blurred(image: jax.Array, blur: jax.Array) -> jax.Array:
    """Convolve with a Gaussian of standard deviations blur[0], blur[1] pixels along and across angle blur[2]."""
    at = jnp.arange(-REACH, REACH + 1.0)
    x, y = jnp.meshgrid(at, at)
    c, s = jnp.cos(blur[2]), jnp.sin(blur[2])
    along, across = (c * x + s * y) / (blur[0] + 1e-3), (c * y - s * x) / (blur[1] + 1e-3)
    kernel = jnp.exp(-0.5 * (jnp.square(along) + jnp.square(across)))
    kernel = kernel / jnp.sum(kernel)
    padded = jnp.pad(image, ((REACH, REACH), (REACH, REACH), (0, 0)), mode='edge')
    planes = jnp.moveaxis(padded, -1, 0)[:, None]
    return jnp.moveaxis(jax.lax.conv(planes, kernel[None, None], (1, 1), 'VALID')[:, 0], 0, -1)
