"""Statistical models in statismo's HDF5 layout: Basel 2017 and 2019, and the morphable albedo model.

A part NAME ('shape', 'expression', 'color', ...) has ``NAME/model/mean`` [3V], ``pcaBasis`` [3V, K] and
``pcaVariance`` [K], points interleaved x, y, z; ``NAME/representer/points`` [3, V] and ``cells`` [3, T];
``metadata/landmarks/json`` names points of the reference mesh. In files older than version 0.9 the columns of
the basis carry the standard deviations and have to be normalised. (Facts from unibas-gravis/scalismo-faces,
MoMoIO.scala, Apache 2.0.)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from scipy.spatial import cKDTree

from jfrecon import files
from jfrecon.errors import UserError
from jfrecon.morphable import loading


class Part(NamedTuple):
    """One linear model: mean [V, 3], basis [K, V, 3] for one standard deviation, the file's units."""

    mean: np.ndarray
    basis: np.ndarray


@contextmanager
def opened(path: Path, missing: str) -> Iterator[h5py.File]:
    """The file at ``path``; what HDF5 finds wrong with it, then or later, becomes a UserError."""
    try:
        with h5py.File(path, 'r') as file:
            yield file
    except UserError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, MemoryError) as error:
        raise UserError(f'{path}: damaged, or not the HDF5 file that its name says; {missing}') from error


def part(path: Path, file: h5py.File, name: str) -> Part:
    """A linear model of the file.

    Raises:
      UserError: it is not there or its arrays do not fit each other.
    """
    if f'{name}/model/mean' not in file:
        raise UserError(f'{path}: has no {name}/model; it has {", ".join(sorted(file)) or "nothing"}')
    model = file[f'{name}/model']
    mean = loading.shaped(path, f'{name}/model/mean', np.ravel(model['mean'][()]), None)
    variance = loading.shaped(path, f'{name}/model/pcaVariance', np.ravel(model['pcaVariance'][()]), None)
    basis = loading.shaped(path, f'{name}/model/pcaBasis', model['pcaBasis'][()], len(mean), len(variance))
    if len(mean) % 3 or variance.min() < 0:
        raise UserError(f'{path}: {name}/model is damaged: {len(mean)} numbers for points, or negative variances')
    if _version(file, name) < (0, 9):
        length = np.linalg.norm(basis, axis=0)
        basis = basis / np.where(length > 0, length, 1)
    basis = (basis * np.sqrt(variance)).reshape(-1, 3, len(variance)).transpose(2, 0, 1)
    return Part(mean.reshape(-1, 3), np.ascontiguousarray(basis))


def _version(file: h5py.File, name: str) -> tuple[int, int]:
    """0.8 where nothing is said."""
    keys = [f'{name}/version/{which}Version' for which in ('major', 'minor')]
    return tuple(int(np.ravel(file[key][()])[0]) if key in file else d for key, d in zip(keys, (0, 8)))  # type: ignore[return-value]


def triangles(path: Path, file: h5py.File, name: str, vertices: int) -> np.ndarray:
    """[T, 3] int32, turned as the file has them."""
    if f'{name}/representer/cells' not in file:
        raise UserError(f'{path}: has no {name}/representer/cells, the triangles')
    return loading.indices(
        path, f'{name}/representer/cells', file[f'{name}/representer/cells'][()], vertices, 3, None
    ).T


def landmarks(path: Path, file: h5py.File, mean: np.ndarray) -> dict[str, int]:
    """Vertex ids of the file's named landmarks: the nearest of the reference mesh, where it is within 5 mm.

    (A model that is cut out of a larger one still names the ears that it has lost.)
    """
    if 'metadata/landmarks/json' not in file:
        return {}
    text = file['metadata/landmarks/json'][()]
    text = text if isinstance(text, bytes) else np.asarray(text).tobytes()
    points = {entry['id']: entry['coordinates'] for entry in files.parse_json(text.rstrip(b'\0'))}
    if not points:
        return {}
    place = loading.shaped(path, 'metadata/landmarks/json', list(points.values()), None, 3)
    mesh = mean
    if 'shape/representer/points' in file:
        mesh = loading.shaped(path, 'shape/representer/points', file['shape/representer/points'][()], 3, len(mean)).T
    distance, ids = cKDTree(mesh).query(place)
    return {name: int(i) for name, d, i in zip(points, distance, ids) if d < 5}
