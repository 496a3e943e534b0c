"""Basel 2017 and 2019 from small HDF5 files: decoded numbers, editions, landmarks, damage."""

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.errors import UserError
from jfrecon.morphable import albedo_mm, basel, landmarks, linear
from jfrecon.morphable.models import basel2009
from jfrecon.shading.colour import srgb_to_linear
from tests.morphable import small_files

POINTS, TRIANGLES = small_files.mask(9, 10)
COUNT = len(POINTS)
IDS = np.arange(68)


@pytest.fixture
def file(tmp_path):
    """A file with landmarks beside it, and its raw arrays."""
    path = tmp_path / 'model2017-1_face12_nomouth.h5'
    raw = small_files.basel_h5(path, POINTS, TRIANGLES)
    (tmp_path / 'landmarks68.txt').write_text('\n'.join(map(str, IDS)))
    return path, raw


def decode(raw, coefficients):
    """mean + sum_k c_k sqrt(variance_k) basis_k in float64."""
    total = raw['mean'].astype(np.float64)
    for k, c in enumerate(coefficients):
        total = total + c * np.sqrt(np.float64(raw['pcaVariance'][k])) * raw['pcaBasis'][:, k]
    return total.reshape(-1, 3)


@pytest.mark.parametrize('edition', ['basel2017', 'basel2019'])
@pytest.mark.parametrize('version', [(0, 8), (0, 9)])  # 0.8 stores the basis times the standard deviations
def test_vertices_are_the_sum_of_the_files_arrays(tmp_path, edition, version):
    path = tmp_path / 'x.h5'
    raw = small_files.basel_h5(path, POINTS, TRIANGLES, version=version)
    (tmp_path / 'landmarks68.txt').write_text('\n'.join(f'{i} {v}' for i, v in enumerate(IDS[::-1])))
    m = basel.load(path, edition)
    rng = np.random.default_rng(5)
    identity, expression = rng.normal(size=5), rng.normal(size=4)
    got = linear.shape(m, jnp.asarray(identity, jnp.float32), jnp.asarray(expression, jnp.float32))
    want = decode(raw['shape'], identity) + decode(raw['expression'], expression)
    neutral = decode(raw['shape'], []) + decode(raw['expression'], [])
    want -= neutral[IDS[::-1]].mean(0)
    np.testing.assert_allclose(got, want, atol=1e-4)  # mm; float32 sums of numbers of about 100
    np.testing.assert_array_equal(m.landmark_ids, IDS[::-1])
    assert (m.name, m.expression_prior, m.skeleton) == (edition, 'gaussian', None)


def test_colours_are_linear_and_agree_with_the_file_to_first_order(file):
    path, raw = file
    m = basel.load(path, 'basel2017')
    coefficients = 0.01 * np.random.default_rng(0).normal(size=6)
    diffuse, specular = linear.albedo(m, jnp.asarray(coefficients, jnp.float32))
    want = srgb_to_linear(jnp.asarray(decode(raw['color'], coefficients), jnp.float32))
    # What is left is the curvature of the sRGB curve, at most 1.5 times the square of a step of 1e-3.
    np.testing.assert_allclose(diffuse, want, atol=2e-6)
    assert np.abs(diffuse - m.diffuse_mean).max() > 3e-4
    np.testing.assert_allclose(m.diffuse_mean, srgb_to_linear(jnp.asarray(decode(raw['color'], []))), atol=1e-6)
    np.testing.assert_array_equal(specular, np.float32(0.028))


def test_colours_of_255_and_of_1_are_the_same():
    rng = np.random.default_rng(0)
    mean, modes = rng.uniform(0, 1, (20, 3)).astype(np.float32), rng.normal(size=(4, 20, 3)).astype(np.float32)
    for a, b in zip(basel.encoded_colour(mean, modes), basel.encoded_colour(255 * mean, 255 * modes)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('turned', [False, True])
def test_triangles_face_outward_however_the_file_turns_them(tmp_path, turned):
    path = tmp_path / 'x.h5'
    small_files.basel_h5(path, POINTS, TRIANGLES[:, ::-1] if turned else TRIANGLES)
    (tmp_path / 'landmarks68.txt').write_text('\n'.join(map(str, IDS)))
    m = basel.load(path, 'basel2019')
    corners = np.asarray(m.mean)[np.asarray(m.topology.triangles)]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards = (normals * (corners.mean(1) - np.asarray(m.mean).mean(0) + [0, 0, 45])).sum(-1)
    assert (outwards > 0).all()
    assert m.topology.triangles.dtype == np.int32 and m.topology.uv_triangles.shape == TRIANGLES.shape


def test_every_leaf_is_float32_or_int32(file):
    for leaf in jax.tree.leaves(basel.load(file[0], 'basel2017')):
        assert leaf.dtype in (np.float32, np.int32)


@pytest.mark.parametrize('as_bytes', [False, True])  # HDF5 text, or the bytes that statismo writes
def test_named_landmarks_are_taken_and_the_others_follow(tmp_path, as_bytes, monkeypatch):
    """A finer mask with the named landmarks of a template that is the mask's own face, moved and scaled."""
    points, triangles = small_files.mask(60, 60)
    rng = np.random.default_rng(0)
    template = points[np.flatnonzero((np.abs(points[:, 0]) < 50) & (np.abs(points[:, 1]) < 70))]
    template = template[rng.choice(len(template), 68, replace=False)]
    named = {name: template[list(ids)].mean(0) for name, ids in landmarks.NAMED.items() if len(ids) == 1}
    named['left.ear.lobule.tip'] = [200.0, 0, 0]  # cut off: not within reach of any vertex
    path = tmp_path / 'x.h5'
    small_files.basel_h5(path, points, triangles, named, as_bytes=as_bytes)

    class Template:
        mean = 1.3 * template[::-1] + [5, 6, 7]
        landmark_ids = np.arange(68)[::-1]

    monkeypatch.setattr('jfrecon.morphable.models.makehuman.load', lambda: Template)
    got = np.asarray(basel.load(path, 'basel2017').landmark_ids)
    for name, ids in landmarks.NAMED.items():
        if len(ids) == 1:
            np.testing.assert_array_equal(points[got[ids[0]]], named[name])
    # The template differs by a similarity, so all 68 are found, but for the file's expression mean, which moves
    # the vertices by normal numbers of 1 mm where they are 3 mm apart.
    error = np.linalg.norm(points[got] - template, axis=1)
    assert np.median(error) == 0 and error.max() < 6


def test_transfer_between_two_real_faces():
    """MakeHuman's landmarks onto another of its faces: what is not named stays within what the docstring says."""
    from jfrecon.morphable.models import makehuman

    m = makehuman.load()
    ids, mean = np.asarray(m.landmark_ids), np.asarray(m.mean)
    other = mean + 2 * np.asarray(m.identity_basis[:3]).sum(0)
    singles = {name: int(ids[i[0]]) for name, i in landmarks.NAMED.items() if len(i) == 1}
    got = landmarks.transfer(singles, other, mean[ids])
    error = np.linalg.norm(other[got] - other[ids], axis=1)
    assert error[27:].max() < 6 and error[27:].mean() < 1.5 and error[:27].max() < 18
    assert np.linalg.norm(other - mean, axis=1).max() > 8  # it was another face


@pytest.mark.parametrize(
    ('text', 'works'),
    [
        ('\n'.join(map(str, range(68))), True),
        ('\n'.join(f'{i}\t\t{i}' for i in reversed(range(68))), True),
        ('\n'.join(map(str, range(67))), False),
        ('\n'.join(map(str, range(COUNT - 67, COUNT + 1))), False),
        ('\n'.join(['-1', *map(str, range(67))]), False),
        ('\n'.join(f'{i} {i}' for i in [0, *range(67)]), False),
        ('nose 30', False),
        ('', False),
    ],
)
def test_landmark_files(file, text, works):
    path = file[0].with_name('given.txt')
    path.write_text(text)
    if works:
        np.testing.assert_array_equal(basel.load(file[0], 'basel2017', path).landmark_ids, np.arange(68))
    else:
        with pytest.raises(UserError, match=r'given\.txt'):
            basel.load(file[0], 'basel2017', path)


def test_without_landmarks_the_remedy_is_named(tmp_path):
    small_files.basel_h5(tmp_path / 'x.h5', POINTS, TRIANGLES)
    with pytest.raises(UserError, match=r'landmarks68\.txt'):
        basel.load(tmp_path / 'x.h5', 'basel2017')


def test_a_folder_with_published_names(file):
    a, b = basel.load(file[0].parent, 'basel2017'), basel.load(file[0], 'basel2017')
    np.testing.assert_array_equal(a.mean, b.mean)
    with pytest.raises(UserError, match=r'model2019_face12\.h5.*faces\.dmi\.unibas\.ch.*makehuman'):
        basel.load(file[0].parent, 'basel2019')


def test_missing_file_says_where_to_ask(tmp_path):
    with pytest.raises(UserError, match=r'no\.h5: no such file.*faces\.dmi\.unibas\.ch.*makehuman'):
        basel.load(tmp_path / 'no.h5', 'basel2017')


def test_wrong_editions_are_named(file, monkeypatch):
    path = file[0]
    for entry in (('basel2019', 'model2019_face12.h5'), ('basel2009', 'model2009-publicmm1-bfm.h5')):
        monkeypatch.setitem(basel.EDITIONS, COUNT, entry)
        with pytest.raises(UserError, match=entry[1]):
            basel.load(path, 'basel2017')
    monkeypatch.setitem(basel.EDITIONS, COUNT, ('basel2017', 'model2017-1_face12_nomouth.h5'))
    assert basel.load(path, 'basel2017').name == 'basel2017'
    with pytest.raises(UserError, match='basel2018'):
        basel.load(path, 'basel2018')
    with pytest.raises(UserError, match='there are basel2017, basel2019'):
        basel.load(path, 'basel2009')
    with pytest.raises(UserError, match='later edition'):
        basel2009.load(path)
    (path.parent / '01_MorphableModel.mat').write_bytes(b'')
    with pytest.raises(UserError, match='edition of 2009'):
        basel.load(path.parent / '01_MorphableModel.mat', 'basel2017')
    small_files.albedo_h5(path.parent / 'a.h5', COUNT)
    with pytest.raises(UserError, match='albedo model'):
        basel.load(path.parent / 'a.h5', 'basel2017')


def test_the_published_counts_tell_the_editions_apart():
    assert {basel.EDITIONS[n][0] for n in (53149, 28588)} == {'basel2017'}
    assert {basel.EDITIONS[n][0] for n in (47439, 27657, 58203)} == {'basel2019'}


def test_the_albedo_model_beside_replaces_the_colours(file):
    path = file[0]
    small_files.albedo_h5(path.parent / 'albedoModel2020_bfm_albedoPart.h5', COUNT + 1)
    plain = basel.load(path, 'basel2017')
    small_files.albedo_h5(path.parent / 'albedoModel2020_face12_albedoPart.h5', COUNT)
    coated = basel.load(path, 'basel2017')
    want = albedo_mm.load(path.parent / 'albedoModel2020_face12_albedoPart.h5')
    for name in ('diffuse_mean', 'diffuse_basis', 'specular_mean', 'specular_basis'):
        np.testing.assert_array_equal(getattr(coated, name), getattr(want, name))
    np.testing.assert_array_equal(coated.mean, plain.mean)
    assert not np.array_equal(coated.diffuse_mean, plain.diffuse_mean)
    assert 'academic' in coated.licence and 'academic' not in plain.licence


def change(path, name, value):
    with h5py.File(path, 'r+') as f:
        del f[name]
        if value is not None:
            f[name] = value


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('shape/model/mean', np.zeros(7, np.float32)),
        ('shape/model/mean', np.full(3 * COUNT, np.nan, np.float32)),
        ('shape/model/mean', np.full(3 * COUNT, 0, np.float32)),
        ('shape/model/mean', 'text'),
        ('shape/model/mean', None),
        ('shape/model', np.zeros(3)),
        ('shape/model/pcaBasis', np.zeros((5, 3 * COUNT), np.float32)),
        ('shape/model/pcaBasis', None),
        ('shape/model/pcaVariance', -np.ones(5, np.float32)),
        ('expression', None),
        ('color/model/mean', np.zeros(3 * COUNT - 3, np.float32)),
        ('shape/representer/cells', np.full((3, 9), COUNT)),
        ('shape/representer/cells', np.full((3, 9), -1)),
        ('shape/representer/cells', np.zeros((9, 4))),
        ('shape/representer/cells', None),
        ('shape/representer/points', np.zeros((3, 5))),
        ('metadata/landmarks/json', '[{"id": "nose"}]'),
        ('metadata/landmarks/json', '{"nose": 3'),
        ('metadata/landmarks/json', '[{"id": "nose", "coordinates": [1, 2]}]'),
        ('metadata/landmarks/json', 3.0),
        ('metadata/landmarks/json', '7'),
    ],
)
def test_broken_content(tmp_path, name, value):
    path = tmp_path / 'x.h5'
    small_files.basel_h5(path, POINTS, TRIANGLES, {'center.nose.tip': [0, 0, 90]})
    (tmp_path / 'landmarks68.txt').write_text('\n'.join(map(str, IDS)))
    basel.load(path, 'basel2017')
    change(path, name, value)
    with pytest.raises(UserError, match=r'x\.h5') as error:
        basel.load(path, 'basel2017')
    assert '\n' not in str(error.value)


def test_cut_and_changed_files(file):
    """Wherever the file is cut it is a UserError; with changed bytes, that or a model."""
    path = file[0]
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for length in [0, 1, 8, 100, *rng.integers(0, len(whole) - 1, 30)]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=path.name):
            basel.load(path, 'basel2017')
    for _ in range(40):
        data = bytearray(whole)
        for at in rng.integers(0, 3000, 3):  # the structure, not the numbers
            data[at] = rng.integers(0, 256)
        path.write_bytes(bytes(data))
        try:
            basel.load(path, 'basel2017')
        except UserError:
            pass
    path.write_bytes(b'not HDF5 at all')
    with pytest.raises(UserError, match=path.name):
        basel.load(path, 'basel2017')
