import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jfrecon.data import celebamask
from jfrecon.data.cropping import Box
from jfrecon.data.detection import skin
from jfrecon.data.prepare.extract import Given, Settings, faces
from jfrecon.data.sample import Sample
from jfrecon.errors import UserError
from jfrecon.nets.weights import pack


@pytest.fixture(scope='module')
def bright(tmp_path_factory):
    """A network that takes for skin what is bright: the mean of the colours less one half, through all layers."""
    size = skin.SIZE
    variables = jax.jit(lambda: skin.ParsingNet().init(jax.random.key(0), jnp.zeros((1, size, size, 3)), False))()
    quiet = jax.tree.map(jnp.zeros_like, variables['params'])
    net = {**quiet['unet'], **{k: v for k, v in variables['params']['unet'].items() if k.endswith('_bn')}}
    first = net['body']['conv1_1']['kernel'].at[1, 1, :, 0].set(np.array([0.229, 0.224, 0.225]) / 3)
    # the colours' mean, whole again, in the first channel of the finest features
    shift = float(np.mean([0.485, 0.456, 0.406]))
    body = {**net['body'], 'conv1_1': {'kernel': first, 'bias': net['body']['conv1_1']['bias'].at[0].set(shift)}}
    body['conv1_1_bn'] = variables['params']['unet']['body']['conv1_1_bn']
    channels = net['up3']['kernel'].shape[-2] // 2  # of the last step up, before the skipped ones
    width = net['conv3']['kernel'].shape[-1]
    through = net['conv3']['kernel'].at[1, 1, width, 0].set(1.0)
    last = {'kernel': net['last']['kernel'].at[0, 0, 0, 0].set(10.0), 'bias': jnp.full(1, -5.0)}
    net = {**net, 'body': body, 'conv3': {'kernel': through}, 'last': last}
    assert channels > 0
    path = tmp_path_factory.mktemp('parsing') / 'bright.safetensors'
    pack(path, {'params': {'unet': net}, 'batch_stats': variables['batch_stats']})
    return path


def photo():
    """A bright disc in the dark."""
    y, x = np.indices((120, 160)) + 0.5
    disc = (np.hypot(x - 90.5, y - 61) < 24)[..., None]
    return Sample(np.where(disc, np.uint8(230), np.uint8(20)) * np.ones(3, np.uint8)), disc[..., 0]


def test_a_mask_lies_where_the_face_is_in_the_photograph(bright):
    sample, disc = photo()
    box = Box(40.3, 25.7, 80.0)
    mask = np.asarray(skin.with_mask(sample, box, bright).mask) > 127
    # a pixel of the crop is 1.25 of the photograph's, and the mask ends between two of them
    edge = np.abs(np.hypot(*(np.indices((120, 160)) + 0.5 - np.array([61, 90.5])[:, None, None])) - 24) < 2
    assert (mask == disc)[~edge].all()
    away = np.asarray(skin.with_mask(sample, Box(0.0, 0.0, 40.0), bright).mask)
    assert not away.any()


def test_prepare_parses_where_it_is_asked_and_nothing_is_given(bright, monkeypatch):
    monkeypatch.setattr(skin.with_mask, '__defaults__', (None, bright))
    sample, disc = photo()
    given = Given(np.random.default_rng(0).uniform([66, 37], [114, 85], (1, 68, 2)))
    ((plain,), _) = faces(sample, given, Settings('landmarks'))
    ((parsed,), _) = faces(sample, given, Settings('landmarks', parse=True))
    assert plain.mask is None and (np.asarray(parsed.mask) > 127).sum() == pytest.approx(disc.sum(), rel=0.1)
    own = sample.replace(mask=np.full(disc.shape, 255, np.uint8))
    ((kept,), _) = faces(own, given, Settings('landmarks', parse=True))
    assert (np.asarray(kept.mask) == 255).all()


def test_the_embedded_network_is_there_and_a_missing_one_is_named(tmp_path):
    found = skin.probabilities(np.full((1, skin.SIZE, skin.SIZE, 3), 0.5, np.float32))
    assert found.shape == (1, skin.SIZE, skin.SIZE) and ((found >= 0) & (found <= 1)).all()
    with pytest.raises(UserError, match=r'nothing\.safetensors'):
        skin.probabilities(found[..., None].repeat(3, -1), tmp_path / 'nothing.safetensors')


def test_celebamask_hq_is_read_as_it_is_unpacked(tmp_path):
    photos, masks = tmp_path / celebamask.PHOTOS, tmp_path / celebamask.MASKS / '1'
    photos.mkdir(parents=True)
    masks.mkdir(parents=True)
    for number in (2003, 2004):
        Image.fromarray(np.full((64, 64, 3), 120, np.uint8)).save(photos / f'{number}.jpg')

    def part(name, rows, columns):
        mask = np.zeros((32, 32, 3), np.uint8)
        mask[rows, columns] = 255
        Image.fromarray(mask).save(masks / f'02003_{name}.png')

    part('skin', slice(8, 24), slice(10, 22))
    part('l_eye', slice(10, 12), slice(12, 14))
    part('u_lip', slice(20, 26), slice(14, 18))
    part('hair', slice(4, 10), slice(0, 32))
    source = celebamask.CelebAMaskHQ(tmp_path)
    (sample,) = list(source)  # the other one has no mask
    expected = np.zeros((32, 32), bool)
    expected[8:24, 10:22] = expected[20:26, 14:18] = True
    expected[10:12, 12:14] = expected[4:10] = False
    np.testing.assert_array_equal(np.asarray(sample.mask) > 127, expected.repeat(2, 0).repeat(2, 1))
    x, y, side = sample.box
    assert side == pytest.approx(1.3 * 32) and (x + side / 2, y + side / 2) == (32, 36)
    assert 'skin' in source.unreadable[0][1] and source.unreadable[0][0].endswith('2004.jpg')
    with pytest.raises(UserError, match='unpack CelebAMask-HQ'):
        celebamask.CelebAMaskHQ(tmp_path / 'elsewhere')
