"""VGG with batch norm (Simonyan and Zisserman 2015, arXiv 1409.1556; torchvision's vgg16_bn), without classifier."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import linen as nn

from jfrecon.nets import weights
from jfrecon.nets.resnet import Dtype, batch_norm, he_normal

#: Channels of the convolutions of each stage; every stage ends at half the resolution.
STAGES = {
    'vgg16': ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)),
    'small': ((16,), (24,), (32,)),  # for maps of 32 to 128 texels, without accelerator
}


class VGG(nn.Module):
    """Stages of 3x3 convolutions, each with bias, batch norm and ReLU, then a maximum over 2x2.

    Attributes:
      stages: channels, see `STAGES`.
      axis_name: device axis over which batch norm is synchronised, None on one device.
      dtype: of the arithmetic.
    """

    stages: tuple[tuple[int, ...], ...] = STAGES['vgg16']
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, list[jax.Array]]:
        """[B, H, W, C] -> the last stage's output, and what each stage had before its maximum, finest first."""
        norm = batch_norm(train, self.axis_name, self.dtype)
        features = []
        for stage, widths in enumerate(self.stages, start=1):
            for k, width in enumerate(widths, start=1):
                name = f'conv{stage}_{k}'
                x = nn.Conv(width, (3, 3), kernel_init=he_normal, dtype=self.dtype, name=name)(x)
                x = nn.relu(norm(name=f'{name}_bn')(x))
            features.append(x)
            x = nn.max_pool(x, (2, 2), (2, 2))
        return x, features


def torchvision_name(path: tuple[str, ...]) -> str:
    """vgg16_bn's name of the variable at ``path``, e.g. ('params', 'conv2_1_bn', 'scale') -> features.8.weight.

    There a convolution, its norm and its ReLU count as three layers, a maximum as one.
    """
    module, leaf = path[1:]
    stage, k = (int(number) for number in module.removeprefix('conv').removesuffix('_bn').split('_'))
    before = sum(3 * len(widths) + 1 for widths in STAGES['vgg16'][: stage - 1])
    index = before + 3 * (k - 1) + module.endswith('_bn')
    return f'features.{index}.{weights.LEAVES[leaf]}'


def load(path: str | Path, variables: dict) -> dict:
    """``variables`` {'params', 'batch_stats'} of a VGG-16 with the weights of a file of torchvision's vgg16_bn.

    Raises:
      UserError: the file cannot be read or does not fit.
    """
    return weights.fill(path, weights.read(path), variables, torchvision_name, ignored=('classifier.',))
