"""Random faces, photographed: a data set that needs no data. See `generate` for how one comes about."""
