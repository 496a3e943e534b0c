"""A residual network of about a million parameters for crops of 64 to 128 pixels, without accelerator."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from jfrecon.nets.resnet import BasicBlock, Dtype, batch_norm, convolution


def moments(x: jax.Array) -> jax.Array:
    """Means of x, x·X and x·Y over the image, X and Y running from -1 to 1: [B, H, W, C] -> [B, 3C].

    Average pooling forgets where a feature was; first moments keep it, so that pose can be read from a global
    feature at any input size.
    """
    h, w = x.shape[1:3]
    rows = (2 * jnp.arange(h, dtype=x.dtype) + 1) / h - 1
    columns = (2 * jnp.arange(w, dtype=x.dtype) + 1) / w - 1
    pooled = [x.mean((1, 2)), (x.mean(1) * columns[:, None]).mean(1), (x.mean(2) * rows[:, None]).mean(1)]
    return jnp.concatenate(pooled, -1)


class SmallNet(nn.Module):
    """A strided 3x3 stem, one residual block per width, each halving the resolution, moment pooling, dense.

    Attributes:
      widths: channels per stage.
      outputs: size of the fully connected layer, None for the pooled moments.
      axis_name: mesh axis over which batch norm is synchronised, None for one device.
      dtype: of the arithmetic; parameters and statistics stay float32.
    """

    widths: tuple[int, ...] = (24, 48, 128, 208)
    outputs: int | None = None
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, 3] normalised image -> [B, F] float32."""
        norm = batch_norm(train, self.axis_name, self.dtype)
        x = nn.relu(norm(name='bn1')(convolution(self.widths[0], 3, 2, 'conv1', self.dtype)(x.astype(self.dtype))))
        for i, width in enumerate(self.widths):
            stride = 1 if i == 0 else 2
            x = BasicBlock(width, stride, self.axis_name, self.dtype, name=f'layer{i + 1}_0')(x, train)
        x = moments(x.astype(jnp.float32))
        return x if self.outputs is None else nn.Dense(self.outputs, name='fc')(x)
