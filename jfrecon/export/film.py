"""Pictures in a row as files that play: .gif and .mp4."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from PIL import Image

COLOURS = 128  # of a frame of a .gif


def gif(frames: Sequence[np.ndarray], rate: float) -> bytes:
    """Frames uint8 [H, W, 3], so many a second, again and again."""
    pictures = [Image.fromarray(frame).quantize(COLOURS) for frame in frames]
    written = io.BytesIO()
    pictures[0].save(written, 'GIF', save_all=True, append_images=pictures[1:], duration=round(1000 / rate), loop=0)
    return written.getvalue()


def mp4(frames: Sequence[np.ndarray], rate: float) -> bytes:
    """Frames uint8 [H, W, 3] with even sides, so many a second; H.264, by PyAV (the extra ``export``)."""
    import av

    written = io.BytesIO()
    with av.open(written, 'w', format='mp4') as container:
        stream = container.add_stream('libx264', Fraction(rate).limit_denominator(1001))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = 'yuv420p'  # what every player plays
        stream.options = {'crf': '16'}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), 'rgb24')))
        container.mux(stream.encode())
    return written.getvalue()
