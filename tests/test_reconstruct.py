from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from jfrecon import morphable, outputs, pretrained, reconstruct
from jfrecon.data import cropping, images, videos
from jfrecon.data.detection.detectors import mesh
from jfrecon.demo.desk import Desk
from jfrecon.errors import UserError
from jfrecon.export import asset, film, head
from jfrecon.fitting import start
from jfrecon.morphable import linear
from jfrecon.reconstruction import photograph, prediction, video
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.render import portraits
from jfrecon.render.portraits import Portrait
from jfrecon.training import checkpoints
from tests import detectors

FILES = {
    'face.glb', 'face.obj', 'face.mtl', 'head.obj', 'head.mtl', 'head_diffuse.png', 'head_specular.png',
    'head_normal.png', 'eye_left_diffuse.png', 'eye_right_diffuse.png', 'diffuse.png', 'specular.png', 'normal.png',
    'light.exr', 'light.hdr', 'parameters.npz', 'layers.npz', 'photograph.png', 'panel.png', 'report.html',
    'metadata.json',
}  # fmt: skip


@pytest.fixture(scope='module')
def network():
    """As cheap as a network can be: it finds the mean face in the middle of every crop."""
    model, filled = (linear.truncate(load(), 2, 3, 2) for load in (morphable.load, morphable.load_portrait))
    points = np.asarray(linear.landmarks(model, model.mean))[:, :2] * [1, -1]
    points = 16 + (points - points.mean(0)) * 32 / 1.8 / np.ptp(points, 0).max()
    infer = lambda image, camera: start.mean_face(model, points, camera, 2, 32)
    return Predictor(model, Portrait(filled, None, 0.4), infer, 32, 4.5, 1.8)


@pytest.fixture(scope='module')
def patched(network):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction, 'load', lambda _: (network, None, 0))
        patch.setattr(photograph, 'TEXTURE', 16)
        patch.setattr(head, 'TEXTURE', 64)
        patch.setattr(asset, 'PANEL', 64)
        patch.setattr(portraits, 'DIRECTIONS', 64)
        patch.setattr(mesh, 'DETECTOR', detectors.ASTRONAUT)
        yield


@pytest.fixture
def run(patched, tmp_path, capsys):
    def run(*arguments):
        code = reconstruct.main([*map(str, arguments), f'--out={tmp_path / "out"}', '--checkpoint=none'])
        return code, capsys.readouterr()

    return run


@pytest.fixture(scope='module')
def astronaut(tmp_path_factory):
    path = tmp_path_factory.mktemp('photos') / 'astronaut.png'
    Image.fromarray(skimage.data.astronaut()).save(path)
    return path


@pytest.fixture(scope='module')
def made(patched, astronaut):
    """The folder of the astronaut's face."""
    out = astronaut.parent / 'out'
    assert reconstruct.main([str(astronaut), f'--out={out}', '--checkpoint=none', '--focal=700']) == 0
    return out / 'astronaut'


@pytest.fixture
def copied(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / 'out' / 'astronaut'))


def test_a_photograph_becomes_a_folder_that_other_programs_open(made, network):
    folder = made
    assert {path.name for path in folder.iterdir()} == FILES

    # the same face in all: the mesh of face.obj in metres, the arrays, and what is read back
    with np.load(folder / 'parameters.npz') as kept:
        obj = trimesh.load(folder / 'face.obj', process=False, maintain_order=True)
        np.testing.assert_allclose(
            trimesh.proximity.closest_point_naive(obj, kept['vertices'][::200] / 1000)[1], 0, atol=1e-5
        )
        face, about = asset.read(folder)
        np.testing.assert_array_equal(face.vertices, kept['vertices'])
        # the eyes of the photograph are at 200 to 245, 105 to 125 (by hand)
        eyes = kept['landmarks2d'][36:48].mean(0)
        assert np.abs(eyes - [223, 113]).max() < 25
    layers = np.load(folder / 'layers.npz')
    assert layers['photo'].shape == (512, 512, 3) and 0.02 < layers['coverage'].mean() < 0.1
    assert about['camera']['focal'] == pytest.approx(700, rel=1e-4)
    assert about['photograph'] == 'astronaut.png' and 'CC0' in about['model']['licence']
    prior = linear.albedo(network.model, jnp.zeros(2))[0]
    assert np.abs(np.asarray(face.parameters.maps.diffuse).mean((0, 1)) - np.asarray(prior).mean(0)).max() < 0.05
    for name in ('map_Kd diffuse.png', 'map_Ks specular.png', 'norm normal.png'):
        assert name in (folder / 'face.mtl').read_text()

    # the head: its first part is the skin, in the pose of the photograph, and all that its materials name is there
    whole = trimesh.load(folder / 'head.obj', process=False, group_material=False, skip_materials=True)
    skin = max(whole.geometry.values(), key=lambda part: len(part.faces))
    nearest = trimesh.proximity.closest_point_naive(skin, face.vertices[::300] / 1000)[1]
    np.testing.assert_allclose(nearest, 0, atol=1e-5)
    objects = [line.split()[1] for line in (folder / 'head.obj').read_text().splitlines() if line.startswith('o ')]
    assert objects == ['head', 'eye_left', 'eye_right', 'teeth', 'mouth'] and len(whole.geometry) == 5
    named = {line.split()[1] for line in (folder / 'head.mtl').read_text().splitlines() if line.endswith('.png')}
    assert named == {name for name in FILES if name.startswith(('head_', 'eye_'))} and about['texture'] == 64


def test_the_page_makes_the_same_files_as_the_command(run, astronaut, network, tmp_path):
    assert run(astronaut)[0] == 0
    desk = Desk(tmp_path / 'people', photograph.reconstructor(network, refine=False))
    upload = Path(shutil.copy(astronaut, tmp_path / 'astronaut.png'))
    (folder,) = desk.reconstruct('me', [upload], False, lambda share, words: None).faces
    assert {path.name for path in folder.iterdir()} == FILES
    dated = {'light.exr', 'metadata.json', 'report.html'}  # the second in which it was written, its hash, a copy
    mine, its = (
        {name: content for name, content in contents(where).items() if name not in dated}
        for where in (folder, tmp_path / 'out' / 'astronaut')
    )
    assert mine == its
    about, other = (
        json.loads((where / 'metadata.json').read_text()) for where in (folder, tmp_path / 'out' / 'astronaut')
    )
    assert {**about, 'files': {}} == {**other, 'files': {}}


def test_a_huge_photograph_is_read_at_half_its_size(run, tmp_path, monkeypatch):
    """As one of 108 megapixels would be. What is given is in its own pixels; what comes out says what it is in."""
    monkeypatch.setattr(images, 'MAX_PIXELS', 200_000)
    photo = Image.fromarray(skimage.data.astronaut())
    photo.save(tmp_path / 'huge.jpg', quality=95)
    code, said = run(tmp_path / 'huge.jpg', '--focal=700', '--box=170,60,110,110')
    assert code == 0, said
    folder = tmp_path / 'out' / 'huge'
    with np.load(folder / 'parameters.npz') as kept, np.load(folder / 'layers.npz') as layers:
        assert kept['size'].tolist() == [256, 256] and layers['photo'].shape == (256, 256, 3)
        assert kept['focal'] == pytest.approx(350, rel=1e-4)
        assert np.abs(kept['landmarks2d'].mean(0) - [113, 61]).max() < 13
    about = json.loads((folder / 'metadata.json').read_text())
    assert about['photograph_scale'] == 0.5
    assert len(about['notes']) == 1 and about['notes'][0].startswith('read at half of its size')


def test_what_cannot_be_reconstructed_is_named_and_stops_nothing(run, astronaut, tmp_path):
    bad = tmp_path / 'bad'
    bad.mkdir()
    (bad / 'text.jpg').write_text('not a picture')
    (bad / 'cut.jpg').write_bytes(astronaut.read_bytes()[:3000])
    Image.fromarray(np.full((16, 16, 3), 128, np.uint8)).save(bad / 'tiny.png')
    Image.fromarray(np.full((128, 128, 3), 128, np.uint8)).save(bad / 'nobody.png')
    Image.new('L', (12_000, 12_000)).save(bad / 'huge.png', compress_level=1)
    picture = Image.open(astronaut)
    exif = Image.Exif()
    exif[0x0112] = 8  # to be shown turned back
    picture.convert('L').rotate(-90, expand=True).save(bad / 'turned.jpg', exif=exif)
    picture.convert('CMYK').save(bad / 'printed.jpg')
    picture.putalpha(200)
    picture.save(bad / 'alpha.png')
    code, said = run(bad)
    assert code == 1 and 'of 8 photographs' in said.out
    lines = said.err.strip().splitlines()
    reasons = {
        'text': 'not a readable picture', 'cut': 'not a readable picture', 'tiny': 'no face found',
        'nobody': 'no face found', 'huge': '12000 x 12000 pixels are more than the limit',
    }  # fmt: skip
    for name, reason in reasons.items():
        assert sum(f'{name}.' in line and reason in line for line in lines) == 1, said.err
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'turned', 'printed', 'alpha'}
    code, said = run(bad / 'nobody.png')
    assert code == 2


def test_photographs_of_one_person_share_what_a_person_keeps(run, astronaut, tmp_path):
    Image.fromarray(skimage.data.astronaut()[:, ::-1]).save(tmp_path / 'mirrored.png')
    code, said = run('--same-person', shutil.copy(astronaut, tmp_path), tmp_path / 'mirrored.png')
    assert code == 0 and '2 faces of 2 photographs:' in said.out
    out = tmp_path / 'out'
    first, second = (asset.read(out / name) for name in ('astronaut', 'mirrored'))
    np.testing.assert_array_equal(first[0].parameters.identity, second[0].parameters.identity)
    assert (out / 'astronaut' / 'diffuse.png').read_bytes() == (out / 'mirrored' / 'diffuse.png').read_bytes()
    assert first[1]['person'] == ['astronaut.png', 'mirrored.png']
    assert np.abs(first[0].landmarks2d - second[0].landmarks2d).max() > 10, 'each where it is'


def test_a_video_becomes_a_face_that_moves(run, tmp_path, monkeypatch):
    monkeypatch.setattr(video, 'PICTURE', 32)
    picture = skimage.data.astronaut()
    frames = [np.roll(picture, 4 * k, axis=1) for k in range(4)]
    times = np.array([0, 0.04, 0.5, 0.54])  # a telephone's, whose rate varies
    (tmp_path / 'clip.mp4').write_bytes(film.mp4(frames, times))
    (tmp_path / 'broken.mp4').write_bytes(b'no video')
    code, said = run(tmp_path / 'clip.mp4', tmp_path / 'broken.mp4', '--every=2')
    assert code == 1 and '1 face of 2 videos, 1 failed:' in said.out
    assert 'broken.mp4' in said.err and 'not a readable video' in said.err
    folder = tmp_path / 'out' / 'clip'
    assert {path.name for path in folder.iterdir()} == FILES | {'frames.npz', 'video.mp4'}
    with np.load(folder / 'frames.npz') as kept:
        assert kept['numbers'].tolist() == [0, 2] and kept['times'].tolist() == pytest.approx([0, 0.5], abs=1e-3)
        assert kept['translation'].shape == (2, 3) and kept['light'].shape == (2, 4, 3)
    shown = [frame.time for frame in videos.frames(folder / 'video.mp4', 1)]
    assert shown == pytest.approx([0, 0.5], abs=1e-3)


def test_of_a_video_that_breaks_off_the_face_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr(video, 'PICTURE', 32)
    av = pytest.importorskip('av', reason="needs the extra 'prepare'")
    with av.open(str(tmp_path / 'whole.mkv'), 'w') as container:
        stream = container.add_stream('mpeg4', rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 512, 512, 'yuv420p', 1
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(skimage.data.astronaut(), 'rgb24')))
        container.mux(stream.encode())
    content = (tmp_path / 'whole.mkv').read_bytes()
    (tmp_path / 'cut.mkv').write_bytes(content[: int(0.5 * len(content))])
    code, said = run(tmp_path / 'cut.mkv')
    assert code == 1 and said.out.startswith('1 face of 1 video, 1 failed')
    (note,) = json.loads((tmp_path / 'out' / 'cut' / 'metadata.json').read_text())['notes']
    assert re.fullmatch('the video breaks off: [1-6] of 10 frames can be read', note)
    assert f'cut.mkv: {note}' in said.err


def test_a_black_and_white_photograph_gets_grey_light(run, astronaut, tmp_path):
    Image.open(astronaut).convert('L').save(tmp_path / 'old.jpg', quality=90)
    code, said = run(tmp_path / 'old.jpg', '--box=170,60,110,110')
    assert code == 0, said
    face, about = asset.read(tmp_path / 'out' / 'old')
    light = face.parameters.light
    np.testing.assert_array_equal(light, light[:, :1].repeat(3, -1))
    assert about['notes'] == ["black and white: the light is grey, the skin's hue is the morphable model's"]
    assert 'black and white' in (tmp_path / 'out' / 'old' / 'report.html').read_text()


def test_an_edited_face_is_fitted_on(copied, astronaut, tmp_path, monkeypatch):
    """How it goes on is `test_fit`'s; here, from what, to which photograph and with what frozen."""
    paint = np.full((16, 16, 3), [120, 160, 90], np.uint8)
    Image.fromarray(paint).save(copied / 'diffuse.png', compress_level=1)
    asked = {}

    def go_on(make, face, found, progress):
        asked.update(frozen=make.fitter.frozen, box=face.box, focal=face.sample.focal, texture=make.atlas.mirror.shape)
        return dataclasses.replace(found, parameters=found.parameters.replace(light=2 * found.parameters.light))

    monkeypatch.setattr(photograph.Reconstructor, 'go_on', go_on)
    out = tmp_path / 'on'
    arguments = [str(astronaut), f'--start={copied}', '--freeze=diffuse,normal', f'--out={out}']
    assert reconstruct.main(arguments) == 0
    before, after = (asset.read(folder)[0] for folder in (copied, out / 'astronaut'))
    assert asked['frozen'] == ('diffuse', 'normal') and asked['box'] == before.box
    assert asked['focal'] == pytest.approx(700, rel=1e-4) and asked['texture'][:2] == (16, 16)
    np.testing.assert_array_equal(np.asarray(Image.open(out / 'astronaut' / 'diffuse.png')), paint)
    np.testing.assert_allclose(after.parameters.light, 2 * before.parameters.light)
    mine = contents(copied)
    with pytest.raises(UserError, match='--overwrite'):
        reconstruct.main([*arguments[:-1], f'--out={copied.parent}'])
    assert contents(copied) == mine
    assert reconstruct.main([*arguments[:-1], f'--out={copied.parent}', '--overwrite']) == 0
    assert contents(copied)['diffuse.yours.png'] == mine['diffuse.png'] != contents(copied)['diffuse.png']
    np.testing.assert_array_equal(np.asarray(Image.open(copied / 'diffuse.png')), paint)
    smaller = tmp_path / 'smaller.png'
    Image.open(astronaut).resize((300, 300)).save(smaller)
    with pytest.raises(UserError, match='another size'):
        reconstruct.main([str(smaller), *arguments[1:], '--overwrite'])


def test_several_faces_and_equal_names_get_folders_of_their_own(run, astronaut, tmp_path):
    again = tmp_path / 'again' / 'astronaut.png'
    again.parent.mkdir()
    picture = Image.open(astronaut)
    both = Image.new('RGB', (1024, 512))
    both.paste(picture, (0, 0))
    both.paste(picture, (512, 0))
    both.save(again)
    code, said = run(shutil.copy(astronaut, tmp_path), again)
    assert code == 0 and '3 faces of 2 photographs' in said.out, said
    out = tmp_path / 'out'
    assert {path.name for path in out.iterdir()} == {'astronaut', 'again'}
    assert {path.name for path in (out / 'again').iterdir()} == {'astronaut_0', 'astronaut_1'}
    for k in (0, 1):  # an unknown camera looks at the middle of the crop, 4.5 times its width away
        about = outputs.record(out / 'again' / f'astronaut_{k}')
        assert [about[key] for key in ('photograph', 'face', 'faces')] == ['again/astronaut.png', k, 2]
        assert about['sha256'] == hashlib.sha256(again.read_bytes()).hexdigest()
        with np.load(out / 'again' / f'astronaut_{k}' / 'parameters.npz') as kept:
            x, y, side = kept['box']
            assert kept['focal'] == pytest.approx(4.5 * side, rel=1e-5)
            np.testing.assert_allclose(kept['principal'], [x + side / 2, y + side / 2], atol=1e-2)
    centres = [np.load(out / 'again' / f'astronaut_{k}' / 'parameters.npz')['landmarks2d'].mean(0) for k in (0, 1)]
    assert abs(abs(centres[0][0] - centres[1][0]) - 512) < 20


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.fixture
def edited(copied):
    """The astronaut's folder after its user has worked in it."""
    Image.fromarray(np.full((16, 16, 3), [120, 160, 90], np.uint8)).save(copied / 'diffuse.png')
    (copied / 'notes.txt').write_text('mine')
    return copied


def test_a_face_that_is_there_is_refused_before_the_work_begins(run, astronaut, edited, monkeypatch):
    before = contents(edited.parent)
    monkeypatch.setattr(prediction, 'load', None)
    with pytest.raises(UserError) as caught:
        run(astronaut)
    assert all(word in str(caught.value) for word in (str(edited), '--skip-existing', '--overwrite'))
    assert '\n' not in str(caught.value) and contents(edited.parent) == before
    code, said = run(astronaut, '--skip-existing')
    assert (
        code == 0 and said.out.startswith('0 faces of 1 photograph, 1 skipped:') and contents(edited.parent) == before
    )


def test_overwrite_replaces_what_we_wrote_and_keeps_what_was_edited(run, astronaut, edited):
    paint, old = (edited / 'diffuse.png').read_bytes(), contents(edited)
    code, said = run(astronaut, '--overwrite', '--focal=900')
    assert code == 0 and said.out.startswith('1 face of 1 photograph')
    now = contents(edited)
    assert now.keys() == FILES | {'notes.txt', 'diffuse.yours.png'}
    assert now['diffuse.yours.png'] == paint and now['notes.txt'] == b'mine'
    assert now['diffuse.png'] != paint and now['parameters.npz'] != old['parameters.npz']
    assert f'{edited}: what you had put there is kept as diffuse.yours.png' in said.err
    assert asset.read(edited)[1]['camera']['focal'] == pytest.approx(900, rel=1e-4)


def test_a_face_of_an_earlier_version_is_read_and_nothing_of_it_is_lost(run, astronaut, copied):
    """Its metadata knew no hashes: all of it may be the user's."""
    path = copied / 'metadata.json'
    about = json.loads(path.read_text())
    known = ('jfrecon', 'files', 'sha256', 'face', 'faces', 'residual', 'doubts')
    path.write_text(json.dumps({key: value for key, value in about.items() if key not in known}))
    before = contents(copied)
    assert asset.read(copied)[1]['photograph'] == 'astronaut.png'
    code, said = run(astronaut, '--skip-existing')
    assert code == 0 and '1 skipped' in said.out
    code, _ = run(astronaut, '--overwrite', '--focal=900')
    kept = {name.replace('.yours', ''): content for name, content in contents(copied).items() if '.yours' in name}
    assert code == 0 and all(kept.get(name, contents(copied)[name]) == content for name, content in before.items())


def test_a_full_disk_ends_the_batch_with_what_is_done_and_how_to_go_on(run, astronaut, tmp_path, monkeypatch):
    photos = tmp_path / 'photos'
    for name in ('a/1.png', 'b/1.png'):
        (photos / name).parent.mkdir(parents=True)
        shutil.copy(astronaut, photos / name)
    written, metadata = [], asset._metadata

    def full(*arguments):
        written.append(arguments)
        if len(written) == 2:
            raise OSError(28, 'No space left on device')
        return metadata(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(asset, '_metadata', full)
        with pytest.raises(UserError, match=r'no space is left for .*out: 1 face is done; .*--skip-existing goes on'):
            run(photos)
    out = tmp_path / 'out'
    assert {path.name for path in out.rglob('*') if not path.is_file()} == {'a', '1', 'b'}
    assert not list((out / 'b').iterdir()), 'whole or not at all'
    code, said = run(photos, '--skip-existing')
    assert code == 0 and said.out.startswith('1 face of 2 photographs, 1 skipped:')
    assert [outputs.record(out / place / '1')['photograph'] for place in 'ab'] == ['a/1.png', 'b/1.png']


def test_one_that_cannot_be_written_is_one_line(run, astronaut, tmp_path, monkeypatch):
    photos = tmp_path / 'photos'
    photos.mkdir()
    hard = [os.fsdecode(b'caf\xe9.png'), f'{"x" * 251}.png', 'refused.png', 'two\nlines.png']
    for name in hard:
        shutil.copy(astronaut, photos / name)
    os.mkfifo(photos / 'pipe.png')
    os.mkfifo(tmp_path / 'pipe.png')
    publish = outputs.publish

    def refuse(made, target, *how):
        if target.name == 'refused':
            raise PermissionError(13, 'Permission denied', str(target))
        return publish(made, target, *how)

    monkeypatch.setattr(outputs, 'publish', refuse)
    code, said = run(photos, tmp_path / 'pipe.png')
    assert code == 1 and said.out.startswith('3 faces of 5 photographs, 2 failed:'), said
    assert said.err.count('failed:') == 2
    assert 'failed: pipe.png: it is a named pipe, not a file' in said.err
    assert f'failed: photos/refused: {tmp_path / "out" / "photos" / "refused"}: Permission denied' in said.err
    faces = sorted((tmp_path / 'out' / 'photos').iterdir())
    assert len(faces) == 3 and all(len(os.fsencode(path.name)) <= 255 for path in faces)
    names = {asset.read(path)[1]['photograph'] for path in faces}
    assert names == {'photos/caf\\xe9.png', f'photos/{"x" * 251}.png', 'photos/two\\nlines.png'}
    assert all('\\xe9' not in path.name or 'caf\\xe9' in (path / 'report.html').read_text() for path in faces)


def test_a_folder_inside_of_the_inputs_does_not_feed_on_itself(run, astronaut, tmp_path, monkeypatch):
    shutil.copy(astronaut, tmp_path / 'me.png')
    code, _ = run(tmp_path / 'me.png')
    assert code == 0
    code, said = run(tmp_path, '--skip-existing')
    assert code == 0 and said.out.startswith('0 faces of 1 photograph, 1 skipped:'), said
    assert 'passed over out/me: results of jfrecon' in said.err
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'me'}


def points(network, side: float, x: float, y: float) -> np.ndarray:
    """[68, 2] of the mean face, so many pixels wide, from the front."""
    seen = np.asarray(linear.landmarks(network.model, network.model.mean))[:, :2] * [1, -1]
    return ((seen - seen.mean(0)) * side / np.ptp(seen[:, 0]) + [x, y]).astype(np.float32)


def test_a_photograph_gets_the_landmarks_of_its_path(run, network, astronaut, tmp_path):
    """Two of one name, each with its own; one without, and a row of none."""
    photos = tmp_path / 'photos'
    for name in ('a/1.png', 'b/1.png', 'b/2.png'):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(astronaut, photos / name)
    places = {'b/1.png': (300, 300), 'a/1.png': (200, 120), 'gone.png': (100, 100)}
    rows = [points(network, 90, *place) for place in places.values()]
    np.savez(tmp_path / 'lm.npz', filename=list(places), landmarks=rows)
    code, said = run(photos, f'--landmarks={tmp_path / "lm.npz"}')
    assert code == 1 and said.out.startswith('2 faces of 3 photographs, 1 failed')
    for name in ('a/1.png', 'b/1.png'):
        with np.load(tmp_path / 'out' / name.removesuffix('.png') / 'parameters.npz') as kept:
            x, y, side = kept['box']
            assert np.hypot(x + side / 2 - places[name][0], y + side / 2 - places[name][1]) < 10
    assert 'failed: b/2.png: it has no row of landmarks' in said.err
    assert '1 row of landmarks for no photograph: gone.png' in said.err and '--box' in said.err


def test_landmarks_that_cannot_be_are_named(run, network, astronaut, tmp_path):
    good = points(network, 90, 223, 120)
    holes = good.copy()
    holes[[3, 40]] = np.nan, 0
    rows = {
        'good': good, 'holes': holes, 'inner': np.where(np.arange(68)[:, None] < 17, np.nan, good),
        'turned': good[:, ::-1], 'mirrored': good[cropping.MIRROR], 'fractions': good / 512, 'outside': good + 500,
    }  # fmt: skip
    for name in rows:
        shutil.copy(astronaut, tmp_path / f'{name}.png')
    np.savez(tmp_path / 'lm.npz', filename=[f'{name}.png' for name in rows], landmarks=list(rows.values()))
    code, said = run(*(tmp_path / f'{name}.png' for name in rows), f'--landmarks={tmp_path / "lm.npz"}')
    assert code == 1 and said.out.startswith('3 faces of 7 photographs, 4 failed')
    for name, words in {
        'turned': 'mirrored face, with x and y exchanged', 'mirrored': 'left and right exchanged',
        'fractions': 'fractions', 'outside': '68 of 68 landmarks lie outside of its 512 x 512 pixels',
    }.items():  # fmt: skip
        assert sum(f'failed: {name}.png: ' in line and words in line for line in said.err.splitlines()) == 1, said.err
    boxes = [np.load(tmp_path / 'out' / name / 'parameters.npz')['box'] for name in ('good', 'holes', 'inner')]
    np.testing.assert_allclose(boxes, boxes[:1] * 3, atol=12, err_msg='the jaw lies where the others say')


def test_what_does_not_fit_is_said(run, network, astronaut, tmp_path):
    """The network of these tests finds a face from the front; landmarks of one that is turned do not lie on it."""
    model = network.model
    turned = Rotation.from_euler('y', 50, degrees=True).apply(np.asarray(linear.landmarks(model, model.mean)))
    seen = (turned[:, :2] * [1, -1] - turned[:, :2].mean(0) * [1, -1]) * 0.7 + [223, 120]
    for name in ('fits', 'turned'):
        shutil.copy(astronaut, tmp_path / f'{name}.png')
    names, rows = ['fits.png', 'turned.png'], [points(network, 90, 223, 120), seen]
    np.savez(tmp_path / 'lm.npz', filename=names, landmarks=rows)
    code, said = run(*(tmp_path / name for name in names), f'--landmarks={tmp_path / "lm.npz"}')
    assert code == 0
    fits, not_ = (json.loads((tmp_path / 'out' / name / 'metadata.json').read_text()) for name in ('fits', 'turned'))
    assert fits['residual']['landmarks'] < 0.1 and fits['doubts'] == []
    eyes = np.linalg.norm(np.diff(points(network, 90, 0, 0)[[36, 45]], axis=0))
    with np.load(tmp_path / 'out' / 'turned' / 'parameters.npz') as kept:
        away = np.linalg.norm(kept['landmarks2d'] - seen, axis=-1).mean()
    # the mean face in a crop as wide as the landmarks asked for, its eyes as wide in the same measure
    assert not_['residual']['landmarks'] > 0.2 and 0.6 < not_['residual']['landmarks'] / (away / eyes) < 1.7
    assert 0 < fits['residual']['photograph'] < 1
    words = 'its landmarks are 0.'
    assert any(words in text for text in not_['doubts'])
    assert 'doubtful: turned: ' in said.err and 'turned' in said.out.split('doubtful (')[1]
    assert 'Doubtful: its landmarks' in (tmp_path / 'out' / 'turned' / 'report.html').read_text()


@pytest.mark.parametrize('focal, words', [('35', 'times 16.7 are pixels'), ('1e9', 'would see')])
def test_a_focal_length_in_millimetres_is_named(run, astronaut, focal, words):
    code, said = run(astronaut, f'--focal={focal}')
    assert code == 2 and 'failed: astronaut.png: with a focal length of' in said.err and words in said.err


def test_what_is_no_face_is_not_written_over(run, astronaut, tmp_path):
    mine = tmp_path / 'out' / 'astronaut' / 'mine.txt'
    mine.parent.mkdir(parents=True)
    mine.write_text('mine')
    for flags in ([], ['--overwrite'], ['--skip-existing']):
        with pytest.raises(UserError, match='choose another'):
            run(astronaut, *flags)
    assert mine.read_text() == 'mine' and [path.name for path in mine.parent.iterdir()] == ['mine.txt']


@pytest.mark.parametrize('wrong', ['missing', 'pickle', 'shape', 'box', 'nan', 'map'])
def test_a_folder_that_is_no_face_is_named(wrong, copied):
    folder = copied / 'nowhere' if wrong == 'missing' else copied
    if wrong != 'missing':
        with np.load(folder / 'parameters.npz') as kept:
            arrays = dict(kept)
        if wrong == 'pickle':
            arrays['light'] = np.array([{}], object)
        elif wrong == 'shape':
            arrays['light'] = arrays['light'][:, :2]
        elif wrong == 'box':
            arrays['box'] = arrays['box'][:2]
        elif wrong == 'nan':
            arrays['expression'] = arrays['expression'] * np.nan
        else:
            (folder / 'diffuse.png').write_text('edited')
        np.savez(folder / 'parameters.npz', **arrays)
    with pytest.raises(UserError, match=str(folder)):
        asset.read(folder)


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['nowhere.jpg'], 'no such file'),
        (['--focal=-3', 'x.jpg'], 'focal'),
        (['--focal=inf', 'x.jpg'], '--focal=inf is not a focal length'),
        (['--focal=nan', 'x.jpg'], 'focal'),
        (['--overwrite', '--skip-existing', 'x.jpg'], 'not allowed with'),
        (['--box=1,2,3', 'x.jpg'], 'X,Y,W,H'),
        (['--freeze=diffuse', 'x.jpg'], '--start'),
        (['--start=x', 'x.jpg'], 'leave --checkpoint out'),
    ],
)
def test_wrong_arguments(arguments, words, network, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(prediction, 'load', lambda _: (network, None, 0))
    with pytest.raises((UserError, SystemExit)) as caught:
        reconstruct.main([*arguments, f'--out={tmp_path}', '--checkpoint=none'])
    assert words in str(caught.value) + capsys.readouterr().err


def test_videos_start_from_the_network_that_comes_along_photographs_from_none(
    network, astronaut, tmp_path, monkeypatch
):
    asked = []

    def load(path):
        asked.append(path)
        return network, None, 0

    def make(found, refine, *_):
        asked.append((found, refine))
        raise UserError('far enough')

    monkeypatch.setattr(mesh, 'DETECTOR', detectors.ASTRONAUT)
    monkeypatch.setattr(prediction, 'load', load)
    monkeypatch.setattr(reconstruct.photograph, 'reconstructor', make)
    (tmp_path / 'clip.mp4').write_bytes(b'')
    for path in (astronaut, tmp_path / 'clip.mp4'):
        with pytest.raises(UserError, match='far enough'):
            reconstruct.main([str(path), f'--out={tmp_path}'])
    assert asked == [(None, False), pretrained.NETWORK, (network, True)]
    config, step, params, _ = checkpoints.load(pretrained.NETWORK)
    assert config['model']['name'] == 'makehuman' and step == config['steps'] and 'encoder' in params
    assert pretrained.NETWORK.stat().st_size < 10e6


def test_where_nothing_can_be_written_nothing_is_computed(astronaut, tmp_path):
    file = tmp_path / 'file'
    file.write_text('')
    with pytest.raises(OSError, match='file'):
        reconstruct.main([str(astronaut), f'--out={file / "out"}', '--checkpoint=none'])
