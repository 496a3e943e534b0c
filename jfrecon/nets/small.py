"""A residual network of about a million parameters for crops of 64 to 128 pixels, without accelerator."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from jfrecon.nets.resnet import BasicBlock, Dtype, batch_norm, convolution


class SmallNet(nn.Module):
    """A strided 5x5 stem, then residual blocks that halve the resolution as the channels double, dense.

    The dense layer reads the last map whole: pooling it would lose where a feature was. So a network is made for one
    size of image.

    Attributes:
      widths: channels of the stem and of each block.
      outputs: size of the fully connected layer, None for the flattened map.
      axis_name: mesh axis over which batch norm is synchronised, None for one device.
      dtype: of the arithmetic; parameters and statistics stay float32.
    """

    widths: tuple[int, ...] = (24, 48, 96, 192)
    outputs: int | None = None
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, 3] normalised image -> [B, F] float32."""
        norm = batch_norm(train, self.axis_name, self.dtype)
        x = nn.relu(norm(name='bn1')(convolution(self.widths[0], 5, 2, 'conv1', self.dtype)(x.astype(self.dtype))))
        for i, width in enumerate(self.widths[1:], start=1):
            x = BasicBlock(width, 2, self.axis_name, self.dtype, name=f'layer{i}_0')(x, train)
        x = x.astype(jnp.float32).reshape(len(x), -1)
        return x if self.outputs is None else nn.Dense(self.outputs, name='fc')(x)
