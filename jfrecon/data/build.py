"""From a config to the faces that it names: the only place where data meets config."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from jfrecon import morphable
from jfrecon.data import crop, folder, pipeline, shards, synthetic, tfds_sources
from jfrecon.data.sample import Source
from jfrecon.errors import UserError
from jfrecon.types import Pinhole

# Seeds of the synthetic sets: a set's faces depend on its seed and their index alone.
SEEDS = {'train': 0, 'validation': 1, 'test': 2}


def source(config: ConfigDict, cache: Path, split: str = 'train', count: int | None = None) -> Source:
    """The photographs or synthetic faces of a config.

    cache: folder where synthetic faces are kept, made on the first call and reused. split: of a synthetic set, one of
    `SEEDS`. count: how many synthetic faces, the config's number by default.
    """
    data = config.data
    if data.source == 'synthetic':
        head = morphable.load_head(config.model.name, config.model.path)
        return synthetic.prepare(
            cache / split, head, count or data.faces, data.size, seed=config.seed * len(SEEDS) + SEEDS[split]
        )
    if data.path is None:
        raise UserError(f'config.data.source={data.source} needs --config.data.path')
    if data.source == 'folder':
        return folder.Folder(data.path, landmarks=data.landmarks, key=data.landmarks_key)
    if data.source == 'shards':
        return shards.Shards(data.path)
    if data.source == 'tfds':
        return tfds_sources.Tfds(data.path)
    raise UserError(f'config.data.source is {data.source!r}; there are synthetic, folder, shards, tfds')
