"""Who is in the picture and what the face does: identity, expression in plausible combinations, gaze."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.data.synthetic.dice import Dice
from jfrecon.types import MorphableModel

# Units as ARKit names them, without the side; the two numbers are the range of the activation.
_MOODS: dict[str, tuple[float, dict[str, tuple[float, float]]]] = {
    'neutral': (0.34, {}),
    'smile': (
        0.18,
        {'mouthSmile': (0.2, 0.9), 'cheekSquint': (0, 0.5), 'eyeSquint': (0, 0.4), 'mouthDimple': (0, 0.4)},
    ),
    'grin': (
        0.25,
        {
            'mouthSmile': (0.5, 1.0),
            'mouthUpperUp': (0.3, 0.95),
            'mouthLowerDown': (0.3, 0.95),
            'jawOpen': (0.03, 0.22),
            'cheekSquint': (0.1, 0.8),
            'eyeSquint': (0, 0.6),
            'mouthStretch': (0, 0.3),
        },
    ),
    'laugh': (
        0.06,
        {
            'mouthSmile': (0.5, 1.0),
            'mouthUpperUp': (0.3, 0.9),
            'mouthLowerDown': (0.2, 0.8),
            'jawOpen': (0.2, 0.55),
            'cheekSquint': (0.3, 1.0),
            'eyeSquint': (0.2, 0.9),
            'browInnerUp': (0, 0.4),
        },
    ),
    'talk': (
        0.08,
        {
            'jawOpen': (0.05, 0.4),
            'mouthFunnel': (0, 0.5),
            'mouthPucker': (0, 0.3),
            'mouthUpperUp': (0, 0.4),
            'mouthLowerDown': (0, 0.5),
            'mouthStretch': (0, 0.4),
            'browInnerUp': (0, 0.4),
        },
    ),
    'surprise': (
        0.025,
        {
            'browInnerUp': (0.3, 1.0),
            'browOuterUp': (0.3, 1.0),
            'eyeWide': (0.2, 0.7),
            'jawOpen': (0.1, 0.7),
            'mouthFunnel': (0, 0.3),
        },
    ),
    'anger': (
        0.025,
        {
            'browDown': (0.4, 1.0),
            'noseSneer': (0, 0.7),
            'mouthFrown': (0, 0.7),
            'mouthPress': (0, 0.7),
            'eyeSquint': (0, 0.6),
            'mouthUpperUp': (0, 0.3),
        },
    ),
    'sadness': (
        0.015,
        {'browInnerUp': (0.3, 1.0), 'mouthFrown': (0.2, 0.9), 'mouthShrugLower': (0, 0.7), 'eyeSquint': (0, 0.4)},
    ),
    'kiss': (0.015, {'mouthPucker': (0.4, 1.0), 'mouthFunnel': (0, 0.4), 'eyeSquint': (0, 0.4)}),
    'glare': (
        0.02,
        {'eyeSquint': (0.4, 1.0), 'browDown': (0.2, 0.8), 'cheekSquint': (0.2, 0.8), 'mouthUpperUp': (0, 0.4)},
    ),
}
# Left and right exclude each other, and gaze and blink are drawn apart.
_NOT_AT_RANDOM = ('eyeLook', 'eyeBlink', 'tongueOut', 'mouthClose', 'PupilDilate')
MAX_GAZE = np.radians([25.0, 18.0])


@struct.dataclass
class Person:
    """Identity, expression and gaze of one face.

    Attributes:
      identity: [I] standard deviations.
      expression: [E] activations in [0, 1].
      gaze: [2] radians, towards the subject's left and up, relative to the head.
      iris: [3] linear RGB.
      pupil: the share of the iris' radius.
      sclera: [3] linear RGB.
    """

    identity: jax.Array
    expression: jax.Array
    gaze: jax.Array
    iris: jax.Array
    pupil: jax.Array
    sclera: jax.Array


def sample(model: MorphableModel, always: Dice, now: Dice) -> Person:
    """The person that ``always`` draws, with the face that ``now`` draws."""
    gaze = jnp.clip(now.normal(2) * jnp.radians(jnp.array([9.0, 5.0])), -MAX_GAZE, MAX_GAZE)
    identity = always.normal(len(model.identity_basis))
    iris, pupil, sclera = _eyes(always)
    return Person(identity, expression(model.expression_names, gaze, now), gaze, iris, pupil, sclera)


def expression(names: tuple[str, ...], gaze: jax.Array, dice: Dice) -> jax.Array:
    """Random activations [E] in [0, 1] of the named units: a mood, asymmetry, stray units, lids after the gaze."""
    units = _units(names)
    mood = dice.choice(units.share)
    low, high = jnp.asarray(units.low)[mood], jnp.asarray(units.high)[mood]
    # Equal numbers for the left and the right; then faces are a little lopsided, and some grins are on one side only.
    amount = low + (high - low) * dice.uniform(len(names))[units.pair]
    tilt = 0.12 * dice.normal() + 0.7 * dice.chance(0.05) * dice.sign()
    amount = amount * jnp.clip(1.0 + units.side * tilt, 0.0, 1.3)
    strength = dice.uniform(len(names))
    amount += units.stray * strength * jnp.where(dice.chance(0.03, len(names)) > 0, 0.5, 0.05)
    closed = dice.uniform()
    lids = jnp.where(dice.chance(0.05) > 0, 0.8 + 0.2 * closed, 0.45 * closed * dice.chance(0.25))
    wink = dice.chance(0.02) * jnp.array([1.0, 0.0]) + dice.chance(0.02) * jnp.array([0.0, 1.0])
    amount += units.blink @ jnp.maximum(lids, wink)
    turn = jnp.concatenate([jnp.maximum(gaze, 0.0), jnp.maximum(-gaze, 0.0)]) / jnp.radians(30.0)
    return jnp.clip(amount + units.look @ turn, 0.0, 1.0)


def _eyes(dice: Dice) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Iris colour (mostly brown), pupil size and the white of the eye."""
    kind = dice.choice(np.array([0.38, 0.26, 0.13, 0.15, 0.08]))
    kinds = jnp.array(
        [[0.035, 0.016, 0.007], [0.09, 0.042, 0.016], [0.13, 0.1, 0.045], [0.12, 0.2, 0.3], [0.16, 0.2, 0.2]]
    )
    iris = kinds[kind] * jnp.exp(0.3 * dice.normal() + 0.1 * dice.normal(3))
    sclera = dice.uniform(low=0.32, high=0.52) * jnp.array([1.0, 0.93, 0.9]) ** dice.uniform(low=1.0, high=2.5)
    return iris, dice.uniform(low=0.25, high=0.55), sclera


def _stem(name: str) -> tuple[str, int]:
    """'mouthSmile_L' or 'mouthSmileLeft' -> ('mouthSmile', 1); no side: 0."""
    for ending, side in (('_L', 1), ('_R', -1), ('Left', 1), ('Right', -1)):
        if name.endswith(ending) and name[: -len(ending)] not in ('jaw', 'mouth'):
            return name[: -len(ending)], side
    return name, 0


class _Units(NamedTuple):
    """Per unit [E]: its range in each mood, whether it may stray, its side (left 1, right -1), its left twin."""

    low: np.ndarray
    high: np.ndarray
    share: np.ndarray
    stray: np.ndarray
    side: np.ndarray
    pair: np.ndarray
    blink: np.ndarray
    look: np.ndarray


@functools.lru_cache(maxsize=8)
def _units(names: tuple[str, ...]) -> _Units:
    """The table of moods for a model's units; `blink` [E, 2] and `look` [E, 4] say which move the lids."""
    stems, sides = zip(*[_stem(name) for name in names], strict=True)
    low = np.zeros((len(_MOODS), len(names)), np.float32)
    high = np.zeros_like(low)
    for m, (_, ranges) in enumerate(_MOODS.values()):
        for i, stem in enumerate(stems):
            low[m, i], high[m, i] = ranges.get(stem, (0.0, 0.0))
    pairs = list(zip(stems, sides, strict=True))
    blink = [[unit == ('eyeBlink', side) for side in (1, -1)] for unit in pairs]
    # Looking to the left turns the left eye out and the right eye in.
    left, right = (('eyeLookOut', 1), ('eyeLookIn', -1)), (('eyeLookIn', 1), ('eyeLookOut', -1))
    look = [[unit in left, unit[0] == 'eyeLookUp', unit in right, unit[0] == 'eyeLookDown'] for unit in pairs]
    return _Units(
        low,
        high,
        share=np.array([share for share, _ in _MOODS.values()]),
        stray=np.array([not name.startswith(_NOT_AT_RANDOM) for name in names], np.float32),
        side=np.array(sides, np.float32),
        pair=np.array([stems.index(stem) for stem in stems]),
        blink=np.array(blink, np.float32),
        look=np.array(look, np.float32),
    )
