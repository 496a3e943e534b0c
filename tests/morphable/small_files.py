"""Writers of small files in the layouts of the licensed models: a few dozen vertices, random modes."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import types
from typing import ClassVar

import h5py
import numpy as np
from scipy import sparse
from scipy.io import savemat


def mask(rows: int = 8, columns: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """The front of an ellipsoid, mm, x to the subject's left, and its triangles, counter-clockwise from outside."""
    up, across = np.meshgrid(np.linspace(70, -70, rows), np.linspace(-80, 80, columns), indexing='ij')
    up, across = np.radians(up).ravel(), np.radians(across).ravel()
    points = np.stack([70 * np.cos(up) * np.sin(across), 100 * np.sin(up), 90 * np.cos(up) * np.cos(across)], -1)
    i = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    triangles = np.concatenate([
        np.stack([i, i + columns, i + 1], -1), np.stack([i + 1, i + columns, i + columns + 1], -1)
    ])  # fmt: skip
    return points, triangles


def ball(rows: int = 7, columns: int = 12, radii=(70, 110, 90), centre=(0, 0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """A closed ellipsoid with a vertex at each pole."""
    up = np.radians(np.linspace(90, -90, rows + 2)[1:-1])[:, None]
    around = np.radians(np.arange(columns) * 360 / columns)[None]
    ring = np.stack([np.cos(up) * np.sin(around), np.sin(up) + 0 * around, np.cos(up) * np.cos(around)], -1)
    points = np.concatenate([ring.reshape(-1, 3), [[0, 1, 0], [0, -1, 0]]]) * radii + centre
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing='ij')
    a, b = (i * columns + j).ravel(), (i * columns + (j + 1) % columns).ravel()
    j = np.arange(columns)
    k, top, bottom = (j + 1) % columns, rows * columns, rows * columns + 1
    last = (rows - 1) * columns
    triangles = np.concatenate([
        np.stack([a, a + columns, b], -1), np.stack([b, a + columns, b + columns], -1),
        np.stack([j, k, 0 * j + top], -1), np.stack([last + j, 0 * j + bottom, last + k], -1),
    ])  # fmt: skip
    return points, triangles


def statismo_part(file: h5py.File, name: str, mean: np.ndarray, modes: int, spread: float, rng, version=(0, 9)) -> dict:
    """Writes NAME/model, NAME/version; returns the raw arrays."""
    basis = np.linalg.qr(rng.normal(size=(mean.size, modes)))[0].astype(np.float32)
    variance = (spread**2 * rng.uniform(0.2, 1, modes)).astype(np.float32)
    raw = {'mean': mean.astype(np.float32).ravel(), 'pcaBasis': basis, 'pcaVariance': variance}
    for key, value in raw.items():
        stored = basis * np.sqrt(variance) if key == 'pcaBasis' and version < (0, 9) else value
        file[f'{name}/model/{key}'] = stored
    file[f'{name}/model/noiseVariance'] = np.zeros(1, np.float32)
    for key, value in zip(('major', 'minor'), version):
        file[f'{name}/version/{key}Version'] = value
    return raw


def basel_h5(path, points, triangles, named=None, version=(0, 9), as_bytes=False, seed=0) -> dict[str, dict]:
    """A Basel 2017 or 2019 file: 5 identity, 4 expression and 6 colour modes."""
    rng = np.random.default_rng(seed)
    with h5py.File(path, 'w') as file:
        raw = {
            'shape': statismo_part(file, 'shape', points, 5, 30, rng, version),
            'expression': statismo_part(file, 'expression', rng.normal(size=points.shape), 4, 20, rng, version),
            'color': statismo_part(file, 'color', rng.uniform(0.2, 0.8, points.shape), 6, 0.3, rng, version),
        }
        file['shape/representer/points'] = points.T.astype(np.float32)
        file['shape/representer/cells'] = triangles.T.astype(np.int32)
        if named is not None:
            entries = [{'id': k, 'coordinates': [float(x) for x in v]} for k, v in named.items()]
            text = json.dumps(entries)
            file['metadata/landmarks/json'] = np.frombuffer(text.encode() + b'\0', np.int8) if as_bytes else text
    return raw


def albedo_h5(path, vertices: int, diffuse=6, specular=6, seed=1) -> dict[str, dict]:
    rng = np.random.default_rng(seed)
    with h5py.File(path, 'w') as file:
        grey = np.repeat(rng.uniform(0.1, 0.3, (vertices, 1)), 3, 1)
        statismo_part(file, 'shape', rng.normal(size=(vertices, 3)), 1, 1, rng)  # a random one is in the real file
        return {
            'diffuse': statismo_part(file, 'diffuseAlbedo', rng.uniform(0.1, 0.6, (vertices, 3)), diffuse, 0.1, rng),
            'specular': statismo_part(file, 'specularAlbedo', grey, specular, 0.05, rng),
        }


def basel2009(folder, seed=2) -> dict[str, np.ndarray]:
    """The six files: 90 vertices of Basel, 72 of them with expressions, the mask's 56 in the face."""
    rng = np.random.default_rng(seed)
    points, triangles = mask(7, 8)
    n, kept, face = 90, 72, len(points)
    trim = np.sort(rng.permutation(n)[:kept])
    front = np.sort(rng.permutation(kept)[:face])
    mean = rng.normal(scale=60e3, size=(n, 3))
    mean[trim[front]] = points * 1e3
    raw = {
        'shapeMU': mean.reshape(-1, 1).astype(np.float32),
        'shapePC': rng.normal(size=(3 * n, 5)).astype(np.float32),
        'shapeEV': rng.uniform(100, 900, (5, 1)).astype(np.float32),
        'texMU': rng.uniform(50, 200, (3 * n, 1)).astype(np.float32),
        'texPC': rng.normal(size=(3 * n, 4)).astype(np.float32),
        'texEV': rng.uniform(1, 9, (4, 1)).astype(np.float32),
    }
    savemat(folder / '01_MorphableModel.mat', raw | {'tl': triangles + 1.0, 'segbin': np.zeros((n, 4))})
    raw |= {
        'expMU': rng.normal(size=3 * kept).astype(np.float32),
        'expPC': rng.normal(size=(3, 3 * kept)).astype(np.float32),
        'std_exp': rng.uniform(100, 900, 3),
        'trim': trim,
        'front': front,
        'tri': triangles,
        'keypoints': rng.permutation(face)[: 68 % face].tolist() + list(range(56)),
    }
    raw['keypoints'] = np.array(raw['keypoints'][:68])
    data = struct.pack('<i', 3) + raw['expMU'].tobytes() + raw['expPC'].tobytes()
    (folder / 'Exp_Pca.bin').write_bytes(data)
    (folder / 'std_exp.txt').write_text(' '.join(f'{x:.9g}' for x in raw['std_exp']))
    savemat(folder / 'BFM_exp_idx.mat', {'trimIndex': (trim[:, None] + 1).astype(np.uint16)})
    savemat(folder / 'BFM_front_idx.mat', {'idx': (front[:, None] + 1).astype(np.uint16)})
    info = {'tri': (triangles + 1).astype(np.int32), 'keypoints': (raw['keypoints'][None] + 1).astype(np.uint16)}
    savemat(folder / 'facemodel_info.mat', info | {'skinmask': np.zeros((1, face))})
    return raw


def flame_arrays(seed=3) -> dict[str, np.ndarray]:
    """A head with two eyeballs, in metres, with the five joints of FLAME."""
    rng = np.random.default_rng(seed)
    head, head_triangles = ball()
    eyes = [ball(2, 4, (12, 12, 12), (x, 20, 80)) for x in (30, -30)]
    points, triangles = [head], [head_triangles]
    for p, t in eyes:
        triangles.append(t + sum(map(len, points)))
        points.append(p)
    owner = np.repeat([0, 3, 4], [len(p) for p in points])
    points, triangles = np.concatenate(points), np.concatenate(triangles)
    n = len(points)
    weights = np.concatenate([rng.uniform(size=(len(head), 3)), np.zeros((len(head), 2))], 1)
    weights = np.concatenate([weights, np.eye(5)[owner[len(head) :]]])
    regressor = rng.uniform(size=(5, n)) * (rng.uniform(size=(5, n)) < 0.2)
    return {
        'v_template': points / 1e3,
        'shapedirs': rng.normal(scale=1e-3, size=(n, 3, 400)),
        'posedirs': rng.normal(scale=1e-3, size=(n, 3, 36)),
        'J_regressor': regressor / regressor.sum(1, keepdims=True),
        'weights': weights / weights.sum(1, keepdims=True),
        'kintree_table': np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        'f': triangles.astype(np.uint32),
        'bs_type': 'lrotmin',
        'bs_style': 'lbs',
    }


class Python2Pickler(pickle._Pickler):
    """Writes bytes and text as Python 2 wrote its str."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_python2_str(self, x):
        data = x.encode('latin1') if isinstance(x, str) else x
        self.write(b'T' + struct.pack('<i', len(data)) + data)
        self.memoize(x)

    dispatch[str] = dispatch[bytes] = save_python2_str


def flame_pkl(path, arrays, python2=True) -> None:
    """As released: chumpy arrays, a SciPy sparse matrix, and Python 2's protocol 2 where wanted."""

    class Ch:
        def __init__(self, x):
            self.x = x

    class Select:
        def __init__(self, x):
            self.a = Ch(np.concatenate([[7.0], x.ravel()]))
            self.idxs, self.preferred_shape = np.arange(x.size) + 1, x.shape

    modules = {name: types.ModuleType(name) for name in ('chumpy', 'chumpy.ch', 'chumpy.reordering')}
    for cls, module in ((Ch, 'chumpy.ch'), (Select, 'chumpy.reordering')):
        cls.__module__, cls.__qualname__ = module, cls.__name__
        setattr(modules[module], cls.__name__, cls)
    content = dict(arrays)
    content['v_template'], content['weights'] = Ch(arrays['v_template']), Ch(arrays['weights'])
    content['shapedirs'] = Select(arrays['shapedirs'])
    content['J_regressor'] = sparse.csc_matrix(arrays['J_regressor'])
    stream = io.BytesIO()
    saved = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        (Python2Pickler if python2 else pickle._Pickler)(stream, 2 if python2 else 4).dump(content)
    finally:
        for name, module in saved.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})
    data = stream.getvalue()
    if python2:  # where SciPy and NumPy had these classes then; both names are written with their lengths implicit
        data = data.replace(b'cscipy.sparse._csc\n', b'cscipy.sparse.csc\n')
        data = data.replace(b'cnumpy._core.multiarray\n', b'cnumpy.core.multiarray\n')
    path.write_bytes(data)


def flame_landmarks(arrays, seed=4) -> tuple[np.ndarray, np.ndarray]:
    """Triangles [68] on the head and weights [68, 3] in which one corner leads."""
    rng = np.random.default_rng(seed)
    head = np.flatnonzero((arrays['f'] < 86).all(1))
    corners = rng.dirichlet([1, 1, 1], 68) + 2 * np.eye(3)[rng.integers(0, 3, 68)]
    return rng.choice(head, 68), corners / corners.sum(1, keepdims=True)
