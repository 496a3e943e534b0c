"""The command: what it writes of photographs and videos, what it says of the others, and who reads it."""

from __future__ import annotations

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
from PIL import Image

from jfrecon import landmarks, prepare, reconstruct
from jfrecon.data import landmark_files, shards
from jfrecon.data.detection.detector import BATCH, Detector
from jfrecon.data.detection.detectors import mesh
from jfrecon.data.sample import Unreadable
from jfrecon.errors import UserError
from jfrecon.export import film
from jfrecon.reconstruction import photograph
from tests import detectors

CONFIDENCE = np.linspace(0, 1, 68).astype(np.float32)
UNKNOWN = 7
EYES = np.array(detectors.EYES)


def find(image):
    """The astronaut, with a landmark whose place is not known, and points of a mesh."""
    found = []
    for face in detectors.find(image):
        points = face.landmarks.copy()
        points[UNKNOWN] = np.nan
        dense = np.repeat(points[30:31], 478, 0) + np.arange(478)[:, None] / 10
        found.append(dataclasses.replace(face, landmarks=points, confidence=CONFIDENCE, presence=0.9, dense=dense))
    return found


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Two astronauts, one of them in a group of two, a photograph of nobody, a broken one, a text."""
    monkeypatch.setattr(mesh, 'DETECTOR', Detector(find, detectors.find_in))
    folder = tmp_path / 'photos'
    (folder / 'more').mkdir(parents=True)
    picture = skimage.data.astronaut()
    Image.fromarray(picture).save(folder / 'one.png', compress_level=1)
    Image.fromarray(np.concatenate([picture, picture], 1)).save(folder / 'more' / 'two.png', compress_level=1)
    Image.new('RGB', (200, 150)).save(folder / 'nobody.png')
    (folder / 'broken.jpg').write_text('no picture')
    (folder / 'notes.txt').write_text('hello')
    return folder


@pytest.fixture
def written(photos, tmp_path, capsys):
    out = tmp_path / 'landmarks.npz'
    code = landmarks.main([str(photos), f'--out={out}', f'--draw={tmp_path / "drawn"}', '--dense'])
    with np.load(out) as archive:
        return code, capsys.readouterr(), out, dict(archive)


def test_a_row_for_each_face_in_the_form_that_landmarks_has(written):
    code, said, _, rows = written
    assert code == 1
    assert said.out.startswith('3 faces of 4 files, 1 without a face, 1 failed: ')
    *_, nobody, broken = said.err.splitlines()
    assert nobody == 'no face: nobody.png' and broken.startswith('failed: broken.jpg: not a readable picture')
    assert sum('.txt' in line for line in said.err.splitlines()) == 1
    assert rows['filename'].tolist() == ['more/two.png', 'more/two.png', 'one.png']
    shapes = {'landmarks': (3, 68, 2), 'confidence': (3, 68), 'boxes': (3, 4), 'presence': (3,), 'dense': (3, 478, 2)}
    assert {name: values.shape for name, values in rows.items() if name != 'filename'} == shapes
    assert all(np.isfinite(rows[name]).all() for name in shapes), 'what is hidden or unknown, too'
    expected = np.where(np.arange(68) == UNKNOWN, 0, CONFIDENCE)
    np.testing.assert_array_equal(rows['confidence'], [expected] * 3)
    centres = rows['landmarks'][:, 36:48].mean(1)
    np.testing.assert_allclose(centres, [EYES, EYES + np.array([512, 0]), EYES], atol=detectors.COARSE)
    known = rows['landmarks'][:, expected > 0]
    np.testing.assert_allclose(rows['boxes'][:, :2], known.min(1), atol=1e-3)
    np.testing.assert_allclose(rows['boxes'][:, 2:], np.ptp(known, axis=1), atol=1e-3)


def test_overlays_are_drawn(written, tmp_path):
    drawn = sorted(str(path.relative_to(tmp_path / 'drawn')) for path in (tmp_path / 'drawn').rglob('*.jpg'))
    assert drawn == ['more/two.png.jpg', 'nobody.png.jpg', 'one.png.jpg']
    picture = np.asarray(Image.open(tmp_path / 'drawn' / 'one.png.jpg')).astype(int)
    x, y = written[3]['landmarks'][2, 60].round().astype(int)
    red, green, _ = picture[y, x]
    assert green > red + 60, 'a point with a confidence of 0.9'


def test_the_file_is_read_back_with_its_confidence(written, photos, tmp_path, monkeypatch):
    _, _, out, rows = written
    table = landmark_files.read(out)
    np.testing.assert_array_equal(table.confidence, rows['confidence'])
    assert np.isnan(table.landmarks[:, UNKNOWN]).all()

    prepare.main([str(photos / 'one.png'), f'--out={tmp_path / "shards"}', f'--landmarks={out}', '--processes=1'])
    (face,) = shards.Shards(tmp_path / 'shards')
    expected = np.where(np.arange(68) == UNKNOWN, 0, CONFIDENCE)
    np.testing.assert_allclose(face.confidence, expected, atol=1 / 255)
    assert np.isnan(face.landmarks[[0, UNKNOWN]]).all() and np.isfinite(face.landmarks[8:]).all()

    seen = []

    def locate(photo, points, *_):
        seen.append((photo.confidence, points))
        raise Unreadable('far enough')

    monkeypatch.setattr(photograph, 'locate', locate)
    monkeypatch.setattr(photograph, 'reconstructor', lambda *_: SimpleNamespace(network=None))
    assert reconstruct.main([str(photos / 'one.png'), f'--out={tmp_path / "faces"}', f'--landmarks={out}']) == 2
    ((confidence, points),) = seen
    np.testing.assert_array_equal(confidence, expected)
    np.testing.assert_array_equal(points[8:], rows['landmarks'][2, 8:])


def test_frames_of_a_video_are_rows_and_are_searched_together(photos, tmp_path, monkeypatch):
    asked = []
    several = lambda pictures: asked.append(len(pictures)) or [find(image) for image in pictures]
    monkeypatch.setattr(mesh, 'DETECTOR', Detector(find, detectors.find_in, find_many=several))
    frames = [np.roll(skimage.data.astronaut(), 8 * k, axis=1) for k in range(3)]
    (photos / 'clip.mp4').write_bytes(film.mp4(frames, np.arange(3) / 25))
    (photos / 'broken.jpg').unlink()
    out = tmp_path / 'landmarks.npz'
    assert landmarks.main([str(photos / 'clip.mp4'), str(photos / 'one.png'), f'--out={out}', '--every=2']) == 0
    with np.load(out) as archive:
        names, points = archive['filename'].tolist(), archive['landmarks']
    assert names == ['clip.mp4_000000', 'clip.mp4_000002', 'one.png'] and asked == [3] and BATCH > 3
    assert points[1, 40, 0] - points[0, 40, 0] == pytest.approx(16, abs=detectors.COARSE)


def test_what_is_there_is_not_written_over(written, photos, tmp_path):
    _, _, out, _ = written
    before = out.read_bytes()
    for arguments in ([f'--out={out}'], [f'--out={tmp_path / "new.npz"}', f'--draw={tmp_path / "drawn"}']):
        with pytest.raises(UserError, match='--overwrite'):
            landmarks.main([str(photos), *arguments])
    assert out.read_bytes() == before and not (tmp_path / 'new.npz').exists()
    assert landmarks.main([str(photos / 'one.png'), f'--out={out}', '--overwrite']) == 0
    with np.load(out) as archive:
        assert archive['filename'].tolist() == ['one.png'] and 'dense' not in archive


@pytest.mark.parametrize(
    'arguments, said',
    [
        (['nobody.png'], 'no face in any of 1 files'),
        (['broken.jpg'], r'no face in any of 1 files \(broken.jpg: not a readable picture'),
        (['notes.txt'], 'no photographs and no videos'),
        (['nowhere.jpg'], 'no such file'),
        (['one.png', '--dense'], '--dense: mesh has no further points'),
        (['one.png', '--every=0'], '--every is at least 1'),
        (['one.png', '--landmarker=nobody'], '--landmarker=nobody: there are'),
    ],
)
def test_mistakes_leave_no_file(photos, tmp_path, monkeypatch, arguments, said):
    monkeypatch.setattr(mesh, 'DETECTOR', detectors.ASTRONAUT)
    name, *flags = arguments
    with pytest.raises(UserError, match=said):
        landmarks.main([str(photos / name), f'--out={tmp_path / "lm.npz"}', *flags])
    assert not (tmp_path / 'lm.npz').exists()
    with pytest.raises(UserError, match=r'ends in \.npz'):
        landmarks.main([str(photos / 'one.png'), f'--out={tmp_path / "lm.txt"}'])


def test_a_photograph_that_is_read_at_half_its_size(photos, tmp_path, monkeypatch):
    monkeypatch.setattr('jfrecon.data.images.MAX_PIXELS', 600_000)
    shutil.rmtree(photos / 'more')
    large = Image.open(photos / 'one.png').resize((1024, 1024), Image.Resampling.NEAREST)
    large.save(photos / 'large.png', compress_level=1)
    assert landmarks.main([str(photos / 'large.png'), f'--out={tmp_path / "lm.npz"}', '--dense']) == 0
    with np.load(tmp_path / 'lm.npz') as archive:
        np.testing.assert_allclose(archive['landmarks'][0, 36:48].mean(0), 2 * EYES, atol=2 * detectors.COARSE)
        np.testing.assert_allclose(archive['dense'][0, 0], archive['landmarks'][0, 30], atol=1e-3)
