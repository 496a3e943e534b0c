"""dib21: Dib et al., Towards High Fidelity Monocular Face Reconstruction (ICCV 2021), stage I.

image -> chi (`network`) -> geometry and albedo -> shading (`jfrecon.render.face`) -> pixels -> energy (`objective`).
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jfrecon import morphable
from jfrecon.errors import UserError
from jfrecon.methods.dib21 import objective
from jfrecon.methods.dib21.network import Network
from jfrecon.morphable import model as linear
from jfrecon.nets.encoder import Encoder, with_published
from jfrecon.render import face as faces
from jfrecon.render import panel, raytrace, tree
from jfrecon.types import Batch, FaceParameters, MorphableModel, Pinhole

RENDERERS = ('vertex', 'raytrace', 'both')


@dataclasses.dataclass(frozen=True)
class Dib21:
    """The base reconstruction: E trained end to end through a differentiable renderer.

    Attributes:
      model: the morphable model.
      network: E.
      weights: of the energy.
      size: pixels of the square crops it reads.
      roughness: of the Cook-Torrance lobe, constant over the face (3.1).
      renderer: of the data term: 'vertex', 'raytrace', or 'both', their sum (as s2f2 has it).
      samples: directions of light that the ray tracer draws for each pixel.
      leaves: [L, K] order of the ray tracer's tree.
      published: file of ImageNet weights that E begins with, or None.
    """

    model: MorphableModel
    network: Network
    weights: objective.Weights
    size: int
    roughness: float
    renderer: str
    samples: int
    leaves: np.ndarray
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
        chi = self.network.apply({'params': params, **model_state}, image, camera, train=False)
        assert isinstance(chi, FaceParameters)
        return chi

    def loss(
        self, params: dict, model_state: dict, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[dict, dict]]:
        """Eq. 2, mean over the batch: (energy, (new batch statistics, every term by its name))."""
        del step  # stage I has no schedule
        chi, updated = self.network.apply(
            {'params': params, **model_state}, batch.image, batch.camera, train=True, mutable=list(model_state)
        )
        face = faces.surface(self.model, chi, batch.camera)
        terms = {
            'photo': self._photometric(face, chi.light, batch, key),
            'landmarks': objective.landmark_distance(linear.landmarks(self.model, face.pixels), batch),
            **objective.priors(chi),
        }
        metrics = {name: jnp.mean(term) for name, term in terms.items()}
        energy = sum(getattr(self.weights, name) * value for name, value in metrics.items())
        return energy, (dict(updated), {'loss': energy, **metrics})

    def _photometric(self, face: faces.Surface, light: jax.Array, batch: Batch, key: jax.Array) -> jax.Array:
        size = batch.image.shape[1:3]
        total = jnp.zeros(len(light))
        if self.renderer != 'raytrace':
            rendered = faces.colours(face, light, self.roughness)
            visible = faces.visible(self.model, face, size)
            total += objective.vertex_photometric(rendered, face.pixels, visible, batch)
        if self.renderer != 'vertex':
            picture = raytrace.render(
                face.vertices, self.model.topology, self.leaves, face.diffuse, face.specular, light, batch.camera, size,
                key, samples=self.samples, roughness=self.roughness,
            )  # fmt: skip
            total += objective.pixel_photometric(picture.image, picture.coverage, batch)
        return total

    @functools.cached_property
    def _compiled_predict(self):
        return jax.jit(self.predict)

    def panels(self, params: dict, model_state: dict, batch: Batch) -> np.ndarray:
        """uint8 [B, H, 5 W, 3]: a row of pictures per face, see `jfrecon.render.panel`."""
        chi = self._compiled_predict(params, model_state, batch.image, batch.camera)
        return panel.rows(self.model, chi, batch.image, batch.camera, self.roughness)


def build(config: ConfigDict, axis_name: str | None = None) -> Dib21:
    """Unpack a config (see `configs/dib21.py`) into a method."""
    if config.renderer not in RENDERERS:
        raise UserError(f'config.renderer is {config.renderer!r}; there are {", ".join(RENDERERS)}')
    if config.samples < 1:
        raise UserError(f'config.samples must be at least 1, got {config.samples}')
    model = linear.truncate(
        morphable.load(config.model.name, config.model.path),
        config.model.identity,
        config.model.expression,
        config.model.albedo,
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
        dtype=jnp.dtype(config.network.dtype),
        axis_name=axis_name,
    )
    return Dib21(
        model=model,
        network=network,
        weights=objective.Weights(**config.loss),
        size=config.data.size,
        roughness=config.roughness,
        renderer=config.renderer,
        samples=config.samples,
        leaves=tree.order(np.asarray(model.mean), np.asarray(model.topology.triangles)),
        published=config.network.weights,
    )
