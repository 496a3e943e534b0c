import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.data.cropping import Box
from jfrecon.data.sample import InMemory, Sample
from jfrecon.errors import UserError
from jfrecon.evaluation import baseline
from jfrecon.geometry import cameras
from jfrecon.morphable import load
from jfrecon.reconstruction import prediction, result
from jfrecon.render import portraits, surface
from jfrecon.render.portraits import Portrait
from jfrecon.types import FaceParameters, Pinhole

SIZE, SCALE = 64, 1.8
FACE = np.array([0.1, -0.2, 0.05]), np.array([4.0, -6.0, -900.0])  # rotation, translation
CAMERA = Pinhole(np.float32(330.0), np.array([60.0, 70.0], np.float32))
PHOTO = (128, 128)


@pytest.fixture(scope='module')
def model():
    return load('makehuman')


def code(model, count):
    """The same slightly turned, smiling face ``count`` times, under a grey sky."""
    expression = np.zeros((count, model.expression_basis.shape[0]), np.float32)
    expression[:, :5] = 0.4
    light = np.zeros((count, 9, 3), np.float32)
    light[:, 0] = 3.0
    return FaceParameters(
        identity=np.full((count, model.identity_basis.shape[0]), 0.3, np.float32),
        expression=expression,
        albedo=np.full((count, model.diffuse_basis.shape[0]), 0.2, np.float32),
        rotation=np.tile(np.float32(FACE[0]), (count, 1)),
        translation=np.tile(np.float32(FACE[1]), (count, 1)),
        light=light,
    )


def whole_picture(model, camera, size):
    """What `render.surface` makes of that face without any crop or window in between."""
    chi, camera = code(model, 1), jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], camera)
    photo, coverage = portraits.photo(Portrait(model, None, 0.4), chi, camera, size)
    posed = surface.posed(model, chi, camera)
    return np.asarray(photo[0]), np.asarray(coverage[0]), jax.tree.map(lambda leaf: np.asarray(leaf[0]), posed)


@pytest.fixture(scope='module')
def knowing(model):
    """A predictor that knows the face; it notes what it was shown."""
    shown = []

    def infer(image, camera):
        shown.append((image.shape, camera))
        return code(model, len(image))

    return prediction.Predictor(model, Portrait(model, None, 0.4), infer, SIZE, 4.5, SCALE, batch_size=2), shown


def photographs(landmarks, count=3):
    image = np.zeros((*PHOTO, 3), np.uint8)
    return InMemory(
        [Sample(image, landmarks, focal=float(CAMERA.focal), principal=CAMERA.principal) for _ in range(count)]
    )


@pytest.fixture(scope='module')
def truth(model):
    return whole_picture(model, CAMERA, PHOTO)


def test_a_face_found_in_a_crop_lands_where_it_is_in_the_photograph(model, knowing, truth):
    predictor, shown = knowing
    surface = truth[2]
    landmarks = surface.pixels[np.asarray(model.landmark_ids)]
    found = list(predictor.faces(photographs(landmarks)))
    assert [index for index, _ in found] == [0, 1, 2]
    assert [shape for shape, _ in shown] == [(2, SIZE, SIZE, 3)] * 2  # the last batch is padded: one compiled shape
    for _, face in found:
        # float32 at a few hundred pixels and at 900 mm, through the crop's camera and back
        np.testing.assert_allclose(face.landmarks2d, landmarks, atol=1e-3)
        np.testing.assert_allclose(face.vertices, surface.vertices, atol=1e-3)
        np.testing.assert_allclose(face.camera.focal, CAMERA.focal, rtol=1e-6)
        np.testing.assert_allclose(face.camera.principal, CAMERA.principal, atol=1e-3)
        assert face.size == PHOTO and face.parameters.identity.shape == model.identity_basis.shape[:1]
        assert face.box.side == pytest.approx(SCALE * np.ptp(landmarks, axis=0).max())


@pytest.mark.parametrize('side', [1000, 32])  # one window for the whole photograph, or one that follows the face
def test_layers_of_a_photograph_do_not_depend_on_the_window(model, knowing, truth, side, monkeypatch):
    monkeypatch.setattr(result, 'WINDOW', side)
    photo, coverage, surface = truth
    box = Box(10.0, 10.0, 100.0)
    _, face = next(knowing[0].faces(photographs(surface.pixels[:68], 1), lambda _: box))
    layers = knowing[0].layers(face)
    # a pixel on the rim may change sides when the projection rounds differently in the window
    assert np.abs(layers['coverage'] - coverage).sum() <= 3
    both = (layers['coverage'] > 0) & (coverage > 0)
    assert np.abs(layers['photo'] - photo)[both].mean() < 1e-4
    np.testing.assert_allclose(np.linalg.norm(layers['normal'], axis=-1), layers['coverage'], atol=1e-5)
    # what is seen looks at the camera, but for smooth normals along a rim
    assert (layers['normal'][both][:, 2] > 0).mean() > 0.98
    assert layers['albedo'].shape == (*PHOTO, 3) and layers['specular'].shape == PHOTO
    for layer in layers.values():
        assert not layer[layers['coverage'] == 0].any()


def test_layers_of_the_crop_are_the_photograph_seen_through_the_box(model, knowing, truth):
    surface = truth[2]
    box = Box(20.0, 30.0, 64.0)
    _, face = next(knowing[0].faces(photographs(surface.pixels[:68], 1), lambda _: box))
    layers = knowing[0].layers(face, 128)
    camera = cameras.crop(CAMERA, jnp.array([20.0, 30.0]), jnp.float32(2.0))
    photo, coverage, _ = whole_picture(model, camera, PHOTO)
    assert np.abs(layers['coverage'] - coverage).sum() <= 3
    both = (layers['coverage'] > 0) & (coverage > 0)
    assert both.sum() > 500 and np.abs(layers['photo'] - photo)[both].mean() < 1e-4


def test_unreadable_photographs_are_left_out_and_named(knowing, truth):
    landmarks = truth[2].pixels[:68]
    good = photographs(landmarks)[0]
    unknown = good.replace(landmarks=np.full((68, 2), np.nan, np.float32))
    source = InMemory([unknown, good])
    assert [index for index, _ in knowing[0].faces(source)] == [1]
    assert source.unreadable == [('0', 'no landmark is known')]
    with pytest.raises(UserError, match='none of the 1 samples'):
        list(knowing[0].faces(InMemory([unknown])))


def test_the_mean_face_predicts_through_the_same_interface(model, knowing, truth):
    landmarks = truth[2].pixels[np.asarray(model.landmark_ids)]
    source = photographs(landmarks, 1)
    typical = (landmarks - landmarks.min(0)) / np.ptp(landmarks, axis=0).max() * SIZE / SCALE + 12
    floor = baseline.predictor(dataclasses.replace(knowing[0]), typical, bands=3)
    _, face = next(floor.faces(source))
    assert not face.parameters.identity.any() and face.parameters.light.shape == (9, 3)
    # it was told where in its crop the landmarks are: a neutral face there is a few pixels of 300 from the smiling one
    x, y, side = face.box
    placed = typical * side / SIZE + [x, y]
    assert np.linalg.norm(face.landmarks2d - placed, axis=-1).mean() < 0.05 * np.ptp(landmarks, axis=0).max()
