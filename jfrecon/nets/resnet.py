"""Residual networks (He et al. 2016, arXiv 1512.03385), number for number as PyTorch has them, NHWC.

Padding is explicit and symmetric, as in PyTorch: 'SAME' would pad a strided convolution on one side only and
shift published weights by half a pixel. Stride sits in the 3x3 convolution of a bottleneck ("version 1.5", as
in torchvision and most published ResNet-50) unless ``stride_in_first`` is set.

Batch norm's running variance: PyTorch accumulates the unbiased variance of the batch, Flax the biased one.
With n values per channel they differ by n / (n - 1); evaluation on published statistics is not affected.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

Dtype = Any
he_normal = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


def convolution(features: int, kernel: int, stride: int, name: str, dtype: Dtype) -> nn.Conv:
    """A convolution without bias, padded by kernel // 2 on every side."""
    side = (kernel // 2, kernel // 2)
    return nn.Conv(
        features,
        (kernel, kernel),
        (stride, stride),
        padding=(side, side),
        use_bias=False,
        kernel_init=he_normal,
        dtype=dtype,
        name=name,
    )


def batch_norm(train: bool, axis_name: str | None, dtype: Dtype) -> Callable[..., nn.BatchNorm]:
    """Batch norm with PyTorch's constants; ``axis_name`` averages statistics over data-parallel devices."""
    return partial(
        nn.BatchNorm,
        use_running_average=not train,
        momentum=0.9,  # what PyTorch calls 0.1
        epsilon=1e-5,
        axis_name=axis_name,
        dtype=dtype,
    )


class BasicBlock(nn.Module):
    """relu(x + conv3x3(relu(conv3x3(x)))), each convolution followed by batch norm.

    Attributes:
      features: channels of the output.
      stride: of the first convolution, and of the projection of x.
    """

    features: int
    stride: int = 1
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        norm = batch_norm(train, self.axis_name, self.dtype)
        y = nn.relu(norm(name='bn1')(convolution(self.features, 3, self.stride, 'conv1', self.dtype)(x)))
        y = norm(name='bn2')(convolution(self.features, 3, 1, 'conv2', self.dtype)(y))
        return nn.relu(y + shortcut(x, self.features, self.stride, norm, self.dtype))


class Bottleneck(nn.Module):
    """relu(x + conv1x1(relu(conv3x3(relu(conv1x1(x)))))), the inner width a quarter of the outer.

    Attributes:
      features: channels of the output.
      stride: of the 3x3 convolution (of the first 1x1 with ``stride_in_first``) and the projection of x.
    """

    features: int
    stride: int = 1
    stride_in_first: bool = False
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        norm = batch_norm(train, self.axis_name, self.dtype)
        inner = self.features // 4
        first, second = (self.stride, 1) if self.stride_in_first else (1, self.stride)
        y = nn.relu(norm(name='bn1')(convolution(inner, 1, first, 'conv1', self.dtype)(x)))
        y = nn.relu(norm(name='bn2')(convolution(inner, 3, second, 'conv2', self.dtype)(y)))
        y = norm(name='bn3')(convolution(self.features, 1, 1, 'conv3', self.dtype)(y))
        return nn.relu(y + shortcut(x, self.features, self.stride, norm, self.dtype))


def shortcut(x: jax.Array, features: int, stride: int, norm: Callable, dtype: Dtype) -> jax.Array:
    """X itself, or its 1x1 projection where the shape changes; called inside a block's compact method."""
    if stride == 1 and x.shape[-1] == features:
        return x
    return norm(name='downsample_bn')(convolution(features, 1, stride, 'downsample_conv', dtype)(x))


class ResNet(nn.Module):
    """Stem, stages of residual blocks, global average pooling, and an optional fully connected layer.

    Attributes:
      depths: blocks per stage; every stage after the first halves the resolution and doubles the width.
      bottleneck: `Bottleneck` blocks (four times as wide outside), else `BasicBlock`.
      width: channels of the stem.
      outputs: size of the fully connected layer, None for the pooled features.
      stride_in_first: where a bottleneck strides, see the module.
      axis_name: mesh axis over which batch norm is synchronised, None for one device.
      dtype: of the arithmetic; parameters and statistics stay float32.
    """

    depths: tuple[int, ...]
    bottleneck: bool
    width: int = 64
    outputs: int | None = None
    stride_in_first: bool = False
    axis_name: str | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, 3] normalised image -> [B, F] float32, F the pooled width or ``outputs``."""
        norm = batch_norm(train, self.axis_name, self.dtype)
        x = nn.relu(norm(name='bn1')(convolution(self.width, 7, 2, 'conv1', self.dtype)(x.astype(self.dtype))))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        block = partial(Bottleneck, stride_in_first=self.stride_in_first) if self.bottleneck else BasicBlock
        for stage, depth in enumerate(self.depths):
            features = self.width * 2**stage * (4 if self.bottleneck else 1)
            for i in range(depth):
                stride = 2 if stage > 0 and i == 0 else 1
                name = f'layer{stage + 1}_{i}'
                x = block(features, stride, axis_name=self.axis_name, dtype=self.dtype, name=name)(x, train)
        x = x.astype(jnp.float32).mean((1, 2))
        return x if self.outputs is None else nn.Dense(self.outputs, name='fc')(x)


resnet18 = partial(ResNet, depths=(2, 2, 2, 2), bottleneck=False)
resnet50 = partial(ResNet, depths=(3, 4, 6, 3), bottleneck=True)
resnet152 = partial(ResNet, depths=(3, 8, 36, 3), bottleneck=True)
