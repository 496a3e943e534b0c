"""ICT-FaceKit: the folder of OBJ files in miniature, and the real model where its packed file is at hand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.errors import UserError
from jfrecon.morphable import linear, load, load_head
from jfrecon.morphable.models import ict

SHARED = Path(os.environ.get('JFRECON_SHARED', Path(__file__).parents[2].parent / 'shared'))
PACKED = SHARED / 'ict_facekit' / 'ict_face.npz'
needs_ict = pytest.mark.skipif(not PACKED.is_file(), reason=f'no {PACKED}: ICT-FaceKit is not part of the project')

FACES = 'vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nf 1/1 2/2 3/3 4/4\nf 1/1 3/3 5/4\n'


def write_obj(file: Path, vertices: np.ndarray) -> None:
    file.write_text('mtllib x.mtl\n' + ''.join('v {:.9f} {:.9f} {:.9f}\n'.format(*v) for v in vertices) + FACES)


@pytest.fixture
def folder(tmp_path):
    """Five vertices, two identities, two expressions, laid out like FaceXModel."""
    random = np.random.default_rng(0)
    meshes = random.normal(size=(5, 5, 3))
    root = tmp_path / 'FaceXModel'
    root.mkdir()
    names = ('generic_neutral_mesh', 'identity000', 'identity001', 'jawOpen', 'browDown_L')
    for name, vertices in zip(names, meshes):
        write_obj(root / f'{name}.obj', vertices)
    (root / 'vertex_indices.json').write_text(json.dumps({'expressions': ['jawOpen', 'browDown_L']}))
    return tmp_path, meshes


def test_folder_is_read_as_offsets_from_the_neutral_mesh(folder):
    path, meshes = folder
    for given in (path, path / 'FaceXModel'):
        source = ict.read(given)
        assert source.expression_names == ('jawOpen', 'browDown_L')
        assert source.neutral.polygons.tolist() == [[0, 1, 2, 3], [0, 2, 4, -1]]
        assert source.neutral.uv_polygons.tolist() == [[0, 1, 2, 3], [0, 2, 3, -1]]
        # the files carry nine decimals, the offsets are float32
        np.testing.assert_allclose(source.neutral.vertices, meshes[0], atol=1e-8)
        np.testing.assert_allclose(source.identity, meshes[1:3] - meshes[0], atol=1e-6)
        np.testing.assert_allclose(source.expression, meshes[3:] - meshes[0], atol=1e-6)


def test_a_folder_that_is_not_the_model_is_refused(folder):
    path, meshes = folder
    with pytest.raises(UserError, match=r'26384'):
        load('ict', path)
    write_obj(path / 'FaceXModel' / 'identity001.obj', meshes[1][:4])
    with pytest.raises(UserError, match=r'identity001.obj: 4 vertices'):
        ict.read(path)
    (path / 'FaceXModel' / 'identity001.obj').unlink()
    (path / 'FaceXModel' / 'jawOpen.obj').unlink()
    with pytest.raises(UserError, match=r'jawOpen.obj'):
        ict.read(path)
    (path / 'FaceXModel' / 'vertex_indices.json').write_text('{"expressions": ["../../secret"]}')
    with pytest.raises(UserError, match=r'ICT-VGL/ICT-FaceKit'):
        ict.read(path)


def test_missing_files_say_where_to_get_them(tmp_path):
    for path in (None, tmp_path, tmp_path / 'nothing.npz'):
        with pytest.raises(UserError, match=r'github.com/ICT-VGL/ICT-FaceKit.*makehuman'):
            load('ict', path)
    for name, content in (('a.npz', b'not a zip'), ('b.npz', b'')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            load('ict', tmp_path / name)
    np.savez(tmp_path / 'c.npz', neutral=np.zeros((3, 3)))
    with pytest.raises(UserError, match=r'c.npz'):
        load('ict', tmp_path / 'c.npz')
    np.savez(tmp_path / 'd.npz', neutral=np.array([{}], object), quads=np.zeros(1))
    with pytest.raises(UserError, match=r'd.npz'):
        load('ict', tmp_path / 'd.npz')


@pytest.fixture(scope='module')
def model():
    return load('ict', PACKED)


@needs_ict
def test_packed_and_folder_agree(tmp_path):
    packed = ict.read(PACKED)
    vertices = packed.neutral.vertices
    fields = {
        'generic_neutral_mesh': vertices,
        'identity000': vertices + packed.identity[7],
        'jawOpen': vertices + packed.expression[packed.expression_names.index('jawOpen')],
    }
    corners = [''.join(f' {p + 1}/{t + 1}' for p, t in zip(*row) if p >= 0) for row in zip(*packed.neutral[2:4])]
    faces = ''.join(f'vt {u:.7f} {v:.7f}\n' for u, v in packed.neutral.uv) + ''.join(f'f{c}\n' for c in corners)
    for name, points in fields.items():
        text = ''.join('v {:.7f} {:.7f} {:.7f}\n'.format(*p) for p in points)
        (tmp_path / f'{name}.obj').write_text(text + (faces if name.startswith('generic') else ''))
    (tmp_path / 'vertex_indices.json').write_text('{"expressions": ["jawOpen"]}')
    found = ict.read(tmp_path)
    np.testing.assert_array_equal(found.neutral.polygons, packed.neutral.polygons)
    np.testing.assert_array_equal(found.neutral.uv_polygons, packed.neutral.uv_polygons)
    np.testing.assert_allclose(found.identity[0], packed.identity[7], atol=1e-6)  # seven decimals in the files
    np.testing.assert_allclose(found.neutral.uv, packed.neutral.uv, atol=1e-7)


@needs_ict
def test_shape_is_the_sum_that_the_source_defines(model):
    source = ict.read(PACKED)
    random = np.random.default_rng(1)
    identity, expression = random.normal(size=100), random.uniform(size=53)
    expression[source.expression_names.index('mouthClose')] = 0  # ours includes jawOpen
    whole = source.neutral.vertices + np.einsum('k,kvc->vc', identity, source.identity)
    whole += np.einsum('k,kvc->vc', expression, source.expression)
    found = linear.shape(model, jnp.asarray(identity, jnp.float32), jnp.asarray(expression, jnp.float32))
    origin = 10 * source.neutral.vertices[list(ict.LANDMARKS)].mean(axis=0)
    # the narrow face is the model's first 6,706 vertices; float32 sums of about 150 terms of millimetres
    np.testing.assert_allclose(found, 10 * whole[:6706] - origin, atol=2e-3)


@needs_ict
def test_it_is_a_face(model):
    assert model.mean.shape == (6706, 3) and model.topology.triangles.shape == (13120, 3)
    assert len(model.identity_basis) == 100 and len(model.expression_basis) == 53 == len(model.expression_names)
    at = model.mean[model.landmark_ids]
    assert 75 < at[45, 0] - at[36, 0] < 105  # mm, adults
    np.testing.assert_allclose(at[[36, 48, 0]] * [-1, 1, 1], at[[45, 54, 16]], atol=0.1)  # the source's own symmetry
    opened = model.expression_basis[model.expression_names.index('jawOpen')]
    assert opened[model.landmark_ids[8], 1] < -10
    blink = np.abs(model.expression_basis[model.expression_names.index('eyeBlink_L')]).max(axis=-1)
    assert model.mean[blink > 1, 0].min() > 0, "the subject's left eye is at x > 0"
    uv = model.topology.uv[model.topology.uv_triangles].astype(np.float64)
    area = np.linalg.det(np.concatenate([uv, np.ones((*uv.shape[:2], 1))], axis=2))
    assert (area > 0).all() and uv.min() >= 0 and uv.max() <= 1
    corners = model.mean[model.topology.triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (faces[:, 2] > 0).mean() > 0.85  # all but the sides, nostrils and the fold of the lips look forward


@needs_ict
def test_head_contains_the_face(model):
    head = load_head('ict', PACKED)
    np.testing.assert_array_equal(head.model.mean[head.face_vertices], model.mean)
    np.testing.assert_array_equal(head.model.diffuse_mean[head.face_vertices], model.diffuse_mean)
    for ids, side in ((head.left_eyeball, 1), (head.right_eyeball, -1)):
        assert 25 < side * head.model.mean[ids, 0].mean() < 38  # half of a pupil distance
