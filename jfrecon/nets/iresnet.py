"""ArcFace's residual network (Deng et al. 2019, arXiv 1801.07698, section 3.1): a face to a point on a sphere.

Layer by layer as the public insightface has it, so that its weights can be read: batch norm before each block's first
convolution and after each convolution, one slope a channel, and a fully connected layer over the whole last map.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict

from jfrecon import files
from jfrecon.errors import UserError
from jfrecon.geometry import uv
from jfrecon.nets import weights
from jfrecon.nets.resnet import batch_norm, convolution

EPSILON = 1e-5  # of its batch norms
#: Positions of the eyes, the tip of the nose and the corners of the mouth in insightface's crops, pixels [5, 2].
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
TEMPLATE_SIZE = 112


class PRelu(nn.Module):
    """max(0, x) + a min(0, x) with a slope a for each channel."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., C] -> [..., C]."""
        slope = self.param('slope', nn.initializers.constant(0.25), (x.shape[-1],))
        return jnp.maximum(x, 0) + slope * jnp.minimum(x, 0)


class Block(nn.Module):
    """x + bn(conv(prelu(bn(conv(bn(x)))))), the second convolution with a stride."""

    features: int
    stride: int
    projects: bool
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / stride, W / stride, features]."""
        norm = batch_norm(train, self.axis_name, jnp.float32)
        y = convolution(self.features, 3, 1, 'conv1', jnp.float32)(norm(name='bn1')(x))
        y = PRelu(name='prelu')(norm(name='bn2')(y))
        y = norm(name='bn3')(convolution(self.features, 3, self.stride, 'conv2', jnp.float32)(y))
        if self.projects:
            x = convolution(self.features, 1, self.stride, 'downsample_conv', jnp.float32)(x)
            x = norm(name='downsample_bn')(x)
        return x + y


class IResNet(nn.Module):
    """Four stages, each of which halves the resolution, and a code.

    Attributes:
      blocks: of each stage; (3, 4, 14, 3) in the published r50.
      width: channels of the first stage, doubled by each of the others; 64 in published ones.
      code: length of the code, 512 in published ones.
      axis_name: mesh axis over which batch norm is synchronised, None on one device.
    """

    blocks: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 64
    code: int = 512
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, 3] sRGB in 0..1, sides multiples of 16 -> [B, code], of any length."""
        norm = batch_norm(train, self.axis_name, jnp.float32)
        x = convolution(self.width, 3, 1, 'conv1', jnp.float32)(2 * image - 1)
        x = PRelu(name='prelu')(norm(name='bn1')(x))
        for stage, count in enumerate(self.blocks):
            for k in range(count):
                features = self.width << stage
                x = Block(features, 1 if k else 2, not k, self.axis_name, name=f'layer{stage + 1}_{k}')(x, train)
        x = norm(name='bn2')(x)
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # as PyTorch lays it out
        return norm(name='features')(nn.Dense(self.code, name='fc')(x))


def load(path: str | Path) -> tuple[IResNet, dict, int]:
    """A published network: what it is, its variables, and the side of the pictures that it reads, in pixels.

    path: .pth, .pt or .safetensors with insightface's names, or .onnx as exported from it.

    Raises:
      UserError: the file cannot be read, or is no such network.
    """
    tensors = _from_onnx(path) if Path(path).suffix == '.onnx' else weights.read(path)
    blocks = [{name.split('.')[1] for name in tensors if name.startswith(f'layer{stage}.')} for stage in range(1, 5)]
    if not {'conv1.weight', 'fc.weight'} <= tensors.keys() or not all(blocks):
        raise UserError(f'{path}: not the weights of an iresnet')
    width, (code, flat) = len(tensors['conv1.weight']), tensors['fc.weight'].shape
    network = IResNet(tuple(map(len, blocks)), width, code)
    size = 16 * round((flat / (8 * width)) ** 0.5)
    image = jnp.zeros((1, size, size, 3))
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), image, train=False))
    return network, weights.fill(path, tensors, dict(variables), weights.torchvision_name), size


def _from_onnx(path: str | Path) -> dict[str, np.ndarray]:
    """Tensors by insightface's names, which an export loses: what is left is the order of the layers.

    It also folds what a batch norm does after a convolution into that convolution, which then has a bias.
    """
    wrong = UserError(f'{path}: not the weights of an iresnet')
    layers = [one for one in weights.read_onnx(path) if one.kind in ('Conv', 'BatchNormalization', 'PRelu', 'Gemm')]
    tensors: dict[str, np.ndarray] = {}

    def upcoming(place: int = 0) -> str:
        return layers[place].kind if place < len(layers) else ''

    def take(kind: str) -> weights.Layer:
        if upcoming() != kind:
            raise wrong
        return layers.pop(0)

    def norm(name: str) -> None:
        layer = take('BatchNormalization')
        if len(layer.tensors) != 4:
            raise wrong
        scale, bias, mean, var = layer.tensors
        var = var + np.float32(layer.settings.get('epsilon', EPSILON) - EPSILON)
        named = {'weight': scale, 'bias': bias, 'running_mean': mean, 'running_var': var}
        tensors.update({f'{name}.{part}': values for part, values in named.items()})

    def convolution(name: str, its_norm: str) -> None:
        tensors[f'{name}.weight'], *folded = take('Conv').tensors
        if folded:
            (bias,), zero = folded, np.zeros_like(folded[0])
            named = {'weight': zero + 1, 'bias': bias, 'running_mean': zero, 'running_var': zero + 1 - EPSILON}
            tensors.update({f'{its_norm}.{part}': values for part, values in named.items()})
        else:
            norm(its_norm)

    def slope(name: str) -> None:
        tensors[f'{name}.weight'] = take('PRelu').tensors[0].ravel()

    convolution('conv1', 'bn1')
    slope('prelu')
    stage = count = 0
    while upcoming() == 'BatchNormalization' and upcoming(1) == 'Conv':
        norm('block.bn1')
        convolution('block.conv1', 'block.bn2')
        slope('block.prelu')
        convolution('block.conv2', 'block.bn3')
        count += 1
        if upcoming() == 'Conv':  # as the first block of every stage has it, and no other
            convolution('block.downsample.0', 'block.downsample.1')
            stage, count = stage + 1, 0
        for name in [name for name in tensors if name.startswith('block.')]:
            tensors[name.replace('block', f'layer{stage}.{count}')] = tensors.pop(name)
    norm('bn2')
    last = take('Gemm')
    if len(last.tensors) != 2:
        raise wrong
    kernel, bias = last.tensors
    tensors |= {'fc.weight': kernel if last.settings.get('transB') else kernel.T, 'fc.bias': bias}
    norm('features')
    return tensors


def write(path: Path, variables: dict) -> None:
    """Save a network's variables for `load`, half precision."""
    from safetensors.numpy import save

    def for_torch(value: np.ndarray) -> np.ndarray:
        return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T

    flat = flatten_dict({name: variables[name] for name in ('params', 'batch_stats')})
    tensors = {weights.torchvision_name(key): for_torch(np.asarray(value, np.float16)) for key, value in flat.items()}
    files.write_bytes(path, save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))


def five_points(landmarks: jax.Array) -> jax.Array:
    """Eyes, tip of the nose, corners of the mouth, [..., 5, 2], of iBUG's landmarks [..., 68, 2]: right first."""
    eyes = jnp.stack([jnp.mean(landmarks[..., first : first + 6, :], -2) for first in (36, 42)], -2)
    return jnp.concatenate([eyes, landmarks[..., (30, 48, 54), :]], -2)


def aligned(images: jax.Array, points: jax.Array, size: int) -> jax.Array:
    """Pictures [B, H, W, C] turned, scaled and moved by what brings five points closest to `TEMPLATE`.

    The similarity of the least squares (Umeyama 1991), as insightface aligns; zero beyond the frame. Bilinear, so
    pictures of more than about twice the resolution alias. points: [B, 5, 2] pixels, see `five_points`.

    Returns:
      [B, size, size, C].
    """
    height, width = images.shape[1:3]
    target = TEMPLATE * np.float32(size / TEMPLATE_SIZE)
    middle, centre = jnp.mean(points, -2, keepdims=True), target.mean(0)
    (x, y), (u, v) = jnp.moveaxis(points - middle, -1, 0), (target - centre).T
    spread = jnp.sum(x * x + y * y, -1, keepdims=True) + 1e-8
    cosine = jnp.sum(x * u + y * v, -1, keepdims=True) / spread  # each times the scale
    sine = jnp.sum(x * v - y * u, -1, keepdims=True) / spread
    norm = jnp.square(cosine) + jnp.square(sine) + 1e-8
    rows, columns = np.indices((size, size)).reshape(2, -1).astype(np.float32) + np.float32(0.5)
    a, b = columns - centre[0], rows - centre[1]
    pixels = jnp.stack([(cosine * a + sine * b) / norm, (cosine * b - sine * a) / norm], -1) + middle
    inside = jnp.all((pixels >= 0) & (pixels <= jnp.array([width, height])), -1, keepdims=True)
    return (uv.sample_image(images, pixels) * inside).reshape(len(images), size, size, -1)


def perceiver(path: str | Path) -> Callable[..., jax.Array]:
    """An identity network: pictures [B, H, W, 3] and masks [B, H, W] -> unit codes [B, code] of who they show.

    What is outside of the masks is grey. With a third argument, five points [B, 5, 2] in pixels, the pictures are
    `aligned` by them first, as those that published networks learnt from; without, they are resized. Differentiable in
    the pictures.

    Raises:
      as `load`.
    """
    network, variables, size = load(path)

    def codes(images: jax.Array, masks: jax.Array, points: jax.Array | None = None) -> jax.Array:
        kept = masked(images, masks)
        if points is None:
            kept = jax.image.resize(kept, (len(kept), size, size, 3), 'linear')
        else:
            both = aligned(jnp.concatenate([images, masks[..., None]], -1), points, size)
            kept = masked(both[..., :3], both[..., 3])
        code = network.apply(variables, kept, train=False)
        assert isinstance(code, jax.Array)  # nothing is mutable
        return unit(code)

    return codes


class IdentityNetwork(nn.Module):
    """The skin of a face, everything else grey, to a point on a sphere on which a person's pictures lie together.

    Attributes:
      body: pictures [B, S, S, 3], and whether it trains, -> codes [B, C] of any length.
    """

    body: nn.Module

    @nn.compact
    def __call__(self, image: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Crops [B, S, S, 3], sRGB in 0..1, and masks [B, S, S] -> unit codes [B, C]."""
        return unit(self.body(masked(image, mask), train))


def masked(images: jax.Array, masks: jax.Array) -> jax.Array:
    """Pictures [B, H, W, 3] that are grey outside of their masks [B, H, W]."""
    return 0.5 + (images - 0.5) * masks[..., None]


def unit(code: jax.Array) -> jax.Array:
    """Codes [B, C] of length one."""
    return code * jax.lax.rsqrt(jnp.sum(jnp.square(code), -1, keepdims=True) + 1e-8)
