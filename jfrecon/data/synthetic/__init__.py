"""Random faces, photographed: a data set that needs no data. See `generate` for how one comes about."""

from jfrecon.data.synthetic.dataset import prepare

__all__ = ['prepare']
