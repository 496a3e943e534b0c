"""Everything that training changes, in one frozen pytree."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jfrecon.methods.method import ModelState, Params


@struct.dataclass
class TrainState:
    """The state between two steps; equal on every device.

    Attributes:
      step: [] int32, steps taken; also the position in the data, as batch ``step`` comes next.
      params: what the optimiser changes.
      model_state: what the network carries besides (running batch statistics).
      opt_state: the optimiser's moments and count.
      key: [2] uint32, of the loss's random numbers; a step folds in its number and its device.
      skipped: [] int32, steps without update because loss or gradient was not finite.
      skipped_in_a_row: [] int32, those among them since the last update.
    """

    step: jax.Array
    params: Params
    model_state: ModelState
    opt_state: Any
    key: jax.Array
    skipped: jax.Array
    skipped_in_a_row: jax.Array


def create(
    params: Params, model_state: ModelState, optimiser: optax.GradientTransformation, key: jax.Array
) -> TrainState:
    """The state before the first step."""
    zero = jnp.zeros((), jnp.int32)
    return TrainState(zero, params, model_state, optimiser.init(params), key, zero, zero)
