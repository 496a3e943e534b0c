"""68 landmarks as weighted means of the face mesh's 478 points: fit the table that jfrecon reads.

    python -m experiments.landmark_table --out=runs/landmark_table
    cp runs/landmark_table/landmarks68.json jfrecon/data/detection/

Each landmark is a convex combination of the few mesh points nearest to it, found by non-negative least squares on the
portraits of 90 people, in units of the outer eyes' distance, and the same for a landmark and its mirror image. Labels
are the manual points where the portraits have them; the jaw, which has none, goes by 3DDFA-V2's, and brows and bridge,
whose manual points lie elsewhere than other annotators', by the mean of both. Mouths that smile go by 3DDFA-V2's, too.
The other 20 people judge, beside the index table that is in common use. About a minute on two CPU cores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from scipy.optimize import linear_sum_assignment, nnls
from tqdm import tqdm

from experiments import harness, photographs
from jfrecon import commands, files, morphable
from jfrecon.data import images
from jfrecon.data.cropping import MIRROR
from jfrecon.data.detection import face_mesh
from jfrecon.geometry import mesh

NAME = 'landmark_table'
NEIGHBOURS = 6  # mesh points of which a landmark is made
RIDGE = 1e-4  # draws weights together, where several points say the same
DIGITS = 4
BROWS_AND_BRIDGE, MOUTH = slice(17, 31), slice(48, 68)
EYES = 33, 263  # outer corners, of the mesh
# The points of the mesh that are commonly taken for the 68 landmarks.
COMMON = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356, 70, 63, 105, 66, 107, 336, 296,
    334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305, 33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380, 61,
    39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
PARTS = {'jaw': slice(17), 'brows': slice(17, 27), 'nose': slice(27, 36), 'eyes': slice(36, 48), 'mouth': slice(48, 68)}


def main(arguments: list[str] | None = None) -> None:
    """Fit the table of the 68 landmarks on portraits, and compare it with the common one on other people."""
    parser = harness.parser(NAME, main.__doc__ or '')
    photographs.add_arguments(parser)
    options = parser.parse_args(arguments)
    run = harness.start(NAME, options.out, options.overwrite)
    folder = harness.need(options.data / 'faces_cc_by', 'the portraits')
    with np.load(folder / 'landmarks.npz') as found:
        labels = {name: found[name] for name in ('filename', 'subject', 'lm68_manual', 'lm68_auto3d')}
    held = photographs.of_validation(labels['subject'])
    train = ~held
    if options.quick:
        train &= np.arange(len(held)) % 4 == 0
    points = meshes([folder / 'images' / name for name in labels['filename']])
    manual, automatic = labels['lm68_manual'].astype(float), labels['lm68_auto3d'][..., :2].astype(float)
    table = fitted(points[train], targets(manual, automatic)[train])
    head = morphable.load('makehuman')
    normals = np.asarray(mesh.vertex_normals(head.mean, head.topology.triangles))[np.asarray(head.landmark_ids)]
    files.write_text(options.out / 'landmarks68.json', text(*table, normals))

    tables = {'common': (np.array(COMMON)[:, None], np.ones((68, 1))), 'fitted': table}
    results = {name: judged(apply(table, points), held, manual, automatic) for name, table in tables.items()}
    if (options.data / 'aflw2000' / 'landmarks.npz').is_file():
        for name, score in aflw2000(options.data / 'aflw2000', tables).items():
            results[name]['aflw2000'] = score
    run.record(results, harness.table(results))


def meshes(paths) -> np.ndarray:
    """[N, 478, 2] pixels of the largest face of each photograph; NaN where none is found."""
    found = np.full((len(paths), face_mesh.POINTS, 2), np.nan)
    for k, path in enumerate(tqdm(paths, desc='photographs', unit='photo', disable=None)):
        faces = face_mesh.find(images.read(path)[0])
        if faces:
            found[k] = faces[0].points[:, :2]
    return found


def targets(manual: np.ndarray, automatic: np.ndarray) -> np.ndarray:
    """[N, 68, 2] what the landmarks are fitted to; NaN where it is not known."""
    made = np.where(np.isfinite(manual).any((0, 2))[:, None], manual, automatic)
    made[:, BROWS_AND_BRIDGE] = (manual[:, BROWS_AND_BRIDGE] + automatic[:, BROWS_AND_BRIDGE]) / 2
    # Smiles have no manual points, and shut lips do not tell the upper one from the lower.
    made[:, MOUTH] = np.where(np.isfinite(made[:, MOUTH]), made[:, MOUTH], automatic[:, MOUTH])
    return made


def fitted(points: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mesh points [68, K] and their weights, from meshes [N, 478, 2] and landmarks [N, 68, 2] of the same faces."""
    seen = np.isfinite(points).all((1, 2))
    points, wanted = points[seen], wanted[seen]
    across = points[:, EYES[1]] - points[:, EYES[0]]
    centre, width = points[:, EYES].mean(1), np.linalg.norm(across, axis=-1)
    x, y = across.T / width
    turn = np.stack([np.stack([x, y], -1), np.stack([-y, x], -1)], 1) / width[:, None, None]
    level = lambda values: np.einsum('nij,nkj->nki', turn, values - centre[:, None])
    points, wanted = level(points), level(wanted)
    mean, typical = points.mean(0), np.nanmean(wanted, 0)
    mirrored = linear_sum_assignment(np.linalg.norm(mean[:, None] - mean[None] * [-1, 1], axis=-1))[1]

    ids, weights = np.zeros((68, NEIGHBOURS), int), np.zeros((68, NEIGHBOURS))
    for landmark, other in enumerate(MIRROR):
        if other < landmark:
            ids[landmark], weights[landmark] = mirrored[ids[other]], weights[other]
            continue
        middle = (typical[landmark] + typical[other] * [-1, 1]) / 2
        near = np.argsort(np.linalg.norm(mean - middle, axis=-1))[:NEIGHBOURS]
        rows = []
        for place, neighbours, side in ((landmark, near, 1), (other, mirrored[near], -1)):
            known = np.isfinite(wanted[:, place]).all(-1)
            both = np.concatenate([points[known][:, neighbours], wanted[known, place][:, None]], 1) * [side, 1]
            rows.append(both.transpose(0, 2, 1).reshape(-1, NEIGHBOURS + 1))
        system = np.concatenate(rows)
        scale = np.sqrt(len(system))
        design = np.concatenate([
            system[:, :-1], 100 * scale * np.ones((1, NEIGHBOURS)), np.sqrt(RIDGE) * scale * np.eye(NEIGHBOURS)
        ])  # fmt: skip
        found = nnls(design, np.concatenate([system[:, -1], [100 * scale], np.zeros(NEIGHBOURS)]))[0]
        ids[landmark], weights[landmark] = near, found / found.sum()
    return ids, weights


def apply(table: tuple[np.ndarray, np.ndarray], points: np.ndarray) -> np.ndarray:
    """Landmarks [N, 68, 2] of meshes [N, 478, 2]."""
    ids, weights = table
    return (points[:, ids] * weights[..., None]).sum(-2)


def judged(found: np.ndarray, held: np.ndarray, manual: np.ndarray, automatic: np.ndarray) -> dict[str, float]:
    """NME over the outer eyes' distance, of people that the table has not seen, to the manual and automatic points."""
    neutral = held & np.isfinite(manual[:, 36, 0])
    width = lambda points: np.linalg.norm(points[:, 36] - points[:, 45], axis=-1)[:, None]
    to_manual = np.linalg.norm(found - manual, axis=-1)[neutral] / width(manual[neutral])
    to_automatic = np.linalg.norm(found - automatic, axis=-1)[held] / width(automatic[held])
    scores = {'manual': to_manual, 'automatic': to_automatic}
    scores |= {f'manual {name}': to_manual[:, part] for name, part in PARTS.items()}
    return {name: float(np.nanmean(values)) for name, values in scores.items()}


def aflw2000(folder, tables: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """NME over the square root of the landmarks' box; a photograph without a face counts as 1."""
    with np.load(folder / 'landmarks.npz') as labels:
        truth = labels['pts68_2d_reannotated']
        points = meshes([folder / name for name in labels['filename']])
    scale = np.sqrt(np.ptp(truth, axis=1).prod(-1))[:, None]
    error = lambda table: np.linalg.norm(apply(table, points) - truth, axis=-1) / scale
    return {name: float(np.nan_to_num(error(table), nan=1.0).mean()) for name, table in tables.items()}


def text(ids: np.ndarray, weights: np.ndarray, normals: np.ndarray) -> str:
    """The table as JSON, a landmark a line."""
    rows = lambda values: ',\n'.join(f'  {json.dumps(row)}' for row in values)
    order = np.argsort(-weights, axis=1)
    ids, weights = np.take_along_axis(ids, order, 1), np.take_along_axis(weights, order, 1).round(DIGITS)
    weights[:, 0] += 1 - weights.sum(1)
    parts = {
        'points': ids.tolist(), 'weights': weights.round(DIGITS).tolist(), 'normals': np.round(normals, 3).tolist()
    }  # fmt: skip
    return '{\n' + ',\n'.join(f' "{name}": [\n{rows(values)}\n ]' for name, values in parts.items()) + '\n}\n'


if __name__ == '__main__':
    commands.run(main)
