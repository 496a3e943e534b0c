"""Photographs in, batches out: sources of samples, crops, shards, preparation, and the Grain pipeline."""

import lazy_loader

# Lazy, because the pipeline brings JAX along, which the processes of `jfrecon.prepare` have no use for.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        'cropping': ['Box', 'Jitter'],
        'folder': ['Folder'],
        'pipeline': ['batches', 'examples', 'landmark_box', 'prepared_box', 'stream', 'whole_box', 'with_truth'],
        'sample': ['InMemory', 'Sample', 'Source', 'Unreadable'],
        'shards': ['Shards'],
    },
)
