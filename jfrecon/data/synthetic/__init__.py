"""Random faces, photographed: a data set that needs no data. See `generate` for how one comes about."""

from jfrecon.data.synthetic.dataset import prepare
from jfrecon.data.synthetic.generate import generate

__all__ = ['generate', 'prepare']
