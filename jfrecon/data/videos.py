"""Frames of a video, by PyAV (the extra ``prepare``). Videos may be broken or hostile."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jfrecon.data.images import MAX_PIXELS
from jfrecon.data.sample import Unreadable
from jfrecon.errors import UserError

SUFFIXES = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg')
# Containers that hold their pictures themselves: FFmpeg would follow a play list to other files and servers.
DEMUXERS = 'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo'


def require() -> None:
    """Raises ``UserError`` where videos cannot be read."""
    if importlib.util.find_spec('av') is None:
        raise UserError("videos need PyAV: pip install 'jfrecon[prepare]'")


def rate(path: Path) -> float:
    """Frames a second, 25 where the video does not say. Raises ``Unreadable``."""
    import av

    try:
        with av.open(str(path), container_options={'format_whitelist': DEMUXERS}) as container:
            found = container.streams.video[0].average_rate if container.streams.video else None
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise _unreadable(error) from error
    return float(found) if found else 25.0


def frames(path: Path, every: int) -> Iterator[tuple[int, np.ndarray]]:
    """(number, image [H, W, 3] uint8, upright) of each ``every``-th frame from the first on.

    Raises ``Unreadable`` where the video breaks off, after the frames before that.
    """
    import av

    try:
        with av.open(str(path), container_options={'format_whitelist': DEMUXERS}) as container:
            if not container.streams.video:
                raise Unreadable('there is no picture in the video')
            stream = container.streams.video[0]
            if stream.width * stream.height > MAX_PIXELS:
                raise Unreadable(f'{stream.width} x {stream.height} pixels are more than the limit of {MAX_PIXELS:,}')
            for number, frame in enumerate(container.decode(stream)):
                if number % every == 0:
                    turns = round(frame.rotation / 90)  # counterclockwise, as a telephone was held
                    yield number, np.ascontiguousarray(np.rot90(frame.to_ndarray(format='rgb24'), turns))
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> Unreadable:
    text = getattr(error, 'strerror', None) or type(error).__name__
    return Unreadable(f'not a readable video ({text})')
