"""The encoder, its head, and where a face is placed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.errors import UserError
from jfrecon.nets.encoder import BACKBONES, Encoder, with_published
from jfrecon.nets.head import FaceHead, place
from jfrecon.nets.small import THUMBNAIL
from jfrecon.shading import colour, sh
from jfrecon.types import Pinhole


@pytest.mark.parametrize('backbone', BACKBONES)
def test_latent_of_every_backbone(backbone):
    net = Encoder(backbone, latent=10)
    x = jax.ShapeDtypeStruct((2, 96, 96, 3), jnp.float32)
    variables = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, False), x)
    out, state = jax.eval_shape(lambda v, x: net.apply(v, x, True, mutable=['batch_stats']), variables, x)
    assert (out.shape, out.dtype) == ((2, 10), jnp.float32)
    assert jax.tree.structure(state['batch_stats']) == jax.tree.structure(variables['batch_stats'])


def test_small_is_small():
    net = Encoder('small', latent=256)
    tree = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), False))
    assert sum(x.size for x in jax.tree.leaves(tree['params'])) < 2e6


def test_images_are_normalised_as_published_weights_expect():
    """The mean ImageNet colour is zero for the backbone, so only the latent's bias remains."""
    net = Encoder('resnet18', latent=4)
    mean = jnp.broadcast_to(jnp.array([0.485, 0.456, 0.406]), (1, 64, 64, 3))
    variables = jax.jit(lambda x: net.init(jax.random.key(0), x, False))(mean)
    apply = jax.jit(lambda variables, x: net.apply(variables, x, False))
    np.testing.assert_allclose(apply(variables, mean), 0, atol=1e-6)  # what float32 leaves of (0.485 - 0.485) / 0.229
    assert np.abs(apply(variables, mean + 0.1)).max() > 1e-3


def test_unknown_backbone_and_backbone_without_published_weights(tmp_path):
    with pytest.raises(ValueError, match='resnet18'):
        Encoder('alexnet').init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), False)
    with pytest.raises(ValueError, match='small'):
        with_published(Encoder('small'), {}, tmp_path / 'x.pth')
    with pytest.raises(UserError, match='no such'):
        with_published(Encoder('resnet18'), {'params': {'body': {}}, 'batch_stats': {'body': {}}}, 'no.pth')


def test_small_knows_where_a_feature_is():
    """Rolled by a stride of the whole network, away from the borders, pooled features would be the same."""
    net = Encoder('small', latent=16)
    image = np.zeros((1, 64, 64, 3), np.float32)
    image[:, 20:28, 20:28] = 1
    variables = jax.jit(lambda x: net.init(jax.random.key(0), x, False))(image)
    apply = jax.jit(lambda x: net.apply(variables, x, False))
    here, there = apply(image), apply(np.roll(image, 16, axis=2))
    assert np.abs(here - there).max() > 0.1 * np.abs(here).max()


def test_small_sees_the_light_past_batch_norm():
    """Without the weights of its last map the code is linear in linear light, whatever batch norm does."""
    net = Encoder('small', latent=16)
    grey = lambda linear: np.full((2, 32, 32, 3), colour.linear_to_srgb(jnp.float32(linear)), np.float32)
    variables = jax.jit(lambda x: net.init(jax.random.key(0), x, False))(grey(0.1))
    fc = variables['params']['body']['fc']
    fc['kernel'] = fc['kernel'].at[: -3 * THUMBNAIL**2].set(0)
    apply = jax.jit(lambda x: net.apply(variables, x, True, mutable=['batch_stats'])[0])
    dark, middle, bright = (apply(grey(linear)) for linear in (0.1, 0.3, 0.5))
    assert np.abs(middle - dark).max() > 0.1
    np.testing.assert_allclose(bright - middle, middle - dark, atol=1e-5)  # float32 of sums of 192 terms below 1


def test_head_starts_at_the_mean_face_under_grey_light():
    head = FaceHead(80, 52, 60, bands=3, radiance=0.7)
    latent = jax.random.normal(jax.random.key(1), (2, 5, 1000))
    raw = head.apply(head.init(jax.random.key(0), latent), latent)
    shapes = {k: v.shape[2:] for k, v in raw.items()}
    assert shapes == {
        'identity': (80,),
        'expression': (52,),
        'albedo': (60,),
        'rotation': (3,),
        'translation': (3,),
        'light': (9, 3),
    }
    light = raw.pop('light')
    # Outputs have a standard deviation of 0.01 times their scale, at most 1 and 4 for the light, for a latent of unit
    # variance; 6 of them bound 2,000 draws.
    for group in raw.values():
        assert 0 < np.abs(group).max() < 0.06
    np.testing.assert_allclose(light[..., 0, :], 0.7 * sh.GREY, atol=0.24)
    np.testing.assert_allclose(light[..., 1:, :], 0, atol=0.24)


def test_scales_multiply_their_group_only():
    latent = jax.random.normal(jax.random.key(1), (3, 20))
    plain, scaled = (
        FaceHead(4, 5, 6, bands=2, scales=()),
        FaceHead(4, 5, 6, bands=2, scales=(('rotation', 0.25),)),
    )
    variables = plain.init(jax.random.key(0), latent)
    a, b = plain.apply(variables, latent), scaled.apply(variables, latent)
    np.testing.assert_allclose(b.pop('rotation'), 0.25 * a.pop('rotation'), rtol=1e-6)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])
    with pytest.raises(ValueError, match='pose'):
        FaceHead(4, 5, 6, scales=(('pose', 1.0),)).init(jax.random.key(0), latent)


def test_every_output_of_the_head_learns():
    head = FaceHead(2, 3, 4, bands=2)
    latent = jax.random.normal(jax.random.key(1), (7, 8))
    variables = head.init(jax.random.key(0), latent)

    @jax.jit
    def gradient(v):
        return jax.grad(lambda v: sum(jnp.sum((x - 1) ** 2) for x in head.apply(v, latent).values()))(v)

    bias = gradient(variables)['params']['fc']['bias']
    assert bias.shape == (2 + 3 + 4 + 3 + 3 + 12,) and np.all(np.abs(bias) > 0)


def pixel(camera, t):
    """Where the pinhole sees camera-space point t: x right, y up, z towards the camera; pixels y down."""
    return camera.principal + camera.focal[..., None] * t[..., :2] * np.array([1, -1]) / -t[..., 2:]


def test_zero_offsets_are_a_centred_face_of_the_wanted_width():
    camera = Pinhole(jnp.array([300.0, 900.0]), jnp.array([[32.0, 32.0], [-200.0, 90.0]]))
    t = place(jnp.zeros((2, 3)), camera, 64, face_width_mm=140.0, fill=0.5)
    np.testing.assert_allclose(pixel(camera, t), np.full((2, 2), 32.0), atol=1e-3)  # pixels, of hundreds
    half = jnp.array([70.0, 0, 0])
    width = pixel(camera, t + half)[:, 0] - pixel(camera, t - half)[:, 0]
    np.testing.assert_allclose(width, 0.5 * 64, rtol=1e-5)
    assert np.all(t[:, 2] < 0)


def test_offsets_move_in_crop_sizes_and_scale_depth():
    camera = Pinhole(jnp.array(500.0), jnp.array([20.0, 40.0]))
    raw = jnp.array([[0.25, -0.125, 0.0], [0.25, -0.125, 0.7]])
    t = place(raw, camera, 64)
    want = 32 + 64 * np.array([[0.25, -0.125]] * 2)
    np.testing.assert_allclose(pixel(camera, t), want, atol=1e-4)
    np.testing.assert_allclose(t[1, 2] / t[0, 2], np.exp(0.7), rtol=1e-6)


def test_place_does_not_depend_on_the_resolution_of_the_crop():
    """The same crop at twice the pixels: focal length and principal point double, the millimetres stay."""
    raw = jnp.array([0.1, 0.2, -0.3])
    a = place(raw, Pinhole(jnp.array(400.0), jnp.array([10.0, 50.0])), 64)
    b = place(raw, Pinhole(jnp.array(800.0), jnp.array([20.0, 100.0])), 128)
    np.testing.assert_allclose(a, b, rtol=1e-6)
