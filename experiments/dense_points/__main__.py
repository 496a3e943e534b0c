"""What the face mesh's points say of whose face it is: learn the regression that a fit starts from.

    python -m experiments.dense_points --out=runs/dense_points
    cp runs/dense_points/shape.safetensors jfrecon/pretrained/

Synthetic faces of the model are drawn, whose coefficients are known, and the mesh is found in each. A ridge regression
from the mesh's points to the coefficients, the same for a face and its mirror image, is learned of all; what it is
worth is said by five of its kind, each of which has not seen a fifth of the people. The covariance of their errors goes
into the file, too. Beside it are the mean face and other strengths of the ridge. About ten minutes on two CPU cores.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.numpy
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from experiments import harness
from jfrecon import commands, files, morphable
from jfrecon.data.detection import face_mesh
from jfrecon.data.synthetic import dataset
from jfrecon.fitting import identity
from jfrecon.geometry import alignment
from jfrecon.types import MorphableModel

NAME = 'dense_points'
FACES = 500
SIZE = 256
SEED = 70_101  # of no other set
FOCAL, FILL = 4.5, 1 / 1.8  # as in the configs
POINTS = 468  # the irises say where somebody looks
# In variances of the points. On drawn faces 0.3 is as good as 1 and 3 is worse; photographs scatter more than drawings.
RIDGE = 3.0
RIDGES = 0.3, 1.0, RIDGE, 10.0
FOLDS = 5
EVERY = 3  # vertex that tells the coefficients of a face
REACH = 90.0  # mm around the tip of the nose: where shapes are compared


def main(arguments: list[str] | None = None) -> None:
    """Learn which identity the points of the face mesh suggest, and measure it on people that were left out."""
    parser = harness.parser(NAME, main.__doc__ or '')
    parser.add_argument('--model', default='makehuman', help='name of a morphable model with a head')
    parser.add_argument('--path', type=Path, help='of a model that is not embedded')
    options = parser.parse_args(arguments)
    run = harness.start(NAME, options.out, options.overwrite)
    model = morphable.load(options.model, options.path)
    head = morphable.load_head(options.model, options.path)
    count = 100 if options.quick else FACES
    faces = dataset.prepare(options.out / 'faces', head, count, SIZE, SEED, focal=FOCAL, fill=FILL, truth=True)
    meshes, known = [], []
    for k in tqdm(range(len(faces)), desc='faces', unit='face', disable=None):
        if seen := face_mesh.find(faces[k].image):
            meshes.append(seen[0].points)
            known.append(coefficients(model, faces[k].truth['vertices']))
    reference = symmetric(average(np.array(meshes)[:, :POINTS]))
    points = np.array([identity.standard(mesh, reference) - reference for mesh in meshes])
    truth = np.array(known)
    signs = mirrored_signs(model)

    rows = {'mean face': {'vertices_mm': error(model, np.zeros_like(truth), truth)}}
    for ridge in RIDGES:
        guessed = held_out(points, truth, signs, reference, ridge)
        rows[f'ridge {ridge:g}'] = {'vertices_mm': error(model, guessed, truth)}
        if ridge == RIDGE:
            left = truth - guessed
            left = np.concatenate([left, left * signs])
            rows[f'ridge {ridge:g}']['unexplained_variance'] = float(np.square(left).mean())
    weights = regression(*with_mirrored(points, truth, signs, reference), RIDGE)
    precision = np.linalg.inv(left.T @ left / len(left))
    left_factor, scale, right_factor = np.linalg.svd(weights, full_matrices=False)
    tensors = {
        'reference': reference, 'left': left_factor * scale, 'right': right_factor, 'precision': precision
    }  # fmt: skip
    half = {name: np.ascontiguousarray(values, np.float16) for name, values in tensors.items()}
    files.write_bytes(options.out / 'shape.safetensors', safetensors.numpy.save(half, {'model': model.name}))
    run.record({'faces': count, 'found': len(meshes), **rows}, harness.table(rows))


def coefficients(model: MorphableModel, vertices: np.ndarray) -> np.ndarray:
    """The identity [D] of posed vertices [V, 3] mm of a model, its pose and expression being whatever they are."""
    some = slice(None, None, EVERY)
    mean, posed = np.asarray(model.mean, np.float64)[some], np.asarray(vertices, np.float64)[some]
    basis = np.concatenate([model.identity_basis, model.expression_basis])[:, some].astype(np.float64)
    basis = basis.reshape(len(basis), -1).T
    system = basis.T @ basis + 1e-3 * np.eye(basis.shape[1])
    found = np.zeros(basis.shape[1])
    for _ in range(30):
        _, rotation, translation = alignment.similarity(mean + (basis @ found).reshape(-1, 3), posed, scaled=False)
        before, found = found, np.linalg.solve(system, basis.T @ ((posed - translation) @ rotation - mean).ravel())
        if np.abs(found - before).max() < 1e-4:
            break
    return found[: len(model.identity_basis)]


def average(meshes: np.ndarray) -> np.ndarray:
    """[K, 3] the median of meshes [N, K, 3] pixels, each turned and scaled onto it; about the origin, of size 1."""
    mean = meshes[0] * identity.FRAME
    for _ in range(5):
        mean = mean - mean.mean(0)
        mean = mean / np.sqrt(np.square(mean).sum(1).mean())
        mean = np.median([identity.standard(mesh, mean) for mesh in meshes], 0)
    return mean - mean.mean(0)


def mirrored_points(reference: np.ndarray) -> np.ndarray:
    """[K] for each point of a mesh [K, 3] the one on the other side of the face."""
    away = np.linalg.norm(reference[:, None] - reference[None] * [-1, 1, 1], axis=-1)
    return linear_sum_assignment(away)[1]


def symmetric(reference: np.ndarray) -> np.ndarray:
    """The mean of a mesh and its mirror image."""
    return (reference + (reference * [-1, 1, 1])[mirrored_points(reference)]) / 2


def mirrored_signs(model: MorphableModel) -> np.ndarray:
    """[D] 1 for modes of identity that are the same on both sides, -1 for those whose sides are opposite."""
    marks = np.asarray(model.landmark_ids)
    other = mirrored_points(np.asarray(model.mean, np.float64)[marks])
    modes = np.asarray(model.identity_basis, np.float64)[:, marks]
    return np.sign(np.sum((modes * [-1, 1, 1])[:, other] * modes, (1, 2)))


def with_mirrored(
    points: np.ndarray, truth: np.ndarray, signs: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, K, 3] and coefficients [N, D], followed by those of the mirrored faces; points as [2 N, 3 K]."""
    flipped = (points * [-1, 1, 1])[:, mirrored_points(reference)]
    both = np.concatenate([points, flipped])
    return both.reshape(len(both), -1), np.concatenate([truth, truth * signs])


def regression(points: np.ndarray, truth: np.ndarray, ridge: float) -> np.ndarray:
    """Weights [3 K, D] of points [N, 3 K] for coefficients [N, D]."""
    kernel = points @ points.T
    return points.T @ np.linalg.solve(kernel + ridge * np.trace(kernel) / len(kernel) * np.eye(len(kernel)), truth)


def held_out(
    points: np.ndarray, truth: np.ndarray, signs: np.ndarray, reference: np.ndarray, ridge: float
) -> np.ndarray:
    """The coefficients [N, D] of each face by a regression that was learned of others."""
    fold = np.arange(len(points)) % FOLDS
    guessed = np.zeros_like(truth)
    for k in range(FOLDS):
        weights = regression(*with_mirrored(points[fold != k], truth[fold != k], signs, reference), ridge)
        guessed[fold == k] = points[fold == k].reshape(-1, len(weights)) @ weights
    return guessed


def error(model: MorphableModel, guessed: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance in mm of the vertices around the nose, neutral, after a similarity, over faces [N, D]."""
    mean, basis = np.asarray(model.mean, np.float64), np.asarray(model.identity_basis, np.float64)
    tip = mean[np.asarray(model.landmark_ids)[30]]
    near = (np.linalg.norm(mean - tip, axis=1) < REACH) & (mean[:, 2] > tip[2] - REACH)
    mean, basis = mean[near], basis[:, near]
    away = []
    for one, true in zip(guessed, truth):
        found, wanted = (mean + np.tensordot(values, basis, 1) for values in (one, true))
        moved = alignment.apply(*alignment.similarity(found, wanted), found)
        away.append(np.linalg.norm(moved - wanted, axis=1).mean())
    return float(np.mean(away))


if __name__ == '__main__':
    commands.run(main)
