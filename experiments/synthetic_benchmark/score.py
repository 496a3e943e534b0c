"""One reconstruction of a benchmark face against the truth."""

from __future__ import annotations

import numpy as np

from experiments.synthetic_benchmark import render
from jfrecon.evaluation import identity, layers, metrics, normals, surface
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.reconstruction.result import Reconstruction

INNER = slice(17, 68)  # the jaw's landmarks are elsewhere on every head
INNER_ONLY = np.arange(68) >= 17


def score(
    predictor: Predictor, found: Reconstruction, truth: dict[str, np.ndarray], image: np.ndarray
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics by name, and the layers that were compared. image: uint8 sRGB."""
    model = predictor.model
    points = found.vertices[np.asarray(model.landmark_ids)]
    vertex, normal = surface.vertex_and_normal_error(
        found.vertices,
        np.asarray(model.topology.triangles),
        points[INNER],
        truth['vertices'],
        truth['triangles'],
        truth['landmarks'][INNER],
    )
    drawn = predictor.layers(found)
    photo, mask = image / np.float32(255), truth['mask'].astype(np.float32)
    predicted = {'final': drawn['photo'], 'diffuse': drawn['albedo'], 'specular': drawn['specular'][..., None]}
    wanted = {'final': photo, 'diffuse': truth['diffuse'], 'specular': truth['specular'][..., None]}
    alike = identity.similarity(photo[None], drawn['photo'][None], (mask * drawn['coverage'])[None])
    directions = normals.normal_error(drawn['normal'], truth['normal'], mask)
    return {
        'vertex_error_mm': vertex,
        'normal_error_rad': normal,
        'landmark_nme': metrics.landmark_nme(found.landmarks2d, truth['landmarks2d'], INNER_ONLY),
        'identity_similarity': float(alike[0]),
        'final_l1': metrics.photometric_l1(drawn['photo'], photo, mask),
        **layers.layer_scores(predicted, wanted, mask),
        **{f'normal_map_{name}': value for name, value in directions.items()},
        **layers.light_error(np.asarray(found.parameters.light), truth['light']),
    }, drawn


def panel(image: np.ndarray, layers: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> np.ndarray:
    """Photograph, overlay, then found and true: diffuse, specular, normal; uint8 [S, 8 S, 3]."""
    cover = layers['coverage'][..., None]
    overlay = np.where(cover > 0.5, 255 * layers['photo'], image).astype(np.uint8)
    mask = truth['mask'][..., None]
    tiles = [image, overlay]
    for layer in (layers['albedo'], truth['diffuse'], layers['specular'][..., None], truth['specular'][..., None]):
        tiles.append(np.broadcast_to(render.develop(layer), image.shape))
    for normal, where in ((layers['normal'], cover), (truth['normal'], mask)):
        tiles.append(np.round(255 * (0.5 + 0.5 * normal) * where).astype(np.uint8))
    return np.concatenate(tiles, 1)
