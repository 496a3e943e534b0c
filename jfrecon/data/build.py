"""From a config to the faces that it names: the only place where data meets config."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import grain
import jax
import numpy as np
from ml_collections import ConfigDict

from jfrecon import morphable
from jfrecon.data import cropping, folder, pipeline, shards, tfds_sources
from jfrecon.data.detection import skin
from jfrecon.data.sample import Sample, Source, Subset
from jfrecon.data.synthetic import dataset
from jfrecon.errors import UserError
from jfrecon.types import Batch, Pinhole

# Splits of a synthetic set differ in their seed only: a face depends on the seed and on its index alone.
SPLITS = ('train', 'validation', 'test')
SOURCES = ('synthetic', 'folder', 'shards', 'tfds')
PARSER = 'parser'  # in place of a folder of masks: the embedded network
CROPS = ('whole', 'landmarks', 'prepared')


def check(config: ConfigDict) -> None:
    """Find what is wrong with the settings of the data, without reading the data.

    It reads the settings that the data depend on and no others, so that `jfrecon.training.settings.Watched` knows them.

    Raises:
      UserError: a value is unknown, the source does not use a setting, or the batch is not a multiple of the frames.
    """
    data, name = config.data, config.data.source
    if name not in SOURCES:
        raise UserError(f'config.data.source is {name!r}; there are {", ".join(SOURCES)}')
    rule(config)
    if name == 'synthetic':
        _check_synthetic(config)
    else:
        _check_files(config, name)
    for field in ('size', 'frames'):
        if data[field] < 1:
            raise UserError(f'config.data.{field} must be at least 1, got {data[field]}')
    if not 0 <= data.held_out < 1:
        raise UserError(f'config.data.held_out is a share from 0 to below 1, got {data.held_out}')
    if data.forehead < 0:
        raise UserError(f'config.data.forehead must not be negative, got {data.forehead}')
    for field in ('focal', 'crop_scale'):
        if not data[field] > 0:
            raise UserError(f'config.data.{field} must be positive, got {data[field]}')
    _jitter(config)
    if config.batch_size % (jax.process_count() * data.frames):
        raise UserError(
            f'config.batch_size={config.batch_size} cannot be divided into {jax.process_count()} processes of clips of '
            f'{data.frames} frames'
        )


def _check_synthetic(config: ConfigDict) -> None:
    data = config.data
    for field, sources in (('path', 'folder, shards or tfds'), ('landmarks', 'folder'), ('masks', 'folder')):
        if data[field] is not None:
            raise UserError(
                f'config.data.{field}: synthetic faces are made, not read; choose --config.data.source={sources}'
            )
    if not morphable.has_head(config.model.name):
        raise UserError(
            f'config.data.source=synthetic needs a whole head: config.model.name is {config.model.name!r}, there are '
            f'{" and ".join(morphable.names(with_head=True))}'
        )
    if data.crop == 'prepared':
        raise UserError('config.data.crop=prepared: synthetic faces are cropped already; leave it at whole')
    if data.faces < 1:
        raise UserError(f'config.data.faces must be at least 1, got {data.faces}')


def _check_files(config: ConfigDict, source: str) -> None:
    data, path = config.data, config.data.path
    if path is None:
        raise UserError(f'config.data.source={source} needs --config.data.path')
    if source == 'tfds' and path not in tfds_sources.LANDMARKS:
        known = ', '.join(tfds_sources.LANDMARKS)
        raise UserError(f'config.data.path is {path!r}; with config.data.source=tfds there are {known}')
    if not (source == 'tfds' or Path(path).is_dir() or (source == 'shards' and shards.folders(path))):
        raise UserError(f'config.data.path: no such folder: {path}')
    if data.landmarks is not None:
        if source != 'folder':
            raise UserError(f'config.data.landmarks: config.data.source={source} has its own; leave it out')
        if not Path(data.landmarks).is_file():
            raise UserError(f'config.data.landmarks: no such file: {data.landmarks}')
        data.get('landmarks_key')
    elif source == 'folder' and data.crop == 'landmarks':
        raise UserError('config.data.crop=landmarks needs --config.data.landmarks=FILE.npz')
    if source != 'shards' and data.crop == 'prepared':
        raise UserError(
            'config.data.crop=prepared is for config.data.source=shards, as python -m jfrecon.prepare leaves them'
        )
    if source == 'tfds':
        data.get('split')
    if data.masks is None:
        if (source == 'folder' and data.landmarks is None) or (source == 'tfds' and not tfds_sources.LANDMARKS[path]):
            raise UserError(
                f'config.data: the images of {path} have neither landmarks nor masks: nothing says where the face is; '
                f'set {"--config.data.landmarks=FILE.npz or " * (source == "folder")}--config.data.masks=parser, or '
                'prepare them (python -m jfrecon.prepare --help)'
            )
    elif data.masks != PARSER:
        if source != 'folder':
            raise UserError(
                f'config.data.masks: a folder of masks is for config.data.source=folder; here choose {PARSER}'
            )
        if not Path(data.masks).is_dir():
            raise UserError(f'config.data.masks: no such folder: {data.masks}')


def source(config: ConfigDict, cache: Path) -> Source:
    """The photographs or synthetic faces that a config trains on; ``cache`` is where synthetic ones are kept."""
    data = config.data
    if data.source == 'synthetic':
        return synthetic_faces(config, cache, 'train', data.faces)
    if data.path is None:
        raise UserError(f'config.data.source={data.source} needs --config.data.path')
    if data.source == 'folder':
        masks = None if data.masks == PARSER else data.masks
        return _masked(config, folder.Folder(data.path, data.landmarks, data.landmarks_key, masks))
    if data.source == 'shards':
        faces = shards.Shards(data.path)
        if not len(faces):
            raise UserError(f'config.data.path: there is no face in {data.path}')
        return _masked(config, faces)
    if data.source == 'tfds':
        return _masked(config, tfds_sources.Tfds(data.path, data.split))
    raise UserError(f'config.data.source is {data.source!r}; there are {", ".join(SOURCES)}')


class Parsed(Source):
    """A source whose samples without a mask get the embedded network's.

    Args:
      source: the samples.
      rule: photo -> square, where there are no landmarks to look around.
    """

    def __init__(self, source: Source, rule: pipeline.BoxRule):
        super().__init__()
        self._source, self._rule = source, rule

    def __len__(self) -> int:
        return len(self._source)

    def read(self, index: int) -> Sample:
        """The sample with a mask; raises ``Unreadable``."""
        sample = self._source.read(index)
        if sample.mask is not None:
            return sample
        around = np.isfinite(sample.landmarks).all(axis=-1).any()
        box = cropping.box_from_landmarks(sample.landmarks, skin.SCALE) if around else self._rule(sample)
        return skin.with_mask(sample, box)

    def name(self, index: int) -> str:
        """The source's name for it."""
        return self._source.name(index)

    @property
    def groups(self) -> Sequence[str]:
        """The source's groups."""
        return self._source.groups


def _masked(config: ConfigDict, faces: Source) -> Source:
    return Parsed(faces, rule(config)) if config.data.masks == PARSER else faces


def synthetic_faces(config: ConfigDict, cache: Path, split: str, count: int) -> Source:
    """``count`` synthetic faces of a split (`SPLITS`) with the config's head; made in ``cache`` once and reused.

    Clips have ``config.data.frames`` faces of one person.
    """
    head = morphable.load_head(config.model.name, config.model.path)
    seed = config.seed * len(SPLITS) + SPLITS.index(split)
    return dataset.prepare(
        cache / split,
        head,
        count,
        config.data.size,
        seed,
        focal=config.data.focal,
        fill=1 / config.data.crop_scale,
        truth=split != 'train',
        frames=config.data.frames,
    )


def rule(config: ConfigDict) -> pipeline.BoxRule:
    """Photo -> square, as ``config.data.crop`` says: around the landmarks, the photo as it is, or as prepared."""
    if config.data.crop == 'landmarks':
        return pipeline.landmark_box(config.data.crop_scale)
    if config.data.crop == 'whole':
        return pipeline.whole_box()
    if config.data.crop == 'prepared':
        return pipeline.prepared_box()
    raise UserError(f'config.data.crop is {config.data.crop!r}; there are {", ".join(CROPS)}')


class Data(NamedTuple):
    """What a run reads.

    Attributes:
      training: element s is this process's part of step s.
      held_out: the same of faces that are not trained on, without jitter, each once; () where none are held out.
    """

    training: grain.MapDataset
    held_out: Sequence[Batch] = ()


def training_data(config: ConfigDict, workdir: Path) -> Data:
    """What `jfrecon.main` trains on; synthetic faces are kept in ``workdir/synthetic``."""
    return of(config, source(config, workdir / 'synthetic'))


def of(config: ConfigDict, faces: Source) -> Data:
    """Return what a run reads of a source."""
    learnt, held_out = parts(config, faces)
    if held_out is None:
        return Data(batches(config, learnt))
    unseen = batches(config, held_out, jittered=False)
    return Data(batches(config, learnt), unseen[: max(len(held_out) // config.batch_size, 1)])


def images_a_run(config: ConfigDict, workdir: Path) -> int:
    """How many images a run is trained on in each epoch; makes no synthetic faces."""
    if config.data.source == 'synthetic':
        return round(config.data.faces * (1 - config.data.held_out))
    return len(parts(config, source(config, workdir))[0])


def parts(config: ConfigDict, faces: Source) -> tuple[Source, Source | None]:
    """The faces to train on, and those that ``config.data.held_out`` leaves out: whole persons where they are known.

    Names decide, neither seed nor order: what is held out of a folder stays so when images are added to it.

    Raises:
      UserError: one of the two is empty.
    """
    share = config.data.held_out
    if not share:
        return faces, None
    names = [group or faces.name(index) for index, group in enumerate(faces.groups)]
    out = np.array([zlib.crc32(name.encode()) < share * 2**32 for name in names])
    if out.all() or not out.any():
        raise UserError(
            f'config.data.held_out={share} leaves {(~out).sum()} of {len(out)} images to train on: change it'
        )
    return Subset(faces, np.flatnonzero(~out).tolist()), Subset(faces, np.flatnonzero(out).tolist())


def batches(config: ConfigDict, faces: Source, jittered: bool = True) -> grain.MapDataset:
    """Training batches of a source; element s is this process's part of step s."""
    return pipeline.batches(
        faces,
        size=config.data.size,
        batch_size=config.batch_size,
        seed=config.seed,
        default_focal=config.data.focal,
        rule=rule(config),
        jitter=_jitter(config) if jittered else None,
        forehead=config.data.forehead,
        detected=config.data.source in ('folder', 'shards'),
        frames=config.data.frames,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _jitter(config: ConfigDict) -> cropping.Jitter | None:
    jitter = dict(config.data.jitter)
    known = [field.name for field in dataclasses.fields(cropping.Jitter)]
    for name in [*jitter, *known]:
        if name not in known:
            raise UserError(f'config.data.jitter.{name}: there are {", ".join(known)}')
        if name not in jitter:
            raise UserError(f'config.data.jitter has no {name}: 0.0 is none')
    return cropping.Jitter(**jitter) if any(jitter.values()) else None


def mean_landmarks(config: ConfigDict, faces: Source, count: int = 1000) -> np.ndarray:
    """[68, 2] mean of the landmarks over (at most ``count``) training crops without jitter; pixels of the crop."""
    total, weight = np.zeros((68, 2)), np.zeros((68, 1))
    box = rule(config)
    for index in range(min(count, len(faces))):
        sample = faces[index]
        x, y, side = box(sample)
        landmarks = (sample.landmarks - [x, y]) * (config.data.size / side)
        known = np.isfinite(landmarks).all(-1, keepdims=True)
        total += np.where(known, landmarks, 0)
        weight += known
    return total / np.maximum(weight, 1)


def default_camera(config: ConfigDict) -> Pinhole:
    """The camera of a crop of which nothing is known; scalar leaves."""
    size = config.data.size
    return Pinhole(np.array(config.data.focal * size, np.float32), np.full(2, size / 2, np.float32))
