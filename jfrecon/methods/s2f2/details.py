"""The fine stage's networks (s2f2 3.4): a photograph in UV -> the relief of the skin, and its albedo's detail."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.geometry import mesh
from jfrecon.nets import unet
from jfrecon.nets.unet import UNet
from jfrecon.types import Maps

PUBLISHED = 'vgg16'  # the backbone of which there are published weights


class Detail(nn.Module):
    """Two U-nets, or three: a normal map, a diffuse increment, and a specular one (tried in 3.4, without much gain).

    They start at a smooth surface and at increments of zero.

    Attributes:
      backbone: of the U-nets, see `jfrecon.nets.unet`.
      specular: whether there is a third.
      dtype: of the arithmetic; the maps are float32.
      axis_name: device axis over which batch norm is synchronised, None on one device.
    """

    backbone: str
    specular: bool = False
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, texture: jax.Array, seen: jax.Array, train: bool) -> Maps:
        """Increments of a photograph in UV, texture [B, S, S, 3] sRGB in 0..1 where seen [B, S, S] is 1.

        Outputs go through tanh, which is ours: a bump (dx, dy, 1 + dz) then never turns its back on the surface.
        """

        def net(channels: int, name: str) -> jax.Array:
            module = UNet(channels, self.backbone, self.axis_name, self.dtype, name=f'unet_{name}')
            return jnp.tanh(module(texture, seen, train))

        normal = mesh.relief(net(3, 'normal'))
        diffuse = net(3, 'diffuse')
        specular = net(1, 'specular') if self.specular else jnp.zeros_like(diffuse[..., :1])
        return Maps(diffuse, specular, normal)


def fresh(network: Detail, size: int, key: jax.Array, published: str | None = None) -> dict:
    """Variables of networks that have seen no face; backbones from a file of vgg16_bn's weights where it is named.

    size: texels of the side of a map.
    """
    texture = np.zeros((1, size, size, 3), np.float32)
    alone = network.clone(axis_name=None)
    variables = dict(jax.jit(lambda k: alone.init(k, texture, texture[..., 0], train=False))(key))
    if published is None:
        return variables
    nets = {}
    for name in variables['params']:
        own = {collection: variables[collection][name] for collection in ('params', 'batch_stats')}
        nets[name] = unet.with_published(own, published)
    return {collection: {name: nets[name][collection] for name in nets} for collection in ('params', 'batch_stats')}
