"""What methods are put together from, as configs name it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable

import jax
import numpy as np
from jax import numpy as jnp
from ml_collections import ConfigDict

from jfrecon import morphable
from jfrecon.errors import UserError
from jfrecon.geometry import uv
from jfrecon.losses.data_term import RENDERERS, TRACED, DataTerm
from jfrecon.losses.energies import DOMAINS, PRIORS, prior_terms
from jfrecon.morphable import linear
from jfrecon.nets import decoder, encoder, head, vgg
from jfrecon.nets.regressor import Regressor
from jfrecon.render import panel, tree
from jfrecon.render.portraits import Portrait
from jfrecon.types import Batch, FaceParameters, MorphableModel

DTYPES = ('float32', 'bfloat16', 'float16')


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


def models(config: ConfigDict, albedo: int | None = None) -> tuple[MorphableModel, Portrait]:
    """Return ``config.model``'s face and the same for pictures, with as many modes as it says.

    albedo: modes of the albedo, where ``config.model`` does not say.

    Raises:
      UserError: there is no such model, or a number of modes is negative.
    """
    modes = config.model.identity, config.model.expression, config.model.albedo if albedo is None else albedo
    if min(modes) < 0:
        raise UserError(f'config.model: {min(modes)} modes are too few')
    name, path = config.model.name, config.model.path
    model, filled = (linear.truncate(load(name, path), *modes) for load in (morphable.load, morphable.load_portrait))
    leaves = None if config.renderer == 'vertex' else _leaves(filled)
    return model, Portrait(filled, leaves, config.roughness)


def choice(config: ConfigDict, name: str, known: Collection[str]) -> str:
    """Return ``config.NAME`` (dots lead into sections); raises `UserError` where it is none of the known values."""
    if config[name] not in known:
        raise UserError(f'config.{name} is {config[name]!r}; there are {", ".join(known)}')
    return config[name]


def least(config: ConfigDict, name: str, minimum: int) -> int:
    """Return the number ``config.NAME`` (dots lead into sections); raises `UserError` where it is below the minimum."""
    if config[name] < minimum:
        raise UserError(f'config.{name} must be at least {minimum}, got {config[name]}')
    return config[name]


def dtype(config: ConfigDict) -> jnp.dtype:
    """Return what ``config.network.dtype`` names."""
    return jnp.dtype(choice(config, 'network.dtype', DTYPES))


def backbone(config: ConfigDict) -> str:
    """Return ``config.network.backbone``, which reads photographs."""
    return choice(config, 'network.backbone', encoder.BACKBONES)


def published(config: ConfigDict) -> str | None:
    """Return the file ``config.network.weights`` of published weights for the backbone, or None.

    Raises:
      UserError: nobody publishes weights for this backbone.
    """
    network = config.network
    if network.weights is not None and not encoder.is_published(backbone(config)):
        known = [name for name in encoder.BACKBONES if encoder.is_published(name)]
        raise UserError(
            f'config.network.weights: there are none for the backbone {network.backbone}, only for {", ".join(known)}; '
            f'choose --config.network.backbone={known[0]}, for example'
        )
    return network.weights


def unet(config: ConfigDict, name: str, texture: int) -> str:
    """Return the backbone ``config.NAME`` of U-nets over maps of ``texture`` texels a side."""
    chosen = choice(config, name, vgg.STAGES)
    if not texture or texture % (halved := 2 ** len(vgg.STAGES[chosen])):
        raise UserError(f'config.network.texture is {texture}; U-nets over {chosen} read multiples of {halved} texels')
    return chosen


def texture(config: ConfigDict) -> int:
    """Return ``config.network.texture``, of maps that decoders make."""
    if config.network.texture not in decoder.SIDES:
        sides = ', '.join(map(str, decoder.SIDES))
        raise UserError(f'config.network.texture is {config.network.texture}; decoders make maps of {sides} texels')
    return config.network.texture


def decoders(config: ConfigDict) -> int:
    """Return ``config.network.decoders``: one for both increments, or one for each."""
    if config.network.decoders not in (1, 2):
        raise UserError(f'config.network.decoders is {config.network.decoders}; there are 1 or 2')
    return config.network.decoders


def scales(config: ConfigDict, groups: Collection[str]) -> tuple[tuple[str, float], ...]:
    """Return ``config.network.scales`` of a network whose outputs are these groups."""
    given = dict(config.network.scales)
    for name in given:
        if name not in groups:
            raise UserError(f'config.network.scales.{name}: the network gives {", ".join(groups)}')
    return tuple(sorted(given.items()))


def regressor(
    config: ConfigDict, model: MorphableModel, axis_name: str | None, texture: int = 0, decoders: int = 2
) -> Regressor:
    """Return ``config.network``'s E and head, and decoders of maps of ``texture`` texels a side, if that is not 0."""
    return Regressor(
        backbone=backbone(config),
        latent=least(config, 'network.latent', 1),
        identity=model.identity_basis.shape[0],
        expression=model.expression_basis.shape[0],
        albedo=model.diffuse_basis.shape[0],
        bands=least(config, 'light_bands', 1),
        face_width=float(np.ptp(np.asarray(model.mean)[:, 0])),
        fill=config.network.fill,
        scales=scales(config, head.GROUPS),
        texture=texture,
        decoders=decoders,
        dtype=dtype(config),
        axis_name=axis_name,
    )


def data_term(config: ConfigDict, model: MorphableModel, renderers: Collection[str] = tuple(RENDERERS)) -> DataTerm:
    """Return the renderers that ``config.renderer`` names, which must be one of ``renderers``."""
    renderer = choice(config, 'renderer', renderers)
    if config.solve_light and renderer != 'vertex':
        raise UserError(f'config.solve_light needs config.renderer=vertex, without shadows; not {renderer}')
    return DataTerm(
        model=model,
        leaves=_leaves(model),
        places=uv.of_vertices(model.topology, len(model.mean)),
        renderer=renderer,
        samples=least(config, 'samples', 1) if renderer in TRACED else 0,
        roughness=config.roughness,
        domain=choice(config, 'domain', DOMAINS),
    )


def terms(names: Iterable[str], model: MorphableModel) -> tuple[str, ...]:
    """Return those of the names of terms that a morphable model has a use for: see `jfrecon.losses.energies.priors`."""
    return tuple(name for name in names if name not in PRIORS or name in prior_terms(model))


def weights(config: ConfigDict, known: Iterable[str], used: Iterable[str]) -> dict[str, float]:
    """Return the weights of the terms that a stage computes, by their names.

    Args:
      config: its ``loss`` has a weight for every term of the method and for nothing else.
      known: all terms of the method, in all of its stages.
      used: those of this stage.

    Raises:
      UserError: a term has no weight, or a weight no term.
    """
    given, known = set(config.loss), [*dict.fromkeys([*known, *used])]
    if missing := [name for name in known if name not in given]:
        raise UserError(
            f'config.loss has no weight for the term {missing[0]} of {config.method}: add config.loss.{missing[0]} to '
            f'the config file, 0.0 to leave it out'
        )
    if unknown := sorted(given - set(known)):
        raise UserError(f'config.loss.{unknown[0]}: {config.method} has no such term, only {", ".join(known)}')
    return {name: config.loss[name] for name in used}


def _leaves(model: MorphableModel) -> np.ndarray:
    return tree.order(np.asarray(model.mean), np.asarray(model.topology.triangles))
