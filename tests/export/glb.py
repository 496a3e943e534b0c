"""A .glb file read with the help of the glTF specification alone."""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

WIDTH = {'SCALAR': 1, 'VEC2': 2, 'VEC3': 3, 'VEC4': 4}
TYPE = {5125: np.uint32, 5126: np.float32}


class Object(dict):
    """A JSON object whose properties are attributes, None (an offset: 0) where the file leaves them out."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name, 0 if name == 'byteOffset' else None)


class Glb(NamedTuple):
    """A file's JSON, its accessors [N, C] by number and its one buffer."""

    file: Object
    accessors: list[np.ndarray]
    buffer: bytes


def read(content: bytes) -> Glb:
    """Chunks as in 4.4 of the specification: JSON, then the one binary buffer."""
    magic, version, length, size, kind = struct.unpack('<4sIII4s', content[:20])
    assert (magic, version, length, kind) == (b'glTF', 2, len(content), b'JSON')
    file = json.loads(content[20 : 20 + size], object_hook=Object)
    binary, kind = struct.unpack('<I4s', content[20 + size : 28 + size])
    assert kind == b'BIN\0' and file.buffers[0].byteLength <= binary == length - 28 - size
    blob = content[28 + size :]

    def view(index, dtype, width, count):
        found = file.bufferViews[index]
        return np.frombuffer(blob, dtype, width * count, found.byteOffset).reshape(count, width)

    def values(accessor):
        width, dtype = WIDTH[accessor.type], TYPE[accessor.componentType]
        result = np.zeros((accessor.count, width), dtype)
        if accessor.bufferView is not None:
            result = view(accessor.bufferView, dtype, width, accessor.count)
        if accessor.sparse is not None:
            rows = view(accessor.sparse['indices'].bufferView, np.uint32, 1, accessor.sparse.count)[:, 0]
            result = result.copy()
            result[rows] = view(accessor.sparse['values'].bufferView, dtype, width, accessor.sparse.count)
        return result

    return Glb(file, [values(accessor) for accessor in file.accessors], blob)


def vertices(glb: Glb, time: int | None = None) -> np.ndarray:
    """[N, 3] m, of all meshes, expression and pose applied (3.7.2.2, 3.5.3); at key ``time`` of the animation."""
    root = glb.file.nodes[0]
    state = {name: getattr(root, name) for name in ('rotation', 'translation', 'scale')}
    weights = {child: glb.file.meshes[glb.file.nodes[child].mesh].weights for child in root.children}
    if time is not None:
        (animation,) = glb.file.animations
        for channel in animation.channels:
            sampler = animation.samplers[channel.sampler]
            frames = len(glb.accessors[sampler.input])
            values = glb.accessors[sampler.output].reshape(frames, -1)[time]
            if channel.target.path == 'weights':
                weights[channel.target.node] = values
            else:
                assert channel.target.node == 0
                state[channel.target.path] = values
    result = []
    for child in root.children:
        for primitive in glb.file.meshes[glb.file.nodes[child].mesh].primitives:
            points = glb.accessors[primitive.attributes.POSITION].astype(np.float64)
            for weight, target in zip(weights[child], primitive.targets, strict=True):
                points = points + weight * glb.accessors[target['POSITION']]
            result.append(points)
    scale = np.ones(3) if state['scale'] is None else np.asarray(state['scale'])
    turned = Rotation.from_quat(state['rotation']).apply(np.concatenate(result) * scale)
    return turned + np.asarray(state['translation'])


def photographed(glb: Glb, points: np.ndarray) -> np.ndarray:
    """Pixels [N, 2] of the photograph, whose place in the camera's picture the file tells, of points [N, 3] m.

    Projection matrices of 3.10.3; the viewport is the picture.
    """
    (seer,) = (node for node in glb.file.nodes if node.camera is not None)
    assert seer.camera == 0 and not any([seer.matrix, seer.rotation, seer.translation, seer.scale])
    camera = glb.file.cameras[0]
    if camera.type == 'perspective':
        seen = camera.perspective
        across = 1 / (seen.aspectRatio * np.tan(seen.yfov / 2))
        clip = np.stack([across * points[:, 0], points[:, 1] / np.tan(seen.yfov / 2)], -1) / -points[:, 2:]
        assert (-points[:, 2] > seen.znear).all()
    else:
        seen = camera.orthographic
        clip = points[:, :2] / [seen.xmag, seen.ymag]
        assert (-points[:, 2] > seen.znear).all() and (-points[:, 2] < seen.zfar).all()
    picture, photograph = camera.extras['picture'], camera.extras['photograph']
    pixels = (0.5 + 0.5 * clip * [1, -1]) * [picture['width'], picture['height']]
    return pixels - [photograph['x'], photograph['y']]
