from __future__ import annotations

import struct

import numpy as np
import pytest

from jfrecon.data import shards, videos
from jfrecon.data.prepare import inputs, parts, run
from jfrecon.data.prepare.extract import Settings
from jfrecon.data.sample import Unreadable

WIDTH, HEIGHT, COUNT = 96, 64, 23


def level(number: int) -> int:
    return 20 + 10 * number


@pytest.fixture
def clip(tmp_path):
    """Frame n is grey of level n; the upper left corner is red."""
    av = pytest.importorskip('av', reason="needs the extra 'prepare'")
    path = tmp_path / 'clips' / 'clip.mp4'
    path.parent.mkdir()
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, 'yuv420p', 4_000_000
        for number in range(COUNT):
            image = np.full((HEIGHT, WIDTH, 3), level(number), np.uint8)
            image[:16, :16] = 255, 0, 0
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode())
    return path


def test_every_fifth_frame(clip):
    found = list(videos.frames(clip, 5))
    assert [number for number, _ in found] == [0, 5, 10, 15, 20]
    for number, image in found:
        assert image.shape == (HEIGHT, WIDTH, 3)
        # Lossy and with video's range of 219 levels: two or three off, where frames differ by 50.
        assert abs(np.median(image) - level(number)) < 6
        assert image[4, 4, 0] > 200 > 100 > image[4, 4, 1]


def test_telephones_are_turned(clip):
    """The matrix of a track header that says: 90 degrees clockwise to see it upright (ISO 14496-12)."""
    one, w = 1 << 16, 1 << 30
    plain = struct.pack('>9i', one, 0, 0, 0, one, 0, 0, 0, w)
    content = clip.read_bytes()
    at = content.index(plain, content.index(b'tkhd'))
    turned = struct.pack('>9i', 0, one, 0, -one, 0, 0, HEIGHT * one, 0, w)
    clip.write_bytes(content[:at] + turned + content[at + len(turned) :])
    _, image = next(videos.frames(clip, 5))
    assert image.shape == (WIDTH, HEIGHT, 3)
    assert image[4, -4, 0] > 200 and abs(int(image[4, 4, 0]) - level(0)) < 6


def test_videos_that_are_none(tmp_path, clip):
    play_list = tmp_path / 'list.mp4'
    play_list.write_text(f'#EXTM3U\n#EXTINF:10,\n{clip}\n#EXT-X-ENDLIST\n')  # FFmpeg would follow it
    script = clip.with_name('script.mp4')
    script.write_text(f'ffconcat version 1.0\nfile {clip.name}\n')
    empty = tmp_path / 'empty.mp4'
    empty.write_bytes(b'')
    for path in (play_list, script, empty):
        with pytest.raises(Unreadable, match='not a readable video'):
            list(videos.frames(path, 1))


def test_a_clip_becomes_a_group(clip, tmp_path, monkeypatch):
    """In several parts, which are not made again where they are there; a landmark file names its frames."""
    points = np.random.default_rng(0).uniform(20, 50, (3, 68, 2)).astype(np.float32)
    rows = inputs.landmark_files.LandmarkFile([f'clip.mp4_{n:06d}' for n in (0, 5, 15)], points, [''] * 3)
    plan = inputs.plan([clip.parent], rows)
    settings = Settings(crop='landmarks', every=5)
    monkeypatch.setattr(parts, 'FRAMES', 2)
    monkeypatch.setattr(run.workers, 'each', lambda work, tasks, _: ((task, work(task)) for task in tasks))
    recorded = run.record(plan, settings, 10, {})
    out = tmp_path / 'out'
    rejected = run.prepare(plan, out, settings, recorded, 1)
    assert rejected == [(f'clip.mp4_{n:06d}', 'nothing is given for it') for n in (10, 20)]
    faces = shards.Shards(out)
    assert [face.name for face in faces] == [f'clip.mp4_{n:06d}' for n in (0, 5, 15)]
    assert list(faces.groups) == ['clip.mp4'] * 3

    # Killed in the third part: the first two are not made again.
    made, again = [], tmp_path / 'again'
    add, write = parts._add, parts._write
    monkeypatch.setattr(parts, '_add', lambda part, photo, *rest: made.append(photo.name) or add(part, photo, *rest))

    def killed(path, part):
        if '-00002' in path.name:
            raise KeyboardInterrupt
        write(path, part)

    monkeypatch.setattr(parts, '_write', killed)
    with pytest.raises(KeyboardInterrupt):
        run.prepare(plan, again, settings, recorded, 1)
    made.clear()
    monkeypatch.setattr(parts, '_write', write)
    run.prepare(plan, again, settings, recorded, 1)
    assert made == ['clip.mp4_000020']
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {p.name: p.read_bytes() for p in out.iterdir()}


def test_a_cut_clip_keeps_what_can_be_read(clip, tmp_path):
    """An AVI says at once what is in it; half of its frames are half of its faces."""
    av = pytest.importorskip('av')
    whole = tmp_path / 'whole.avi'
    with av.open(str(clip)) as source, av.open(str(whole), 'w') as target:
        copied = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    (tmp_path / 'cut.avi').write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    numbers = [number for number, _ in videos.frames(tmp_path / 'cut.avi', 1)]
    assert numbers == list(range(len(numbers))) and 2 < len(numbers) < COUNT
