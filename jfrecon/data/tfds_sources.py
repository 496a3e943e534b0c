"""Face data sets of TensorFlow Datasets, read without TensorFlow from prepared ArrayRecord files.

* ``celeb_a``: aligned, 218 x 178; five landmarks, none of them used: preparation finds the 68, or take
  ``pipeline.whole_box``.
* ``the300w_lp``: cut to the face, 450 x 450; ``landmarks_3d``, the projected 3D contour, or ``landmarks_2d``,
  the visible contour.
* ``aflw2k3d``: cut to the face, 450 x 450; ``landmarks_68_3d_xy_normalized``, the projected 3D contour.

The landmarks come as fractions of the image and are returned in pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jfrecon import files
from jfrecon.data.sample import Sample, Source, Unreadable, check
from jfrecon.errors import UserError

LANDMARKS = {'celeb_a': None, 'the300w_lp': 'landmarks_3d', 'aflw2k3d': 'landmarks_68_3d_xy_normalized'}


class Tfds(Source):
    """A prepared data set.

    Args:
      name: one of ``LANDMARKS``.
      split: for example 'train', 'train[:90%]'.
      data_dir: where the data sets are, TFDS's own default where None.
      landmarks: the feature that holds the landmarks, by default that of ``LANDMARKS``.

    Raises:
      UserError: the data set or the split is unknown, or it is not prepared in the ArrayRecord format.
    """

    def __init__(self, name: str, split: str = 'train', data_dir: str | None = None, landmarks: str | None = None):
        super().__init__()
        if name not in LANDMARKS:
            raise UserError(f'unknown data set {name!r}: choose from {", ".join(LANDMARKS)}')
        self._name, self._split = name, split
        self._feature = landmarks or LANDMARKS[name]
        self._records = _open(name, split, data_dir)

    def __len__(self) -> int:
        return len(self._records)

    def read(self, index: int) -> Sample:
        """The sample at an index; raises ``Unreadable``."""
        try:
            record = self._records[index]
            image = np.asarray(record['image'])
        # Whatever a decoder makes of a damaged record; the data set as a whole was found to be there.
        except Exception as error:
            raise Unreadable(f'damaged record ({type(error).__name__}: {error})') from error
        sample = Sample(image=image, name=self.name(index))
        if self._feature is not None:
            if self._feature not in record:
                raise UserError(f'{self._name} has no feature {self._feature!r}: it has {", ".join(sorted(record))}')
            size = np.array([image.shape[1], image.shape[0]], np.float32)
            sample = sample.replace(landmarks=np.asarray(record[self._feature], np.float32) * size)
        return check(sample)

    def name(self, index: int) -> str:
        """Data set, split and index: these data sets store no file names."""
        return f'{self._name}/{self._split}/{index}'


def _open(name: str, split: str, data_dir: str | None) -> Any:
    import tensorflow_datasets as tfds  # here, because it takes a while and few runs need it

    try:
        return tfds.data_source(name, split=split, data_dir=data_dir, download=False)
    except Exception as error:  # TFDS, protobuf and etils have one each for every state that a folder may be in
        root = Path(data_dir or tfds.core.constants.DATA_DIR)
        folder = root / name / str(tfds.builder_cls(name).VERSION)
        raise UserError(f'{name}: {_remedy(name, folder, data_dir) or _first_line(error)}') from error


def _remedy(name: str, folder: Path, data_dir: str | None) -> str:
    """What to do, where the data set is not in a version's folder, or in a format without random access; else ''."""
    try:
        form = files.read_json(folder / 'dataset_info.json').get('fileFormat', 'tfrecord')
    except (OSError, ValueError, AttributeError):  # none, or one that was left by half
        where = f' --data_dir={data_dir}' if data_dir else ''
        return (
            f'not prepared in {folder}; build it once, where TensorFlow is installed: '
            f'tfds build {name} --file_format=array_record{where}'
        )
    if form == 'array_record':
        return ''
    # TFDS 4.9.10 reads no second format out of the folder of a first one, and does not build it there either.
    return (
        f'prepared in {folder} as {form}; convert it once, where TensorFlow is installed: tfds convert_format '
        f'--dataset_version_dir={folder} --out_file_format=array_record --out_dir=NEW/{name}/{folder.name}, '
        'and set TFDS_DATA_DIR=NEW'
    )


def _first_line(error: Exception) -> str:
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    return text.splitlines()[0] if text else type(error).__name__
