"""From photographs of any size to faces: the one way in which benchmarks and commands ask a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from jfrecon import methods
from jfrecon.data import pipeline
from jfrecon.data.sample import Source
from jfrecon.fitting import lighting
from jfrecon.geometry import uv
from jfrecon.methods.method import Method, ModelState, Params
from jfrecon.reconstruction import result
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.render import surface
from jfrecon.render.portraits import Portrait
from jfrecon.training import checkpoints
from jfrecon.types import Array, FaceParameters, MorphableModel, Pinhole

Infer = Callable[[Array, Pinhole], FaceParameters]
Predict = Callable[[Params, ModelState, jax.Array, Pinhole], FaceParameters]


@dataclasses.dataclass(frozen=True)
class Predictor:
    """Whatever makes faces of crops: a trained network, or the mean face.

    Attributes:
      model: the morphable model of its coefficients.
      portrait: how pictures are made; the first vertices of its model are those of ``model``.
      infer: crops [B, S, S, 3], sRGB in 0..1, and their cameras -> parameters with leaves [B, ...].
      size: S, pixels of a crop.
      focal: of photographs that do not know theirs, in sides of the crop.
      crop_scale: side of the crop over the longer side of the landmarks' box.
      batch_size: crops for one call of ``infer``.
    """

    model: MorphableModel
    portrait: Portrait
    infer: Infer
    size: int
    focal: float
    crop_scale: float
    batch_size: int = 16

    def faces(self, source: Source, rule: pipeline.BoxRule | None = None) -> Iterator[tuple[int, Reconstruction]]:
        """(index, face) of every readable sample of a source, in order; ``source.unreadable`` names the others.

        rule: photo -> square; by default around the landmarks, as wide as the network was trained with.

        Raises:
          UserError: no sample is readable.
        """
        rule = pipeline.landmark_box(self.crop_scale) if rule is None else rule
        for cuts in pipeline.chunks(source, self.size, self.batch_size, self.focal, rule):
            batch = pipeline.stack(cuts, self.batch_size)
            boxes = np.array([cut.box for cut in cuts] + [cuts[-1].box] * (self.batch_size - len(cuts)), np.float32)
            chi = self.infer(batch.image, batch.camera)
            made = jax.tree.map(np.asarray, (chi, *result.placed(self.model, chi, batch.camera, boxes, self.size)))
            for i, cut in enumerate(cuts):
                chi_i, vertices, landmarks, camera = jax.tree.map(lambda leaf, i=i: leaf[i], made)
                yield cut.index, Reconstruction(chi_i, vertices, landmarks, camera, cut.box, cut.size)

    def layers(self, face: Reconstruction, size: int | None = None) -> dict[str, np.ndarray]:
        """`jfrecon.reconstruction.result.layers` of a face of its own."""
        return result.layers(self.portrait, face, size)


def load(directory: str | Path) -> tuple[Predictor, ConfigDict, int]:
    """The newest checkpoint of a run: (predictor, config, step); raises `UserError` where there is none."""
    found, step, params, model_state = checkpoints.load(directory)
    config = ConfigDict(found)
    return trained(config, params, model_state), config, step


def trained(config: ConfigDict, params: Params, model_state: ModelState) -> Predictor:
    """The network that a config describes."""
    method = methods.build(config)
    predict = jax.jit(_relit(config, method) if config.solve_light else method.predict)
    return Predictor(
        model=method.model,
        portrait=method.portrait,
        infer=lambda image, camera: predict(params, model_state, image, camera),
        size=config.data.size,
        focal=config.data.focal,
        crop_scale=config.data.crop_scale,
    )


def _relit(config: ConfigDict, method: Method) -> Predict:
    """The method's prediction with the light that explains the photograph best, given all else, in place of its own."""
    model = method.model
    places = uv.of_vertices(model.topology, len(model.mean))

    def predict(params: Params, model_state: ModelState, image: jax.Array, camera: Pinhole) -> FaceParameters:
        chi = method.predict(params, model_state, image, camera)
        face = surface.posed(model, chi, camera)
        if chi.maps is not None:
            face = surface.textured(model, face, chi.maps, places)
        light = lighting.solved(model, face, chi.light, image, config.loss, config.roughness)
        return dataclasses.replace(chi, light=light)

    return predict
