"""Where the face mesh's points lie on a morphable model: a place on the surface for each, and its spread.

    python -m experiments.dense_points --out=runs/dense_points
    cp runs/dense_points/dense_makehuman.json jfrecon/data/detection/

Synthetic faces of the model are drawn, whose geometry is known; the mesh is found in each, and a ray through each point
says which place of the surface it lies on. The points' places over many people, poses and expressions scatter about
their mean; that mean, put on the surface of the mean face, is the correspondence, the same for both halves of the face.
Points that miss the surface (irises, the inside of the mouth) or scatter widely (the outline) are left out. The spread
is that of the finder and of the model's own correspondence together. About five minutes on two CPU cores.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from experiments import harness
from jfrecon import commands, files, morphable
from jfrecon.data import synthetic
from jfrecon.data.detection import face_mesh
from jfrecon.data.sample import Sample
from jfrecon.geometry import closest

NAME = 'dense_points'
FACES = 600
SIZE = 256
SEED = 70_101  # of no other set
FOCAL, FILL = 4.5, 1 / 1.8  # as in the configs
LEAST = 0.6  # share of the faces on whose surface a point has to lie
WIDEST = 6.0  # mm, spread of a point that is kept
FRONTAL = 0.7  # cosine of the surface's angle to the ray: places that are seen from the side say little


def main(arguments: list[str] | None = None) -> None:
    """Find the place of each point of the face mesh on the surface of a morphable model."""
    parser = harness.parser(NAME, main.__doc__ or '')
    parser.add_argument('--model', default='makehuman', help='name of a morphable model with a head')
    parser.add_argument('--path', type=Path, help='of a model that is not embedded')
    options = parser.parse_args(arguments)
    run = harness.start(NAME, options.out, options.overwrite)
    model = morphable.load(options.model, options.path)
    head = morphable.load_head(options.model, options.path)
    count = 60 if options.quick else FACES
    faces = synthetic.prepare(options.out / 'faces', head, count, SIZE, SEED, focal=FOCAL, fill=FILL, truth=True)
    mean, triangles = np.asarray(model.mean, np.float64), np.asarray(model.topology.triangles)

    places = np.full((len(faces), face_mesh.POINTS, 3), np.nan)
    found = 0
    for k in tqdm(range(len(faces)), desc='faces', unit='face', disable=None):
        sample = faces[k]
        seen = face_mesh.find(sample.image)
        if not seen:
            continue
        found += 1
        places[k] = on_mean(sample, seen[0].points, mean, triangles)
    centre, spread, share = agreed(places)
    kept = np.flatnonzero((share > LEAST) & (spread < WIDEST))
    centre[kept] = symmetric(centre[kept])
    distance, triangle, foot = closest.Surface(mean, triangles).closest(centre[kept])
    weights = closest.on_triangles(foot, mean[triangles[triangle]])
    files.write_text(options.out / f'dense_{options.model}.json', text(kept, triangle, weights, spread[kept]))
    results = {
        'faces': count,
        'found': found,
        'points': len(kept),
        'spread_mm_median': float(np.median(spread[kept])),
        'spread_mm_90': float(np.quantile(spread[kept], 0.9)),
        'off_surface_mm_max': float(np.abs(distance).max()),
    }
    run.record(results, harness.table({options.model: results}))


def on_mean(sample: Sample, points: np.ndarray, mean: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[478, 3] mm: where on the mean face the points of a drawn face lie; NaN beside it, and where it turns away."""
    assert sample.truth is not None
    surface = closest.Surface(sample.truth['vertices'], triangles)
    x, y = ((points[:, :2] - np.asarray(sample.principal)) / float(sample.focal)).T
    rays = np.stack([x, -y, -np.ones_like(x)], -1)
    hit, _, weights = surface.first_hit(np.zeros_like(rays), rays)
    corners = surface.vertices[triangles[np.maximum(hit, 0)]]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = -(normal * rays).sum(-1) / np.maximum(
        np.linalg.norm(normal, axis=-1) * np.linalg.norm(rays, axis=-1), 1e-9
    )
    place = (weights[..., None] * mean[triangles[np.maximum(hit, 0)]]).sum(1)
    return np.where(((hit >= 0) & (facing > FRONTAL))[:, None], place, np.nan)


def agreed(places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places [N, M, 3] -> the robust mean of each [M, 3], its spread [M] mm (root mean square), and [M] share seen."""
    known = np.isfinite(places).all(-1)
    centre = np.nan_to_num(np.nanmedian(places, 0))
    for _ in range(10):  # a mean in which far ones weigh less
        away = np.linalg.norm(places - centre, axis=-1)
        weight = np.where(known, 1 / np.maximum(away, 1.0), 0)
        centre = np.nansum(weight[..., None] * places, 0) / np.maximum(weight.sum(0), 1e-9)[:, None]
    away = np.where(known, np.linalg.norm(places - centre, axis=-1), 0)
    trimmed = np.where(known & (away < 4 * np.median(away[known])), away, np.nan)
    return centre, np.sqrt(np.nanmean(np.square(trimmed), 0)), known.mean(0)


def symmetric(places: np.ndarray) -> np.ndarray:
    """Places [K, 3] on a mean face whose halves mirror each other, x -> -x, averaged with their mirror images."""
    flipped = places * [-1, 1, 1]
    other = linear_sum_assignment(np.linalg.norm(places[:, None] - flipped[None], axis=-1))[1]
    return (places + flipped[other]) / 2


def text(points: np.ndarray, triangle: np.ndarray, weights: np.ndarray, spread: np.ndarray) -> str:
    """The correspondence as JSON, a point a line: [point, triangle, its barycentric coordinates, spread in mm]."""
    rows = [
        json.dumps([int(p), int(t), *np.round(w, 4).tolist(), round(float(s), 2)])
        for p, t, w, s in zip(points, triangle, weights, spread)
    ]
    return '{\n "points": [\n' + ',\n'.join(f'  {row}' for row in rows) + '\n ]\n}\n'


if __name__ == '__main__':
    commands.run(main)
