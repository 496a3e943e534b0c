"""dib21: Dib et al., Towards High Fidelity Monocular Face Reconstruction (ICCV 2021).

image -> chi and increments (`network`) -> geometry and albedo -> shading -> pixels -> energy (`objective`).
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jfrecon import morphable
from jfrecon.errors import UserError
from jfrecon.geometry import uv
from jfrecon.methods.dib21 import objective
from jfrecon.methods.dib21.network import Network
from jfrecon.morphable import model as linear
from jfrecon.nets.encoder import Encoder, with_published
from jfrecon.render import face as faces
from jfrecon.render import panel, raytrace, tree
from jfrecon.types import Batch, FaceParameters, Maps, MorphableModel, Pinhole

RENDERERS = ('vertex', 'raytrace', 'both')
ENERGIES = ('base', 'albedo', 'joint')


@dataclasses.dataclass(frozen=True)
class Atlas:
    """What the decoders' maps have to do with the mesh.

    Attributes:
      texels, mirror: see `jfrecon.geometry.uv`.
      vertices: [V, 2] texture coordinates of the vertices.
    """

    texels: uv.TexelMap
    mirror: np.ndarray
    vertices: np.ndarray


@dataclasses.dataclass(frozen=True)
class Dib21:
    """E, and the decoders of what its albedo misses, trained end to end through a differentiable renderer.

    Attributes:
      model: the morphable model.
      portrait: the same with eyes and teeth, for pictures.
      network: E, D1 and D2.
      energy: 'base' minimises eq. 2 (stage I), 'albedo' eq. 3 by the decoders alone (stage II), 'joint' both.
      weights: of the energies.
      epoch: steps after which the weight of the diffuse consistency is relaxed.
      size: pixels of the square crops it reads.
      roughness: of the Cook-Torrance lobe, constant over the face (3.1).
      renderer: of the data term: 'vertex', 'raytrace', or 'both', their sum (as s2f2 has it).
      samples: directions of light that the ray tracer draws for each pixel.
      leaves: [L, K] order of the ray tracer's tree.
      atlas: of the decoders' maps, None without decoders.
      published: file of ImageNet weights that E begins with, or None.
    """

    model: MorphableModel
    portrait: MorphableModel
    network: Network
    energy: str
    weights: objective.Weights
    epoch: int
    size: int
    roughness: float
    renderer: str
    samples: int
    leaves: np.ndarray
    atlas: Atlas | None = None
    published: str | None = None

    def init(self, key: jax.Array) -> tuple[dict, dict]:
        """Parameters and batch statistics of a network that has seen no face."""
        image = jnp.zeros((1, self.size, self.size, 3))
        camera = Pinhole(jnp.ones((1,)), jnp.zeros((1, 2)))
        # jitted: op by op, a ResNet-18 takes twenty seconds
        network = self.network.clone(axis_name=None)
        variables = dict(jax.jit(lambda k: network.init(k, image, camera, train=False))(key))
        if self.published is not None:
            encoder = Encoder(network.backbone, network.latent)
            fresh = {collection: variables[collection]['encoder'] for collection in ('params', 'batch_stats')}
            for collection, loaded in with_published(encoder, fresh, self.published).items():
                variables[collection] = variables[collection] | {'encoder': loaded}
        return variables.pop('params'), variables

    def predict(self, params: dict, model_state: dict, image: jax.Array, camera: Pinhole) -> FaceParameters:
        """Reconstruct: image [B, H, W, 3] sRGB in 0..1 -> chi with leaves [B, ...]."""
        found: Any = self.network.apply(
            {'params': params, **model_state}, image, camera, train=False, increments=self.energy != 'base'
        )
        chi, increments = found
        return chi if increments is None else chi.replace(maps=self._reflectance(chi, increments)[0])

    def _reflectance(self, chi: FaceParameters, increments: Maps) -> tuple[Maps, Maps]:
        """(D^ and S^, D and S): the morphable model's reflectance in UV, with the increments and without."""
        assert self.atlas is not None
        prior = Maps(*(uv.to_uv(self.atlas.texels, albedo) for albedo in linear.albedo(self.model, chi.albedo)))
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
        face = faces.surface(self.model, chi, batch.camera)
        landmarks = objective.landmark_distance(linear.landmarks(self.model, face.pixels), batch)
        first, second = jax.random.split(key)
        energy, metrics = jnp.zeros(()), dict[str, jax.Array]()
        if self.energy != 'albedo':
            terms = {
                'photo': self._photometric(face, None, chi.light, batch, first),
                'landmarks': landmarks,
                **objective.priors(chi),
            }
            energy, metrics = self._weighed(terms, step)
        if self.atlas is not None and increments is not None:
            final, prior = self._reflectance(chi, increments)
            terms = {
                'photo': self._photometric(face, final, chi.light, batch, second),
                'landmarks': landmarks,
                **objective.albedo_terms(final, prior, self.atlas.texels, self.atlas.mirror),
            }
            more, found = self._weighed(terms, step)
            found['photo_final'] = found.pop('photo')
            energy, metrics = energy + more, metrics | found
        return energy, (dict(updated), {'loss': energy, **metrics})

    def _weighed(self, terms: dict[str, jax.Array], step: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The weighted sum of the terms' means over the batch, and these."""
        weights = {name: getattr(self.weights, name) for name in terms}
        if 'consistency_diffuse' in weights:
            weights['consistency_diffuse'] *= self.weights.relax ** (step // self.epoch)
        means = {name: jnp.mean(term) for name, term in terms.items()}
        return functools.reduce(operator.add, (weights[name] * mean for name, mean in means.items())), means

    def _photometric(
        self, face: faces.Surface, maps: Maps | None, light: jax.Array, batch: Batch, key: jax.Array
    ) -> jax.Array:
        """E_ph [B] of the face with the albedo of its vertices, or of maps."""
        size = batch.image.shape[1:3]
        total = jnp.zeros(len(light))
        if self.renderer != 'raytrace':
            textured = face
            if self.atlas is not None and maps is not None:
                places = jnp.broadcast_to(self.atlas.vertices, face.pixels.shape)
                diffuse, specular = uv.sample(maps.diffuse, places), uv.sample(maps.specular, places)
                textured = dataclasses.replace(face, diffuse=diffuse, specular=specular)
            rendered = faces.colours(textured, light, self.roughness)
            visible = faces.visible(self.model, face, size)
            total += objective.vertex_photometric(rendered, face.pixels, visible, batch)
        if self.renderer != 'vertex':
            albedo = face if maps is None else maps
            picture = raytrace.render(
                face.vertices, self.model.topology, self.leaves, albedo.diffuse, albedo.specular, light, batch.camera,
                size, key, samples=self.samples, roughness=self.roughness,
            )  # fmt: skip
            total += objective.pixel_photometric(picture.image, picture.coverage, batch)
        return total

    @functools.cached_property
    def _compiled_predict(self):
        return jax.jit(self.predict)

    def panels(self, params: dict, model_state: dict, batch: Batch) -> np.ndarray:
        """uint8 [B, H, 5 W, 3]: a row of pictures per face, see `jfrecon.render.panel`."""
        chi = self._compiled_predict(params, model_state, batch.image, batch.camera)
        return panel.rows(self.portrait, chi, batch.image, batch.camera, self.roughness)


def build(config: ConfigDict, axis_name: str | None = None) -> Dib21:
    """Unpack a config (see `configs/dib21.py`) into a method."""
    if config.renderer not in RENDERERS:
        raise UserError(f'config.renderer is {config.renderer!r}; there are {", ".join(RENDERERS)}')
    if config.energy not in ENERGIES:
        raise UserError(f'config.energy is {config.energy!r}; there are {", ".join(ENERGIES)}')
    texture = config.network.texture
    if config.energy != 'base' and not texture:
        raise UserError(f'config.energy={config.energy} needs decoders: config.network.texture is 0')
    if config.samples < 1:
        raise UserError(f'config.samples must be at least 1, got {config.samples}')
    model, portrait = (
        linear.truncate(
            load(config.model.name, config.model.path),
            config.model.identity,
            config.model.expression,
            config.model.albedo,
        )
        for load in (morphable.load, morphable.load_portrait)
    )
    network = Network(
        backbone=config.network.backbone,
        latent=config.network.latent,
        identity=model.identity_basis.shape[0],
        expression=model.expression_basis.shape[0],
        albedo=model.diffuse_basis.shape[0],
        bands=config.light_bands,
        face_width=float(np.ptp(np.asarray(model.mean)[:, 0])),
        fill=config.network.fill,
        scales=tuple(sorted(config.network.scales.items())),
        texture=texture,
        decoders=config.network.decoders,
        dtype=jnp.dtype(config.network.dtype),
        axis_name=axis_name,
    )
    atlas = None
    if texture:
        texels = uv.texel_map(model.topology, texture)
        mirror = uv.mirror_map(model.topology, np.asarray(model.mean), texels)
        atlas = Atlas(texels, mirror, uv.of_vertices(model.topology, len(model.mean)))
    return Dib21(
        model=model,
        portrait=portrait,
        network=network,
        energy=config.energy,
        epoch=config.epoch,
        weights=objective.Weights(**config.loss),
        size=config.data.size,
        roughness=config.roughness,
        renderer=config.renderer,
        samples=config.samples,
        leaves=tree.order(np.asarray(model.mean), np.asarray(model.topology.triangles)),
        atlas=atlas,
        published=config.network.weights,
    )
