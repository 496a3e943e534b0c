"""ArcFace's network against PyTorch's layers, put together as insightface has them."""

import jax
import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from scipy import ndimage
from skimage import transform
from torch import nn

from jfrecon.errors import UserError
from jfrecon.nets import iresnet

WIDTH, CODE, SIZE, BLOCKS = 4, 10, 32, (1, 2, 1, 1)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.prelu = nn.PReLU(outputs)
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + (self.downsample(x) if hasattr(self, 'downsample') else x)


class Torch(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTH)
        self.prelu, inputs = nn.PReLU(WIDTH), WIDTH
        for stage, count in enumerate(BLOCKS):
            outputs = WIDTH << stage
            blocks = [Block(inputs if k == 0 else outputs, outputs, 2 if k == 0 else 1) for k in range(count)]
            setattr(self, f'layer{stage + 1}', nn.Sequential(*blocks))
            inputs = outputs
        self.bn2 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs * (SIZE // 16) ** 2, CODE)
        self.features = nn.BatchNorm1d(CODE)

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in range(1, 5):
            x = getattr(self, f'layer{stage}')(x)
        return self.features(self.fc(torch.flatten(self.bn2(x), 1)))


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    torch.manual_seed(0)
    network = Torch()
    network.train()
    for _ in range(3):  # statistics and slopes that are not those of the start
        network(torch.rand(8, 3, SIZE, SIZE))
    for module in network.modules():
        if isinstance(module, nn.PReLU | nn.BatchNorm1d | nn.BatchNorm2d):
            module.weight.data += 0.1 * torch.randn_like(module.weight)
    path = tmp_path_factory.mktemp('arcface') / 'backbone.pth'
    torch.save(network.state_dict(), path)
    return network.eval(), path


def test_published_weights_give_the_same_codes(published):
    network, path = published
    image = np.random.default_rng(0).random((3, SIZE, SIZE, 3), np.float32)
    with torch.no_grad():
        expected = network(torch.tensor(2 * image - 1).permute(0, 3, 1, 2)).numpy()
    ours, variables, size = iresnet.load(path)
    assert size == SIZE and ours.blocks == BLOCKS
    found = jax.jit(lambda x: ours.apply(variables, x, train=False))(image)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)  # a dozen float32 layers


def test_written_weights_are_read(published, tmp_path):
    network, variables, _ = iresnet.load(published[1])
    iresnet.write(tmp_path / 'copy.safetensors', variables)
    again, copied, _ = iresnet.load(tmp_path / 'copy.safetensors')
    assert again == network
    worst = jax.tree.map(lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max()), variables, copied)
    assert max(jax.tree.leaves(worst)) < 2e-3  # half precision


def test_codes_are_of_the_masked_face_and_have_a_gradient(published):
    codes = iresnet.perceiver(published[1])
    rng = np.random.default_rng(1)
    image = rng.random((2, 48, 48, 3), np.float32)
    mask = np.zeros((2, 48, 48), np.float32)
    mask[:, 12:36, 12:36] = 1
    elsewhere = np.where(mask[..., None] > 0, image, rng.random(image.shape, np.float32))
    codes, others, gradient = jax.jit(
        lambda a, b: (codes(a, mask), codes(b, mask), jax.grad(lambda x: codes(x, mask)[0, 0])(a))
    )(image, elsewhere)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(codes, others, atol=1e-6)
    assert np.isfinite(gradient).all() and np.abs(gradient[0][12:36, 12:36]).max() > 0
    assert not np.asarray(gradient)[:, :8].any()


def test_alignment_is_insightfaces():
    """Against scikit-image's similarity and its bilinear warp, whose pixels have their centres at whole numbers."""
    rng = np.random.default_rng(2)
    turn = 0.4
    matrix = 1.3 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (iresnet.TEMPLATE @ matrix.T + [40, 20] + rng.normal(size=(5, 2))).astype(np.float32)
    y, x = np.mgrid[:200, :220]
    image = np.stack([0.5 + 0.4 * np.sin(x / 9 + k) * np.cos(y / 7) for k in range(3)], -1).astype(np.float32)
    for size in (112, 56):
        target = iresnet.TEMPLATE * size / 112
        found = jax.jit(iresnet.aligned, static_argnums=2)(image[None], points[None], size)[0]
        motion = transform.SimilarityTransform.from_estimate(points - 0.5, target - 0.5)
        expected = transform.warp(image, motion.inverse, output_shape=(size, size), order=1)
        inner = ndimage.binary_erosion(expected.min(-1) > 0, iterations=2)  # it blends into black at the frame's edge
        assert inner.mean() > 0.5
        np.testing.assert_allclose(np.asarray(found)[inner], expected[inner], atol=2e-3)  # coordinates in float32
    landmarks = rng.random((1, 68, 2)).astype(np.float32)
    five = np.asarray(iresnet.five_points(landmarks))[0]
    np.testing.assert_allclose(five[1], landmarks[0, 42:48].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(five[2:], landmarks[0, [30, 48, 54]])


def test_an_aligned_face_has_its_code_wherever_it_is(published):
    codes = jax.jit(iresnet.perceiver(published[1]))
    y, x = np.mgrid[:96, :96].astype(np.float32) + 0.5
    draw = lambda x, y: np.stack([0.5 + 0.4 * np.sin(x / 9), 0.5 + 0.4 * np.cos(y / 7), 0.5 + 0 * x], -1)[None]
    points = np.float32([[[30, 35], [55, 36], [42, 50], [33, 62], [52, 63]]])
    mask = np.ones((1, 96, 96), np.float32)
    one, other = codes(draw(x, y), mask, points), codes(draw(x - 8, y - 5), mask, points + np.float32([8, 5]))
    away = np.abs(codes(draw(x - 8, y - 5), mask, points) - one).max()
    assert np.abs(one - other).max() < 0.1 * away  # bilinear look-ups


class Export:
    """The network as an ONNX graph, layer after layer; what comes between them the reader does not look at."""

    def __init__(self, folded):
        self.folded, self.nodes, self.tensors = folded, [], []

    def node(self, kind, *values, **settings):
        names = [f't{len(self.tensors) + k}' for k in range(len(values))]
        self.tensors += [numpy_helper.from_array(v.detach().numpy(), n) for v, n in zip(values, names)]
        before = f'x{len(self.nodes)}'
        self.nodes.append(helper.make_node(kind, [before, *names], [f'x{len(self.nodes) + 1}'], **settings))

    def norm(self, layer):
        values = layer.weight, layer.bias, layer.running_mean, layer.running_var
        self.node('BatchNormalization', *values, epsilon=layer.eps)

    def convolution(self, layer, norm):
        if not self.folded:
            self.node('Conv', layer.weight, strides=layer.stride)
            self.norm(norm)
            return
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        bias = norm.bias - norm.running_mean * gain
        self.node('Conv', layer.weight * gain[:, None, None, None], bias, strides=layer.stride)

    def slope(self, layer):
        self.node('PRelu', layer.weight[:, None, None])

    def write(self, network, path):
        self.convolution(network.conv1, network.bn1)
        self.slope(network.prelu)
        for stage in range(1, 5):
            for block in getattr(network, f'layer{stage}'):
                self.norm(block.bn1)
                self.convolution(block.conv1, block.bn2)
                self.slope(block.prelu)
                self.convolution(block.conv2, block.bn3)
                if hasattr(block, 'downsample'):
                    self.convolution(*block.downsample)
                self.node('Add')
        self.norm(network.bn2)
        self.node('Flatten')
        self.node('Gemm', network.fc.weight, network.fc.bias, transB=1)
        self.norm(network.features)
        graph = helper.make_graph(self.nodes, 'iresnet', [], [], self.tensors)
        onnx.save(helper.make_model(graph), path)


@pytest.mark.parametrize('folded', [False, True])
def test_an_exported_network_gives_the_same_codes(published, tmp_path, folded):
    network, original = published
    Export(folded).write(network, tmp_path / 'backbone.onnx')
    image = np.random.default_rng(2).random((2, SIZE, SIZE, 3), np.float32)

    def codes(path):
        ours, variables, _ = iresnet.load(path)
        assert ours.blocks == BLOCKS
        return jax.jit(lambda x: ours.apply(variables, x, train=False))(image)

    np.testing.assert_allclose(codes(tmp_path / 'backbone.onnx'), codes(original), rtol=1e-4, atol=1e-4)


def test_other_files_are_named(published, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save({'conv1.weight': torch.zeros(3)}, path)
    Export(True).write(published[0], tmp_path / 'whole.onnx')
    whole = (tmp_path / 'whole.onnx').read_bytes()
    (tmp_path / 'half.onnx').write_bytes(whole[: len(whole) // 2])
    graph = helper.make_graph([helper.make_node('Conv', ['x', 'w'], ['y'])], 'other', [], [], [
        numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), 'w')
    ])  # fmt: skip
    onnx.save(helper.make_model(graph), tmp_path / 'other.onnx')
    onnx.save(onnx.load(tmp_path / 'whole.onnx'), tmp_path / 'parts.onnx', save_as_external_data=True, size_threshold=0)
    for name, why in (
        ('other.pth', 'not the weights of an iresnet'), ('other.onnx', 'not the weights of an iresnet'),
        ('half.onnx', r'half\.onnx: not a complete'), ('parts.onnx', 'lies in another file'),
        ('none.onnx', 'no such weights file'),
    ):  # fmt: skip
        with pytest.raises(UserError, match=why):
            iresnet.load(tmp_path / name)
