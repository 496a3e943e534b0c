"""cest: Wen et al., Self-Supervised 3D Face Reconstruction via Conditional Estimation (ICCV 2021).

image -> factors in sequence (`estimator`, `factors`) -> posed surface and albedo map -> pixels (`losses.data_term`),
each frame of a clip with the albedo of another one and with a mirrored one -> energy, eq. 9.
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
from jfrecon.losses import energies, terms
from jfrecon.losses.data_term import RENDERERS, DataTerm
from jfrecon.methods import parts
from jfrecon.methods.cest import estimator, factors
from jfrecon.methods.cest.factors import LIGHTS, REFLECTANCE, Groups, Settings
from jfrecon.morphable import linear
from jfrecon.nets import head
from jfrecon.render import panel, surface
from jfrecon.render.portraits import Portrait
from jfrecon.types import Batch, FaceParameters, Fragments, Maps, MorphableModel, Pinhole

#: Whose albedo a frame is rebuilt with: its own, that of another frame of its clip, one of the two mirrored, or the
#: albedo of every frame and its mirror image in turn (eq. 7).
RECONSTRUCTIONS = ('own', 'other', 'mirrored', 'mirrored_other', 'every')

#: Of eq. 9, beside the data term; an albedo has no prior.
TERMS = ('landmarks', *(name for name in energies.PRIORS if name != 'albedo'))


@dataclasses.dataclass(frozen=True)
class Cest(parts.Pictured):
    """Viewpoint, shape, reflectance and light, each estimated with sight of others, trained on clips.

    Attributes:
      model: the morphable model.
      portrait: how pictures are made.
      network: the factors.
      reconstructions: of each frame, see `RECONSTRUCTIONS`.
      frames: n, so many rows in a row are frames of one clip.
      weights: of the terms of eq. 9, by name; see `configs/cest.py`.
      size: pixels of the square crops it reads.
      fill: share of the crop's width that the face fills at the start.
      perspective: whether the camera is the photograph's pinhole, not a weak perspective one.
      data: the renderer.
      atlas: of the albedo map.
      columns: of a row of pictures, see `jfrecon.render.panel`.
    """

    model: MorphableModel
    portrait: Portrait
    network: estimator.Estimator
    reconstructions: tuple[str, ...]
    frames: int
    weights: Mapping[str, float]
    size: int
    fill: float
    perspective: bool
    data: DataTerm
    atlas: uv.Atlas
    columns: tuple[str, ...] = panel.MATTE

    def init(self, key: jax.Array) -> tuple[dict, dict]:
        """Parameters and batch statistics of networks that have seen no face."""
        image, texture = (jnp.zeros((1, side, side, 3)) for side in (self.size, len(self.atlas.mirror)))
        nobody: Any = None
        empty = estimator.Scene(lambda _: (nobody, nobody), lambda *_: (texture, texture[..., 0]))
        settings = dataclasses.replace(self.network.settings, axis_name=None)
        alone = self.network.clone(settings=settings)
        variables = dict(jax.jit(lambda k: alone.init(k, image, empty, train=False))(key))
        return variables.pop('params'), variables

    def predict(self, params: dict, model_state: dict, image: jax.Array, camera: Pinhole) -> FaceParameters:
        """Reconstruct: image [B, H, W, 3] sRGB in 0..1 -> chi with leaves [B, ...]."""
        groups, _ = self.network.apply({'params': params, **model_state}, image, self._scene(camera), train=False)
        return self.face(groups, camera)

    def face(self, groups: Groups, camera: Pinhole) -> FaceParameters:
        """chi of estimated groups [B, ...]: white light becomes RGB, and what no factor gives of the skin is plain."""
        light = groups['light']
        light = light if light.ndim == 3 else jnp.broadcast_to(light[..., None], (*light.shape, 3))
        return dataclasses.replace(self._posed(groups, camera), light=light, maps=_maps(groups))

    def loss(
        self, params: dict, model_state: dict, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[dict, dict]]:
        """Eq. 9, mean over the batch: (energy, (new batch statistics, every term by its name))."""
        if len(batch.image) % self.frames:
            raise UserError(f'config.batch_size: {len(batch.image)} images a device are not clips of {self.frames}')
        (groups, (face, seen)), updated = self.network.apply(
            {'params': params, **model_state}, batch.image, self._scene(batch.camera), train=True,
            mutable=list(model_state),
        )  # fmt: skip
        chi = self.face(groups, batch.camera)
        costs, weights = dict[str, jax.Array](), dict(self.weights)
        first, second = jax.random.split(key)

        # The relief changes with the expression: each frame has its own, whosever its reflectance is.
        names = [name for name in REFLECTANCE if name in groups]
        ends = np.cumsum([groups[name].shape[-1] for name in names])

        def rebuilt(albedo: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
            skin = dict(zip(names, jnp.split(albedo, ends[:-1], -1), strict=True))
            return self.data(face, chi.light, batch, key, _maps({**groups, **skin}), seen)

        albedos = self._albedos(jnp.concatenate([groups[name] for name in names], -1), first)
        stacked = jnp.concatenate(list(albedos.values()))
        data = jax.vmap(rebuilt)(stacked, jax.random.split(second, len(stacked)))
        for term, cost in data.items():
            rounds = np.cumsum([len(values) for values in albedos.values()])
            for name, part in zip(albedos, jnp.split(cost, rounds[:-1]), strict=True):
                costs[f'{term}_{name}'] = jnp.sum(part, 0)
                # every frame's albedo and its mirror image count as one other and one mirrored
                weights[f'{term}_{name}'] = self.weights[term] / (self.frames if name == 'every' else 1)
        points = linear.landmarks(self.model, face.pixels)
        distance = terms.landmark_l1(points, batch.landmarks) / batch.image.shape[-2]
        costs['landmarks'] = terms.masked_mean(distance, batch.landmark_weight, axis=-1)
        priors = energies.priors(chi, self.model)
        costs |= {name: priors[name] for name in TERMS if name in priors}
        energy, metrics = energies.weighed(costs, weights)
        return energy, (dict(updated), {'loss': energy, **metrics})

    def _albedos(self, albedo: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """Albedos [K, B, S, S, C] that each frame is rebuilt with, by the name of the reconstruction (eqs. 7, 8)."""
        clips = albedo.reshape(-1, self.frames, *albedo.shape[1:])

        def of_partner(values: jax.Array) -> jax.Array:
            # another frame for each, with equal chances; a single image has itself
            ahead = jax.random.randint(key, (len(albedo),), 1, max(self.frames, 2))
            rows = jnp.arange(len(albedo))
            clip, frame = rows // self.frames, rows % self.frames
            return values[clip * self.frames + (frame + ahead) % self.frames]

        flip = lambda values: uv.flip(values, self.atlas.mirror)
        made: dict[str, jax.Array] = {}
        for name in self.reconstructions:
            if name == 'every':
                turns = jnp.stack([jnp.roll(clips, -k, axis=1).reshape(albedo.shape) for k in range(self.frames)])
                made[name] = jnp.concatenate([turns, flip(turns)])
                continue
            used = albedo if name in ('own', 'mirrored') else of_partner(albedo)
            made[name] = (flip(used) if name.startswith('mirrored') else used)[None]
        return made

    def _posed(self, groups: Groups, camera: Pinhole) -> FaceParameters:
        """chi without reflectance and light."""
        width = float(np.ptp(np.asarray(self.model.mean)[:, 0]))
        translation = head.place(groups['place'], camera, self.size, width, self.fill)
        nothing = jnp.zeros((*translation.shape[:-1], self.model.diffuse_basis.shape[0]))
        dark = jnp.zeros((*translation.shape[:-1], 1, 3))
        return FaceParameters(
            groups['identity'], groups['expression'], nothing, groups['rotation'], translation, dark,
            perspective=self.perspective,
        )  # fmt: skip

    def _scene(self, camera: Pinhole) -> estimator.Scene:
        def pose(groups: Groups) -> tuple[surface.Surface, Fragments]:
            face = surface.posed(self.model, self._posed(groups, camera), camera)
            return face, surface.rasterise(self.model, face, (self.size, self.size))

        def unwrap(image: jax.Array, posed: estimator.Posed) -> tuple[jax.Array, jax.Array]:
            return surface.unwrapped(self.model, *posed, image, self.atlas.texels)

        return estimator.Scene(pose, unwrap)


def _maps(groups: Groups) -> Maps:
    """What the renderer takes of the skin: no gloss and no relief where no factor gives them."""
    diffuse = groups['diffuse']
    specular = groups['specular'] if 'specular' in groups else jnp.zeros_like(diffuse[..., :1])
    return Maps(diffuse, specular, groups.get('normal'))


def build(config: ConfigDict, axis_name: str | None = None) -> Cest:
    """Unpack a config (see `configs/cest.py`) into a method."""
    order = estimator.ordered({name: tuple(others) for name, others in config.factors.items()})
    for name in config.reconstructions:
        if name not in RECONSTRUCTIONS:
            raise UserError(f'config.reconstructions has {name!r}; there are {", ".join(RECONSTRUCTIONS)}')
    colour = parts.choice(config, 'light_colour', LIGHTS)
    network, (model, portrait) = config.network, parts.models(config, albedo=0)
    given = factors.given_by([name for name, _ in order])
    vectors = {*factors.VIEW, *factors.SHAPE, 'light'}
    # A factor that gives a map and sees the photograph in UV has a U-net; any other has a decoder.
    unwrapped = [
        {*factors.VIEW, *factors.SHAPE} <= set(factors.given_by(sees))
        for name, sees in order
        if set(factors.given_by([name])) - vectors
    ]
    texture = network.texture if all(unwrapped) else parts.texture(config)
    settings = Settings(
        backbone=parts.backbone(config),
        unet=parts.unet(config, 'network.unet', texture) if any(unwrapped) else '',
        latent=parts.least(config, 'network.latent', 1),
        identity=model.identity_basis.shape[0],
        expression=model.expression_basis.shape[0],
        bands=parts.least(config, 'light_bands', 1),
        texture=texture,
        colours=LIGHTS[colour],
        scales=parts.scales(config, [group for group in given if group in vectors]),
        dtype=parts.dtype(config),
        axis_name=axis_name,
    )
    data = parts.data_term(config, model)
    known = [name for names in (*RENDERERS.values(), TERMS) for name in names]
    return Cest(
        model=model,
        portrait=portrait,
        network=estimator.Estimator(order, settings),
        reconstructions=tuple(config.reconstructions),
        frames=parts.least(config, 'data.frames', 1),
        weights=parts.weights(config, known, (*data.terms, *parts.terms(TERMS, model))),
        size=parts.least(config, 'data.size', 1),
        fill=network.fill,
        perspective=config.perspective,
        data=data,
        atlas=uv.atlas(model.topology, np.asarray(model.mean), texture),
        columns=panel.LAYERS if 'specular' in given else panel.MATTE,
    )
