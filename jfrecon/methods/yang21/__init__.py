"""yang21: Yang et al., Self-supervised High-fidelity and Re-renderable 3D Facial Reconstruction from a Single Image.

prior   image -> 257 numbers (`nets.regressor`) -> shape, prior albedo A, coarse light L        -> pixels -> energy
refine  image in UV by that shape, and A -> detailed albedo A', light map L' (`refinement`)     -> pixels -> eq. 18
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jfrecon.errors import UserError
from jfrecon.geometry import uv
from jfrecon.losses import energies, terms
from jfrecon.losses.data_term import DataTerm
from jfrecon.methods import parts
from jfrecon.methods.yang21 import refinement
from jfrecon.morphable import linear
from jfrecon.nets import iresnet, regressor
from jfrecon.render import panel, surface
from jfrecon.render.portraits import Portrait
from jfrecon.shading import colour, sh
from jfrecon.types import Batch, FaceParameters, Fragments, Maps, MorphableModel, Pinhole

#: The energies, one for each stage, and their terms beside the data term, which 'prior' has alone.
TERMS = {
    'prior': ('landmarks', *energies.PRIORS, 'perceptual'),
    'refine': (
        'light_map', 'cross', 'symmetry', 'smoothness', 'prior', 'adversary', 'gradient', 'image', 'discriminator',
    ),
}  # fmt: skip
STAGES = tuple(TERMS)
# By pixels both; 'refine' has eq. 18, whose pictures are the rasteriser's.
RENDERERS = {'prior': ('raster', 'raytrace'), 'refine': ('raster',)}
PERCEPTUAL = ('perceptual', 'cross')  # the terms that need an identity network
REGRESSOR = ('encoder', 'head')  # its parts
LIGHTS = ('detailed', 'coarse')
SHARPNESS = 80.0  # alpha of eq. 9

INPUTS = ('aligned', 'crop')  # what the identity network sees: see `jfrecon.nets.iresnet.perceiver`

#: Photographs [B, H, W, 3], sRGB, masks [B, H, W] of what counts, five points [B, 5, 2] or None -> unit codes [B, C] of
#: who they show.
Identity = Callable[[jax.Array, jax.Array, jax.Array | None], jax.Array]


@dataclasses.dataclass(frozen=True)
class Yang21(parts.Pictured):
    """A morphable model's albedo and light, refined in UV.

    Attributes:
      model: the morphable model, matte.
      portrait: how pictures are made.
      network: the prior module's regressor.
      refiner: the detail refinement module, and ``discriminator`` its adversary.
      energy: 'prior' trains the regressor, 'refine' the refinement module and its adversary (eq. 18).
      light: which light the pictures of 'refine' are made with: 'detailed' (OD) or 'coarse' (OC).
      end_to_end: whether the regressor goes on to learn in 'refine', by eq. 18 and its own energy (4.3).
      white_prior: whether the refinement module sees white in place of the prior albedo (5.4).
      weights: of the terms of that energy, by name; see `configs/yang21.py`.
      epoch: steps after which the L1 to the prior albedo is switched off; 'prior' has none.
      size: pixels of the square crops it reads.
      data: the renderer of the stage 'prior'.
      atlas: of all maps.
      identity_network: that of the perceptual terms, None where their weights are zero.
      aligns: whether faces are aligned by five points before it sees them.
      published: file of ImageNet weights that the regressor begins with, or None.
    """

    columns = panel.MATTE

    model: MorphableModel
    portrait: Portrait
    network: regressor.Regressor
    refiner: refinement.Refinement
    discriminator: refinement.Discriminator
    energy: str
    light: str
    end_to_end: bool
    white_prior: bool
    weights: Mapping[str, float]
    epoch: int | None
    size: int
    data: DataTerm
    atlas: uv.Atlas
    identity_network: Identity | None = None
    aligns: bool = True
    published: str | None = None

    def init(self, key: jax.Array) -> tuple[dict, dict]:
        """Parameters and batch statistics of networks that have seen no face."""
        first, second = jax.random.split(key)
        variables = regressor.fresh(self.network, self.size, first, self.published)
        params = variables.pop('params')
        more = refinement.fresh(self.refiner, self.discriminator, len(self.atlas.mirror), second)
        return params | more, variables

    def predict(self, params: dict, model_state: dict, image: jax.Array, camera: Pinhole) -> FaceParameters:
        """Reconstruct: image [B, H, W, 3] sRGB in 0..1 -> chi with leaves [B, ...]."""
        found: Any = self.network.apply({'params': params, **model_state}, image, camera, train=False)
        chi = found[0]
        return chi if self.energy == 'prior' else self.refine(params, chi, image, camera)

    def refine(self, params: dict, chi: FaceParameters, image: jax.Array, camera: Pinhole) -> FaceParameters:
        """A face, wherever it came from, with the maps that a photograph [B, H, W, 3] unwrapped by it gives it.

        The noise of unseen texels is the same whenever it is asked.
        """
        face = surface.posed(self.model, chi, camera)
        seen = surface.rasterise(self.model, face, (image.shape[1], image.shape[2]))
        maps, _ = self._refined(params, chi, face, seen, image, jax.random.key(0))
        return dataclasses.replace(chi, maps=maps if self.light == 'detailed' else relit(maps, None))

    def loss(
        self, params: dict, model_state: dict, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[dict, dict]]:
        """The energy of a stage, mean over the batch: (energy, (new batch statistics, every term by its name)).

        In 'refine' both players move at every step, each by its own term of eqs. 11 and 12: the gradient of one stops
        before the other.
        """
        variables = {'params': params, **model_state}
        chi, updated = self._prior(variables, batch)
        face = surface.posed(self.model, chi, batch.camera)
        seen = surface.rasterise(self.model, face, batch.image.shape[1:3])
        costs = dict[str, jax.Array]()
        if self.energy == 'prior' or self.end_to_end:
            costs |= self.data(face, chi.light, batch, key, None, seen)
            costs['landmarks'] = energies.landmark_distance(linear.landmarks(self.model, face.pixels), batch)
            costs |= energies.priors(chi, self.model)
            if self.identity_network is not None:
                drawn = surface.layers(self.model, face, chi.light, None, seen, self.data.roughness)
                costs['perceptual'] = self._unlike(drawn, batch, face)
        if self.energy == 'prior':
            energy, metrics = energies.weighed(costs, self.weights)
            return energy, (updated, {'loss': energy, **metrics})

        maps, prior = self._refined(params, chi, face, seen, batch.image, key)
        draw = lambda maps: surface.layers(self.model, face, chi.light, maps, seen, self.data.roughness)
        detailed, coarse = draw(maps), draw(relit(maps, None))
        light = jnp.asarray(maps.light)
        costs |= self._albedo_terms(params, maps.diffuse, prior)
        costs['light_map'] = self._on_chart(light_cost(light, chi.light[:, None, None]))
        mask = jax.lax.stop_gradient(batch.mask * detailed.coverage)  # eq. 14
        costs['gradient'] = gradient_cost(*energies.compared(coarse.radiance, batch, self.data.domain), mask)
        shown = detailed if self.light == 'detailed' else coarse
        residual = terms.photometric_squared(*energies.compared(shown.radiance, batch, self.data.domain))
        costs['image'] = terms.masked_mean(residual, mask, axis=(-2, -1))
        if self.identity_network is not None:
            # the albedo of each face under the light map of the one before it in the batch
            crossed = draw(relit(maps, jnp.roll(light, 1, axis=0)))
            costs['cross'] = self._unlike(crossed, batch, face)
        assert self.epoch is not None
        weights: dict[str, Any] = {**self.weights, 'prior': self.weights['prior'] * (step < self.epoch)}
        energy, metrics = energies.weighed(costs, weights)
        return energy, (updated, {'loss': energy, **metrics})

    def _prior(self, variables: dict, batch: Batch) -> tuple[FaceParameters, dict]:
        """The regressor's chi; where it is fixed, without gradient for it, and its batch statistics stay."""
        state = {name: values for name, values in variables.items() if name != 'params'}
        if self.energy == 'prior' or self.end_to_end:
            found: Any = self.network.apply(
                variables, batch.image, batch.camera, train=True, mutable=list(state)
            )  # fmt: skip
            (chi, _), updated = found
            return chi, dict(updated)
        fixed: Any = self.network.apply(variables, batch.image, batch.camera, train=False)
        return jax.lax.stop_gradient(fixed[0]), state

    def _refined(
        self,
        params: dict,
        chi: FaceParameters,
        face: surface.Surface,
        seen: Fragments,
        image: jax.Array,
        key: jax.Array,
    ) -> tuple[Maps, jax.Array]:
        """Detailed albedo and light map, and the albedo that they start from."""
        prior = surface.prior_maps(self.model, self.atlas.texels, chi.albedo)
        start = jnp.ones_like(prior.diffuse) if self.white_prior else prior.diffuse
        texture, shown = surface.unwrapped(self.model, face, seen, image, self.atlas.texels)
        albedo, light = self.refiner.apply(
            {'params': params['refinement']}, refinement.filled(texture, shown, key), start
        )
        return Maps(start + albedo, prior.specular, light=chi.light[:, None, None] + light), start

    def _albedo_terms(self, params: dict, albedo: jax.Array, prior: jax.Array) -> dict[str, jax.Array]:
        """Eqs. 7 to 12; [B]."""
        chart = jnp.asarray(self.atlas.texels.coverage).astype(albedo.dtype)
        still = jax.lax.stop_gradient(params['discriminator'])

        def judged(params: dict, albedo: jax.Array) -> jax.Array:
            logits: Any = self.discriminator.apply({'params': params}, albedo * chart[..., None])
            return logits

        mean = lambda values: jnp.mean(values, (-2, -1))
        of_its_own = judged(params['discriminator'], jax.lax.stop_gradient(albedo))
        of_prior = judged(params['discriminator'], jax.lax.stop_gradient(prior))
        return {
            'symmetry': self._on_chart(terms.symmetry_squared(albedo, uv.flip(albedo, self.atlas.mirror))),
            'smoothness': self._on_chart(terms.guided_smoothness(albedo, prior, SHARPNESS, chart)),
            'prior': self._on_chart(terms.photometric(albedo, prior)),
            'adversary': mean(jax.nn.softplus(-judged(still, albedo))),
            'discriminator': mean(jax.nn.softplus(of_its_own)) + mean(jax.nn.softplus(-of_prior)),
        }

    def _on_chart(self, values: jax.Array) -> jax.Array:
        return terms.masked_mean(values, jnp.asarray(self.atlas.texels.coverage), axis=(-2, -1))

    def _unlike(self, drawn: surface.Layers, batch: Batch, face: surface.Surface) -> jax.Array:
        """Eq. 5: how far a rendering is from showing who the photograph shows; [B].

        No gradient in the mask, nor in the points by which both are aligned: the photograph's own, or the face's where
        the photograph has none.
        """
        assert self.identity_network is not None
        rendered = jnp.clip(colour.linear_to_srgb(drawn.radiance), 0, 1)
        mask = jax.lax.stop_gradient(batch.mask * drawn.coverage)
        points = None
        if self.aligns:
            projected = linear.landmarks(self.model, face.pixels)
            landmarks = jnp.where(batch.landmark_weight[..., None] > 0, batch.landmarks, projected)
            points = jax.lax.stop_gradient(iresnet.five_points(landmarks))
        photograph = jax.lax.stop_gradient(self.identity_network(jnp.asarray(batch.image), mask, points))
        return 1 - jnp.sum(self.identity_network(rendered, mask, points) * photograph, -1)


def light_cost(light: jax.Array, coarse: jax.Array) -> jax.Array:
    """Eq. 4: how far light [..., L², 3] is from another, [...], by what a white matte surface shows under both.

    The squared difference over RGB, mean over all directions of the surface. The paper's coefficients are so scaled
    (Deng et al. 2019) that the sum of their squares is 1.3, 1.0 and 2.5 times that in its three bands; for ours it
    would be 13, 28 and 201 times.
    """
    away = sh.convolve(light - coarse, sh.cosine_kernel(sh.bands_of(coarse)))
    return jnp.sum(jnp.square(away), (-2, -1)) / (4 * jnp.pi)


def gradient_cost(rendered: jax.Array, photograph: jax.Array, mask: jax.Array) -> jax.Array:
    """Eq. 15: squared differences of the image gradients along x and y, mean over pairs of pixels in the mask; [B].

    rendered, photograph: [B, H, W, 3]; mask: [B, H, W].
    """
    away = rendered - photograph

    def along(after: tuple, before: tuple) -> jax.Array:
        steps = terms.photometric_squared(away[after], away[before])
        return terms.masked_mean(steps, mask[after] * mask[before], axis=(-2, -1))

    return along(np.s_[:, :, 1:], np.s_[:, :, :-1]) + along(np.s_[:, 1:], np.s_[:, :-1])


def relit(maps: Maps, light: jax.Array | None) -> Maps:
    """The maps with another light map, or with none."""
    return dataclasses.replace(maps, light=light)


def matte(model: MorphableModel) -> MorphableModel:
    """The model without gloss: yang21's surfaces are Lambertian (eq. 3)."""
    nothing = lambda values: np.zeros_like(np.asarray(values))
    return dataclasses.replace(
        model, specular_mean=nothing(model.specular_mean), specular_basis=nothing(model.specular_basis)
    )


def build(config: ConfigDict, axis_name: str | None = None) -> Yang21:
    """Unpack a config (see `configs/yang21.py`) into a method."""
    network = config.network
    energy = parts.choice(config, 'energy', STAGES)
    if network.texture < 32 or network.texture % 16:
        raise UserError(
            f'config.network.texture is {network.texture}; yang21 halves maps four times and its discriminator reads '
            'patches of more than 16 texels: there are 32, 48, 64, ...'
        )
    model, portrait = parts.models(config)
    model = matte(model)
    data = parts.data_term(config, model, RENDERERS[energy])
    refining = energy == 'refine'
    end_to_end = refining and config.end_to_end
    groups = dict(config.optimiser.groups) if end_to_end else {}
    if fixed := [name for name in REGRESSOR if groups.get(name) == 0]:
        raise UserError(
            f'config.end_to_end trains the regressor, whose {fixed[0]} config.optimiser.groups fixes: '
            f'leave {fixed[0]} out there, or choose the change +end_to_end of configs/yang21.py'
        )
    of_prior = () if refining and not end_to_end else (*data.terms, *TERMS['prior'])
    used = (*of_prior, *(TERMS['refine'] if refining else ()))
    weights = parts.weights(config, ('photo', *TERMS['prior'], *TERMS['refine']), parts.terms(used, model))
    perceptual = [name for name in PERCEPTUAL if weights.get(name)]
    if perceptual and config.identity is None:
        raise UserError(
            f'config.loss.{perceptual[0]} needs the weights of an identity network: --config.identity=FILE, or be 0'
        )
    dtype = parts.dtype(config)
    return Yang21(
        model=model,
        portrait=dataclasses.replace(portrait, model=matte(portrait.model)),
        network=parts.regressor(config, model, axis_name),
        refiner=refinement.Refinement(config.light_bands, parts.least(config, 'network.refinement', 1), dtype),
        discriminator=refinement.Discriminator(parts.least(config, 'network.discriminator', 1), dtype),
        energy=energy,
        light=parts.choice(config, 'light', LIGHTS) if refining else LIGHTS[0],
        end_to_end=end_to_end,
        white_prior=config.white_prior if refining else False,
        weights=weights,
        epoch=parts.least(config, 'epoch', 1) if refining else None,
        size=parts.least(config, 'data.size', 1),
        data=data,
        atlas=uv.atlas(model.topology, np.asarray(model.mean), network.texture),
        identity_network=_when_asked(config.identity) if perceptual else None,
        aligns=bool(perceptual) and parts.choice(config, 'identity_input', INPUTS) == 'aligned',
        published=parts.published(config),
    )


def _when_asked(path: str) -> Identity:
    """The identity network of a file, which only training reads: whoever has a checkpoint need not have it."""

    @functools.cache
    def load() -> Identity:
        with jax.ensure_compile_time_eval():
            return iresnet.perceiver(path)

    return lambda *pictures: load()(*pictures)
