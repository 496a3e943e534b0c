"""Gradient descent on the unknowns of one face, with a step size for each of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Unknowns = Any  # a pytree of arrays
Energy = Callable[[Unknowns, Any, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Descent:
    """Adam (Kingma and Ba 2015) whose steps shrink to nothing along half a cosine.

    Attributes:
      energy: (unknowns, what is known, key) -> a number.
      rates: how far each leaf of the unknowns moves in a step, at first; a prefix of their tree. 0: it stays.
      steps: how many; 0: the unknowns stay.
    """

    energy: Energy
    rates: Any
    steps: int

    def __call__(
        self, unknowns: Unknowns, known: Any, key: jax.Array, progress: Callable[[], None] | None = None
    ) -> Unknowns:
        """The unknowns after all steps. progress: called after each."""
        if not self.steps:
            return unknowns
        unknowns = jax.tree.map(jnp.array, unknowns)  # the steps donate theirs
        state = self._adam.init(unknowns)
        for number in range(self.steps):
            unknowns, state = self._step(unknowns, state, known, jax.random.fold_in(key, number))
            if progress is not None:
                progress()
        return unknowns

    @functools.cached_property
    def _adam(self) -> optax.GradientTransformation:
        return optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(optax.cosine_decay_schedule(1.0, self.steps)))

    @functools.cached_property
    def _step(self):
        @functools.partial(jax.jit, donate_argnums=(0, 1))
        def step(unknowns, state, known, key):
            slope = jax.grad(self.energy)(unknowns, known, key)
            moves, state = self._adam.update(slope, state)
            moves = jax.tree.map(lambda rate, branch: jax.tree.map(lambda move: rate * move, branch), self.rates, moves)
            return jax.tree.map(jnp.subtract, unknowns, moves), state

        return step
