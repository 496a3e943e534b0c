"""Tiny valid files of every kind that is read here, made by our own code, and who reads them."""

from __future__ import annotations

import contextlib
import functools
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from PIL import Image

from configs import dib21
from jfrecon import assets, files
from jfrecon.data import images, landmark_files, shards
from jfrecon.data.prepare import tables
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.evaluation.benchmarks import aflw2000, scans
from jfrecon.export import asset, hdri
from jfrecon.morphable import basel, landmarks, obj, restricted_pickle
from jfrecon.morphable.models import basel2009
from jfrecon.nets import tflite, weights
from jfrecon.training import checkpoints, record

VERTICES = 100


class Seed(NamedTuple):
    """A file and its reader.

    Attributes:
      path: in a folder of its own; what lies beside it is not changed.
      read: of the path of a changed copy.
    """

    path: Path
    read: Callable[[Path], Any]


def make(folder: Path) -> dict[str, Seed]:
    """All seeds by name, each in a folder of its own below ``folder``."""
    found = {}
    for name, (file, write, read) in KINDS.items():
        path = folder / name / file
        path.parent.mkdir(parents=True)
        write(path)
        found[name] = Seed(path, read)
    return found


def _random() -> np.random.Generator:
    return np.random.default_rng(0)


def _picture(path: Path, side: int = 40) -> None:
    Image.fromarray(_random().integers(0, 256, (side, side, 3), np.uint8)).save(path)


def _points() -> np.ndarray:
    return _random().uniform(5, 35, (2, 68, 2)).astype(np.float32)


def _landmarks_npz(path: Path) -> None:
    np.savez_compressed(path, filename=['a.png', 'b.png'], landmarks=_points(), confidence=np.ones((2, 68), np.float32))


def _landmarks_csv(path: Path) -> None:
    columns = ['filename', *(f'{axis}{k}' for k in range(68) for axis in 'xy')]
    rows = [','.join([name, *(f'{x:.1f}' for x in face.ravel())]) for name, face in zip('ab', _points())]
    path.write_text('\n'.join([','.join(columns), *rows]) + '\n')


def _pts(path: Path) -> None:
    rows = '\n'.join(f'{x:.1f} {y:.1f}' for x, y in _points()[0])
    path.write_text(f'version: 1\nn_points: 68\n{{\n{rows}\n}}\n')


def _ids(path: Path) -> None:
    path.write_text('\n'.join(map(str, range(68))))


def _tensors() -> dict[str, np.ndarray]:
    return {name: _random().normal(size=(4, 3)).astype(np.float32) for name in ('params/head/kernel', 'params/b/bias')}


def _safetensors(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(_tensors(), path, {'config': json.dumps(record.plain(dib21.get_config('quicktest+base'))), 'step': '8'})


def _pth(path: Path) -> None:
    import torch

    torch.save({name: torch.from_numpy(values) for name, values in _tensors().items()}, path)


def _onnx(path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    tensors = [numpy_helper.from_array(values, name) for name, values in _tensors().items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ('in', 'out')]
    node = helper.make_node('Gemm', ['in', *(tensor.name for tensor in tensors)], ['out'], alpha=1.0)
    onnx.save(helper.make_model(helper.make_graph([node], 'seed', ends[:1], ends[1:], tensors)), str(path))


def _tflite(path: Path) -> None:
    # of MediaPipe's, since nothing here writes them
    name = 'face_detection/face_detection_short_range.tflite'
    path.write_bytes((assets.folder('mediapipe') / name).read_bytes())


def _aflw(path: Path) -> None:
    from scipy.io import savemat

    savemat(path, {'pt3d_68': _random().uniform(0, 40, (3, 68)), 'Pose_Para': np.zeros((1, 7))}, do_compression=True)


def _mesh() -> tuple[np.ndarray, np.ndarray]:
    """A sheet of ten by ten vertices, mm, and its triangles."""
    y, x = np.mgrid[-80:80:10j, -60:60:10j]
    corner = np.arange(VERTICES).reshape(10, 10)
    a, b, c, d = (part.ravel() for part in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]))
    points = np.stack([x, y, 50 - (x**2 + y**2) / 200], -1).reshape(-1, 3)
    return points, np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)])


def _basel2009(path: Path) -> None:
    from scipy.io import savemat

    points, triangles = _mesh()
    basis = _random().normal(size=(3 * VERTICES, 2))
    kept = {
        'meanshape': points.reshape(1, -1) / 100, 'meantex': np.full((1, 3 * VERTICES), 120.0),
        'tri': triangles + 1.0, 'keypoints': np.arange(1.0, 69)[None],
    }  # fmt: skip
    savemat(path, kept | dict.fromkeys(('idBase', 'exBase', 'texBase'), basis))


def _basel2019(path: Path) -> None:
    points, triangles = _mesh()
    with h5py.File(path, 'w') as file:
        for name, mean in (('shape', points), ('expression', 0 * points), ('color', 0 * points + 0.5)):
            file[f'{name}/model/mean'] = mean.ravel().astype(np.float32)
            file[f'{name}/model/pcaVariance'] = np.ones(2, np.float32)
            file[f'{name}/model/pcaBasis'] = _random().normal(size=(3 * VERTICES, 2)).astype(np.float32)
            file[f'{name}/version/majorVersion'], file[f'{name}/version/minorVersion'] = 0, 9
        file['shape/representer/cells'] = triangles.T.astype(np.int32)
    path.with_name('landmarks68.txt').write_text('\n'.join(map(str, range(68))))


def _pickle(path: Path) -> None:
    import pickle

    from scipy import sparse

    path.write_bytes(pickle.dumps({'v_template': _mesh()[0], 'J_regressor': sparse.eye(5, format='csc'), 'name': 'x'}))


def _obj(path: Path) -> None:
    points, triangles = _mesh()
    lines = [f'v {x:.3f} {y:.3f} {z:.3f}' for x, y, z in points] + ['vt 0.5 0.5', 'g face']
    path.write_text('\n'.join(['mtllib face.mtl', *lines, *(f'f {a}/1 {b}/1 {c}/1' for a, b, c in triangles + 1)]))
    path.with_name('face.mtl').write_text('newmtl face\nmap_Kd face.png\n')


def _ply(path: Path) -> None:
    points, triangles = _mesh()
    head = ['ply', 'format binary_little_endian 1.0', f'element vertex {len(points)}']
    head += [f'property float {axis}' for axis in 'xyz']
    head += [f'element face {len(triangles)}', 'property list uchar int vertex_indices', 'end_header\n']
    rows = b''.join(struct.pack('<B3i', 3, *row) for row in triangles.tolist())
    path.write_bytes('\n'.join(head).encode() + points.astype('<f4').tobytes() + rows)


def _light(path: Path) -> None:
    hdri.write(path, _random().gamma(2.0, 0.5, (8, 16, 3)).astype(np.float32))


def _shards(path: Path) -> None:
    image = _random().integers(0, 256, (40, 40, 3), np.uint8)
    shards.write((Sample(image, face, name=name) for name, face in zip('ab', _points())), path.parent)


def _record(path: Path) -> None:
    image = _random().integers(0, 256, (40, 40, 3), np.uint8)
    path.write_bytes(shards.pack(Sample(image, _points()[0], name='a')))


def _read_shards(path: Path) -> None:
    source = shards.Shards(path.parent)
    for index in range(len(source)):
        with contextlib.suppress(Unreadable):  # of one record; the others are read
            source.read(index)


def _face(path: Path) -> None:
    random = _random()
    shapes = {'identity': 2, 'expression': 3, 'albedo': 2, 'rotation': 3, 'translation': 3, 'light': (9, 3)}
    kept = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    kept |= {'vertices': _mesh()[0], 'landmarks2d': _points()[0], 'focal': np.float32(180)}
    kept |= {'principal': np.full(2, 20.0), 'size': np.array([40, 40]), 'box': np.array([0.0, 0.0, 40.0])}
    folder = path.parent
    np.savez_compressed(folder / 'parameters.npz', **kept)
    files.write_json(folder / 'metadata.json', {'format': 'jfrecon', 'model': {'name': 'makehuman'}, 'roughness': 0.4})
    for name in ('diffuse', 'specular', 'normal'):
        _picture(folder / f'{name}.png', 16)
    moving = {name: np.stack([kept[name]] * 2) for name in asset.MOVING}
    np.savez_compressed(folder / 'frames.npz', numbers=np.arange(2), times=np.arange(2) / 25, **moving)


def _read_face(path: Path) -> None:
    face, _ = asset.read(path.parent)
    asset.read_video(path.parent, face)


Writer, Reader = Callable[[Path], None], Callable[[Path], Any]
KINDS: dict[str, tuple[str, Writer, Reader]] = {
    **{f'picture.{kind}': (f'a.{kind}', _picture, images.read) for kind in ('png', 'jpg', 'webp', 'tif', 'bmp', 'gif')},
    'mask.png': ('a.png', _picture, images.read_mask),
    'landmarks.npz': ('a.npz', _landmarks_npz, landmark_files.read),
    'landmarks.csv': ('a.csv', _landmarks_csv, landmark_files.read),
    'landmarks.pts': ('a.pts', _pts, landmark_files.read),
    'landmarks.txt': ('a.txt', _ids, lambda path: landmarks.read(path, VERTICES)),
    'boxes.npz': ('a.npz', lambda path: np.savez(path, filename=['a'], boxes=np.ones((1, 4))), tables.read_boxes),
    'boxes.csv': ('a.csv', lambda path: path.write_text('filename,x,y,w,h\na,1,2,3,4\n'), tables.read_boxes),
    'weights.safetensors': ('a.safetensors', _safetensors, weights.read),
    'packed.safetensors': ('a.safetensors', _safetensors, checkpoints.load),
    'weights.pth': ('a.pth', _pth, weights.read),
    'weights.onnx': ('a.onnx', _onnx, weights.read_onnx),
    'network.tflite': ('a.tflite', _tflite, tflite.read),
    'aflw.mat': ('a.mat', _aflw, aflw2000.read_fit),
    'basel2009.mat': ('BFM_model_front.mat', _basel2009, basel2009.load),
    'basel2019.h5': ('model2019_face12.h5', _basel2019, functools.partial(basel.load, edition='basel2019')),
    'flame.pkl': ('a.pkl', _pickle, restricted_pickle.load),
    'mesh.obj': ('a.obj', _obj, obj.read),
    'scan.obj': ('a.obj', _obj, scans.load_trimesh),
    'scan.ply': ('a.ply', _ply, scans.load_trimesh),
    'light.exr': ('a.exr', _light, hdri.read),
    'light.hdr': ('a.hdr', _light, hdri.read),
    'shards.manifest': (shards.MANIFEST, _shards, _read_shards),
    'shards.record': ('a', _record, lambda path: shards.unpack(path.read_bytes())),
    'shards.records': ('shard-00000.array_record', _shards, _read_shards),
    'face.metadata': ('metadata.json', _face, _read_face),
    'face.parameters': ('parameters.npz', _face, _read_face),
    'face.map': ('diffuse.png', _face, _read_face),
    'face.frames': ('frames.npz', _face, _read_face),
}
