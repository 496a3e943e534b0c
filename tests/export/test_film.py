from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from jfrecon.data import videos
from jfrecon.export import film

TIMES = np.array([0.0, 0.04, 0.5, 0.53, 2.0])


def frames(count: int) -> list[np.ndarray]:
    return [np.full((32, 48, 3), 40 * k, np.uint8) for k in range(count)]


def test_an_mp4_keeps_the_times_of_its_frames(tmp_path):
    pytest.importorskip('av')
    (tmp_path / 'film.mp4').write_bytes(film.mp4(frames(5), TIMES + 3))
    found = list(videos.frames(tmp_path / 'film.mp4', 1))
    np.testing.assert_allclose([frame.time for frame in found], TIMES, atol=1e-4)
    np.testing.assert_allclose([frame.image.mean() for frame in found], 40 * np.arange(5), atol=4)
    (tmp_path / 'one.mp4').write_bytes(film.mp4(frames(1), [0.0]))
    assert len(list(videos.frames(tmp_path / 'one.mp4', 1))) == 1


def test_a_gif_keeps_them_to_hundredths_and_does_not_drift():
    shown = Image.open(io.BytesIO(film.gif(frames(5), TIMES)))
    durations = []
    for number in range(shown.n_frames):
        shown.seek(number)
        durations.append(shown.info['duration'])
    assert durations == [40, 460, 30, 1470, 1470]
    shown = Image.open(io.BytesIO(film.gif(frames(6), np.arange(6) / 12)))
    total = 0
    for number in range(shown.n_frames):
        shown.seek(number)
        total += shown.info['duration']
    assert abs(total - 500) <= 10
