"""FLAME from small files of its layout: numbers, skinning against plain loops, landmarks, damage."""

import os
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jfrecon.errors import UserError
from jfrecon.morphable import linear, loading
from jfrecon.morphable.models import flame
from tests.morphable import small_files

ARRAYS = small_files.flame_arrays()
COUNT = len(ARRAYS['v_template'])
FACES, CORNERS = small_files.flame_landmarks(ARRAYS)
IDS = ARRAYS['f'].astype(int)[FACES, CORNERS.argmax(1)]


@pytest.fixture(autouse=True)
def plain_coat(monkeypatch):
    """Painting takes seconds; `test_the_skin_is_painted` has the real one."""
    real = loading.coat

    def coat(mean, topology, part, landmark_ids, eyeballs):
        return [np.zeros((*k, len(mean), c), np.float32) for k, c in (((), 3), ((2,), 3), ((), 1), ((2,), 1))]

    monkeypatch.setattr(loading, 'coat', coat)
    return real


def embed(folder, faces=FACES, corners=CORNERS, name='landmark_embedding.npy'):
    content = {'full_lmk_faces_idx': faces[None], 'full_lmk_bary_coords': corners[None]}
    np.save(folder / name, content, allow_pickle=True)


@pytest.fixture(params=['python2.pkl', 'python3.pkl', 'flame.npz'])
def file(tmp_path, request):
    path = tmp_path / request.param
    if path.suffix == '.npz':
        np.savez(path, **ARRAYS)
    else:
        small_files.flame_pkl(path, ARRAYS, 'python2' in path.name)
    embed(tmp_path)
    return path


def test_the_open_release_says_its_licence(tmp_path):
    small_files.flame_pkl(tmp_path / 'flame2023_Open.pkl', ARRAYS, False)
    embed(tmp_path)
    assert flame.load(tmp_path).licence.startswith('CC BY 4.0')


def in_file_space(identity, expression):
    """Metres: the template and the modes, added one by one."""
    v = ARRAYS['v_template'].copy()
    for k, c in enumerate([*identity, *expression]):
        v += c * ARRAYS['shapedirs'][:, :, k]
    return v


def skinned(v, rotations):
    """Li et al. 2017, eqs. 1 to 4, by loops, with 4x4 matrices, in metres.

    v: [V, 3] with identity and expression; rotations: five 3x3 matrices.
    """
    joints = [sum(ARRAYS['J_regressor'][j, i] * v[i] for i in range(len(v))) for j in range(5)]
    feature = np.concatenate([(r - np.eye(3)).ravel() for r in rotations[1:]])
    corrected = v + sum(f * ARRAYS['posedirs'][:, :, k] for k, f in enumerate(feature))
    world = []
    for j, parent in enumerate([None, 0, 1, 1, 1]):
        local = np.eye(4)
        local[:3, :3] = rotations[j]
        local[:3, 3] = joints[j] - (0 if parent is None else joints[parent])
        world.append(local if parent is None else world[parent] @ local)
    out = []
    for i, p in enumerate(corrected):
        total = np.zeros(4)
        for j in range(5):
            offset = np.append(p - joints[j], 1)  # the joint's rest position taken away
            total += ARRAYS['weights'][i, j] * (world[j] @ offset)
        out.append(total[:3])
    return np.array(out)


def test_vertices_and_skinning_against_loops(file):
    m = flame.load(file)
    rng = np.random.default_rng(0)
    identity, expression = rng.normal(size=300), rng.normal(size=100)
    origin = 1000 * ARRAYS['v_template'][IDS].mean(0)
    v = linear.shape(m, jnp.asarray(identity, jnp.float32), jnp.asarray(expression, jnp.float32))
    metres = in_file_space(identity, expression)
    np.testing.assert_allclose(v, 1000 * metres - origin, atol=1e-3)  # mm; float32 sums of 400 terms of about 1
    turns = rng.normal(scale=0.5, size=(5, 3))
    posed = linear.pose(m, v, jnp.asarray(turns, jnp.float32))
    want = 1000 * skinned(metres, Rotation.from_rotvec(turns).as_matrix()) - origin
    # The loops skin in the file's space and ours about another origin: they agree because a joint's place is an
    # average of vertices (rows of the regressor sum to one).
    np.testing.assert_allclose(posed, want, atol=2e-3)
    assert np.abs(posed - v).max() > 10


def test_structure(file):
    m = flame.load(file)
    assert m.identity_basis.shape == (300, COUNT, 3) and m.expression_basis.shape == (100, COUNT, 3)
    assert m.skeleton.parents == (-1, 0, 1, 1, 1)
    assert (m.name, m.expression_prior, len(m.expression_names)) == ('flame', 'gaussian', 100)
    np.testing.assert_array_equal(m.topology.triangles, ARRAYS['f'])
    np.testing.assert_array_equal(m.landmark_ids, IDS)
    np.testing.assert_allclose(linear.landmarks(m, jnp.asarray(m.mean)).mean(0), 0, atol=1e-4)


def test_the_skin_is_painted_but_for_the_eyeballs(tmp_path, plain_coat, monkeypatch):
    seen = {}

    def spy(mean, topology, part, landmark_ids, eyeballs):
        seen.update(part=part, eyeballs=eyeballs)
        return plain_coat(mean, topology, part, landmark_ids, eyeballs)

    monkeypatch.setattr(loading, 'coat', spy)
    monkeypatch.setenv('JFRECON_CACHE', str(tmp_path))
    np.savez(tmp_path / 'flame.npz', **ARRAYS)
    embed(tmp_path)
    m = flame.load(tmp_path)
    assert [list(ids) for ids in seen['eyeballs']] == [list(range(86, 96)), list(range(96, 106))]
    eyes = np.asarray(m.diffuse_mean)[86:]
    np.testing.assert_array_equal(np.asarray(m.diffuse_basis)[:, 86:], 0)
    skin = np.asarray(m.diffuse_mean)[:86]
    assert m.diffuse_basis.shape == (80, COUNT, 3) and m.specular_basis.shape == (80, COUNT, 1)
    assert ((skin > 0) & (skin < 1)).all() and len(np.unique(eyes, axis=0)) >= 2  # eye white and iris


def static_and_dynamic(folder, faces=FACES, corners=CORNERS):
    content = {'lmk_face_idx': faces[17:].astype(np.uint32), 'lmk_b_coords': corners[17:]}
    (folder / 'flame_static_embedding.pkl').write_bytes(pickle.dumps(content, 2))
    other = np.roll(faces[:17], 3)
    contour = {
        'lmk_face_idx': np.stack([faces[:17], other]),
        'lmk_b_coords': np.stack([corners[:17], corners[1:18]]),
    }
    np.save(folder / 'flame_dynamic_embedding.npy', contour, allow_pickle=True)


@pytest.mark.parametrize('kind', ['full', 'npz', 'static', 'explicit'])
def test_landmark_files(tmp_path, kind):
    np.savez(tmp_path / 'generic_model.npz', **ARRAYS)
    given = None
    if kind == 'full':
        embed(tmp_path)
    elif kind == 'npz':
        np.savez(tmp_path / 'flame_static_embedding_68_v4.npz', lmk_face_idx=FACES, lmk_b_coords=CORNERS)
    elif kind == 'static':
        static_and_dynamic(tmp_path)
    else:
        (tmp_path / 'other').mkdir()
        embed(tmp_path / 'other', name='mine.npy')
        given = tmp_path / 'other/mine.npy'
    np.testing.assert_array_equal(flame.load(tmp_path, given).landmark_ids, IDS)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'mediapipe': np.zeros(3)}, 'mediapipe'),
        ({'full_lmk_faces_idx': FACES[:60], 'full_lmk_bary_coords': CORNERS[:60]}, 'shape'),
        ({'full_lmk_faces_idx': FACES + 1000, 'full_lmk_bary_coords': CORNERS}, 'names entries'),
        ({'full_lmk_faces_idx': FACES}, 'weights'),
        ({'lmk_face_idx': FACES[17:], 'lmk_b_coords': CORNERS[17:]}, 'flame_dynamic_embedding'),
    ],
)
def test_landmark_files_that_do_not_fit(tmp_path, content, message):
    np.savez(tmp_path / 'generic_model.npz', **ARRAYS)
    np.save(tmp_path / 'landmark_embedding.npy', content, allow_pickle=True)
    with pytest.raises(UserError, match=message):
        flame.load(tmp_path)


def test_missing_files_say_where_to_ask(tmp_path):
    with pytest.raises(UserError, match=r'generic_model\.pkl.*flame\.is\.tue\.mpg\.de.*makehuman'):
        flame.load(tmp_path)
    with pytest.raises(UserError, match=r'x\.pkl: no such file.*flame\.is\.tue\.mpg\.de'):
        flame.load(tmp_path / 'x.pkl')
    np.savez(tmp_path / 'generic_model.npz', **ARRAYS)
    with pytest.raises(UserError, match=r'landmark_embedding\.npy'):
        flame.load(tmp_path)
    (tmp_path / 'flame.h5').write_bytes(b'')
    with pytest.raises(UserError, match=r'\.pkl or \.npz'):
        flame.load(tmp_path / 'flame.h5')


def broken(**changes):
    return {k: v for k, v in (ARRAYS | changes).items() if v is not None}


@pytest.mark.parametrize(
    'arrays',
    [
        broken(shapedirs=None),
        broken(f=None),
        broken(shapedirs=ARRAYS['shapedirs'][:, :, :10]),
        broken(v_template=np.zeros((6890, 3))),
        broken(v_template=ARRAYS['v_template'] * 1000),
        broken(v_template=np.full((COUNT, 3), np.inf)),
        broken(v_template=np.full((COUNT, 3), 'a')),
        broken(f=ARRAYS['f'] + 50),
        broken(f=ARRAYS['f'] + 0.5),
        broken(weights=ARRAYS['weights'][:, :4]),
        broken(weights=2 * ARRAYS['weights']),
        broken(J_regressor=ARRAYS['J_regressor'].T),
        broken(posedirs=ARRAYS['posedirs'][:, :, :35]),
        broken(kintree_table=np.array([[0, 0, 3, 1, 1], [0, 1, 2, 3, 4]])),
        broken(kintree_table=np.array([[0, 0, 1, 1], [0, 1, 2, 3]])),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays):
    np.savez(tmp_path / 'flame.npz', **arrays)
    embed(tmp_path)
    with pytest.raises(UserError, match=r'flame\.npz') as error:
        flame.load(tmp_path)
    assert '\n' not in str(error.value)


def test_a_pickle_of_something_else(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path}/witness',)

    for content in ([1, 2], {'v_template': Hostile()}, {}):
        (tmp_path / 'flame2023.pkl').write_bytes(pickle.dumps(content))
        with pytest.raises(UserError, match=r'flame2023\.pkl'):
            flame.load(tmp_path)
    assert not (tmp_path / 'witness').exists()


def test_cut_files(file):
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for length in [0, 1, 50, *rng.integers(0, len(whole) - 1, 20)]:
        file.write_bytes(whole[:length])
        with pytest.raises(UserError):
            flame.load(file)
    file.write_bytes(whole)
    landmarks = file.with_name('landmark_embedding.npy')
    whole = landmarks.read_bytes()
    for length in [0, 1, 6, 50, *rng.integers(0, len(whole) - 1, 30)]:
        landmarks.write_bytes(whole[:length])
        with pytest.raises(UserError):
            flame.load(file)
