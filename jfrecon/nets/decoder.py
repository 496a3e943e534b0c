"""From a latent vector to a map in UV: the decoders D1 and D2 of dib21 (3.2) and of s2f2 (table 4)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from jfrecon.nets.resnet import Dtype, batch_norm
from jfrecon.nets.transposed import ConvTranspose

#: s2f2, table 4, row by row: channels of the transposed convolution and of the convolutions that follow. The first
#: row's is 1x1, all others are 3x3; the last convolution's channels are the map's.
ROWS = ((160, 256), (256, 128, 192), (192, 96, 128), (128, 64, 64), (64, 32, 42), (42, 21))
LATENT = 256  # channels that the first row reads
START = 4  # texels of the side of the map that the rows double
SIDES = tuple(START << rows for rows in range(1, len(ROWS) + 1))  # of the maps that a decoder can make


class Decoder(nn.Module):
    """Rows of a transposed convolution that doubles the resolution and one or two convolutions, then tanh.

    The table says neither strides nor how the latent becomes a map: a dense layer to `START` x `START` texels, and a
    doubling in each row, make 256 with the table's six. A smaller map has the last rows only. Its last layer starts at
    zero, hence so does the map (s2f2 4).

    Attributes:
      size: S, `START` times a power of two, at most 256.
      channels: of the map.
      axis_name: mesh axis over which batch norm is synchronised, None for one device.
      dtype: of the arithmetic; the map is float32.
    """

    size: int
    channels: int
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, latent: jax.Array, train: bool) -> jax.Array:
        """[B, F] -> [B, S, S, channels], in -1..1."""
        if self.size not in SIDES:
            raise ValueError(f'a decoder makes maps of {", ".join(map(str, SIDES))} texels, not {self.size}')
        norm = batch_norm(train, self.axis_name, self.dtype)
        first = len(ROWS) - 1 - SIDES.index(self.size)
        width = ROWS[first - 1][-1] if first else LATENT  # what the row before gives, or the table's first number
        x = nn.Dense(START * START * width, dtype=self.dtype, name='start')(latent)
        x = x.reshape(-1, START, START, width)
        for row in range(first, len(ROWS)):
            up, *widths = ROWS[row]
            x = ConvTranspose(up, 3, dtype=self.dtype, name=f'up{row + 1}')(x)
            x = nn.elu(norm(name=f'up{row + 1}_bn')(x))
            side = 1 if row == 0 else 3
            for k, width in enumerate(widths, start=1):
                x = nn.Conv(width, (side, side), dtype=self.dtype, name=f'conv{row + 1}_{k}')(x)
                x = nn.elu(norm(name=f'conv{row + 1}_{k}_bn')(x))
        zeros = nn.initializers.zeros
        last = nn.Conv(self.channels, (3, 3), kernel_init=zeros, dtype=self.dtype, name='last')(x)
        return jnp.tanh(last.astype(jnp.float32))
