from __future__ import annotations

import struct
from fractions import Fraction

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
    assert [frame.number for frame in found] == [0, 5, 10, 15, 20]
    np.testing.assert_allclose([frame.time for frame in found], np.array([0, 5, 10, 15, 20]) / 25, atol=1e-3)
    for number, _, image in found:
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
    image = next(videos.frames(clip, 5)).image
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
    recorded = run.record(plan, settings, {})
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


def written(path, images, times, codec='libx264', aspect=None, **options):
    """A video whose frames are shown at times in seconds."""
    av = pytest.importorskip('av', reason="needs the extra 'prepare'")
    clock = Fraction(1, 1000) if codec == 'libx264' else Fraction(1, 25)
    with av.open(str(path), 'w', options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], 'yuv420p'
        stream.codec_context.time_base = clock
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for image, time in zip(images, times):
            frame = av.VideoFrame.from_ndarray(image, format='rgb24')
            frame.pts, frame.time_base = round(time / clock), clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def noise(count):
    return list(np.random.default_rng(0).integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8))


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_frames_come_with_their_times(suffix, tmp_path):
    """A telephone that takes fewer frames in the dark: 30 frames in 4.5 seconds, not in 1.2."""
    times = np.cumsum(np.r_[0, np.full(10, 0.033), np.full(9, 0.4), np.full(10, 0.05)])
    path = written(tmp_path / f'clip{suffix}', noise(30), times)
    found = list(videos.frames(path, 1))
    np.testing.assert_allclose([frame.time for frame in found], times, atol=1e-3)
    assert [frame.number for frame in videos.frames(path, 7)] == [0, 7, 14, 21, 28]
    assert next(frame.time for frame in videos.frames(path, 28) if frame.number) == pytest.approx(times[28], abs=1e-3)


def test_times_that_are_not_known_or_go_backwards(tmp_path, monkeypatch):
    path = written(tmp_path / 'clip.mp4', noise(6), np.arange(6) / 25)
    whole = videos._decoded

    def disturbed(container, stream):
        for number, frame in enumerate(whole(container, stream)):
            frame.pts = [frame.pts, None, frame.pts, 0, frame.pts, frame.pts][number]
            yield frame

    monkeypatch.setattr(videos, '_decoded', disturbed)
    np.testing.assert_allclose([frame.time for frame in videos.frames(path, 1)], np.arange(6) / 25, atol=1e-3)


@pytest.mark.parametrize('aspect, width', [(Fraction(4, 3), 128), (Fraction(8, 9), 85), (Fraction(1, 9), 96)])
def test_pixels_are_made_square(aspect, width, tmp_path):
    """Left half red: it stays half. What no camera does is passed over."""
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    image[:, : WIDTH // 2] = 200, 0, 0
    path = written(tmp_path / 'wide.mp4', [image] * 3, np.arange(3) / 25, aspect=aspect)
    for _, _, found in videos.frames(path, 1):
        assert found.shape == (HEIGHT, width, 3)
        assert found[:, : width // 2 - 3, 0].min() > 150 and found[:, width // 2 + 3 :, 0].max() < 100


def test_the_largest_of_several_streams_and_none(tmp_path):
    av = pytest.importorskip('av')
    sizes = (32, 32), (WIDTH, HEIGHT)
    with av.open(str(tmp_path / 'two.mkv'), 'w') as container:
        streams = [container.add_stream('mpeg4', rate=25) for _ in sizes]
        for stream, (width, height) in zip(streams, sizes):
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, 'yuv420p', 20_000 * width
        for _ in range(5):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(np.full((stream.height, stream.width, 3), 99, np.uint8), 'rgb24')
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    assert {frame.image.shape for frame in videos.frames(tmp_path / 'two.mkv', 1)} == {(HEIGHT, WIDTH, 3)}
    with av.open(str(tmp_path / 'sound.mp4'), 'w') as container:
        stream = container.add_stream('aac', rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format='fltp', layout='mono')
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(Unreadable, match='no picture in the video'):
        list(videos.frames(tmp_path / 'sound.mp4', 1))


def test_of_a_clip_that_breaks_off_prepare_keeps_the_frames_before(tmp_path):
    path = written(tmp_path / 'whole.mkv', noise(30), np.arange(30) / 25)
    clip = tmp_path / 'cut.mkv'
    clip.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    path.unlink()
    points = np.random.default_rng(0).uniform(20, 50, (1, 68, 2)).astype(np.float32)
    plan = inputs.plan([clip], inputs.landmark_files.LandmarkFile(['cut.mkv_000005'], points, ['']))
    parts.make(tmp_path, Settings('landmarks', every=5), (0, plan.inputs[0]))
    (part,) = parts.load(tmp_path, 0)
    assert part.names == ['cut.mkv_000005']
    assert part.rejected[-1].name == 'cut.mkv' and part.rejected[-1].reason.startswith('the video breaks off: 1')


# Containers differ in what they say of their length, and in how their end shows.
@pytest.mark.parametrize(
    'suffix, codec', [('.mp4', 'libx264'), ('.mkv', 'libx264'), ('.avi', 'mpeg4'), ('.mov', 'libx264')]
)
@pytest.mark.parametrize('share', [0.2, 0.5, 0.85])
def test_a_video_that_breaks_off_says_so_after_its_last_frame(suffix, codec, share, tmp_path):
    options = {'movflags': 'faststart'} if suffix in ('.mp4', '.mov') else {}
    path = written(tmp_path / f'whole{suffix}', noise(30), np.arange(30) / 25, codec, **options)
    assert len(list(videos.frames(path, 1))) == 30
    cut = tmp_path / f'cut{suffix}'
    cut.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    found = []
    with pytest.raises(videos.BreaksOff, match=r'breaks off: \d+ of 30 frames can be read') as caught:
        for frame in videos.frames(cut, 1):
            found.append(frame)
    count = len(found)
    assert f' {count} of 30' in str(caught.value)
    if codec == 'libx264':  # all frames take the same room
        assert 30 * share - 2 < count < 30 * share + 2, 'also those that the decoder holds back'
    np.testing.assert_allclose([frame.time for frame in found], np.arange(count) / 25, atol=1e-3)


def test_sound_may_be_longer_than_the_picture(tmp_path):
    """Matroska tells the length of the whole, and in a tag that of each stream."""
    av = pytest.importorskip('av')
    with av.open(str(tmp_path / 'whole.mkv'), 'w') as container:
        picture, sound = container.add_stream('mpeg4', rate=25), container.add_stream('aac', rate=48_000)
        picture.width, picture.height, picture.pix_fmt, picture.bit_rate = WIDTH, HEIGHT, 'yuv420p', 4_000_000
        for image in noise(30):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(picture.encode())
        for number in range(150):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format='fltp', layout='mono')
            frame.sample_rate, frame.pts = 48_000, 1024 * number
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    assert len(list(videos.frames(tmp_path / 'whole.mkv', 1))) == 30
    content = (tmp_path / 'whole.mkv').read_bytes()
    (tmp_path / 'cut.mkv').write_bytes(content[: len(content) // 2])
    with pytest.raises(videos.BreaksOff, match='of 30 frames'):
        list(videos.frames(tmp_path / 'cut.mkv', 1))


def test_a_trimmed_video_is_whole(tmp_path):
    """An edit list, as telephones write it, shows the last 10 of 30 frames that are in the file."""
    path = written(tmp_path / 'clip.mp4', noise(30), np.arange(30) / 25, bf='0')
    content = path.read_bytes()
    at = content.index(b'elst') + 12
    clock = 12_800 if b'\x00\x00\x32\x00' in content else 16_000
    start = struct.unpack('>i', content[at + 4 : at + 8])[0] + 20 * clock // 25
    path.write_bytes(content[:at] + struct.pack('>Ii', 400, start) + content[at + 8 :])
    found = list(videos.frames(path, 1))
    assert len(found) == 10 and found[0].time == 0


def test_high_dynamic_range_is_said(tmp_path, monkeypatch, caplog):
    path = written(tmp_path / 'hlg.mp4', noise(2), np.arange(2) / 25)
    whole = videos._decoded

    def tagged(container, stream):
        for frame in whole(container, stream):
            frame.color_trc = 18
            yield frame

    monkeypatch.setattr(videos, '_decoded', tagged)
    list(videos.frames(path, 1)), list(videos.frames(path, 1))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and 'hlg.mp4: high dynamic range (HLG)' in said[0]
