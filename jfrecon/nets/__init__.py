"""Flax modules and loaders of published weights."""

from jfrecon.nets.encoder import BACKBONES as BACKBONES
from jfrecon.nets.encoder import Encoder as Encoder
from jfrecon.nets.encoder import with_published as with_published
from jfrecon.nets.head import FaceHead as FaceHead
from jfrecon.nets.head import place as place
