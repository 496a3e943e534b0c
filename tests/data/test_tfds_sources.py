from __future__ import annotations

import numpy as np
import pytest

from jfrecon.data.tfds_sources import Tfds
from jfrecon.errors import UserError

tfds = pytest.importorskip('tensorflow_datasets')


@pytest.mark.parametrize(
    'name, shape', [('celeb_a', (218, 178, 3)), ('the300w_lp', (450, 450, 3)), ('aflw2k3d', (450, 450, 3))]
)
def test_samples_without_tensorflow(name, shape, tmp_path):
    with tfds.testing.mock_data(num_examples=3):
        source = Tfds(name, data_dir=str(tmp_path))
        record = source._records[1]
        sample = source[1]
    assert len(source) == 3 and sample.image.shape == shape and sample.name == f'{name}/train/1'
    np.testing.assert_array_equal(sample.image, record['image'])
    if name == 'celeb_a':
        assert np.isnan(sample.landmarks).all()
    else:
        feature = {'the300w_lp': 'landmarks_3d', 'aflw2k3d': 'landmarks_68_3d_xy_normalized'}[name]
        np.testing.assert_allclose(sample.landmarks, record[feature] * 450, rtol=1e-6)


def test_another_landmark_feature(tmp_path):
    with tfds.testing.mock_data(num_examples=1):
        source = Tfds('the300w_lp', data_dir=str(tmp_path), landmarks='landmarks_2d')
        record, sample = source._records[0], source[0]
        np.testing.assert_allclose(sample.landmarks, record['landmarks_2d'] * 450, rtol=1e-6)
        with pytest.raises(UserError, match="no feature 'nose'"):
            Tfds('the300w_lp', data_dir=str(tmp_path), landmarks='nose')[0]


def test_a_data_set_that_was_not_prepared(tmp_path):
    with pytest.raises(UserError, match='tfds build aflw2k3d --file_format=array_record') as caught:
        Tfds('aflw2k3d', data_dir=str(tmp_path))
    assert '\n' not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_an_unknown_data_set():
    with pytest.raises(UserError, match='choose from celeb_a'):
        Tfds('mnist')
