from __future__ import annotations

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from jfrecon import morphable
from jfrecon.data.detection.detector import Detection, Detector
from jfrecon.data.detection.detectors import mesh
from jfrecon.data.sample import Unreadable
from jfrecon.data.videos import BreaksOff, Frame
from jfrecon.fitting import start
from jfrecon.geometry import uv
from jfrecon.morphable import linear
from jfrecon.reconstruction import video
from jfrecon.reconstruction.photograph import Reconstructor
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.render.portraits import Portrait
from tests import detectors

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


def walking(blank=(), times=np.arange(FRAMES) / 25):
    """Frames of noise through which a face would walk to the right, but for some that show nothing."""
    for k in range(FRAMES):
        image = np.full((SIDE, 2 * SIDE, 3), 90, np.uint8)
        image[0, 0] = (k, k in blank, 0)  # what the detector below reads
        yield Frame(5 * k, times[k], image)


@pytest.fixture
def detector(monkeypatch):
    draws = np.random.default_rng(1)

    def faces(image):
        k, blank, _ = image[0, 0]
        if blank:
            return []
        shake = draws.normal(scale=1.5, size=2)
        there = detectors.points(np.array([38.0 + 3 * k, 48.0]) + shake, eyes=24)
        other = detectors.points(np.array([150.0 - 2 * k, 15.0]), eyes=12)  # somebody smaller
        return [Detection(there), Detection(other)]

    monkeypatch.setattr(mesh, 'DETECTOR', Detector(faces, None))


def test_a_face_is_followed_and_moves_steadily(make, detector, monkeypatch):
    monkeypatch.setattr(video, 'PICTURE', 32)
    clip = video.reconstruct(lambda: walking(blank=(7, 8, 15)), make)
    assert clip.numbers.tolist() == [5 * k for k in range(FRAMES)]
    assert clip.pictures.shape == (FRAMES, 32, 64, 3)

    # one person, whose pose is not the trembling network's
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
    np.testing.assert_allclose(clip.result.camera.principal, [SIDE, SIDE / 2], rtol=1e-6)


def test_smoothing_at_a_constant_rate_is_scipys():
    values = np.random.default_rng(0).normal(size=(40, 2, 3))
    for rate, sigma in ((25.0, 0.08), (5.0, 0.08), (100.0, 0.08)):
        expected = gaussian_filter1d(values, sigma * rate, axis=0, mode='nearest')
        # The kernel is cut off elsewhere, where it is exp(-8).
        np.testing.assert_allclose(video.smooth(values, np.arange(40) / rate, sigma), expected, atol=2e-3)
    np.testing.assert_array_equal(video.smooth(values[:1], np.zeros(1), 0.08), values[:1])


def test_smoothing_knows_when_frames_are_shown():
    """A motion sampled at 60 frames a second, then, in the dark, at 15: as if it had been sampled evenly."""
    fine = np.linspace(0, 4, 4001)
    motion = lambda t: np.sin(9 * t)
    times = np.concatenate([np.arange(0, 2, 1 / 60), np.arange(2, 4, 1 / 15)])
    found = video.smooth(motion(times)[:, None], times, 0.08)[:, 0]
    exact = np.interp(times, fine, gaussian_filter1d(motion(fine), 80, mode='nearest'))
    inside = (times > 0.4) & (times < 3.4)
    error = lambda smoothed: np.abs(smoothed - exact)[inside].max()
    assert error(found) < 0.03
    assert error(gaussian_filter1d(motion(times), 0.08 / np.diff(times).mean(), mode='nearest')) > 2 * error(found)
    # A burst of frames does not outweigh what is shown for long.
    burst = np.r_[0.0, 0.1, 0.2, 0.3 + np.arange(20) * 1e-4]
    values = np.r_[0.0, 0.0, 0.0, np.ones(20)][:, None]
    assert video.smooth(values, burst, 0.1)[2, 0] < 0.5


def test_one_program_makes_videos_of_any_length_at_their_own_times(make, detector, monkeypatch, caplog):
    monkeypatch.setattr(video, 'PICTURE', 32)
    counts = []

    def infer(image, camera):
        counts.append(len(image))
        return make.network.infer(image, camera)

    counting = dataclasses.replace(make, network=dataclasses.replace(make.network, infer=infer))
    video.reconstruct(walking, make)
    times = np.cumsum(np.r_[0.0, np.random.default_rng(2).uniform(0.01, 0.1, FRAMES - 1)])
    shorter = lambda: itertools.islice(walking(times=times), 12)
    with jax.log_compiles(), caplog.at_level('WARNING'):
        clip = video.reconstruct(shorter, counting)
    assert set(counts) == {video.BATCH, video.KEYS}
    compiled = [record.getMessage() for record in caplog.records if 'Compiling' in record.getMessage()]
    assert not compiled, compiled
    np.testing.assert_array_equal(clip.times, times[:12])
    assert len(clip.pictures) == len(clip.motion.rotation) == 12


def test_key_frames_show_the_face_and_are_always_as_many():
    face = Detection(np.zeros((68, 2)))
    for count, blank in ((1, ()), (5, (2,)), (40, (0, 19, 20, 39)), (300, ())):
        places = video._keys([None if k in blank else face for k in range(count)])
        assert len(places) == video.KEYS and not set(places) & set(blank)
        assert abs(places[video.KEYS // 2] - count // 2) <= 2 and places == sorted(places)


def test_of_a_video_that_breaks_off_what_there_is(make, detector, monkeypatch):
    monkeypatch.setattr(video, 'PICTURE', 32)

    def cut():
        for frame in walking():
            if frame.number == 40:
                raise BreaksOff('the video breaks off: 8 of 24 frames can be read')
            yield frame

    clip = video.reconstruct(cut, make)
    assert clip.numbers.tolist() == [0, 5, 10, 15, 20, 25, 30, 35]
    np.testing.assert_allclose(clip.times, np.arange(8) / 25)
    assert clip.missing == 'the video breaks off: 8 of 24 frames can be read'
    assert clip.face.sample.notes == (clip.missing,), 'which metadata.json repeats'


def test_a_video_without_a_face_is_unreadable(make, detector):
    with pytest.raises(Unreadable, match='4 of 24 frames'):
        video.reconstruct(lambda: walking(blank=range(4, 24)), make)


def test_what_a_fit_changed_is_spread_over_the_frames_between():
    values = np.array([[0.0, 1.0], [2.0, 1.0], [2.0, 3.0]])
    spread = video._between(np.array([0.0, 4.0, 6.0]), values, np.arange(8.0))
    np.testing.assert_allclose(spread[:, 0], [0, 0.5, 1, 1.5, 2, 2, 2, 2])
    np.testing.assert_allclose(spread[:, 1], [1, 1, 1, 1, 1, 2, 3, 3])
