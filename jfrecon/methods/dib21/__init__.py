"""dib21: Dib et al., Towards High Fidelity Monocular Face Reconstruction (ICCV 2021).

image -> chi and increments (`nets.regressor`) -> geometry and albedo (`render.surface`) -> shading and pixels
(`losses.data_term`) -> energy (`terms`).
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
from jfrecon.losses.data_term import DataTerm
from jfrecon.methods import parts
from jfrecon.methods.dib21 import terms
from jfrecon.nets import regressor
from jfrecon.render import surface
from jfrecon.render.portraits import Portrait
from jfrecon.types import Batch, FaceParameters, Maps, MorphableModel, Pinhole


@dataclasses.dataclass(frozen=True)
class Dib21(parts.Pictured):
    """E, and the decoders of what its albedo misses, trained end to end through a differentiable renderer.

    Attributes:
      model: the morphable model.
      portrait: how pictures are made.
      network: E, D1 and D2.
      energy: 'base' minimises eq. 2 (stage I), 'albedo' eq. 3 by the decoders alone (stage II), 'joint' both.
      weights: of the terms of that energy, by name; see `configs/dib21.py`.
      epoch: steps after which the weight of the diffuse consistency is relaxed; 'base' has none.
      size: pixels of the square crops it reads.
      data: the renderers.
      atlas: of the decoders' maps, None without decoders.
      published: file of ImageNet weights that E begins with, or None.
    """

    model: MorphableModel
    portrait: Portrait
    network: regressor.Regressor
    energy: str
    weights: Mapping[str, float]
    size: int
    data: DataTerm
    epoch: int | None = None
    atlas: uv.Atlas | None = None
    published: str | None = None

    def init(self, key: jax.Array) -> tuple[dict, dict]:
        """Parameters and batch statistics of a network that has seen no face."""
        variables = regressor.fresh(self.network, self.size, key, self.published)
        return variables.pop('params'), variables

    def predict(self, params: dict, model_state: dict, image: jax.Array, camera: Pinhole) -> FaceParameters:
        """Reconstruct: image [B, H, W, 3] sRGB in 0..1 -> chi with leaves [B, ...]."""
        found: Any = self.network.apply(
            {'params': params, **model_state}, image, camera, train=False, increments=self.energy != 'base'
        )
        chi, increments = found
        if increments is not None:
            chi = chi.replace(maps=self._reflectance(chi, increments)[0])
        return chi

    def _reflectance(self, chi: FaceParameters, increments: Maps) -> tuple[Maps, Maps]:
        """(D^ and S^, D and S): the morphable model's reflectance in UV, with the increments and without."""
        assert self.atlas is not None
        prior = surface.prior_maps(self.model, self.atlas.texels, chi.albedo)
        return jax.tree.map(jnp.add, prior, increments), prior

    def loss(
        self, params: dict, model_state: dict, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[dict, dict]]:
        """Eq. 2, eq. 3 or their sum, mean over the batch: (energy, (new batch statistics, every term by its name))."""
        (chi, increments), updated = self.network.apply(
            {'params': params, **model_state},
            batch.image,
            batch.camera,
            train=True,
            increments=self.energy != 'base',
            fixed=self.energy == 'albedo',
            mutable=list(model_state),
        )
        face = surface.posed(self.model, chi, batch.camera)
        estimate = terms.Estimate(self.model, batch, chi, face)
        first, second = jax.random.split(key)
        energy, metrics = jnp.zeros(()), dict[str, jax.Array]()
        if self.energy != 'albedo':
            base = self.data(face, chi.light, batch, first) | terms.costs(terms.BASE, estimate, self.weights)
            energy, metrics = energies.weighed(base, self.weights)
        if increments is not None:
            assert self.epoch is not None
            final, prior = self._reflectance(chi, increments)
            again = self.data(face, chi.light, batch, second, final)
            refined = dataclasses.replace(estimate, final=final, prior=prior, atlas=self.atlas)
            weights = energies.relaxed(self.weights, step // self.epoch)
            more, found = energies.weighed({**again, **terms.costs(terms.MAPS, refined, self.weights)}, weights)
            energy += more
            metrics |= {f'{name}_final' if name in again else name: value for name, value in found.items()}
        return energy, (dict(updated), {'loss': energy, **metrics})


def build(config: ConfigDict, axis_name: str | None = None) -> Dib21:
    """Unpack a config (see `configs/dib21.py`) into a method."""
    energy = parts.choice(config, 'energy', terms.ENERGIES)
    if energy != 'base' and not config.network.texture:
        raise UserError(f'config.energy={energy} needs decoders: config.network.texture is 0')
    model, portrait = parts.models(config)
    # Stage I trains without decoders, but its network has them where a later stage goes on with it.
    maps = (parts.texture(config), parts.decoders(config)) if config.network.texture else ()
    data = parts.data_term(config, model)
    return Dib21(
        model=model,
        portrait=portrait,
        network=parts.regressor(config, model, axis_name, *maps),
        energy=energy,
        weights=parts.weights(config, terms.known(), parts.terms(terms.used(energy, data.terms), model)),
        size=parts.least(config, 'data.size', 1),
        data=data,
        epoch=None if energy == 'base' else parts.least(config, 'epoch', 1),
        atlas=uv.atlas(model.topology, np.asarray(model.mean), maps[0]) if maps else None,
        published=parts.published(config),
    )
