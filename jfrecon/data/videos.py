"""Frames of a video, by PyAV (the extra ``prepare``). Videos may be broken or hostile."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jfrecon.data import images
from jfrecon.data.images import MAX_PIXELS
from jfrecon.data.sample import Unreadable
from jfrecon.errors import UserError

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream

SUFFIXES = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg')
# Containers that hold their pictures themselves: FFmpeg would follow a play list to other files and servers.
DEMUXERS = 'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo'
RATE, RATES = 25.0, (1.0, 1000.0)  # frames a second where the video does not say, or nothing that can be
ASPECTS = (0.2, 5.0)  # width over height of a pixel, else somebody erred
MISSED = 1.5  # frames that a video may end early by without a word: not every container counts the last one
HDR = {16: 'PQ', 18: 'HLG'}  # transfer functions of ITU-T H.273 that are far from sRGB's
CLOCK = re.compile(r'(\d+):(\d+):(\d+(?:\.\d+)?)')  # how Matroska writes a stream's duration


class Frame(NamedTuple):
    """A picture of a video.

    Attributes:
      number: of all its frames, from 0 on.
      time: when it is shown, seconds after the first; each frame's is later than the one's before it.
      image: [H, W, 3] uint8, upright, of square pixels; of one size in a video.
    """

    number: int
    time: float
    image: np.ndarray


class BreaksOff(Unreadable):
    """A video that ends before it should. All frames before that were read."""


def require() -> None:
    """Raises ``UserError`` where videos cannot be read."""
    if importlib.util.find_spec('av') is None:
        raise UserError("videos need PyAV: pip install 'jfrecon[prepare]'")


def frames(path: Path, every: int) -> Iterator[Frame]:
    """Each ``every``-th frame from the first on.

    Raises ``BreaksOff`` after the last frame that can be read where there should be more, ``Unreadable`` where there is
    none.
    """
    import av

    read, last, end, expected = 0, 0.0, 0.0, None
    try:
        with av.open(str(path), container_options={'format_whitelist': DEMUXERS}) as container:
            stream = _chosen(container)
            if stream is None:
                raise Unreadable('there is no picture in the video')
            expected = _Expected.of(container, stream)
            size = _square_pixels(stream)
            if size[0] * size[1] > MAX_PIXELS:
                raise Unreadable(f'{size[0]} x {size[1]} pixels are more than the limit of {MAX_PIXELS:,}')
            start: int | None = None
            clock = stream.time_base or Fraction(1, 1000)
            for frame in _decoded(container, stream):
                start = frame.pts if start is None else start
                time = 0.0 if frame.pts is None or start is None else float((frame.pts - start) * clock)
                if read and time <= last:  # unknown, or out of order
                    time = last + 1 / expected.rate
                if not read and frame.color_trc in HDR:
                    kind = HDR[frame.color_trc]
                    images.say(str(path), f'high dynamic range ({kind}): its colours are read as if they were sRGB')
                if read % every == 0:
                    turns = round(frame.rotation / 90)  # counterclockwise, as a telephone was held
                    image = frame.to_ndarray(format='rgb24', width=size[0], height=size[1])
                    yield Frame(read, time, np.ascontiguousarray(np.rot90(image, turns)))
                read, last = read + 1, time
                end = time + float(frame.duration * clock if frame.duration else 1 / expected.rate)
    except (av.FFmpegError, ValueError, MemoryError) as error:
        if not read or expected is None:
            raise _unreadable(error) from error
        raise BreaksOff(expected.said(read)) from error
    if not read:
        raise Unreadable('there are no frames in the video')
    if expected.seconds is not None and end + MISSED / expected.rate < expected.seconds:
        raise BreaksOff(expected.said(read))


class _Expected(NamedTuple):
    """What a container says of its video: frames a second, seconds, frames; None where it does not."""

    rate: float
    seconds: float | None
    frames: int | None

    @classmethod
    def of(cls, container: av.container.InputContainer, stream: VideoStream) -> _Expected:
        rate = float(stream.average_rate or 0)
        if not RATES[0] <= rate <= RATES[1]:
            rate = RATE
        count = stream.frames or None
        clock = CLOCK.match(stream.metadata.get('DURATION', ''))
        seconds = None
        if clock is not None:
            seconds = float(clock[1]) * 3600 + float(clock[2]) * 60 + float(clock[3])
        elif container.format.name == 'avi' and count is not None:  # whose duration FFmpeg takes from the file's size
            seconds = count / rate
        elif stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration is not None and len(container.streams) == 1:
            seconds = container.duration / 1e6
        return cls(rate, seconds, count)

    def said(self, read: int) -> str:
        count = self.frames or (None if self.seconds is None else round(self.seconds * self.rate))
        of = f' of {count}' if count is not None and count > read else ''
        return f'the video breaks off: {read}{of} frames can be read'


def _chosen(container: av.container.InputContainer) -> VideoStream | None:
    """Of several streams the one that players show first, and the largest of such; never a cover."""
    from av.stream import Disposition

    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    rank = lambda stream: (bool(stream.disposition & Disposition.default), stream.width * stream.height)
    return max(moving, key=rank, default=None)


def _decoded(container: av.container.InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """All frames; where the file breaks off, those that the decoder still holds, and then its error."""
    import av

    try:
        for packet in container.demux(stream):
            yield from packet.decode()
    except av.FFmpegError:
        yield from stream.codec_context.decode(None)
        raise


def _square_pixels(stream: VideoStream) -> tuple[int, int]:
    """Width and height of the frames when each of their pixels is as wide as it is high."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if not ASPECTS[0] <= aspect <= ASPECTS[1]:
        aspect = Fraction(1)
    return max(1, round(stream.width * aspect)), stream.height


def _unreadable(error: Exception) -> Unreadable:
    text = getattr(error, 'strerror', None) or type(error).__name__
    return Unreadable(f'not a readable video ({text})')
