"""Against LiteRT, against MediaPipe's own runtime by stored outputs, and against hostile files."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from PIL import Image

from jfrecon import assets
from jfrecon.errors import UserError
from jfrecon.nets import flatbuffer, tflite

# MediaPipe 0.10.21's own runtime on `crop()`: the raw outputs of face_landmark_with_attention.tflite.
STORED = Path(__file__).with_name('face_mesh_attention.npz')
SHORT, FULL = (
    'face_detection/face_detection_short_range.tflite',
    'face_detection/face_detection_full_range_sparse.tflite',
)
MESH, ATTENTION = 'face_landmark/face_landmark.tflite', 'face_landmark/face_landmark_with_attention.tflite'


def path(name: str) -> Path:
    return assets.folder('mediapipe') / name


def crop(size: int) -> np.ndarray:
    """The face of scikit-image's astronaut, [1, S, S, 3] in 0..1."""
    face = Image.fromarray(skimage.data.astronaut()).crop((143, 20, 303, 180))
    return np.asarray(face.resize((size, size), Image.Resampling.BILINEAR), np.float32)[None] / 255


@pytest.fixture(scope='module')
def short():
    return tflite.read(path(SHORT))


@pytest.mark.skipif(importlib.util.find_spec('ai_edge_litert') is None, reason='LiteRT is not installed')
@pytest.mark.parametrize('name', [SHORT, FULL, MESH])
def test_outputs_are_those_of_litert(name):
    from ai_edge_litert.interpreter import Interpreter

    network = tflite.read(path(name))
    images = np.concatenate([crop(network.input_shape[0]), np.zeros((1, *network.input_shape), np.float32)])
    found = jax.jit(network)(images)
    reference = Interpreter(str(path(name)))
    reference.allocate_tensors()
    for k, image in enumerate(images):
        reference.set_tensor(reference.get_input_details()[0]['index'], image[None])
        reference.invoke()
        for mine, theirs in zip(found, reference.get_output_details()):
            # sums of a few hundred float32 products in another order, of outputs up to 200
            np.testing.assert_allclose(mine[k], reference.get_tensor(theirs['index'])[0], rtol=1e-5, atol=3e-4)


def test_attention_mesh_is_that_of_mediapipe():
    network = tflite.read(path(ATTENTION))
    found = dict(zip((network.tensors[k].name for k in network.outputs), jax.jit(network)(crop(192))))
    with np.load(STORED) as stored:
        assert stored.files == list(found)
        for name in stored.files:
            np.testing.assert_allclose(np.ravel(found[name]), stored[name], atol=3e-4, err_msg=name)


def test_a_batch_is_its_images_and_has_a_gradient(short):
    """The gradient of one image's outputs reaches that image, and no other of its batch."""
    images = np.random.default_rng(0).uniform(-1, 1, (2, *short.input_shape)).astype(np.float32)
    first = jax.jit(jax.value_and_grad(lambda images: jnp.sum(jnp.square(short(images)[0][0]))))
    (value, gradient), (swapped, other) = first(images), first(images[::-1])
    assert np.isfinite(gradient).all() and np.abs(gradient[0]).max() > 0 and not np.asarray(gradient[1]).any()
    assert value != swapped and np.abs(other[0]).max() > 0


def test_hostile_files_are_one_clear_line(tmp_path):
    """Cut off anywhere, bytes changed anywhere: a clear error, or a network; never anything else."""
    whole = path(SHORT).read_bytes()
    rng = np.random.default_rng(0)
    tried = [b'', b'TFL3', whole[:100], whole[: len(whole) // 2], whole[:-1000], b'\xff' * 1000]
    # the tables lie around the constants: at the start and at the end
    for _ in range(40):
        changed = bytearray(whole)
        for place in [*rng.integers(0, 3000, 2), *rng.integers(len(whole) - 20_000, len(whole), 3)]:
            changed[place] = rng.integers(256)
        tried.append(bytes(changed))
    refused = 0
    for k, content in enumerate(tried):
        file = tmp_path / f'{k}.tflite'
        file.write_bytes(content)
        try:
            tflite.read(file)
        except UserError as error:
            refused += 1
            assert str(file) in str(error) and '\n' not in str(error)
    assert refused >= 20
    with pytest.raises(UserError, match='gone'):
        tflite.read(tmp_path / 'gone.tflite')


def test_flat_maps_are_read_and_bounded():
    """{'a': 5, 'v': [1, 2], 'x': 1.5} as the package flatbuffers 25.12.19 writes it; then cut and changed anywhere."""
    stored = '610076000201027800030a0905000000060000000100000003000000050000001b0000000000c03f062c0e0f2601'
    data = bytes.fromhex(stored)
    found = flatbuffer.flat_map(data)
    assert found['a'] == 5 and found['v'].tolist() == [1, 2] and found['x'] == 1.5
    for end in range(len(data)):
        with pytest.raises(flatbuffer.Broken):
            flatbuffer.flat_map(data[:end])
    for place in range(len(data)):
        for value in (0, 1, 127, 255):
            changed = bytearray(data)
            changed[place] = value
            with contextlib.suppress(flatbuffer.Broken):
                flatbuffer.flat_map(bytes(changed))
