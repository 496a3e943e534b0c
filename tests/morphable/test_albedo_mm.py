"""The morphable albedo model from small files."""

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.errors import UserError
from jfrecon.morphable import albedo_mm, basel, linear
from tests.morphable import small_files

POINTS, TRIANGLES = small_files.mask(9, 10)
COUNT = len(POINTS)


def face(folder):
    small_files.basel_h5(folder / 'basel.h5', POINTS, TRIANGLES)
    (folder / 'landmarks68.txt').write_text('\n'.join(map(str, range(68))))
    return basel.load(folder / 'basel.h5', 'basel2017')


def test_one_vector_drives_both_and_colours_stay_linear(tmp_path):
    raw = small_files.albedo_h5(tmp_path / albedo_mm.FILES[0], COUNT)
    m = face(tmp_path)
    c = np.random.default_rng(0).normal(size=6)
    want = {
        name: (r['mean'] + r['pcaBasis'] @ (c * np.sqrt(r['pcaVariance']))).reshape(-1, 3) for name, r in raw.items()
    }
    diffuse, specular = linear.albedo(m, jnp.asarray(c, jnp.float32))
    np.testing.assert_allclose(diffuse, want['diffuse'], atol=1e-6)  # float32 sums of numbers below 1
    np.testing.assert_allclose(specular, want['specular'].mean(1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(('diffuse', 'specular'), [(6, 4), (3, 5)])
def test_modes_of_one_part_only_are_zero_in_the_other(tmp_path, diffuse, specular):
    small_files.albedo_h5(tmp_path / 'a.h5', COUNT, diffuse, specular)
    a = albedo_mm.load(tmp_path / 'a.h5')
    modes = max(diffuse, specular)
    assert a.diffuse_basis.shape == (modes, COUNT, 3) and a.specular_basis.shape == (modes, COUNT, 1)
    assert not a.diffuse_basis[diffuse:].any() and not a.specular_basis[specular:].any()
    assert a.diffuse_basis[:diffuse].any((1, 2)).all() and a.specular_basis[:specular].any((1, 2)).all()


def test_folder_missing_and_other_files(tmp_path):
    with pytest.raises(UserError, match=r'albedoModel2020_face12_albedoPart\.h5.*AlbedoMM'):
        albedo_mm.load(tmp_path)
    with pytest.raises(UserError, match=r'no\.h5.*AlbedoMM'):
        albedo_mm.load(tmp_path / 'no.h5')
    small_files.albedo_h5(tmp_path / 'albedoModel2020_bfm.h5', 70)
    assert len(albedo_mm.load(tmp_path).diffuse_mean) == 70
    face(tmp_path)
    with pytest.raises(UserError, match='not the morphable albedo model but a Basel'):
        albedo_mm.load(tmp_path / 'basel.h5')
    with h5py.File(tmp_path / 'empty.h5', 'w'):
        pass
    with pytest.raises(UserError, match='another file'):
        albedo_mm.load(tmp_path / 'empty.h5')


def test_cut_files(tmp_path):
    path = tmp_path / 'a.h5'
    small_files.albedo_h5(path, COUNT)
    whole = path.read_bytes()
    for length in [0, 7, *np.random.default_rng(0).integers(0, len(whole) - 1, 40)]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r'a\.h5'):
            albedo_mm.load(path)
