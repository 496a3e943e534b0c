"""From a config to the faces that it names: the only place where data meets config."""

from __future__ import annotations

from pathlib import Path

import grain
import jax
import numpy as np
from ml_collections import ConfigDict

from jfrecon import morphable
from jfrecon.data import cropping, folder, pipeline, shards, tfds_sources
from jfrecon.data.sample import Source
from jfrecon.data.synthetic import dataset
from jfrecon.errors import UserError
from jfrecon.types import Pinhole

# Splits of a synthetic set differ in their seed only: a face depends on the seed and on its index alone.
SPLITS = ('train', 'validation', 'test')


def source(config: ConfigDict, cache: Path) -> Source:
    """The photographs or synthetic faces that a config trains on; ``cache`` is where synthetic ones are kept."""
    data = config.data
    if data.source == 'synthetic':
        return synthetic_faces(config, cache, 'train', data.faces)
    if data.path is None:
        raise UserError(f'config.data.source={data.source} needs --config.data.path')
    if data.source == 'folder':
        return folder.Folder(data.path, data.landmarks, data.landmarks_key)
    if data.source == 'shards':
        return shards.Shards(data.path)
    if data.source == 'tfds':
        return tfds_sources.Tfds(data.path)
    raise UserError(f'config.data.source is {data.source!r}; there are synthetic, folder, shards, tfds')


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
        frames=config.data.get('frames', 1),
    )


def rule(config: ConfigDict) -> pipeline.BoxRule:
    """Photo -> square, as ``config.data.crop`` says: around the landmarks, the photo as it is, or as prepared."""
    if config.data.crop == 'landmarks':
        return pipeline.landmark_box(config.data.crop_scale)
    if config.data.crop == 'whole':
        return pipeline.whole_box()
    if config.data.crop == 'prepared':
        return pipeline.prepared_box()
    raise UserError(f"config.data.crop is {config.data.crop!r}; there are 'landmarks', 'whole' and 'prepared'")


def training_batches(config: ConfigDict, workdir: Path) -> grain.MapDataset:
    """What `jfrecon.main` trains on; synthetic faces are kept in ``workdir/synthetic``."""
    return batches(config, source(config, workdir / 'synthetic'))


def batches(config: ConfigDict, faces: Source) -> grain.MapDataset:
    """Training batches of a source; element s is this process's part of step s."""
    jitter = config.data.jitter
    return pipeline.batches(
        faces,
        size=config.data.size,
        batch_size=config.batch_size,
        seed=config.seed,
        default_focal=config.data.focal,
        rule=rule(config),
        jitter=cropping.Jitter(**jitter) if any(jitter.values()) else None,
        forehead=config.data.forehead,
        detected=config.data.source in ('folder', 'shards'),
        frames=config.data.get('frames', 1),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


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
