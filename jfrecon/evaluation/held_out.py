"""Score a trained method and the mean face on faces that training never saw."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jfrecon.evaluation import baseline, identity, metrics
from jfrecon.morphable import linear
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.render import panel, portraits, surface
from jfrecon.render.portraits import Portrait
from jfrecon.shading import colour
from jfrecon.types import Batch, FaceParameters, Pinhole, Truth


@functools.partial(jax.jit, static_argnums=3)
def _render(
    portrait: Portrait, chi: FaceParameters, camera: Pinhole, size: tuple[int, int]
) -> tuple[surface.Surface, jax.Array, jax.Array]:
    face, drawn = portraits.draw(portrait, chi, camera, size)
    return face, drawn.radiance, drawn.coverage


def score(
    network: Predictor, chi: FaceParameters, batch: Batch, truth: Truth | None, count: int, fit_gain: bool = False
) -> list[dict[str, float]]:
    """One dict of metrics per face of a batch of crops; the first ``count`` faces count.

    Image metrics are taken inside the reference mask: the true face region of a synthetic face, else the mask that
    came with the photograph. ``fit_gain`` multiplies the rendering by one fitted RGB gain per image (the baseline's
    privilege). ``vertex_error_mm`` needs the truth, in the topology of the network's model.
    """
    size = batch.image.shape[1:3]
    model = network.model
    face, radiance, coverage = _render(network.portrait, chi, batch.camera, size)
    landmarks = np.asarray(linear.landmarks(model, face.pixels))
    vertices = np.asarray(face.vertices)[:, : len(model.mean)]
    radiance, coverage = np.asarray(radiance), np.asarray(coverage)
    target_linear = np.asarray(colour.srgb_to_linear(jnp.asarray(batch.image)))
    image, ids = np.asarray(batch.image), np.asarray(model.landmark_ids)
    masks, renderings = np.zeros(image.shape[:3]), np.zeros_like(image)
    rows = []
    for i in range(count):
        mask = np.asarray(batch.mask[i] if truth is None else truth.face[i])
        gain = baseline.fitted_gain(radiance[i], target_linear[i], mask * coverage[i]) if fit_gain else np.ones(3)
        rendered = np.asarray(colour.linear_to_srgb(jnp.asarray(radiance[i] * gain))).clip(0, 1)
        renderings[i] = rendered = rendered * coverage[i][..., None]
        masks[i] = mask * coverage[i]
        row = {
            'photometric_l1': metrics.photometric_l1(rendered, image[i], mask),
            'psnr': metrics.psnr(rendered, image[i], mask),
            'ssim': metrics.ssim(rendered, image[i], mask),
            'landmark_nme': metrics.landmark_nme(
                landmarks[i], np.asarray(batch.landmarks[i]), np.asarray(batch.landmark_weight[i])
            ),
        }
        if truth is not None:
            row['vertex_error_mm'] = metrics.vertex_error_mm(vertices[i], np.asarray(truth.vertices[i]), ids)
        rows.append(row)
    alike = identity.similarity(image, renderings, masks)
    return [row | {'identity_similarity': float(alike[i])} for i, row in enumerate(rows)]


def evaluate(
    network: Predictor, floor: Predictor, examples: Iterable[tuple[Batch, Truth | None, int]], total: int
) -> tuple[dict[str, dict[str, float]], np.ndarray]:
    """Mean metrics of the network and of the baseline.

    examples: ``total`` batches of which the first so many faces count. floor: the baseline, see `predict.mean_face`.
    Returns metric -> {'baseline': ..., 'trained': ...} and the pictures of `jfrecon.render.panel`, uint8
    [N, H, 5 W, 3].
    """
    rows: dict[str, list[dict[str, float]]] = {'baseline': [], 'trained': []}
    pictures = []
    for batch, truth, count in tqdm(examples, total=total, desc='evaluating', unit='batch', disable=None):
        chi = network.infer(batch.image, batch.camera)
        rows['trained'] += score(network, chi, batch, truth, count)
        pictures.append(panel.rows(network.portrait, chi, batch.image, batch.camera)[:count])
        mean = floor.infer(batch.image, batch.camera)
        rows['baseline'] += score(floor, mean, batch, truth, count, fit_gain=True)
    average = lambda name: {method: float(np.mean([row[name] for row in scored])) for method, scored in rows.items()}
    return {name: average(name) for name in rows['trained'][0]}, np.concatenate(pictures)
