"""What training asks of a method."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import numpy as np

from jfrecon.render.portraits import Portrait
from jfrecon.types import Batch, FaceParameters, MorphableModel, Pinhole

AXIS = 'devices'
"""Name of the mesh axis that a method's loss runs under: synchronised batch norm averages over it."""

Params = Any
ModelState = Any
Metrics = dict[str, jax.Array]


class Method(Protocol):
    """A paper as pure functions; everything else (optimiser, data, loop) is training's.

    Attributes:
      model: the morphable model whose coefficients it predicts.
      portrait: how pictures of its faces are made.
    """

    @property
    def model(self) -> MorphableModel:
        """See the class."""
        ...

    @property
    def portrait(self) -> Portrait:
        """See the class."""
        ...

    def init(self, key: jax.Array) -> tuple[Params, ModelState]:
        """Fresh parameters, and what the network carries besides them ({'batch_stats': ...}, or {}).

        Called on the host, outside of jit, because published weights are read from files here; a method
        therefore jits the initialisation of its own networks. Also traced for the shapes (`jax.eval_shape`).
        Every process gets the same key.
        """
        ...

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[ModelState, Metrics]]:
        """The loss of one device's share of the batch.

        Traced inside an axis called `AXIS`. ``key`` differs between steps and devices, ``step`` (int32)
        counts the steps taken before this one.

        Returns:
          (loss, (model_state, metrics)): the mean over the share, what the network carries on, and every term
          as a float scalar by its name.
        """
        ...

    def predict(self, params: Params, model_state: ModelState, image: jax.Array, camera: Pinhole) -> FaceParameters:
        """Reconstruct: crops [B, H, W, 3], sRGB in 0..1, and their cameras -> parameters with leaves [B, ...]."""
        ...

    def panels(self, params: Params, model_state: ModelState, batch: Batch) -> np.ndarray:
        """Pictures for people, uint8 [B, H, W', 3]: input | overlay | geometry | albedo | light of each face.

        Called on the host with arrays of one device, outside of any axis.
        """
        ...
