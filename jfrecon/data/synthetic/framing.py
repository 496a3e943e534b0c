"""Where the head is and how the camera frames it: pose within limits, focal length, a detector's jittered crop."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from jfrecon.data.synthetic.dice import Dice
from jfrecon.geometry import cameras, rotations
from jfrecon.types import Pinhole

#: Limits of pitch, yaw and roll, degrees.
LIMITS = (20.0, 45.0, 15.0)
#: A detector's jitter: of the logarithm of the size, and of the centre in crop widths.
JITTER = (0.07, 0.025)


@struct.dataclass
class Framing:
    """A head's pose and the camera of the nominal crop, before the head's size is known.

    Attributes:
      angles: [3] pitch, yaw, roll, radians.
      focal: in widths of the crop.
      principal: [2] in widths of the crop.
      fill: the larger side of the landmarks' box, in widths of the crop.
      centre: [2] of that box, in widths of the crop.
    """

    angles: jax.Array
    focal: jax.Array
    principal: jax.Array
    fill: jax.Array
    centre: jax.Array


def sample(dice: Dice, focal: float, fill: float) -> Framing:
    """Mostly near frontal with tails to the limits; half of the cameras have the given focal length (crop widths).

    `fill` is the mean share of the crop's width that the landmarks' box takes.
    """
    limits = jnp.radians(jnp.array(LIMITS))
    concentrated = dice.normal(3) * jnp.radians(jnp.array([6.0, 12.0, 4.0]))
    spread = dice.uniform(3, low=-1.0) * limits
    angles = jnp.where(dice.chance(jnp.array([0.7, 0.5, 0.75]), 3) > 0, concentrated, spread)
    # A face seldom stands on the photo's axis: half of the principal points lie off the crop's centre.
    shift = 0.35 * dice.chance(0.5) * dice.normal(2)
    return Framing(
        angles=jnp.clip(angles, -limits, limits),
        focal=jnp.where(dice.chance(0.5) > 0, focal, 4.0 * 2.5 ** dice.uniform()),
        principal=0.5 + shift,
        fill=fill * jnp.exp(JITTER[0] * dice.normal()),
        centre=0.5 + JITTER[1] * dice.normal(2),
    )


def place(framing: Framing, landmarks: jax.Array, size: float) -> tuple[jax.Array, jax.Array, Pinhole]:
    """Put the model-space landmarks [68, 3] into a crop of `size` pixels: rotation [3], translation [3], camera.

    The translation is solved for by a fixed-point iteration: scale the distance until the projected box has the wanted
    size, shift it to the wanted centre. Six rounds leave less than 0.1 pixel.
    """
    rotation = rotations.rotvec(rotations.euler(*framing.angles))
    camera = Pinhole(focal=framing.focal * size, principal=framing.principal * size)
    turned = rotations.transform(rotation, jnp.zeros(3), landmarks)
    turned_centre = jnp.mean(turned, 0)

    def improve(translation, _):
        pixels, _ = cameras.project(camera, turned + translation)
        low, high = jnp.min(pixels, 0), jnp.max(pixels, 0)
        ratio = jnp.max(high - low) / (framing.fill * size)
        miss = framing.centre * size - (low + high) / 2
        depth = -translation[2] * ratio
        step = miss * depth / camera.focal
        return jnp.array([translation[0] + step[0], translation[1] - step[1], -depth]), None

    start = -turned_centre + jnp.array([0.0, 0.0, -framing.focal * 200.0])
    translation, _ = jax.lax.scan(improve, start, None, length=6)
    return rotation, translation, camera
