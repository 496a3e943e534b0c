"""The image encoder E: a residual network from a crop to a latent vector (dib21 3.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jfrecon.nets import weights
from jfrecon.nets.resnet import Dtype, ResNet, resnet18, resnet50, resnet152
from jfrecon.nets.small import SmallNet

BACKBONES: dict[str, Any] = {
    'small': SmallNet,
    'resnet18': resnet18,
    'resnet50': resnet50,
    'resnet152': resnet152,
}

# What published ImageNet weights expect: colours less the mean, over the standard deviation, of sRGB in 0..1.
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


class Encoder(nn.Module):
    """A backbone whose fully connected layer yields the latent vector.

    dib21's latent has 1000 numbers: the ImageNet classifier's outputs, so published weights fill every layer.

    Attributes:
      backbone: a name in `BACKBONES`; 'small' is for 64 to 128 pixels without accelerator.
      latent: size of the latent vector.
      axis_name: mesh axis over which batch norm is synchronised, None for one device.
      dtype: of the backbone's arithmetic, e.g. jnp.bfloat16; the latent is float32.
    """

    backbone: str = 'resnet152'
    latent: int = 1000
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] sRGB in 0..1, three channels and perhaps others in the same range -> [B, latent] float32.

        With ``train`` the collection 'batch_stats' must be mutable.
        """
        body = _backbone(self, name='body')
        if not isinstance(body, ResNet):
            return body(image, train)
        colours = (image[..., :3] - IMAGENET_MEAN) / IMAGENET_STD
        return body(jnp.concatenate([colours, (image[..., 3:] - 0.5) / 0.25], -1), train)


def _backbone(encoder: Encoder, **kwargs: Any) -> nn.Module:
    if encoder.backbone not in BACKBONES:
        raise ValueError(f'no backbone named {encoder.backbone!r}; there are {", ".join(BACKBONES)}')
    make = BACKBONES[encoder.backbone]
    return make(outputs=encoder.latent, axis_name=encoder.axis_name, dtype=encoder.dtype, **kwargs)


def is_published(backbone: str) -> bool:
    """Whether `with_published` knows files with weights of a backbone."""
    return isinstance(_backbone(Encoder(backbone), parent=None), ResNet)


def with_published(encoder: Encoder, variables: dict, path: str | Path) -> dict:
    """The encoder's variables with its ResNet's weights read from a published file (`jfrecon.nets.weights`).

    The classifier becomes the latent's layer where that has 1000 outputs; a latent of another size keeps its
    fresh layer.

    Args:
      encoder: with a ResNet backbone.
      variables: {'params', 'batch_stats'} of `encoder.init`, left as they are.
      path: .pth, .bin or .safetensors, torchvision's or transformers' names.

    Raises:
      UserError: the file cannot be read or does not fit.
    """
    body = _backbone(encoder, parent=None)
    if not isinstance(body, ResNet):
        raise ValueError(f'there are no published weights for the backbone {encoder.backbone!r}')
    inner = {collection: variables[collection]['body'] for collection in ('params', 'batch_stats')}
    loaded = weights.load(path, body, inner, classifier=encoder.latent == 1000)
    return variables | {collection: variables[collection] | {'body': loaded[collection]} for collection in inner}
