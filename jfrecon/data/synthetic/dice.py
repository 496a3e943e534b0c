"""Many random numbers from one call: a random generator compiles slowly, and a scene asks it hundreds of times."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

LIMIT = 2.5  # standard deviations at which normal numbers are truncated
_FACES = 2048


class Dice:
    """Numbers that are used up in the order of the calls; the same calls on the same key get the same numbers."""

    def __init__(self, key: jax.Array):
        self._uniform = jax.random.uniform(key, (_FACES,), minval=1e-6, maxval=1.0)
        # Phi^-1 of a uniform number between Phi(-LIMIT) and Phi(LIMIT).
        tail = 0.5 * math.erfc(LIMIT / math.sqrt(2.0))
        self._normal = jax.scipy.special.ndtri(tail + (1.0 - 2.0 * tail) * self._uniform)
        self._used = 0

    def _take(self, numbers: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        start, self._used = self._used, self._used + math.prod(shape)
        if self._used > _FACES:
            raise ValueError(f'more than {_FACES} random numbers asked of one key')
        return numbers[start : self._used].reshape(shape)

    def uniform(self, *shape: int, low=0.0, high=1.0) -> jax.Array:
        """Numbers in [low, high)."""
        return low + (high - low) * self._take(self._uniform, shape)

    def normal(self, *shape: int) -> jax.Array:
        """Standard normal numbers, truncated at LIMIT."""
        return self._take(self._normal, shape)

    def chance(self, share: jax.Array | float, *shape: int) -> jax.Array:
        """1 with the given probability, else 0."""
        return (self._take(self._uniform, shape) < share).astype(jnp.float32)

    def sign(self, *shape: int) -> jax.Array:
        """-1 or 1."""
        return jnp.where(self._take(self._uniform, shape) < 0.5, -1.0, 1.0)

    def choice(self, shares: np.ndarray) -> jax.Array:
        """An index, by shares [K] that need not sum to one."""
        ends = np.cumsum(shares) / np.sum(shares)
        return jnp.sum(self._take(self._uniform, ()) >= jnp.asarray(ends[:-1], jnp.float32))
