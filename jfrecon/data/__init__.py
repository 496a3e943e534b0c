"""Photographs in, batches out: sources of samples, crops, shards, preparation, and the Grain pipeline."""
