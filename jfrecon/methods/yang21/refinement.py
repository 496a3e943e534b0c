"""yang21's detail refinement module (tables 1 and 2) and its adversary: maps in UV to maps in UV."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jfrecon.nets.resnet import Dtype
from jfrecon.nets.transposed import ConvTranspose
from jfrecon.shading import colour

ENCODER = (1, 1, 2, 4, 8)  # channels of table 1, in widths
DECODER = (4, 2, 1, 1)  # of table 2
LEAK = 0.2


class Refinement(nn.Module):
    """Texture encoder, and a decoder each for albedo and light, without skips.

    They give what albedo and light differ by from the prior module's; their last layers start at zero.

    Attributes:
      bands: spherical-harmonics bands of the light map.
      width: 64 in the paper.
      dtype: of the arithmetic; the maps are float32.
    """

    bands: int = 3
    width: int = 64
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, texture: jax.Array, prior: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Increments of albedo [B, S, S, 3] and light [B, S, S, L², 3].

        Args:
          texture: [B, S, S, 3] the photograph in UV, sRGB in 0..1, noise where it does not show the face.
          prior: [B, S, S, 3] linear albedo of the prior module. S is a multiple of 16.
        """
        x = jnp.concatenate([texture, colour.linear_to_srgb(jnp.clip(prior, 0, 1))], -1)
        x = (2 * x - 1).astype(self.dtype)
        for k, widths in enumerate(ENCODER):
            size, stride = (3, 1) if k == 0 else (4, 2)
            x = nn.Conv(
                widths * self.width, (size, size), (stride, stride), padding=1, dtype=self.dtype, name=f'conv{k}'
            )(x)
            x = nn.leaky_relu(instance_norm(x), LEAK)
        albedo = self._decoded(x, 3, 'albedo')
        light = self._decoded(x, 3 * self.bands**2, 'light')
        return albedo, light.reshape(*light.shape[:-1], -1, 3)

    def _decoded(self, x: jax.Array, channels: int, name: str) -> jax.Array:
        for k, widths in enumerate(DECODER):
            x = ConvTranspose(widths * self.width, 4, dtype=self.dtype, name=f'{name}_up{k}')(x)
            x = nn.relu(instance_norm(x))
        zeros = nn.initializers.zeros
        return nn.Conv(channels, (3, 3), kernel_init=zeros, name=f'{name}_last')(x.astype(jnp.float32))


class Discriminator(nn.Module):
    """Whether patches of an albedo are a morphable model's: pix2pix's, of three strides (Isola et al. 2017, 6.1.2).

    Attributes:
      width: 64 in pix2pix.
      dtype: of the arithmetic.
    """

    width: int = 64
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, albedo: jax.Array) -> jax.Array:
        """Linear albedo [B, S, S, 3] -> logits [B, h, w]."""
        x = (4 * albedo - 1).astype(self.dtype)  # skin is dark
        for k, widths in enumerate((1, 2, 4, 8)):
            stride = 2 if k < 3 else 1
            x = nn.Conv(widths * self.width, (4, 4), (stride, stride), padding=1, dtype=self.dtype, name=f'conv{k}')(x)
            x = nn.leaky_relu(instance_norm(x) if k else x, LEAK)
        return nn.Conv(1, (4, 4), padding=1, name='last')(x.astype(jnp.float32))[..., 0]


def instance_norm(x: jax.Array) -> jax.Array:
    """Each channel of each map [B, H, W, C] less its mean, over its deviation; pix2pix's has nothing to learn."""
    x = x - jnp.mean(x, (1, 2), keepdims=True)
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), (1, 2), keepdims=True) + 1e-5)


def filled(texture: jax.Array, shown: jax.Array, key: jax.Array) -> jax.Array:
    """The texture with Gaussian noise about mid-grey in the texels that are not shown (4.2); [B, S, S, 3]."""
    noise = 0.5 + 0.25 * jax.random.normal(key, texture.shape)
    return jnp.where(shown[..., None] > 0, texture, noise)


def fresh(network: Refinement, adversary: Discriminator, size: int, key: jax.Array) -> dict:
    """Parameters of both, by the names 'refinement' and 'discriminator'; size: texels of the side of a map."""
    texture = np.zeros((1, size, size, 3), np.float32)

    def init(key):
        first, second = jax.random.split(key)
        return {
            'refinement': network.init(first, texture, texture)['params'],
            'discriminator': adversary.init(second, texture)['params'],
        }

    return jax.jit(init)(key)
