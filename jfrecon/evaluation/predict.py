"""From photographs of any size to faces: the one way in which benchmarks and commands ask a network."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import struct
from ml_collections import ConfigDict

from jfrecon import methods
from jfrecon.data import build, pipeline
from jfrecon.data.crop import Box
from jfrecon.data.sample import Source
from jfrecon.errors import UserError
from jfrecon.evaluation import baseline
from jfrecon.geometry import camera as cameras
from jfrecon.methods.method import ModelState, Params
from jfrecon.morphable import model as morphable
from jfrecon.render import face as faces
from jfrecon.render import portrait as portraits
from jfrecon.render.portrait import Portrait
from jfrecon.shading import colour
from jfrecon.training import checkpoints
from jfrecon.types import Array, Camera, FaceParameters, MorphableModel, Pinhole

WINDOW = 256  # pixels; windows of large photographs are multiples of it, so that few programs are compiled

Infer = Callable[[Array, Pinhole], FaceParameters]


@struct.dataclass
class Reconstruction:
    """One face of one photograph; leaves are NumPy arrays without batch axes.

    Attributes:
      parameters: its semantic code.
      vertices: [V, 3] mm, camera space, in the topology of the predictor's model.
      landmarks2d: [68, 2] pixels of the photograph.
      camera: of the photograph.
      box: the square of the photograph that the network saw.
      size: (H, W) of the photograph.
    """

    parameters: FaceParameters
    vertices: np.ndarray
    landmarks2d: np.ndarray
    camera: Pinhole
    box: Box = struct.field(pytree_node=False)
    size: tuple[int, int] = struct.field(pytree_node=False)


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
            made = jax.tree.map(np.asarray, (chi, *placed(self.model, chi, batch.camera, boxes, self.size)))
            for i, cut in enumerate(cuts):
                chi_i, vertices, landmarks, camera = jax.tree.map(lambda leaf, i=i: leaf[i], made)
                yield cut.index, Reconstruction(chi_i, vertices, landmarks, camera, cut.box, cut.size)

    def layers(self, face: Reconstruction, size: int | None = None) -> dict[str, np.ndarray]:
        """`layers` of a face of its own."""
        return layers(self.portrait, face, size)


def layers(portrait: Portrait, face: Reconstruction, size: int | None = None) -> dict[str, np.ndarray]:
    """What is seen of a face, at the size of its photograph; or of its crop at ``size`` pixels.

    Returns:
      ``normal`` [H, W, 3] unit, camera space; ``albedo`` [H, W, 3] linear; ``specular`` [H, W] weight of the lobe;
      ``photo`` [H, W, 3] the re-rendering, sRGB in 0..1; ``coverage`` [H, W] 1 where the face is, 0 where all the
      others are 0 too. float32.
    """
    if size is not None:
        return _draw(portrait, face, np.array(face.box[:2]), size / face.box.side, (size, size))
    (height, width), window = face.size, face.size
    start = np.zeros(2, int)
    if max(height, width) > 2 * WINDOW:
        camera = faces.seen_by(face.parameters, face.camera)
        pixels = np.asarray(cameras.project(camera, jnp.asarray(face.vertices))[0])
        start = np.clip(np.floor(pixels.min(0)), 0, [width - 1, height - 1]).astype(int)
        extent = np.clip(np.ceil(pixels.max(0)), start + 1, [width, height]) - start
        side = WINDOW * int(np.ceil(extent.max() / WINDOW))
        window = (side, side)
    drawn = _draw(portrait, face, start, 1.0, window)
    rows, columns = min(window[0], height - start[1]), min(window[1], width - start[0])
    place = np.s_[start[1] : start[1] + rows, start[0] : start[0] + columns]
    whole = {name: np.zeros((height, width, *layer.shape[2:]), np.float32) for name, layer in drawn.items()}
    for name, layer in drawn.items():
        whole[name][place] = layer[:rows, :columns]
    return whole


def _draw(
    portrait: Portrait, face: Reconstruction, origin: np.ndarray, scale: float, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    camera = cameras.crop(face.camera, jnp.asarray(origin, jnp.float32), jnp.float32(scale))
    chi, camera = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (face.parameters, camera))
    drawn = _layers(portrait, chi, camera, size)
    return {name: np.asarray(layer[0]) for name, layer in drawn.items()}


def load(directory: str | Path) -> tuple[Predictor, ConfigDict, int]:
    """The newest checkpoint of a run: (predictor, config, step); raises `UserError` where there is none."""
    found, step, params, model_state = checkpoints.load(directory)
    config = ConfigDict(found)
    return trained(config, params, model_state), config, step


def trained(config: ConfigDict, params: Params, model_state: ModelState) -> Predictor:
    """The network that a config describes."""
    method = methods.build(config)
    predict = jax.jit(method.predict)
    return Predictor(
        model=method.model,
        portrait=method.portrait,
        infer=lambda image, camera: predict(params, model_state, image, camera),
        size=config.data.size,
        focal=config.data.focal,
        crop_scale=config.data.crop_scale,
    )


def mean_face(network: Predictor, landmarks: np.ndarray, bands: int) -> Predictor:
    """The floor: the mean face where its landmarks come closest to [68, 2] pixels of any crop, uniformly lit."""
    return dataclasses.replace(
        network,
        infer=lambda image, camera: baseline.mean_face(network.model, landmarks, camera, bands, network.size),
    )


def typical_landmarks(network: Predictor, config: ConfigDict, directory: Path) -> np.ndarray:
    """[68, 2] pixels: the mean over the crops that a run in ``directory`` was trained with.

    Where its training data are gone, those of a frontal mean face in the middle of the crop.
    """
    made = directory / 'synthetic'
    try:
        if config.data.source != 'synthetic' or (made / 'train').is_dir():
            return build.mean_landmarks(config, build.source(config, made))
    except UserError as error:
        logging.info('%s', error)
    logging.warning('the training data are gone: the mean face stands upright in the middle of the crop')
    points = np.asarray(morphable.landmarks(network.model, network.model.mean))[:, :2] * [1, -1]
    low, high = points.min(0), points.max(0)
    return network.size / 2 + (points - (low + high) / 2) * network.size / network.crop_scale / (high - low).max()


@functools.partial(jax.jit, static_argnames='size')
def placed(
    model: MorphableModel, chi: FaceParameters, camera: Pinhole, boxes: jax.Array, size: int
) -> tuple[jax.Array, jax.Array, Camera]:
    """Vertices, landmarks in the photographs and the photographs' cameras, from crops [x, y, side] of them."""
    scale = size / boxes[:, 2]
    whole = cameras.crop(camera, -boxes[:, :2] * scale[:, None], 1 / scale)
    face = faces.surface(model, chi, whole)
    return face.vertices, morphable.landmarks(model, face.pixels), whole


@functools.partial(jax.jit, static_argnames='size')
def _layers(portrait: Portrait, chi: FaceParameters, camera: Pinhole, size: tuple[int, int]) -> dict[str, jax.Array]:
    _, drawn = portraits.draw(portrait, chi, camera, size)
    return {
        'normal': drawn.normal,
        'albedo': drawn.diffuse,
        'specular': drawn.specular[..., 0],
        'photo': jnp.clip(colour.linear_to_srgb(drawn.radiance), 0, 1) * drawn.coverage[..., None],
        'coverage': drawn.coverage,
    }
