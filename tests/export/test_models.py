"""What is exported of every morphable model: near its landmarks, whole, and clean to Khronos' validator."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.spatial

from jfrecon import morphable
from jfrecon.export import gltf
from jfrecon.geometry import mesh
from jfrecon.morphable import coat, heads, linear, loading
from jfrecon.types import FaceParameters, Pinhole
from tests.export import glb
from tests.export.test_gltf import dressed
from tests.morphable import small_files, test_gnm

SHARED = Path(os.environ.get('JFRECON_SHARED', Path(__file__).parents[2].parent / 'shared'))
PACKED_ICT = SHARED / 'ict_facekit' / 'ict_face.npz'
# mm to the nearest landmark: of a face with eyes and teeth, and of a head, whose crown and neck are farther away
NEAR = {'portrait': 120, 'head': 250}
MODES = 3, 52, 2
ROTATION, TRANSLATION = (0.2, -0.3, 0.1), (10, -20, -800)


def basel(folder: Path) -> Path:
    path = folder / 'small.h5'
    small_files.basel_h5(path, *small_files.mask(9, 10))
    (folder / 'landmarks68.txt').write_text('\n'.join(map(str, range(68))))
    return path


def basel2009(folder: Path) -> Path:
    small_files.basel2009(folder)
    return folder


def flame(folder: Path) -> Path:
    arrays = small_files.flame_arrays()
    np.savez(folder / 'flame.npz', **arrays)
    faces, corners = small_files.flame_landmarks(arrays)
    content = {'full_lmk_faces_idx': faces[None], 'full_lmk_bary_coords': corners[None]}
    np.save(folder / 'landmark_embedding.npy', content, allow_pickle=True)
    return folder / 'flame.npz'


FILES = {
    'makehuman': lambda folder: None,
    'ict': lambda folder: PACKED_ICT,
    'basel2009': basel2009,
    'basel2017': basel,
    'basel2019': basel,
    'flame': flame,
    'gnm': test_gnm.write,
}
HEADS = morphable.names(with_head=True)


def plain_coat(mean, topology, part, landmark_ids, eyeballs):
    """Grey: painting the skin takes seconds."""
    return [np.full((*k, len(mean), c), 0.2, np.float32) for k, c in (((), 3), ((2,), 3), ((), 1), ((2,), 1))]


@pytest.fixture(scope='module', params=morphable.names())
def name(request):
    return request.param


@pytest.fixture(scope='module')
def path(name, tmp_path_factory):
    found = FILES[name](tmp_path_factory.mktemp(name))
    if found is not None and not found.exists():
        pytest.skip(f'no {found}: {name} is not part of the project')
    return found


@pytest.fixture(scope='module')
def model(name, path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, 'coat', plain_coat)
        if name == 'gnm':
            patch.setattr(heads, 'coat', plain_coat)
        return linear.truncate(morphable.load_portrait(name, path), *MODES)


@pytest.fixture(scope='module')
def content(model):
    still = FaceParameters(
        identity=np.zeros(len(model.identity_basis), np.float32),
        expression=np.zeros(len(model.expression_basis), np.float32),
        albedo=np.zeros(len(model.diffuse_basis), np.float32),
        rotation=np.array(ROTATION, np.float32),
        translation=np.array(TRANSLATION, np.float32),
        light=np.zeros((9, 3), np.float32),
    )
    camera = Pinhole(900.0, np.array([200.0, 90.0]))
    return gltf.binary(dressed(model, still), still, camera, (240, 320), roughness=0.4)


def farthest(points: np.ndarray, landmarks: np.ndarray) -> float:
    return scipy.spatial.cKDTree(landmarks).query(points)[0].max()


def test_every_vertex_is_near_the_landmarks(name, model, content):
    """A scrap of MakeHuman's left hand was taken for the inside of its mouth, which lies beside it in the atlas."""
    mean = np.asarray(model.mean)
    landmarks = mean[np.asarray(model.landmark_ids)]
    assert farthest(mean, landmarks) < NEAR['portrait' if name in HEADS else 'head']
    turned = scipy.spatial.transform.Rotation.from_rotvec(ROTATION).apply(landmarks) + TRANSLATION
    assert farthest(1000 * glb.vertices(glb.read(content)), turned) < NEAR['head']


@pytest.mark.parametrize('name', HEADS, scope='module')
def test_every_vertex_of_a_head_is_near_the_landmarks(name, path):
    head = morphable.load_head(name, path)
    mean, triangles = np.asarray(head.model.mean), np.asarray(head.model.topology.triangles)
    landmarks = mean[np.asarray(head.model.landmark_ids)]
    # hair may be long; eyes, teeth and the mouth are inside of the face
    limits = {coat.SKIN: NEAR['head'], coat.HAIR: 1000}
    for part in np.unique(head.part):
        of_part = mean[np.unique(triangles[np.asarray(head.part) == part])]
        assert farthest(of_part, landmarks) < limits.get(part, NEAR['portrait']), part


def test_meshes_are_whole(model):
    """Every vertex in a triangle, every triangle with an area, once, and everything finite."""
    triangles, mean = np.asarray(model.topology.triangles), np.asarray(model.mean)
    assert len(np.unique(triangles)) == len(mean)
    assert len(np.unique(model.topology.uv_triangles)) == len(model.topology.uv)
    assert len(np.unique(np.sort(triangles, -1), axis=0)) == len(triangles)
    assert np.linalg.norm(mesh.triangle_normals(mean, triangles), axis=-1).min() > 1e-4  # mm²
    for basis in ('identity_basis', 'expression_basis', 'diffuse_mean', 'diffuse_basis', 'specular_mean'):
        assert np.isfinite(getattr(model, basis)).all(), basis


def test_every_accessor_has_data(content):
    """Also where an expression moves nothing of a primitive, as ``tongueOut`` of the skin; limits are those of it."""
    found = glb.read(content)
    primitives = [primitive for mesh in found.file.meshes for primitive in mesh.primitives]
    used = {primitive.indices for primitive in primitives}
    for primitive in primitives:
        used |= set(primitive.attributes.values())
        used |= {k for target in primitive.targets for k in target.values()}
    assert used == set(range(len(found.accessors)))
    for accessor, values in zip(found.file.accessors, found.accessors):
        assert accessor.count == len(values) > 0 and np.isfinite(values).all()
        assert accessor.bufferView is not None or accessor.sparse.count > 0
        if accessor.min:
            np.testing.assert_array_equal([accessor.min, accessor.max], [values.min(0), values.max(0)])
    for view in found.file.bufferViews:
        assert view.byteOffset % 4 == 0 and view.byteLength > 0
    assert found.file.buffers[0].byteLength >= max(v.byteOffset + v.byteLength for v in found.file.bufferViews)


def test_khronos_validator_finds_nothing(content, issues):
    assert issues(content) == []
