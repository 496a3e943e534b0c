"""ICT Face Model Light, from scans, MIT licence (Li et al. 2020, Physically-Based Face Attributes).

Read from the OBJ files of its repository (a folder ``FaceXModel``) or from one npz file with the same arrays
packed. ``vertices = neutral + sum_k a_k identity_k + sum_j e_j expression_j`` with modes scaled by their
standard deviations. Its lengths are centimetres; it comes without albedo.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jfrecon import files
from jfrecon.errors import UserError
from jfrecon.morphable import obj
from jfrecon.morphable.coat import EYE, LASH, MOUTH, SKIN, TEETH
from jfrecon.morphable.heads import Head, assemble
from jfrecon.types import MorphableModel

MISSING = (
    'get the folder FaceXModel from github.com/ICT-VGL/ICT-FaceKit (MIT) and give its path, or use makehuman meanwhile'
)
MILLIMETRES = 10.0
NOTICE = """MIT License

Copyright (c) 2020 USC Institute for Creative Technologies

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
EXPRESSIONS = 53
# Multi-PIE landmarks, from the model's README.
LANDMARKS = (
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509,
    978, 4527, 4942, 4857, 1140, 2075, 1147, 4269, 3360,
    1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
    5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841,
    5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
)  # fmt: skip
# Half-open ranges of polygons, from the README. Lacrimal fluid and the blend and occlusion shells, which need
# special materials and would hide the eyeballs, are left out.
POLYGONS = 26384
NARROW_FACE = (0, 6560)
PARTS = (
    (0, 11144, SKIN), (11144, 13226, MOUTH), (13226, 14034, SKIN), (14034, 17006, MOUTH), (17006, 21496,
    TEETH), (21496, 24692, EYE), (25304, 26384, LASH),
)  # fmt: skip
EYEBALLS = (21451, 23021), (23021, 24591)  # vertices of the subject's left and right


class Source(NamedTuple):
    """What the model's files say, in their centimetres: `obj.Obj`, [K, V, 3] offsets and their names."""

    neutral: obj.Obj
    identity: np.ndarray
    expression: np.ndarray
    expression_names: tuple[str, ...]


def read(path: Path) -> Source:
    """The model in a FaceXModel folder or a packed npz file.

    Raises:
      UserError: nothing there, or files that do not belong together.
    """
    if path.is_dir():
        return _read_folder(path / 'FaceXModel' if (path / 'FaceXModel').is_dir() else path)
    if path.is_file():
        return _read_packed(path)
    raise UserError(f'{path}: no ICT-FaceKit there; {MISSING}')


def load(path: Path, subdivisions: int = 0) -> MorphableModel:
    """The 'narrow face': forehead to under the chin, in front of the ears, without eyes and mouth.

    Model space has its origin at the centroid of the mean's 68 landmarks; UVs are the model's own, stretched
    to the unit square.

    Raises:
      UserError: files are missing or broken.
    """
    return _build(path, subdivisions)[1]


def load_head(path: Path, subdivisions: int = 0) -> Head:
    """The whole head around `load`'s face: ears, neck, eyeballs, teeth, gums, tongue and lashes."""
    return _build(path, subdivisions)[0]


@functools.lru_cache(maxsize=2)
def _build(path: Path, subdivisions: int) -> tuple[Head, MorphableModel]:
    source = read(path)
    mesh = source.neutral
    if len(mesh.polygons) != POLYGONS:
        raise UserError(f'{path}: {len(mesh.polygons)} polygons instead of the {POLYGONS} of ICT-FaceKit; {MISSING}')
    part = np.full(POLYGONS, -1)
    for first, last, label in PARTS:
        part[first:last] = label
    in_face = np.zeros(POLYGONS, bool)
    in_face[slice(*NARROW_FACE)] = True
    face_uv = np.full((len(mesh.vertices), 2), np.nan)
    face_uv[mesh.polygons[in_face]] = mesh.uv[mesh.uv_polygons[in_face]]
    return assemble(
        mesh._replace(vertices=mesh.vertices * MILLIMETRES),
        part=part,
        in_face=in_face,
        face_uv=face_uv,
        identity=source.identity * MILLIMETRES,
        expression=source.expression * MILLIMETRES,
        expression_names=source.expression_names,
        landmark_ids=np.array(LANDMARKS),
        eyeballs=[np.arange(*ids) for ids in EYEBALLS],
        subdivisions=subdivisions,
        name='ict',
        licence='MIT (ICT-FaceKit, USC Institute for Creative Technologies)',
    )


def _read_folder(folder: Path) -> Source:
    if not (folder / 'generic_neutral_mesh.obj').is_file():
        raise UserError(f'{folder}: no generic_neutral_mesh.obj in it; {MISSING}')
    neutral = obj.read(folder / 'generic_neutral_mesh.obj')
    identities = sorted(folder.glob('identity[0-9][0-9][0-9].obj'))
    try:
        names = tuple(map(str, files.read_json(folder / 'vertex_indices.json')['expressions']))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{folder}/vertex_indices.json: no readable list of expressions; {MISSING}') from error
    if not identities or not names or any(Path(name).name != name for name in names):
        raise UserError(f'{folder}: no identity or expression files in it; {MISSING}')

    def offset(file: Path) -> np.ndarray:
        vertices = obj.read_vertices(file)
        if vertices.shape != neutral.vertices.shape:
            raise UserError(f'{file}: {len(vertices)} vertices, the neutral mesh has {len(neutral.vertices)}')
        return (vertices - neutral.vertices).astype(np.float32)

    identity = np.stack([offset(file) for file in identities])
    expression = np.stack([offset(folder / f'{name}.obj') for name in names])
    return Source(neutral, identity, expression, names)


def _read_packed(file: Path) -> Source:
    try:
        data = files.read_npz(file)
        polygons = data['quads'].astype(np.int32)
        uv_polygons = _uv_polygons(data, polygons)
        mesh = obj.Obj(data['neutral'].astype(np.float64), data['uvs'], polygons, uv_polygons, np.array([]))
        names = tuple(str(name) for name in data['expression_names'])[:EXPRESSIONS]
        identity = data['identity_basis'].astype(np.float32)
        expression = data['expression_basis'][:EXPRESSIONS].astype(np.float32)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f'{file}: not a packed ICT-FaceKit ({error}); {MISSING}') from error
    if identity.shape[1:] != mesh.vertices.shape or expression.shape[1:] != mesh.vertices.shape:
        raise UserError(f'{file}: the modes do not fit the mesh; {MISSING}')
    if polygons.max() >= len(mesh.vertices) or mesh.uv_polygons.max() >= len(mesh.uv):
        raise UserError(f'{file}: polygons name vertices that the file does not have; {MISSING}')
    return Source(mesh, identity, expression, names)


def _uv_polygons(data: Mapping[str, np.ndarray], polygons: np.ndarray) -> np.ndarray:
    """[P, 4] texture corners: a polygon's are spread over its triangles, a fan from the first corner."""
    owner, corners = data['triangle_polygon'], data['triangles_uv']
    first = np.searchsorted(owner, np.arange(len(polygons)))
    last = np.searchsorted(owner, np.arange(len(polygons)), side='right') - 1
    fourth = np.where(polygons[:, 3] < 0, -1, corners[last, 2])
    return np.concatenate([corners[first], fourth[:, None]], axis=1)
