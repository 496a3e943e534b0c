"""A method so small that its tests are about training: a line through made-up images."""

from __future__ import annotations

import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jfrecon.methods.method import AXIS
from jfrecon.types import Batch, Pinhole

SIZE = 4


class Network(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image, train):
        x = nn.Dense(8, name='encoder')(image.reshape(len(image), -1))
        x = nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name, name='norm')(x)
        return nn.Dense(2, name='decoder')(nn.tanh(x))


class Toy:
    """Predicts the first landmark from the image; ``noise`` draws from the step's key."""

    def __init__(self, noise: float = 0.0, axis_name: str | None = AXIS):
        self.network = Network(axis_name)
        self.noise = noise

    def init(self, key):
        network = Network(None)
        variables = dict(jax.jit(lambda k: network.init(k, jnp.zeros((1, SIZE, SIZE, 3)), train=False))(key))
        return variables.pop('params'), variables

    def loss(self, params, model_state, batch, key, step):
        image = batch.image + (self.noise and self.noise * jax.random.normal(key, batch.image.shape))
        guess, model_state = self.network.apply(
            {'params': params, **model_state}, image, train=True, mutable=['batch_stats']
        )
        distance = jnp.mean(jnp.sum((guess - batch.landmarks[:, 0]) ** 2, -1))
        size = jnp.mean(guess**2)
        return distance + 0.1 * size, (model_state, {'distance': distance, 'size': size})

    def panels(self, params, model_state, batch):
        network = self.network.clone(axis_name=None)
        guess = network.apply({'params': params, **model_state}, batch.image, train=False)
        assert np.isfinite(guess).all()
        return np.tile((np.asarray(batch.image) * 255).astype(np.uint8), (1, 1, 5, 1))


class Data:
    """This process's part of batch ``step``; the images of ``bad`` steps are not numbers."""

    def __init__(self, size: int = 8, bad: tuple[int, ...] = (), pause: float = 0.0):
        self.size, self.bad, self.pause = size, bad, pause

    def __getitem__(self, step: int) -> Batch:
        time.sleep(self.pause)
        draw = np.random.default_rng(step)
        share = slice(jax.process_index(), None, jax.process_count())
        image = draw.random((self.size, SIZE, SIZE, 3), np.float32)
        landmarks = np.repeat(image.mean((1, 2))[:, None, :2], 68, 1)
        batch = Batch(
            image=image * np.float32(np.nan) if step in self.bad else image,
            landmarks=landmarks,
            landmark_weight=np.ones((self.size, 68), np.float32),
            mask=np.ones((self.size, SIZE, SIZE), np.float32),
            camera=Pinhole(np.ones(self.size, np.float32), np.zeros((self.size, 2), np.float32)),
            index=np.arange(self.size, dtype=np.int32),
        )
        return jax.tree.map(lambda leaf: leaf[share], batch)


def config(**changes) -> ConfigDict:
    base = ConfigDict(
        dict(
            method='toy',
            seed=0,
            steps=10,
            epochs=0.0,
            batch_size=8,
            log_every=1,
            panels_every=0,
            checkpoint_every=5,
            keep_checkpoints=3,
            keep_checkpoints_every=0,
            max_skipped_in_a_row=3,
            start_from=None,
            stages=(),
            stage={},
            optimiser=dict(name='adam', learning_rate=1e-2, schedule='constant', clip_norm=0.0, groups={}),
        )
    )
    base.update(changes)
    return base
