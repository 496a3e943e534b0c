"""The residual networks against PyTorch, number for number, and their sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.errors import UserError
from jfrecon.nets import resnet, weights

torch = pytest.importorskip('torch')
from torch import nn as tnn  # noqa: E402

# float32 sums of up to 4608 products in another order: measured 2e-6 relative to the largest output.
RELATIVE = 2e-5


def shapes(model, size=64):
    """The variables' shapes without computing anything."""
    return jax.eval_shape(lambda k: model.init(k, jnp.zeros((1, size, size, 3)), False), jax.random.key(0))


class TorchBlock(tnn.Module):
    """torchvision's Bottleneck or BasicBlock, by its names."""

    def __init__(self, inside, outside, stride, bottleneck):
        super().__init__()
        inner = outside // 4 if bottleneck else outside
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        widths = (inside, inner, inner, outside) if bottleneck else (inside, inner, outside)
        strided = 1 if bottleneck else 0
        for i, k in enumerate(kernels):
            step = stride if i == strided else 1
            setattr(self, f'conv{i + 1}', tnn.Conv2d(widths[i], widths[i + 1], k, step, k // 2, bias=False))
            setattr(self, f'bn{i + 1}', tnn.BatchNorm2d(widths[i + 1]))
        self.n = len(kernels)
        if stride != 1 or inside != outside:
            self.downsample = tnn.Sequential(
                tnn.Conv2d(inside, outside, 1, stride, bias=False), tnn.BatchNorm2d(outside)
            )

    def forward(self, x):
        y = x
        for i in range(1, self.n + 1):
            y = getattr(self, f'bn{i}')(getattr(self, f'conv{i}')(y))
            y = torch.relu(y) if i < self.n else y
        return torch.relu(y + (self.downsample(x) if hasattr(self, 'downsample') else x))


class TorchResNet(tnn.Module):
    """torchvision's ResNet, by its names, at any width and depth."""

    def __init__(self, depths, bottleneck, width, classes):
        super().__init__()
        self.conv1 = tnn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = tnn.BatchNorm2d(width)
        inside = width
        for stage, depth in enumerate(depths):
            outside = width * 2**stage * (4 if bottleneck else 1)
            blocks = []
            for i in range(depth):
                blocks.append(TorchBlock(inside, outside, 2 if stage and not i else 1, bottleneck))
                inside = outside
            setattr(self, f'layer{stage + 1}', tnn.Sequential(*blocks))
        self.stages = len(depths)
        self.fc = tnn.Linear(inside, classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.nn.functional.max_pool2d(x, 3, 2, 1)
        for i in range(self.stages):
            x = getattr(self, f'layer{i + 1}')(x)
        return self.fc(x.mean((2, 3)))


def randomise(module, seed=0):
    """Non-trivial batch norm, so that a swapped scale, bias, mean or variance shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for m in module.modules():
            if isinstance(m, tnn.BatchNorm2d):
                m.weight.uniform_(0.5, 1.5, generator=generator)
                m.bias.uniform_(-0.5, 0.5, generator=generator)
                m.running_mean.uniform_(-0.5, 0.5, generator=generator)
                m.running_var.uniform_(0.5, 2.0, generator=generator)
    return module.eval()


def image(batch=2, size=64, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, size, size, 3)).astype(np.float32)


def to_torch(x):
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def forward(model):
    return jax.jit(lambda variables, x: model.apply(variables, x, False))


def train_step(model):
    return jax.jit(lambda variables, x: model.apply(variables, x, True, mutable=['batch_stats']))


def filled(model, size):
    """Random variables, positive so that they do for variances too; `init` would have to compile."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.uniform(0.05, 0.1, x.shape).astype(x.dtype), shapes(model, size))


def assert_same(got, want):
    want = want.detach().numpy()
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=RELATIVE * np.abs(want).max())


@pytest.mark.parametrize('bottleneck', [False, True])
@pytest.mark.parametrize('size', [64, 51])  # odd sizes tell symmetric padding from 'SAME'
def test_torchvision_layout_in_both_modes(tmp_path, bottleneck, size):
    depths, width = (1, 2, 1), 8
    theirs = randomise(TorchResNet(depths, bottleneck, width, 5))
    path = tmp_path / 'resnet.pth'
    torch.save(theirs.state_dict(), path)
    ours = resnet.ResNet(depths, bottleneck, width, outputs=5)
    variables = weights.load(path, ours, shapes(ours))
    x = image(3, size)
    with torch.no_grad():
        assert_same(forward(ours)(variables, x), theirs(to_torch(x)))

    theirs.train()
    with torch.no_grad():
        want = theirs(to_torch(x))
    got, state = train_step(ours)(variables, x)
    assert_same(got, want)
    # A train-mode step's statistics: momentum 0.1 in PyTorch's sense; the variance of the batch is biased
    # here and unbiased there, a factor n / (n - 1) of the n = 3 · (size / 2)² values per channel of the stem.
    stats, before = state['batch_stats']['bn1'], variables['batch_stats']['bn1']
    np.testing.assert_allclose(stats['mean'], theirs.bn1.running_mean.numpy(), atol=1e-6)
    n = 3 * (-(-size // 2)) ** 2
    batch_variance = (stats['var'] - 0.9 * before['var']) / 0.1
    unbiased = 0.9 * before['var'] + 0.1 * batch_variance * n / (n - 1)
    np.testing.assert_allclose(unbiased, theirs.bn1.running_var.numpy(), rtol=2e-6)


@pytest.mark.parametrize(
    ('kind', 'depths', 'width', 'extra'),
    [
        ('basic', (1, 2), 8, {}),
        ('bottleneck', (2, 1), 8, {}),
        ('bottleneck', (1, 1, 1), 8, {'downsample_in_bottleneck': True}),
        ('basic', (2, 2, 2, 2), 64, {}),
        ('bottleneck', (3, 4, 6, 3), 64, {}),
    ],
)
@pytest.mark.parametrize('suffix', ['.safetensors', '.bin'])
def test_transformers_layout(tmp_path, kind, depths, width, extra, suffix):
    if width == 64 and suffix == '.bin':
        pytest.skip('the small ones cover the format')
    transformers = pytest.importorskip('transformers')
    factor = 4 if kind == 'bottleneck' else 1
    config = transformers.ResNetConfig(
        embedding_size=width,
        hidden_sizes=[width * factor * 2**i for i in range(len(depths))],
        depths=list(depths),
        layer_type=kind,
        num_labels=7,
        **extra,
    )
    theirs = randomise(transformers.ResNetForImageClassification(config))
    if suffix == '.safetensors':
        theirs.save_pretrained(tmp_path)
        path = tmp_path / 'model.safetensors'
    else:
        path = tmp_path / 'pytorch_model.bin'
        torch.save(theirs.state_dict(), path)
    first = bool(extra)
    ours = resnet.ResNet(depths, kind == 'bottleneck', width, outputs=7, stride_in_first=first)
    variables = weights.load(path, ours, shapes(ours))
    x = image(1)
    with torch.no_grad():
        assert_same(forward(ours)(variables, x), theirs(to_torch(x)).logits)

    if suffix == '.safetensors' and kind == 'bottleneck':  # config.json tells where the stride is
        other = resnet.ResNet(depths, True, width, outputs=7, stride_in_first=not first)
        with pytest.raises(UserError, match='downsample_in_bottleneck'):
            weights.load(path, other, shapes(other))


@pytest.mark.parametrize(
    ('make', 'parameters'),
    # torchvision's published counts, with the fully connected layer
    [(resnet.resnet18, 11_689_512), (resnet.resnet50, 25_557_032), (resnet.resnet152, 60_192_808)],
)
def test_sizes_of_the_published_networks(make, parameters):
    tree = shapes(make(outputs=1000), 224)
    assert sum(x.size for x in jax.tree.leaves(tree['params'])) == parameters


def test_synchronised_batch_norm_sees_the_whole_batch():
    """Four shards of two images give what one batch of eight gives, output and statistics."""
    x = jnp.asarray(image(8, 32))
    kwargs = {'depths': (1,), 'bottleneck': False, 'width': 4}
    whole = resnet.ResNet(**kwargs)
    variables = filled(whole, 32)
    want, state = train_step(whole)(variables, x)
    shard = resnet.ResNet(**kwargs, axis_name='devices')
    step = jax.vmap(lambda x: shard.apply(variables, x, True, mutable=['batch_stats']), axis_name='devices')
    got, states = jax.jit(step)(x.reshape(4, 2, 32, 32, 3))
    np.testing.assert_allclose(got.reshape(want.shape), want, atol=2e-5)  # float32 means in another order
    for a, b in zip(jax.tree.leaves(states), jax.tree.leaves(state)):
        np.testing.assert_allclose(a, np.broadcast_to(b, a.shape), atol=2e-5)


def test_bfloat16_keeps_parameters_and_output_in_float32():
    model = resnet.ResNet((1, 1), False, 8, outputs=3, dtype=jnp.bfloat16)
    x = jnp.asarray(image(2, 32))
    variables = filled(model, 32)
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype('float32')}
    got = forward(model)(variables, x)
    assert got.dtype == jnp.float32
    want = forward(resnet.ResNet((1, 1), False, 8, outputs=3))(variables, x)
    assert 0 < np.abs(got - want).max() < 0.05 * np.abs(want).max()  # eight bits of mantissa over six layers
