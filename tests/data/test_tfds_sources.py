from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
from absl import flags

from jfrecon.data.tfds_sources import LANDMARKS, Tfds
from jfrecon.errors import UserError

tfds = pytest.importorskip('tensorflow_datasets')
build, cli_utils = (
    importlib.import_module(f'tensorflow_datasets.scripts.cli.{name}') for name in ('build', 'cli_utils')
)


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


def prepared(folder, name, form):
    """The metadata of a data set of two faces, as `tfds build` leaves them."""
    builder = tfds.builder(name, data_dir=str(folder))
    version = folder / name / str(builder.version)
    version.mkdir(parents=True)
    builder.info.features.save_config(str(version))
    split = {'name': 'train', 'shardLengths': ['2'], 'numBytes': '9'}
    split['filepathTemplate'] = '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}'
    info = {'name': name, 'version': str(builder.version), 'fileFormat': form, 'splits': [split]}
    (version / 'dataset_info.json').write_text(json.dumps(info))
    return version


@pytest.mark.parametrize('name', sorted(LANDMARKS))
@pytest.mark.parametrize('default', [True, False])
def test_a_data_set_that_was_not_prepared(name, default, tmp_path, monkeypatch):
    """In the default folder, where configs look, and in another: TFDS raises other errors."""
    monkeypatch.setattr(tfds.core.constants, 'DATA_DIR', str(tmp_path))
    monkeypatch.setattr(flags, 'FLAGS', flags.FlagValues())  # TFDS' parser wants no --config of ours beside its own
    with pytest.raises(UserError, match='build it once') as caught:
        Tfds(name, data_dir=None if default else str(tmp_path))
    assert '\n' not in str(caught.value) and str(tmp_path) in str(caught.value)
    command = str(caught.value).split(': ')[-1].split()
    assert command[:2] == ['tfds', 'build']
    # what TFDS itself understands by it
    asked = cli_utils.make_flags_parser(build.Args, description='')(command[1:])
    assert asked.positional_datasets == [name] and asked.generation.file_format == 'array_record'
    assert default or str(asked.paths.data_dir) == str(tmp_path)
    prepared(tmp_path, name, 'array_record')
    assert len(Tfds(name, data_dir=str(tmp_path))) == 2


def test_a_data_set_in_another_format_is_converted_into_another_folder(tmp_path, monkeypatch):
    version = prepared(tmp_path, 'aflw2k3d', 'tfrecord')
    with pytest.raises(UserError, match=r'prepared in .* as tfrecord; convert it once') as caught:
        Tfds('aflw2k3d', data_dir=str(tmp_path))
    said = str(caught.value)
    assert f'--dataset_version_dir={version} ' in said and '--out_dir=NEW/aflw2k3d/1.0.0,' in said
    # the module wants TensorFlow: its flags are read off its text
    text = Path(importlib.util.find_spec('tensorflow_datasets.scripts.cli.convert_format').origin).read_text()
    for flag in re.findall(r'--(\w+)=', said):
        assert re.search(rf'^  {flag}: ', text, re.M), flag


def test_other_mistakes_are_said_as_they_are(tmp_path):
    version = prepared(tmp_path, 'aflw2k3d', 'array_record')
    with pytest.raises(UserError, match=r"aflw2k3d: Unknown split 'test'"):
        Tfds('aflw2k3d', split='test', data_dir=str(tmp_path))
    (version / 'dataset_info.json').write_text('{')
    with pytest.raises(UserError, match='build it once'):
        Tfds('aflw2k3d', data_dir=str(tmp_path))


def test_an_unknown_data_set():
    with pytest.raises(UserError, match='choose from celeb_a'):
        Tfds('mnist')
