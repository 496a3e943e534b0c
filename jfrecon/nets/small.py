"""A residual network of about a million parameters for crops of 64 to 128 pixels, without accelerator."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from jfrecon.nets.resnet import BasicBlock, Dtype, batch_norm, convolution
from jfrecon.shading import colour

THUMBNAIL = 8  # pixels of its side


class SmallNet(nn.Module):
    """A stem over 2x2 pixels at a time, then residual blocks that halve the resolution as the channels double, dense.

    Three channels keep a CPU's convolution waiting: space to depth makes twelve of them, and the stem is a 3x3.

    The dense layer reads the last map whole: pooling it would lose where a feature was. So a network is made for one
    size of image.

    Beside the map it reads a thumbnail of the image in linear light, in which the light's coefficients are nearly
    linear: batch norm over a few images blurs how bright each of them is, and what the light is has to be known before
    a skin can be told from it.

    Attributes:
      outputs: size of the fully connected layer.
      widths: channels of the stem and of each block.
      axis_name: mesh axis over which batch norm is synchronised, None for one device.
      dtype: of the arithmetic; parameters and statistics stay float32.
    """

    outputs: int
    widths: tuple[int, ...] = (24, 48, 96, 192)
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] sRGB in 0..1 and perhaps more in the same range, sides multiples of `THUMBNAIL` -> [B, outputs].

        float32.
        """
        norm = batch_norm(train, self.axis_name, self.dtype)
        x = (image - 0.5) / 0.25  # about zero mean and unit variance
        rows, columns, channels = image.shape[1] // 2, image.shape[2] // 2, image.shape[3]
        x = x.reshape(-1, rows, 2, columns, 2, channels).swapaxes(2, 3).reshape(-1, rows, columns, 4 * channels)
        x = nn.relu(norm(name='bn1')(convolution(self.widths[0], 3, 1, 'conv1', self.dtype)(x.astype(self.dtype))))
        for i, width in enumerate(self.widths[1:], start=1):
            x = BasicBlock(width, 2, self.axis_name, self.dtype, name=f'layer{i}_0')(x, train)
        cell = (image.shape[1] // THUMBNAIL, image.shape[2] // THUMBNAIL)
        linear = jnp.concatenate([colour.srgb_to_linear(image[..., :3]), image[..., 3:]], -1)
        thumbnail = 2 * nn.avg_pool(linear, cell, cell) - 0.5
        x = jnp.concatenate([part.astype(jnp.float32).reshape(len(x), -1) for part in (x, thumbnail)], -1)
        return nn.Dense(self.outputs, name='fc')(x)
