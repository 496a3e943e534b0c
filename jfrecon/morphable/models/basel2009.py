"""Basel Face Model 2009 (Paysan et al. 2009) with expressions, as Deng et al. 2019 cut it (35,709 vertices).

The edition itself has no expressions. Deng et al. (github.com/microsoft/Deep3DFaceReconstruction, MIT;
PyTorch: github.com/sicxu/Deep3DFaceRecon_pytorch) add the basis of Guo et al. 2018
(github.com/Juyong/3DFace). Files, with the facts of their ``util/load_mats.py`` and ``models/bfm.py``:

* ``01_MorphableModel.mat``, from Basel: shapeMU, shapePC, shapeEV and texMU, texPC, texEV of 53,490 vertices;
  EV are standard deviations; micrometres; colours 0..255.
* ``Exp_Pca.bin``, from Guo et al.: int32 K, float32 mean [3N] (not used: Deng et al. leave it out), float32
  basis [K, 3N] of N = 53,215 vertices; ``std_exp.txt``: its K standard deviations. Micrometres.
* ``BFM_exp_idx.mat``: trimIndex [N], those vertices among the 53,490, and ``BFM_front_idx.mat``: idx, the
  face's vertices among the N; both from 1. ``facemodel_info.mat``: tri [T, 3] and keypoints [68], from 1, on
  the face.

``BFM_model_front.mat``, which Deng et al.'s program makes of these, is read as well: meanshape, idBase,
exBase, meantex, texBase, tri, keypoints; decimetres, bases scaled by the standard deviations (80, 64 and 80
of them).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jfrecon.errors import UserError
from jfrecon.morphable import basel, loading, matlab
from jfrecon.types import MorphableModel

MISSING = basel.MISSING
BASEL = 'from faces.dmi.unibas.ch/bfm (licence on request)'
GUO = 'from github.com/Juyong/3DFace'
DENG = 'from the folder BFM of github.com/microsoft/Deep3DFaceReconstruction'
SOURCES = {
    '01_MorphableModel.mat': BASEL,
    'Exp_Pca.bin': GUO,
    'std_exp.txt': DENG,
    'BFM_exp_idx.mat': DENG,
    'BFM_front_idx.mat': DENG,
    'facemodel_info.mat': DENG,
}
FRONT = 'BFM_model_front.mat'
DECIMETRE, MICROMETRE = 100.0, 1e-3


class _Face(NamedTuple):
    """[V, 3], and [K, V, 3] for one standard deviation: mm, and colours 0..255; indices from 0."""

    mean: np.ndarray
    identity: np.ndarray
    expression: np.ndarray
    colour: np.ndarray
    colours: np.ndarray
    triangles: np.ndarray
    landmark_ids: np.ndarray


def load(path: str | Path) -> MorphableModel:
    """The face of Deng et al. from a folder with the six files, or with (or from) ``BFM_model_front.mat``.

    Raises:
      UserError: files are missing (all of them named, with their sources), damaged, or do not fit each other.
    """
    path = Path(path)
    if path.suffix == '.h5':
        raise UserError(f'{path}: an HDF5 file is a later edition; name basel2017 or basel2019')
    ready = path if path.is_file() and path.name not in SOURCES else path / FRONT
    face = _read_front(ready) if ready.is_file() else _assemble(path.parent if path.is_file() else path)
    return loading.finish(
        path,
        mean=face.mean,
        identity=face.identity,
        expression=face.expression,
        albedo=basel.encoded_colour(face.colour, face.colours),
        triangles=face.triangles,
        landmark_ids=face.landmark_ids,
        name='basel2009',
        licence=basel.LICENCE,
    )


def _read_front(path: Path) -> _Face:
    names = ('meanshape', 'idBase', 'exBase', 'meantex', 'texBase', 'tri', 'keypoints')
    m = dict(zip(names, _mat(path, *names)))
    mean = loading.shaped(path, 'meanshape', m['meanshape'].ravel(), None)
    colour = loading.shaped(path, 'meantex', m['meantex'].ravel(), len(mean))
    bases = [loading.shaped(path, name, m[name], len(mean), None) for name in ('idBase', 'exBase', 'texBase')]
    identity, expression, colours = (_points(basis) for basis in bases)
    count = len(mean) // 3
    return _Face(
        mean.reshape(-1, 3) * DECIMETRE,
        identity * DECIMETRE,
        expression * DECIMETRE,
        colour.reshape(-1, 3),
        colours,
        loading.indices(path, 'tri', m['tri'] - 1.0, count, None, 3),
        loading.indices(path, 'keypoints', m['keypoints'].ravel() - 1.0, count, 68),
    )


def _assemble(folder: Path) -> _Face:
    absent = [name for name in SOURCES if not (folder / name).is_file()]
    if absent:
        listed = ', '.join(f'{name} ({SOURCES[name]})' for name in absent)
        raise UserError(f'{folder}: lacks {listed}; or {FRONT}; use makehuman meanwhile')

    path = folder / '01_MorphableModel.mat'
    names = ('shapeMU', 'shapePC', 'shapeEV', 'texMU', 'texPC', 'texEV')
    arrays = dict(zip(names, _mat(path, *names)))
    size = arrays['shapeMU'].size
    linear = []
    for kind in ('shape', 'tex'):
        mean = loading.shaped(path, f'{kind}MU', arrays[f'{kind}MU'].ravel(), size)
        deviation = loading.shaped(path, f'{kind}EV', arrays[f'{kind}EV'].ravel(), None)
        basis = loading.shaped(path, f'{kind}PC', arrays[f'{kind}PC'], size, len(deviation))
        linear += [mean, basis, deviation]
    if size % 3:
        raise UserError(f'{path}: {size} numbers in shapeMU are not points')

    (trim,) = _mat(folder / 'BFM_exp_idx.mat', 'trimIndex')
    (front,) = _mat(folder / 'BFM_front_idx.mat', 'idx')
    trim = loading.indices(folder / 'BFM_exp_idx.mat', 'trimIndex', trim.ravel() - 1.0, size // 3, None)
    front = loading.indices(folder / 'BFM_front_idx.mat', 'idx', front.ravel() - 1.0, len(trim), None)
    keep = trim[front]
    tri, keypoints = _mat(folder / 'facemodel_info.mat', 'tri', 'keypoints')

    mean, identity, deviation, colour, colours, colour_deviation = linear
    return _Face(
        mean.reshape(-1, 3)[keep] * MICROMETRE,
        _points(identity, keep) * (deviation * MICROMETRE)[:, None, None],
        _expression(folder, len(trim), front) * MICROMETRE,
        colour.reshape(-1, 3)[keep],
        _points(colours, keep) * colour_deviation[:, None, None],
        loading.indices(folder / 'facemodel_info.mat', 'tri', tri - 1.0, len(keep), None, 3),
        loading.indices(folder / 'facemodel_info.mat', 'keypoints', keypoints.ravel() - 1.0, len(keep), 68),
    )


def _expression(folder: Path, vertices: int, keep: np.ndarray) -> np.ndarray:
    """[K, V, 3] of the kept vertices, micrometres for one standard deviation."""
    path, deviations = folder / 'Exp_Pca.bin', folder / 'std_exp.txt'
    try:
        data = path.read_bytes()
        deviation = np.array(deviations.read_text(encoding='utf-8').split(), np.float64)
    except (OSError, ValueError) as error:
        raise UserError(f'{deviations}: not a list of numbers') from error
    modes = int.from_bytes(data[:4], 'little')
    if len(data) != 4 + 12 * vertices * (modes + 1) or not modes:
        raise UserError(f'{path}: {len(data)} bytes do not hold {modes} modes of {vertices} vertices; get it {GUO}')
    basis = np.frombuffer(data, '<f4', offset=4 + 12 * vertices).reshape(modes, vertices, 3)[:, keep]
    basis = loading.shaped(path, 'its basis', basis, modes, None, 3)
    return basis * loading.shaped(deviations, 'the list', deviation, modes)[:, None, None]


def _points(basis: np.ndarray, keep: np.ndarray | slice = slice(None)) -> np.ndarray:
    """[3V, K] -> [K, V, 3] of the kept vertices."""
    return np.ascontiguousarray(basis.reshape(-1, 3, basis.shape[1])[keep].transpose(2, 0, 1))


def _mat(path: Path, *names: str) -> list[np.ndarray]:
    try:
        content = matlab.read(path, *names)
    except Exception as error:  # damaged files raise anything, from zlib's errors to IndexError
        raise UserError(f'{path}: damaged, or not a MATLAB file ({type(error).__name__})') from error
    absent = [name for name in names if name not in content]
    if absent:
        raise UserError(f'{path}: another file than its name says: there is no {", ".join(absent)} in it')
    arrays = [np.asarray(content[name]) for name in names]
    if any(a.dtype.kind not in 'iuf' for a in arrays):
        raise UserError(f'{path}: holds something else than numbers')
    return arrays
