"""What experiments share that train a small network by `jfrecon.training.loop`, whose weights come with jfrecon."""

from __future__ import annotations

from pathlib import Path

import jax
from flax import linen as nn
from ml_collections import ConfigDict

from jfrecon.data.sample import Source
from jfrecon.data.synthetic import dataset
from jfrecon.data.synthetic.generate import FILL, FOCAL
from jfrecon.methods.method import ModelState, Params
from jfrecon.morphable import load_head
from jfrecon.training.parallel import local
from jfrecon.training.train_state import TrainState


def settings(
    name: str, steps: int, batch_size: int, learning_rate: float, warmup_steps: int, clip_norm: float
) -> ConfigDict:
    """Adam, whose rate falls to nothing by half a cosine. name: of the experiment, which checkpoints go by."""
    config = ConfigDict()
    config.method = name
    config.seed = 0
    config.batch_size = batch_size
    config.steps = steps
    config.optimiser = ConfigDict(
        {
            'name': 'adam',
            'learning_rate': learning_rate,
            'schedule': 'cosine',
            'warmup_steps': warmup_steps,
            'clip_norm': clip_norm,
        }
    )
    config.log_every, config.panels_every, config.checkpoint_every = 50, 0, 500
    config.keep_checkpoints, config.keep_checkpoints_every, config.start_from = 3, 0, None
    config.epochs = 0.0
    config.max_skipped_in_a_row = 20
    return config


def fresh(network: nn.Module, key: jax.Array, *example: jax.Array) -> tuple[Params, ModelState]:
    """Parameters and batch statistics of a network that reads such examples."""
    variables = jax.jit(lambda: network.init(key, *example, False))()
    return variables['params'], {'batch_stats': variables['batch_stats']}


def variables(state: TrainState) -> dict:
    """The trained network's."""
    return local({'params': state.params, **state.model_state})


def faces(folder: Path, count: int, size: int, seed: int, frames: int = 1) -> Source:
    """Synthetic faces of the MakeHuman head, made in a folder once; ``frames`` pictures of each person."""
    return dataset.prepare(folder, load_head(), count, size, seed, focal=FOCAL, fill=FILL, frames=frames)
