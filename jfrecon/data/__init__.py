"""Photographs in, batches out: sources of samples, crops, shards, and the Grain pipeline."""

from jfrecon.data.crop import Box, Jitter
from jfrecon.data.folder import Folder
from jfrecon.data.pipeline import batches, examples, landmark_box, stream, whole_box, with_truth
from jfrecon.data.sample import InMemory, Sample, Source, Unreadable
from jfrecon.data.shards import Shards

__all__ = [
    'Box',
    'Folder',
    'InMemory',
    'Jitter',
    'Sample',
    'Shards',
    'Source',
    'Unreadable',
    'batches',
    'examples',
    'landmark_box',
    'stream',
    'whole_box',
    'with_truth',
]
