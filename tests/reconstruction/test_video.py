from __future__ import annotations

import numpy as np
import pytest

from jfrecon import morphable
from jfrecon.data.cropping import Box
from jfrecon.data.detection.detectors import cascade
from jfrecon.data.sample import Unreadable
from jfrecon.fitting import start
from jfrecon.geometry import uv
from jfrecon.morphable import linear
from jfrecon.reconstruction import video
from jfrecon.reconstruction.photograph import Reconstructor
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.render.portraits import Portrait

FRAMES, SIDE = 24, 96


def trembling(model):
    """A network that finds the mean face in the middle of every crop, each time turned a little otherwise."""
    points = np.asarray(linear.landmarks(model, model.mean))[:, :2] * [1, -1]
    points = 16 + (points - points.mean(0)) * 16 / np.ptp(points, 0).max()
    draws = np.random.default_rng(0)

    def infer(image, camera):
        chi = start.mean_face(model, points, camera, 2, 32)
        noise = lambda *shape: draws.normal(scale=0.1, size=(len(image), *shape)).astype(np.float32)
        return chi.replace(
            rotation=np.asarray(chi.rotation) + noise(3),
            identity=np.asarray(chi.identity) + noise(2),
            expression=np.abs(noise(3)),
        )

    return infer


@pytest.fixture(scope='module')
def make():
    model, filled = (linear.truncate(load(), 2, 3, 2) for load in (morphable.load, morphable.load_portrait))
    network = Predictor(model, Portrait(filled, None, 0.4), trembling(model), 32, 4.5, 1.8)
    return Reconstructor(model, network.portrait, uv.atlas(model.topology, np.asarray(model.mean), 8), network)


def walking(blank=()):
    """Frames of noise through which a face would walk to the right, but for some that show nothing."""
    for k in range(FRAMES):
        image = np.full((SIDE, 2 * SIDE, 3), 90, np.uint8)
        image[0, 0] = (k, k in blank, 0)  # what the detector below reads
        yield 5 * k, image


@pytest.fixture
def detector(monkeypatch):
    draws = np.random.default_rng(1)

    def faces(image):
        k, blank, _ = image[0, 0]
        if blank:
            return []
        shake = draws.normal(scale=1.5, size=2)
        there = Box(20.0 + 3 * k + shake[0], 30.0 + shake[1], 36.0)
        other = Box(140.0 - 2 * k, 5.0, 20.0)  # somebody smaller
        return [there, other]

    monkeypatch.setattr(cascade, 'faces', faces)


def test_a_face_is_followed_and_moves_steadily(make, detector, monkeypatch):
    monkeypatch.setattr(video, 'PICTURE', 32)
    clip = video.reconstruct(lambda: walking(blank=(7, 8, 15)), make, rate=25.0, landmarker='cascade')
    assert clip.numbers.tolist() == [5 * k for k in range(FRAMES)]
    assert clip.pictures.shape == (FRAMES, 32, 64, 3)

    # one person, whose pose trembles less than the network's predictions do
    assert np.ptp(clip.motion.identity, axis=0).max() == 0 and clip.motion.maps is None
    assert np.diff(clip.motion.rotation, axis=0).std() < 0.35 * 0.1 * np.sqrt(2)
    # three pixels a frame, at the distance that the camera gives them; blank frames are walked through
    focal = float(clip.result.camera.focal)
    pixels = clip.motion.translation[:, 0] / -clip.motion.translation[:, 2] * focal
    steps = np.diff(pixels)
    assert abs(steps[3:-3].mean() - 3) < 0.3 and steps.std() < 1.2
    # the result is the middle frame of the motion
    middle = FRAMES // 2
    np.testing.assert_allclose(clip.result.parameters.rotation, clip.motion.rotation[middle], atol=1e-6)
    np.testing.assert_array_equal(clip.result.camera.principal, [SIDE, SIDE / 2])


def test_a_video_without_a_face_is_unreadable(make, detector):
    with pytest.raises(Unreadable, match='4 of 24 frames'):
        video.reconstruct(lambda: walking(blank=range(4, 24)), make, rate=25.0, landmarker='cascade')


def test_what_a_fit_changed_is_spread_over_the_frames_between():
    values = np.array([[0.0, 1.0], [2.0, 1.0], [2.0, 3.0]])
    spread = video._between([0, 4, 6], values, 8)
    np.testing.assert_allclose(spread[:, 0], [0, 0.5, 1, 1.5, 2, 2, 2, 2])
    np.testing.assert_allclose(spread[:, 1], [1, 1, 1, 1, 1, 2, 3, 3])
