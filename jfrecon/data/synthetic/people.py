"""Who is in the picture and what the face does: identity, expression in plausible combinations, gaze."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.types import MorphableModel

# Units as ARKit names them, without the side; the two numbers are the range of the activation.
_MOODS: dict[str, tuple[float, dict[str, tuple[float, float]]]] = {
    'neutral': (0.3, {}),
    'smile': (
        0.16,
        {'mouthSmile': (0.2, 0.9), 'cheekSquint': (0, 0.5), 'eyeSquint': (0, 0.4), 'mouthDimple': (0, 0.4)},
    ),
    'grin': (
        0.2,
        {
            'mouthSmile': (0.5, 1.0),
            'mouthUpperUp': (0.2, 0.6),
            'mouthLowerDown': (0.2, 0.6),
            'jawOpen': (0.03, 0.2),
            'cheekSquint': (0.1, 0.8),
            'eyeSquint': (0, 0.6),
            'mouthStretch': (0, 0.3),
        },
    ),
    'laugh': (
        0.06,
        {
            'mouthSmile': (0.5, 1.0),
            'mouthUpperUp': (0.2, 0.5),
            'mouthLowerDown': (0.2, 0.5),
            'jawOpen': (0.2, 0.55),
            'cheekSquint': (0.3, 1.0),
            'eyeSquint': (0.2, 0.9),
            'browInnerUp': (0, 0.4),
        },
    ),
    'talk': (
        0.12,
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
        0.04,
        {
            'browInnerUp': (0.3, 1.0),
            'browOuterUp': (0.3, 1.0),
            'eyeWide': (0.3, 1.0),
            'jawOpen': (0.1, 0.7),
            'mouthFunnel': (0, 0.3),
        },
    ),
    'anger': (
        0.04,
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
        0.03,
        {'browInnerUp': (0.3, 1.0), 'mouthFrown': (0.2, 0.9), 'mouthShrugLower': (0, 0.7), 'eyeSquint': (0, 0.4)},
    ),
    'kiss': (0.02, {'mouthPucker': (0.4, 1.0), 'mouthFunnel': (0, 0.4), 'eyeSquint': (0, 0.4)}),
    'glare': (
        0.03,
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


def sample(model: MorphableModel, who: jax.Array, key: jax.Array) -> Person:
    """The person that the key `who` stands for, making a random face."""
    body, eyes = jax.random.split(who)
    face, look = jax.random.split(key)
    gaze = jnp.clip(jax.random.normal(look, (2,)) * jnp.radians(jnp.array([9.0, 5.0])), -MAX_GAZE, MAX_GAZE)
    iris, pupil, sclera = _eyes(eyes)
    identity = jax.random.truncated_normal(body, -2.5, 2.5, (len(model.identity_basis),))
    return Person(identity, expression(model.expression_names, gaze, face), gaze, iris, pupil, sclera)


def expression(names: tuple[str, ...], gaze: jax.Array, key: jax.Array) -> jax.Array:
    """Random activations [E] in [0, 1] of the named units: a mood, asymmetry, stray units, lids after the gaze."""
    low, high, share, stray_allowed, side, pair, lids = _tables(names)
    keys = jax.random.split(key, 8)
    mood = jax.random.choice(keys[0], len(share), p=jnp.asarray(share))
    amount = jnp.asarray(low)[mood] + (jnp.asarray(high) - low)[mood] * _paired(keys[1], pair)
    # Faces are a little lopsided, and some grins are on one side only.
    tilt = 0.12 * jax.random.normal(keys[2], ()) + jnp.where(
        jax.random.uniform(keys[3]) < 0.06, jax.random.choice(keys[4], jnp.array([-0.8, 0.8])), 0.0
    )
    amount = amount * jnp.clip(1.0 + side * tilt, 0.0, 1.3)
    stray = jax.random.uniform(keys[5], (3, len(names)))
    amount += jnp.asarray(stray_allowed) * jnp.where(stray[0] < 0.06, 0.5 * stray[1], 0.06 * stray[2])
    blink, wink = jax.random.uniform(keys[6], (2,)), jax.random.uniform(keys[7], (2,))
    closed = jnp.where(blink[0] < 0.05, 0.8 + 0.2 * blink[1], jnp.where(blink[0] < 0.3, 0.45 * blink[1], 0.0))
    shut = jnp.maximum(closed, jnp.where((wink[0] < 0.02) * (jnp.arange(2) == jnp.round(wink[1])), 1.0, 0.0))
    amount += lids['blink'] @ shut
    turn = jnp.concatenate([jnp.maximum(gaze, 0.0), jnp.maximum(-gaze, 0.0)]) / jnp.radians(30.0)
    return jnp.clip(amount + lids['look'] @ turn, 0.0, 1.0)


def _paired(key: jax.Array, pair: np.ndarray) -> jax.Array:
    """Uniform numbers [E], equal on the left and the right."""
    return jax.random.uniform(key, (len(pair),))[pair]


def _eyes(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Iris colour (mostly brown), pupil size and the white of the eye."""
    kinds = jnp.array(
        [[0.035, 0.016, 0.007], [0.09, 0.042, 0.016], [0.13, 0.1, 0.045], [0.12, 0.2, 0.3], [0.16, 0.2, 0.2]]
    )
    a, b, c, d = jax.random.split(key, 4)
    kind = jax.random.choice(a, 5, p=jnp.array([0.38, 0.26, 0.13, 0.15, 0.08]))
    iris = kinds[kind] * jnp.exp(0.3 * jax.random.normal(b, ()) + 0.1 * jax.random.normal(b, (3,)))
    pupil = jax.random.uniform(c, minval=0.25, maxval=0.55)
    red = jax.random.uniform(d, (2,))
    sclera = (0.42 + 0.25 * red[0]) * jnp.array([1.0, 0.93, 0.9]) ** (1.0 + 1.5 * red[1])
    return iris, pupil, sclera


def _stem(name: str) -> tuple[str, int]:
    """'mouthSmile_L' or 'mouthSmileLeft' -> ('mouthSmile', 1); no side: 0."""
    for ending, side in (('_L', 1), ('_R', -1), ('Left', 1), ('Right', -1)):
        if name.endswith(ending) and name[: -len(ending)] not in ('jaw', 'mouth'):
            return name[: -len(ending)], side
    return name, 0


@functools.lru_cache(maxsize=8)
def _tables(names: tuple[str, ...]):
    """Per unit: range in each mood, whether it may stray, side (left 1, right -1), its pair's index, lid units."""
    stems, sides = zip(*[_stem(name) for name in names], strict=True)
    first = {stem: i for i, stem in reversed(list(enumerate(stems)))}
    low = np.zeros((len(_MOODS), len(names)), np.float32)
    high = np.zeros_like(low)
    for m, (_, ranges) in enumerate(_MOODS.values()):
        for i, stem in enumerate(stems):
            low[m, i], high[m, i] = ranges.get(stem, (0.0, 0.0))
    share = np.array([s for s, _ in _MOODS.values()])
    stray = np.array([not name.startswith(_NOT_AT_RANDOM) for name in names], np.float32)
    blink = np.array([[stem == 'eyeBlink' and side == s for s in (1, -1)] for stem, side in zip(stems, sides)])
    # Looking to the left turns the left eye out and the right eye in.
    left = {('eyeLookOut', 1), ('eyeLookIn', -1)}
    right = {('eyeLookIn', 1), ('eyeLookOut', -1)}
    look = [
        [u in left, u[0] == 'eyeLookUp', u in right, u[0] == 'eyeLookDown'] for u in zip(stems, sides, strict=True)
    ]
    lids = {'blink': blink.astype(np.float32), 'look': np.array(look, np.float32)}
    pair = np.array([first[stem] for stem in stems])
    return low, high, share / share.sum(), stray, np.array(sides, np.float32), pair, lids
