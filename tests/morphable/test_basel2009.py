"""Basel 2009 in Deng et al.'s cut, from six small files and from the one that their program makes of them."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.io import savemat

from jfrecon.errors import UserError
from jfrecon.morphable import linear
from jfrecon.morphable.models import basel2009
from jfrecon.shading.colour import srgb_to_linear
from tests.morphable import small_files


def decode(raw, identity, expression):
    """mm, by loops over the raw arrays, in the file's origin."""
    out = []
    for front in raw['front']:
        vertex = raw['trim'][front]
        p = np.float64(raw['shapeMU'][3 * vertex : 3 * vertex + 3, 0])
        for k, c in enumerate(identity):
            p = p + c * raw['shapeEV'][k, 0] * raw['shapePC'][3 * vertex : 3 * vertex + 3, k]
        for k, c in enumerate(expression):
            p = p + c * raw['std_exp'][k] * raw['expPC'][k, 3 * front : 3 * front + 3]
        out.append(p / 1000)
    return np.array(out)


def test_vertices_and_colours_are_the_sums_of_the_files_arrays(tmp_path):
    raw = small_files.basel2009(tmp_path)
    m = basel2009.load(tmp_path)
    rng = np.random.default_rng(0)
    identity, expression = rng.normal(size=5), rng.normal(size=3)
    got = linear.shape(m, jnp.asarray(identity, jnp.float32), jnp.asarray(expression, jnp.float32))
    want = decode(raw, identity, expression) - decode(raw, [], [])[raw['keypoints']].mean(0)
    np.testing.assert_allclose(got, want, atol=1e-4)  # mm; float32 sums of numbers of about 100
    np.testing.assert_array_equal(m.landmark_ids, raw['keypoints'])
    np.testing.assert_array_equal(m.topology.triangles, raw['tri'])

    kept = raw['trim'][raw['front']]
    mean = raw['texMU'].reshape(-1, 3)[kept] / 255
    np.testing.assert_allclose(m.diffuse_mean, srgb_to_linear(jnp.asarray(mean)), atol=1e-6)
    small = 1e-3 * raw['texEV'][2, 0] * raw['texPC'].reshape(-1, 3, 4)[kept, :, 2] / 255
    step = srgb_to_linear(jnp.asarray(mean + small)) - srgb_to_linear(jnp.asarray(mean))
    # Differences of float32 numbers below 1 carry 1e-7, a hundredth of the step.
    np.testing.assert_allclose(1e-3 * m.diffuse_basis[2], step, atol=1.5e-6)
    assert (m.name, m.expression_prior) == ('basel2009', 'gaussian')
    assert m.diffuse_basis.shape[0] == m.specular_basis.shape[0] == 4


def test_a_file_of_the_folder_names_the_folder(tmp_path):
    small_files.basel2009(tmp_path)
    a, b = basel2009.load(tmp_path / '01_MorphableModel.mat'), basel2009.load(tmp_path)
    np.testing.assert_array_equal(a.identity_basis, b.identity_basis)


def test_the_ready_made_file_gives_the_same_model(tmp_path):
    raw = small_files.basel2009(tmp_path)
    want = basel2009.load(tmp_path)
    kept = raw['trim'][raw['front']]
    rows = (3 * kept[:, None] + np.arange(3)).ravel()
    exp_rows = (3 * raw['front'][:, None] + np.arange(3)).ravel()
    ready = {
        'meanshape': raw['shapeMU'][rows].T / 1e5,
        'meantex': raw['texMU'][rows].T,
        'idBase': raw['shapePC'][rows] * raw['shapeEV'].T / 1e5,
        'exBase': raw['expPC'].T[exp_rows] * raw['std_exp'] / 1e5,
        'texBase': raw['texPC'][rows] * raw['texEV'].T,
        'tri': (raw['tri'] + 1).astype(np.float64),
        'keypoints': raw['keypoints'][None] + 1.0,
    }
    other = tmp_path / 'ready'
    other.mkdir()
    savemat(other / 'BFM_model_front.mat', ready)
    for path in (other, other / 'BFM_model_front.mat'):
        got = basel2009.load(path)
        for name in ('mean', 'identity_basis', 'expression_basis', 'diffuse_mean', 'diffuse_basis'):
            a, b = getattr(got, name), getattr(want, name)
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)  # float32 rounding of the file's products
        np.testing.assert_array_equal(got.topology.triangles, want.topology.triangles)
        np.testing.assert_array_equal(got.landmark_ids, want.landmark_ids)


def test_every_missing_file_is_named_with_its_source(tmp_path):
    with pytest.raises(UserError) as error:
        basel2009.load(tmp_path)
    message = str(error.value)
    for word in (*basel2009.SOURCES, 'faces.dmi.unibas.ch', 'Juyong/3DFace', 'Deep3DFaceReconstruction', 'makehuman'):
        assert word in message
    small_files.basel2009(tmp_path)
    (tmp_path / 'std_exp.txt').unlink()
    with pytest.raises(UserError, match=r'lacks std_exp\.txt') as error:
        basel2009.load(tmp_path)
    assert '01_MorphableModel.mat' not in str(error.value)


@pytest.mark.parametrize('name', basel2009.SOURCES)
def test_files_that_are_something_else(tmp_path, name):
    small_files.basel2009(tmp_path)
    if name.endswith('.mat'):
        savemat(tmp_path / name, {'other': np.zeros(3)})
    else:
        (tmp_path / name).write_text('words, no numbers')
    with pytest.raises(UserError, match=name.replace('.', r'\.')):
        basel2009.load(tmp_path)


@pytest.mark.parametrize(
    ('name', 'content'),
    [
        ('BFM_exp_idx.mat', {'trimIndex': np.full((72, 1), 91)}),
        ('BFM_exp_idx.mat', {'trimIndex': np.zeros((72, 1))}),
        ('BFM_front_idx.mat', {'idx': np.full((56, 1), 73)}),
        ('BFM_front_idx.mat', {'idx': np.array([['a', 'b']], object)}),
        ('facemodel_info.mat', {'tri': np.full((9, 3), 57), 'keypoints': np.ones((1, 68))}),
        ('facemodel_info.mat', {'tri': np.ones((9, 3)), 'keypoints': np.ones((1, 67))}),
        ('facemodel_info.mat', {'tri': np.ones((9, 3)), 'keypoints': np.full((1, 68), 2.5)}),
    ],
)
def test_indices_that_do_not_fit(tmp_path, name, content):
    small_files.basel2009(tmp_path)
    savemat(tmp_path / name, content)
    with pytest.raises(UserError, match=name.replace('.', r'\.')):
        basel2009.load(tmp_path)


@pytest.mark.parametrize('name', basel2009.SOURCES)
def test_cut_files(tmp_path, name):
    small_files.basel2009(tmp_path)
    path = tmp_path / name
    want, whole = basel2009.load(tmp_path), path.read_bytes()
    refused = 0
    for length in [0, 3, *np.random.default_rng(0).integers(0, len(whole) - 16, 25)]:
        path.write_bytes(whole[:length])
        try:
            got = basel2009.load(tmp_path)
        except UserError:
            refused += 1
        else:  # cut behind the last array that is read, or in the last digits of a number
            np.testing.assert_array_equal(got.mean, want.mean)
            np.testing.assert_allclose(got.expression_basis, want.expression_basis, rtol=1e-3)
    assert refused > 15
