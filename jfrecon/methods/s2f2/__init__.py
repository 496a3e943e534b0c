"""s2f2: Dib et al., S2F2: Self-Supervised High Fidelity Face Reconstruction from Monocular Image (2022).

coarse  image -> chi (`nets.regressor`) -> geometry, albedo (`render.surface`)      -> pixels -> energy, eqs. 1 to 4
medium  image -> chi and increments D1, D2 -> albedos outside of the prior       -> pixels -> energy, eq. 5
fine    image -> UV -> U-nets (`detail`) -> normal map and a further increment   -> pixels -> energy, eq. 6

In every stage the data term is that of both renderers: shadows come from the ray tracer, gradients at edges from the
vertices (`losses.data_term`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jfrecon.errors import UserError
from jfrecon.geometry import uv
from jfrecon.losses import energies
from jfrecon.losses.data_term import RENDERERS, DataTerm
from jfrecon.methods import parts
from jfrecon.methods.s2f2 import details
from jfrecon.morphable import linear
from jfrecon.nets import regressor
from jfrecon.render import panel, surface
from jfrecon.render.portraits import Portrait
from jfrecon.types import Batch, FaceParameters, Maps, MorphableModel, Pinhole

#: The energies, one for each stage, and their terms beside the data term.
TERMS = {
    'coarse': ('landmarks', *energies.PRIORS),
    'medium': ('landmarks', *energies.PRIORS, *energies.ALBEDO_TERMS, energies.RELAX),
    'fine': ('landmarks', *energies.ALBEDO_TERMS, energies.RELAX, *energies.RELIEF_TERMS),
}
STAGES = tuple(TERMS)


@dataclasses.dataclass(frozen=True)
class S2F2(parts.Pictured):
    """Three stages from coarse to fine, each trained through both renderers on what the one before it left.

    Attributes:
      model: the morphable model.
      portrait: how pictures are made.
      network: E, D1 and D2.
      detail: the U-nets.
      energy: 'coarse' minimises eq. 1 by E, 'medium' eq. 5 by E, D1 and D2, 'fine' eq. 6 by the U-nets alone.
      weights: of the terms of that energy, by name; see `configs/s2f2.py`.
      epoch: steps after which the weight of the diffuse consistency is relaxed; 'coarse' has none.
      size: pixels of the square crops it reads.
      data: the renderers.
      atlas: of all maps.
      published: files of ImageNet weights that E and the U-nets' backbones begin with, or None.
    """

    columns = panel.LAYERS

    model: MorphableModel
    portrait: Portrait
    network: regressor.Regressor
    detail: details.Detail
    energy: str
    weights: Mapping[str, float]
    epoch: int | None
    size: int
    data: DataTerm
    atlas: uv.Atlas
    published: tuple[str | None, str | None] = (None, None)

    def init(self, key: jax.Array) -> tuple[dict, dict]:
        """Parameters and batch statistics of networks that have seen no face."""
        first, second = jax.random.split(key)
        code = regressor.fresh(self.network, self.size, first, self.published[0])
        detail = details.fresh(self.detail, self.network.texture, second, self.published[1])
        variables = {collection: code[collection] | detail[collection] for collection in code}
        return variables.pop('params'), variables

    def predict(self, params: dict, model_state: dict, image: jax.Array, camera: Pinhole) -> FaceParameters:
        """Reconstruct: image [B, H, W, 3] sRGB in 0..1 -> chi with leaves [B, ...]."""
        variables = {'params': params, **model_state}
        chi, maps = self._medium(variables, image, camera)
        if self.energy == 'fine':
            face = surface.posed(self.model, chi, camera)
            detail: Any = self.detail.apply(variables, *self._unwrapped(face, image), train=False)
            maps = _refined(maps, detail)
        return chi if self.energy == 'coarse' else dataclasses.replace(chi, maps=maps)

    def loss(
        self, params: dict, model_state: dict, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[dict, dict]]:
        """Eq. 1, 5 or 6, mean over the batch: (energy, (new batch statistics, every term by its name))."""
        variables = {'params': params, **model_state}
        weights = self.weights if self.epoch is None else energies.relaxed(self.weights, step // self.epoch)
        terms, maps = dict[str, jax.Array](), None
        if self.energy == 'fine':
            # E and the decoders are fixed, and so are their batch norms' statistics.
            chi, medium = jax.lax.stop_gradient(self._medium(variables, batch.image, batch.camera))
            face = surface.posed(self.model, chi, batch.camera)
            unwrapped = self._unwrapped(face, batch.image)
            detail, updated = self.detail.apply(variables, *unwrapped, train=True, mutable=list(model_state))
            maps = _refined(medium, detail)
            terms |= self._albedo_terms(maps, medium)
            terms |= energies.relief_terms(detail.normal, self.atlas.texels, self.atlas.mirror)
        else:
            (chi, increments), updated = self.network.apply(
                variables, batch.image, batch.camera, train=True, increments=self.energy == 'medium',
                mutable=list(model_state),
            )  # fmt: skip
            face = surface.posed(self.model, chi, batch.camera)
            terms |= energies.priors(chi, self.model)
            if increments is not None:
                prior = surface.prior_maps(self.model, self.atlas.texels, chi.albedo)
                maps = jax.tree.map(jnp.add, prior, increments)
                terms |= self._albedo_terms(maps, prior)
        terms |= self.data(face, chi.light, batch, key, maps)
        terms['landmarks'] = energies.landmark_distance(linear.landmarks(self.model, face.pixels), batch)
        energy, metrics = energies.weighed(terms, weights)
        return energy, (dict(updated), {'loss': energy, **metrics})

    def _medium(self, variables: dict, image: jax.Array, camera: Pinhole) -> tuple[FaceParameters, Maps]:
        """chi, and the prior's albedos with the increments of D1 and D2, as they are after training."""
        found: Any = self.network.apply(variables, image, camera, train=False)
        chi, increments = found
        prior = surface.prior_maps(self.model, self.atlas.texels, chi.albedo)
        return chi, jax.tree.map(jnp.add, prior, increments)

    def _unwrapped(self, face: surface.Surface, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        seen = surface.rasterise(self.model, face, (image.shape[1], image.shape[2]))
        return surface.unwrapped(self.model, face, seen, image, self.atlas.texels)

    def _albedo_terms(self, maps: Maps, prior: Maps) -> dict[str, jax.Array]:
        return energies.albedo_terms(maps, prior, self.atlas.texels, self.atlas.mirror)


def _refined(medium: Maps, detail: Maps) -> Maps:
    """What the U-nets make of the medium stage's albedos (3.4): increments on top, and the normal map."""
    return Maps(medium.diffuse + detail.diffuse, medium.specular + detail.specular, detail.normal)


def build(config: ConfigDict, axis_name: str | None = None) -> S2F2:
    """Unpack a config (see `configs/s2f2.py`) into a method."""
    energy, texture = parts.choice(config, 'energy', STAGES), parts.texture(config)
    backbone = parts.unet(config, 'network.detail', texture)
    if config.network.detail_weights is not None and backbone != details.PUBLISHED:
        raise UserError(
            f'config.network.detail_weights: there are none for U-nets over {backbone}; '
            f'choose --config.network.detail={details.PUBLISHED}'
        )
    model, portrait = parts.models(config)
    data = parts.data_term(config, model)
    known = [name for terms in (*RENDERERS.values(), *TERMS.values()) for name in terms]
    return S2F2(
        model=model,
        portrait=portrait,
        network=parts.regressor(config, model, axis_name, texture, parts.decoders(config)),
        detail=details.Detail(backbone, config.network.specular_detail, parts.dtype(config), axis_name),
        energy=energy,
        weights=parts.weights(config, known, (*data.terms, *parts.terms(TERMS[energy], model))),
        epoch=None if energy == 'coarse' else parts.least(config, 'epoch', 1),
        size=parts.least(config, 'data.size', 1),
        data=data,
        atlas=uv.atlas(model.topology, np.asarray(model.mean), texture),
        published=(parts.published(config), config.network.detail_weights),
    )
