"""What methods are put together from, as configs name it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax import numpy as jnp
from ml_collections import ConfigDict

from jfrecon import morphable
from jfrecon.errors import UserError
from jfrecon.geometry import uv
from jfrecon.losses.data_term import RENDERERS, DataTerm
from jfrecon.losses.energies import DOMAINS
from jfrecon.morphable import linear
from jfrecon.nets.regressor import Regressor
from jfrecon.render import panel, tree
from jfrecon.render.portraits import Portrait
from jfrecon.types import Batch, FaceParameters, MorphableModel


class Pictured:
    """How methods draw what they predict: `jfrecon.methods.method.Method.panels` of all of them.

    Attributes:
      columns: of a row of pictures, see `jfrecon.render.panel`.
    """

    columns: tuple[str, ...] = panel.COLUMNS
    predict: Callable[..., FaceParameters]
    portrait: Portrait

    @functools.cached_property
    def _compiled_predict(self) -> Callable[..., FaceParameters]:
        return jax.jit(self.predict)

    def panels(self, params: dict, model_state: dict, batch: Batch) -> np.ndarray:
        """uint8 [B, H, K W, 3]: a row of K pictures per face."""
        chi = self._compiled_predict(params, model_state, batch.image, batch.camera)
        return panel.rows(self.portrait, chi, batch.image, batch.camera, self.columns)


def models(config: ConfigDict) -> tuple[MorphableModel, Portrait]:
    """``config.model``'s face with as many modes as it says, and the same for pictures."""
    name, path = config.model.name, config.model.path
    modes = config.model.identity, config.model.expression, config.model.albedo
    model, filled = (linear.truncate(load(name, path), *modes) for load in (morphable.load, morphable.load_portrait))
    leaves = None if config.renderer == 'vertex' else _leaves(filled)
    return model, Portrait(filled, leaves, config.roughness)


def choice(config: ConfigDict, name: str, known: tuple[str, ...]) -> str:
    """``config.NAME``, which must be one of the known ones."""
    if config[name] not in known:
        raise UserError(f'config.{name} is {config[name]!r}; there are {", ".join(known)}')
    return config[name]


def regressor(config: ConfigDict, model: MorphableModel, axis_name: str | None) -> Regressor:
    """``config.network``'s E, head and decoders."""
    network = config.network
    return Regressor(
        backbone=network.backbone,
        latent=network.latent,
        identity=model.identity_basis.shape[0],
        expression=model.expression_basis.shape[0],
        albedo=model.diffuse_basis.shape[0],
        bands=config.light_bands,
        face_width=float(np.ptp(np.asarray(model.mean)[:, 0])),
        fill=network.fill,
        scales=tuple(sorted(network.scales.items())),
        texture=network.texture,
        decoders=network.decoders,
        dtype=jnp.dtype(network.dtype),
        axis_name=axis_name,
    )


def data_term(config: ConfigDict, model: MorphableModel) -> DataTerm:
    """The renderers that ``config.renderer`` names."""
    if config.samples < 1:
        raise UserError(f'config.samples must be at least 1, got {config.samples}')
    return DataTerm(
        model=model,
        leaves=_leaves(model),
        places=uv.of_vertices(model.topology, len(model.mean)),
        renderer=choice(config, 'renderer', RENDERERS),
        samples=config.samples,
        roughness=config.roughness,
        domain=choice(config, 'domain', DOMAINS) if 'domain' in config else 'linear',  # older ones do not say
    )


def _leaves(model: MorphableModel) -> np.ndarray:
    return tree.order(np.asarray(model.mean), np.asarray(model.topology.triangles))
