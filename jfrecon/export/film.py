"""Pictures in a row as files that play: .gif and .mp4."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from PIL import Image

COLOURS = 128  # of a frame of a .gif
CLOCK = 90_000  # ticks a second, in which the times of an .mp4 are counted
ALONE = 0.04  # seconds that a single frame is shown


def gif(frames: Sequence[np.ndarray], times: Sequence[float]) -> bytes:
    """Frames uint8 [H, W, 3], each shown at its time in seconds, again and again; to hundredths of a second."""
    hundredths = np.round(100 * _ends(times))
    shown = 10 * np.maximum(np.diff(hundredths, prepend=np.round(100 * times[0])), 1)  # milliseconds
    pictures = [Image.fromarray(frame).quantize(COLOURS) for frame in frames]
    written = io.BytesIO()
    pictures[0].save(written, 'GIF', save_all=True, append_images=pictures[1:], duration=shown.tolist(), loop=0)
    return written.getvalue()


def mp4(frames: Sequence[np.ndarray], times: Sequence[float]) -> bytes:
    """Frames uint8 [H, W, 3] with even sides, each shown at its time in seconds; H.264, by PyAV (the extra ``export``).

    times: increasing; the first is the film's start.
    """
    import av

    at, ends = (np.round(CLOCK * (np.asarray(when) - times[0])).astype(int) for when in (times, _ends(times)))
    written = io.BytesIO()
    with av.open(written, 'w', format='mp4') as container:
        stream = container.add_stream('libx264', max(Fraction(len(at) * CLOCK, int(ends[-1])), Fraction(1)))
        stream.codec_context.time_base = Fraction(1, CLOCK)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = 'yuv420p'  # what every player plays
        stream.options = {'crf': '16'}
        for frame, start, end in zip(frames, at, ends):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), 'rgb24')
            picture.pts, picture.duration, picture.time_base = int(start), int(end - start), Fraction(1, CLOCK)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return written.getvalue()


def _ends(times: Sequence[float]) -> np.ndarray:
    """When each frame gives way to the next, the last one after as long as the one before it."""
    last = times[-1] - times[-2] if len(times) > 1 else ALONE
    return np.append(times[1:], times[-1] + last)
