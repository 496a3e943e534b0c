import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jfrecon.errors import UserError
from jfrecon.nets import unet, vgg
from jfrecon.nets.unet import UNet


def torch_vgg16_bn():
    """torchvision's vgg16_bn.features in PyTorch's own layers, with statistics that are not 0 and 1."""
    torch = pytest.importorskip('torch')
    torch.manual_seed(0)
    layers, channels = [], 3
    for widths in vgg.STAGES['vgg16']:
        for width in widths:
            layers += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
            channels = width
        layers.append(torch.nn.MaxPool2d(2))
    features = torch.nn.Sequential(*layers)
    for layer in features:
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.bias, -0.1, 0.1)
    return torch, features.eval()


def test_published_weights_give_torchs_features(tmp_path):
    torch, features = torch_vgg16_bn()
    tensors = {f'features.{name}': x.numpy() for name, x in features.state_dict().items()}
    tensors['classifier.0.weight'] = np.zeros((2, 2), np.float32)
    save_file(tensors, tmp_path / 'vgg.safetensors')
    shapes = jax.eval_shape(lambda k: vgg.VGG().init(k, jnp.zeros((1, 32, 32, 3)), False), jax.random.key(0))
    loaded = vgg.load(tmp_path / 'vgg.safetensors', shapes)

    image = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    last, found = jax.jit(lambda v, x: vgg.VGG().apply(v, x, False))(loaded, image)
    x, wanted = torch.from_numpy(image.transpose(0, 3, 1, 2)), []
    with torch.no_grad():
        for layer in features:
            if isinstance(layer, torch.nn.MaxPool2d):
                wanted.append(x)
            x = layer(x)
    # sums of up to 4,608 products in another order, layer after layer
    for ours, theirs in zip([*found, last], [*wanted, x], strict=True):
        theirs = theirs.numpy().transpose(0, 2, 3, 1)
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())

    del tensors['features.8.bias']
    save_file(tensors, tmp_path / 'damaged.safetensors')
    with pytest.raises(UserError, match=r'damaged.*missing: features\.8\.bias'):
        vgg.load(tmp_path / 'damaged.safetensors', shapes)


def test_published_weights_fill_the_backbone_and_nothing_else(tmp_path):
    _, features = torch_vgg16_bn()
    save_file({f'features.{name}': x.numpy() for name, x in features.state_dict().items()}, tmp_path / 'v.safetensors')
    net, image = UNet(3), jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(lambda k: net.init(k, image, image[..., 0], False), jax.random.key(0))
    fresh = jax.tree.map(lambda x: np.full(x.shape, 7.0, np.float32), shapes)
    filled = unet.with_published(fresh, tmp_path / 'v.safetensors')
    kernel = filled['params']['body']['conv3_2']['kernel']
    np.testing.assert_array_equal(kernel, features[17].weight.detach().numpy().transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(filled['params']['up1']['kernel'], fresh['params']['up1']['kernel'])
    assert jax.tree.map(jnp.shape, filled) == jax.tree.map(jnp.shape, fresh)


def test_layers_are_those_of_the_paper():
    net, image = UNet(3), jnp.zeros((1, 256, 256, 3))
    shapes = jax.eval_shape(lambda k: net.init(k, image, image[..., 0], False), jax.random.key(0))['params']
    assert [shapes[f'up{k}']['kernel'].shape[-1] for k in range(1, 6)] == [256, 128, 64, 32, 16]
    # beside what comes from below, the features of VGG's five stages
    inputs = [shapes[f'conv{k}']['kernel'].shape[2] for k in range(1, 6)]
    assert inputs == [256 + 512, 128 + 512, 64 + 256, 32 + 128, 16 + 64]
    body = {name: leaf['kernel'].shape for name, leaf in shapes['body'].items() if 'kernel' in leaf}
    assert len(body) == 13 and body['conv5_3'] == (3, 3, 512, 512)


def test_it_starts_at_zero_and_what_is_not_seen_does_not_matter():
    net = UNet(2, 'small')
    rng = np.random.default_rng(0)
    image = rng.uniform(size=(2, 16, 16, 3)).astype(np.float32)
    seen = (rng.uniform(size=(2, 16, 16)) < 0.5).astype(np.float32)
    variables = jax.jit(lambda: net.init(jax.random.key(0), image, seen, False))()
    run = jax.jit(lambda v, image: net.apply(v, image, seen, False))
    assert not np.asarray(run(variables, image)).any()
    last = variables['params']['last']
    last = {**last, 'kernel': jax.random.normal(jax.random.key(1), last['kernel'].shape)}
    variables = {**variables, 'params': {**variables['params'], 'last': last}}
    made = run(variables, image)
    assert made.shape == (2, 16, 16, 2) and np.asarray(made).std() > 0.1
    np.testing.assert_array_equal(made, run(variables, np.where(seen[..., None] > 0, image, 0.9)))
    assert np.abs(made - run(variables, np.where(seen[..., None] > 0, 0.9, image))).max() > 0.01
    with pytest.raises(ValueError, match='vgg16'):
        jax.eval_shape(lambda: UNet(1, 'vgg11').init(jax.random.key(0), image, seen, False))
