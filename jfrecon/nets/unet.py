"""U-net with skip connections over a VGG (Ronneberger et al. 2015, arXiv 1505.04597), as s2f2 has it (appendix B).

The paper points at the public backboned-unet, whose layers these are: each step up is a transposed convolution 4x4 that
doubles the resolution, the backbone's features of that resolution beside it, and a convolution 3x3, all with batch norm
and ReLU; then a convolution 1x1.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import linen as nn

from jfrecon.nets import vgg
from jfrecon.nets.encoder import IMAGENET_MEAN, IMAGENET_STD
from jfrecon.nets.resnet import Dtype, batch_norm
from jfrecon.nets.transposed import ConvTranspose

WIDTHS = (256, 128, 64, 32, 16)  # of the steps up from a VGG-16, coarsest first


class UNet(nn.Module):
    """From a picture to a map of the same size that starts at zero.

    Attributes:
      channels: of the map.
      backbone: a name in `jfrecon.nets.vgg.STAGES`; the sides of pictures are multiples of two to the number of stages.
      axis_name: device axis over which batch norm is synchronised, None on one device.
      dtype: of the arithmetic; the map is float32.
    """

    channels: int
    backbone: str = 'vgg16'
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, seen: jax.Array, train: bool, more: jax.Array | None = None) -> jax.Array:
        """image [B, S, S, 3] sRGB in 0..1 where seen [B, S, S] is 1, elsewhere mean grey -> [B, S, S, channels].

        more: [B, S, S, C], further channels, if there are any.
        """
        if self.backbone not in vgg.STAGES:
            raise ValueError(f'no U-net over {self.backbone!r}; there are {", ".join(vgg.STAGES)}')
        stages = vgg.STAGES[self.backbone]
        x = (image - IMAGENET_MEAN) / IMAGENET_STD * seen[..., None]
        x = x if more is None else jnp.concatenate([x, more], -1)
        norm = batch_norm(train, self.axis_name, self.dtype)
        x, features = vgg.VGG(stages, self.axis_name, self.dtype, name='body')(x.astype(self.dtype), train)
        for step, (width, skipped) in enumerate(zip(WIDTHS[-len(stages) :], features[::-1], strict=True), start=1):
            x = ConvTranspose(width, 4, use_bias=False, dtype=self.dtype, name=f'up{step}')(x)
            x = nn.relu(norm(name=f'up{step}_bn')(x))
            x = jnp.concatenate([x, skipped], -1)
            x = nn.Conv(width, (3, 3), use_bias=False, dtype=self.dtype, name=f'conv{step}')(x)
            x = nn.relu(norm(name=f'conv{step}_bn')(x))
        zeros = nn.initializers.zeros
        return nn.Conv(self.channels, (1, 1), kernel_init=zeros, name='last')(x.astype(jnp.float32))


def with_published(variables: dict, path: str | Path) -> dict:
    """The variables {'params', 'batch_stats'} of a U-net over VGG-16 whose backbone is read from a published file.

    Raises:
      UserError: the file cannot be read or does not fit.
    """
    body = {collection: variables[collection]['body'] for collection in ('params', 'batch_stats')}
    loaded = vgg.load(path, body)
    return {collection: variables[collection] | {'body': loaded[collection]} for collection in body}
