from __future__ import annotations

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial
import trimesh
from PIL import Image

from jfrecon import morphable, relight
from jfrecon.data import listing, profiles
from jfrecon.data.cropping import Box
from jfrecon.errors import UserError
from jfrecon.export import asset, hdri
from jfrecon.geometry import uv
from jfrecon.morphable import linear
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.render import portraits, surface
from jfrecon.render.portraits import Portrait
from jfrecon.shading import sh
from jfrecon.types import FaceParameters, Maps, Pinhole
from tests.export import glb

SIZE, TEXTURE = 48, 16
MODES = (2, 52, 2)


@pytest.fixture(scope='module', autouse=True)
def cheap():
    """Shadows of 64 directions and small panels: without optimisations rays are slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portraits, 'DIRECTIONS', 64)
        patch.setattr(asset, 'PANEL', SIZE)
        yield


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Folders of two faces of one morphable model, in photographs of 48 pixels: lit from the left, from the right."""
    out = tmp_path_factory.mktemp('faces')
    model, filled = (linear.truncate(load(), *MODES) for load in (morphable.load, morphable.load_portrait))
    portrait = Portrait(filled, None, 0.4)
    texels = uv.texel_map(model.topology, TEXTURE)
    atlas = uv.atlas(model.topology, np.asarray(model.mean), 2 * TEXTURE)  # as of a network whose maps are smaller
    draws = np.random.default_rng(0)
    for name, side in (('left', -1), ('right', 1)):
        light = np.zeros((16, 3), np.float32)
        light[0], light[3] = sh.GREY, 1.2 * side
        expression = np.zeros(52, np.float32)
        expression[model.expression_names.index('jawOpen')] = 0.5 if side > 0 else 0.0
        prior = surface.prior_maps(model, texels, jnp.zeros((1, 2)))
        maps = Maps(
            np.asarray(prior.diffuse[0]) * (0.8 if side < 0 else 1.1),
            np.asarray(prior.specular[0]) + 0.05 * (side > 0),
            np.zeros((TEXTURE, TEXTURE, 3), np.float32) + np.array([0, 0, 1], np.float32),
        )
        chi = FaceParameters(
            draws.normal(size=2).astype(np.float32), expression, np.zeros(2, np.float32), np.zeros(3, np.float32),
            np.array([0, 0, -900], np.float32), light, maps, perspective=side < 0,
        )  # fmt: skip
        camera = Pinhole(np.float32(4 * SIZE), np.full(2, SIZE / 2, np.float32))
        one, pinhole = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (chi, camera))
        posed = surface.posed(model, one, pinhole)
        image, _ = portraits.photo(portrait, one, pinhole, (SIZE, SIZE))
        face = Reconstruction(
            chi, np.asarray(posed.vertices[0]), np.asarray(linear.landmarks(model, posed.pixels)[0]), camera,
            Box(0.0, 0.0, float(SIZE)), (SIZE, SIZE),
        )  # fmt: skip
        photo = np.round(np.asarray(image[0]) * 255).astype(np.uint8)
        facts = {'photograph': f'{name}.png'}
        asset.write(out / name, model, portrait, face, atlas, photo, facts, texture=64)
    return out


@pytest.fixture(scope='module')
def relit(made):
    """The left face under its own light, a lamp straight above, and the other's light."""
    lamp = np.full((relight.ROWS, 2 * relight.ROWS, 3), 0.05, np.float32)  # as many as a light of a face has
    lamp[:6] = 20
    hdri.write(made / 'above.exr', lamp)
    out = made / 'relit'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relight, 'STILL', 4)
        patch.setattr(relight, 'MOVING', 1)
        given = [str(made / 'above.exr'), str(made / 'right')]
        relight.main([str(made / 'left'), f'--out={out}', '--light', *given, f'--size={SIZE}', '--frames=2'])
    return out


def brightness(picture: Path) -> np.ndarray:
    """Left, right, upper and lower half of a face on a transparent ground."""
    values = np.asarray(Image.open(picture).convert('RGBA')).astype(float)
    grey, cover = values[..., :3].mean(-1), values[..., 3] > 128
    half = SIZE // 2
    places = np.s_[:, :half], np.s_[:, half:], np.s_[:half], np.s_[half:]
    return np.array([grey[place][cover[place]].mean() for place in places])


def test_a_face_is_lit_from_where_the_light_is(relit):
    own, other, above = (brightness(relit / f'{name}.png') for name in ('own', 'right', 'above'))
    assert own[0] > 1.15 * own[1] and other[1] > 1.15 * other[0]
    assert above[2] > 1.1 * above[3]


def test_a_face_is_read_with_its_camera_and_maps_of_its_own_size(made):
    for name, perspective in (('left', True), ('right', False)):
        face, about = asset.read(made / name)
        assert face.parameters.perspective == perspective == (not about['camera']['weak_perspective'])
        assert face.parameters.maps.diffuse.shape == (TEXTURE, TEXTURE, 3)


@pytest.mark.parametrize('name', ['left', 'right'])
def test_every_file_has_the_face_where_the_photograph_shows_it(name, made):
    """By the camera of metadata.json, as it says; vertices, face.obj and face.glb are the same, in their units."""
    camera = json.loads((made / name / 'metadata.json').read_text())['camera']
    kept = dict(np.load(made / name / 'parameters.npz'))
    vertices = kept['vertices']
    scale = camera['scale'] if camera['weak_perspective'] else camera['focal'] / -vertices[:, 2:]
    pixels = camera['principal'] + scale * vertices[:, :2] * [1, -1]
    np.testing.assert_allclose(pixels[kept['landmark_ids']], kept['landmarks2d'], atol=0.01)
    assert (camera['height'], camera['width']) == (SIZE, SIZE) and 'upper left' in camera['frame']

    found = trimesh.load(made / name / 'face.obj', process=False, maintain_order=True)
    np.testing.assert_allclose(found.vertices, vertices / 1000, atol=1e-6)
    np.testing.assert_array_equal(found.faces, kept['faces'])
    topology = morphable.load().topology
    corners = found.visual.uv[found.faces]
    np.testing.assert_allclose(corners, topology.uv[topology.uv_triangles], atol=1e-6)
    assert found.visual.material.image.size == (TEXTURE, TEXTURE)
    stored = np.array([line.split()[1:] for line in (made / name / 'face.obj').open() if line[:3] == 'vn '], float)
    bare = trimesh.Trimesh(vertices, kept['faces'], process=False)
    sums = np.zeros_like(vertices, dtype=float)
    np.add.at(sums, bare.faces, (bare.area_faces[:, None] * bare.face_normals)[:, None])
    np.testing.assert_allclose(stored, sums / np.linalg.norm(sums, axis=-1, keepdims=True), atol=1e-4)
    material = (made / name / 'face.mtl').read_text().splitlines()
    assert material[0] == 'newmtl face' and all(
        f' {map}.png' in str(material) for map in ('diffuse', 'specular', 'normal')
    )
    named = [line.split()[1] for line in material if line.endswith('.png')]
    assert len(named) == 3 and all((made / name / file).is_file() for file in named)

    file = glb.read((made / name / 'face.glb').read_bytes())
    away, vertex = scipy.spatial.cKDTree(glb.vertices(file)).query(vertices / 1000)
    assert away.max() < 1e-4, 'm; expressions that add up, each left out below a micrometre'
    assert np.abs(glb.photographed(file, glb.vertices(file))[vertex] - pixels).max() < 0.05


def test_eyes_of_another_version_are_named(made, tmp_path):
    """Colours of eyes and teeth belong to vertices: with fewer or more of these they would be painted on others."""
    folder = tmp_path / 'older'
    shutil.copytree(made / 'left', folder)
    kept = dict(np.load(folder / 'parameters.npz'))
    np.savez(folder / 'parameters.npz', **kept, behind=np.full((564, 3), 0.5, np.float32))
    with pytest.raises(UserError, match=r'have 564 vertices, those of makehuman now have [0-9]+'):
        relight.main([str(folder), f'--out={tmp_path / "out"}'])


def test_its_own_light_gives_the_picture_back(made, relit):
    """By the ray tracer, where the photograph was drawn in closed form and without shadows."""
    drawn = np.asarray(Image.open(relit / 'own.png')).astype(float)
    photo = np.asarray(Image.open(made / 'left' / 'photograph.png')).astype(float)
    inside = drawn[..., 3] == 255
    difference = np.abs(drawn[..., :3] - photo)[inside]
    assert inside.mean() > 0.1 and np.median(difference) < 8, np.median(difference)


def test_the_light_turns_once_around_the_face(relit):
    import av

    film = Image.open(relit / 'own.gif')
    assert film.n_frames == 2
    sides = []
    for number in range(2):
        film.seek(number)
        grey = np.asarray(film.convert('L')).astype(float)
        sides.append(grey[:, : SIZE // 2].mean() - grey[:, SIZE // 2 :].mean())
    assert sides[0] > 5 and sides[1] < -5, 'half a turn later it comes from the other side'
    with av.open(str(relit / 'own.mp4')) as container:
        assert len(list(container.decode(video=0))) == 2


def test_shadows_are_removed_and_nothing_else(made):
    """A photograph that the portrait has drawn with shadows becomes the one that it draws without."""
    face, about = asset.read(made / 'left')
    _, portrait = asset.models(face, about, None)
    chi, camera = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (face.parameters, asset.square(face, SIZE)))
    pictures = {}
    for name, kind in (('shadows', portrait), ('none', Portrait(portrait.model, None, portrait.roughness))):
        image, coverage = portraits.photo(kind, chi, camera, (SIZE, SIZE))
        pictures[name] = np.round(np.asarray(image[0]) * 255).astype(np.uint8)
    removed = relight.unshadowed(portrait, face.parameters, asset.square(face, SIZE), pictures['shadows'])
    skin = np.asarray(coverage[0]) > 0
    before = np.abs(pictures['shadows'].astype(float) - pictures['none'])[skin].mean()
    after = np.abs(removed.astype(float) - pictures['none'])[skin].mean()
    assert before > 1 and after < 0.2 * before, (before, after)
    np.testing.assert_array_equal(removed[~skin], pictures['shadows'][~skin])


def test_parts_of_another_face(made, tmp_path):
    parts = 'diffuse,specular,light,expression'
    arguments = [f'--transfer={parts}', f'--from={made / "right"}', '--frames=0', f'--size={SIZE}']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relight, 'STILL', 1)
        relight.main([str(made / 'left'), f'--out={tmp_path}', *arguments])
    mine, other, got = (asset.read(folder)[0] for folder in (made / 'left', made / 'right', tmp_path / 'face'))
    for name in ('light', 'expression'):
        np.testing.assert_array_equal(getattr(got.parameters, name), getattr(other.parameters, name))
    np.testing.assert_allclose(got.parameters.maps.diffuse, other.parameters.maps.diffuse, atol=0.01)
    np.testing.assert_allclose(got.parameters.maps.normal, mine.parameters.maps.normal, atol=0.01)
    np.testing.assert_array_equal(got.parameters.identity, mine.parameters.identity)
    gap = lambda face: face.landmarks2d[66, 1] - face.landmarks2d[62, 1]  # between the lips
    assert gap(got) > gap(mine) + 1, 'the mouth opens'


def test_an_edited_texture_is_what_is_shown(made, tmp_path):
    folder = Path(shutil.copytree(made / 'left', tmp_path / 'green'))
    Image.new('RGB', (TEXTURE, TEXTURE), (20, 200, 20)).save(folder / 'diffuse.png')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relight, 'STILL', 1)
        relight.main([str(folder), f'--out={tmp_path / "out"}', '--frames=0', f'--size={SIZE}'])
    shown = np.asarray(Image.open(tmp_path / 'out' / 'own.png')).astype(float)
    red, green, blue = shown[shown[..., 3] == 255][:, :3].mean(0)
    assert green > 1.5 * max(red, blue)


TIMES = np.array([0.0, 0.04, 0.5])


@pytest.fixture(scope='module')
def moving(made):
    """The left face as that of a video of three frames, in which it turns and smiles."""
    face, about = asset.read(made / 'left')
    model, portrait = asset.models(face, about, None)
    every = lambda leaf: np.repeat(np.asarray(leaf)[None], len(TIMES), 0)
    motion = jax.tree.map(every, face.parameters.replace(maps=None))
    motion = motion.replace(rotation=np.array([[0, a, 0] for a in (0, 0.1, -0.2)], np.float32))
    motion.expression[:, 3] = 0.1, 0.5, 0.9
    atlas = uv.atlas(model.topology, np.asarray(model.mean), TEXTURE)
    photo = np.asarray(Image.open(made / 'left' / 'photograph.png'))
    video = asset.Video(motion, np.array([0, 1, 2]), TIMES)
    facts = {'photograph': 'clip.mp4', 'notes': ['breaks off']}
    asset.write(made / 'moving', model, portrait, face, atlas, photo, facts, video, texture=64)
    return made / 'moving'


@pytest.mark.parametrize('parts', ['', 'light,expression'])
def test_a_face_of_a_video_goes_on_moving(parts, moving, made, tmp_path, monkeypatch):
    monkeypatch.setattr(relight, 'STILL', 1)
    arguments = [f'--transfer={parts}', f'--from={made / "right"}'] if parts else []
    relight.main([str(moving), f'--out={tmp_path}', '--frames=0', f'--size={SIZE}', *arguments])
    before, other = asset.read(moving)[0], asset.read(made / 'right')[0]
    after, about = asset.read(tmp_path / 'face')
    assert about['notes'] == ['breaks off'] and about['photograph'] == 'clip.mp4'
    was, found = asset.read_video(moving, before), asset.read_video(tmp_path / 'face', after)
    np.testing.assert_array_equal(found.times, TIMES)
    np.testing.assert_array_equal(found.motion.rotation, was.motion.rotation)
    for name in ('expression', 'light'):
        moved = getattr(was.motion, name)
        wanted = np.broadcast_to(getattr(other.parameters, name), moved.shape) if parts else moved
        np.testing.assert_array_equal(getattr(found.motion, name), wanted)
    film = glb.read((tmp_path / 'face' / 'face.glb').read_bytes())
    keys = film.accessors[film.file.animations[0].samplers[0].input]
    np.testing.assert_allclose(keys[:, 0], TIMES, atol=1e-6)
    assert asset.read_video(made / 'left', before) is None


@pytest.mark.parametrize('wrong', ['times', 'rotation', 'nan', 'old', 'text'])
def test_a_motion_that_is_none_is_named(wrong, moving, tmp_path):
    folder = Path(shutil.copytree(moving, tmp_path / 'face'))
    with np.load(folder / 'frames.npz') as kept:
        arrays = dict(kept)
    if wrong == 'times':
        arrays['times'] = TIMES[::-1]
    elif wrong == 'rotation':
        arrays['rotation'] = arrays['rotation'][:2]
    elif wrong == 'nan':
        arrays['light'] = arrays['light'] * np.nan
    elif wrong == 'old':
        del arrays['times']
    np.savez(folder / 'frames.npz', **arrays)
    if wrong == 'text':
        (folder / 'frames.npz').write_text('moved')
    with pytest.raises(UserError, match=r'frames\.npz'):
        asset.read_video(folder, asset.read(folder)[0])


def test_a_profile_of_an_editor_is_for_colours_alone(made, tmp_path):
    """An albedo that was saved in another gamma is converted; normals, whatever the editor wrote there, are not."""
    folder = Path(shutil.copytree(made / 'left', tmp_path / 'edited'))
    linear_gamma = profiles.matrix_profile(profiles.SRGB, 1.0)
    Image.new('RGB', (TEXTURE, TEXTURE), (51, 102, 51)).save(folder / 'diffuse.png', icc_profile=linear_gamma)
    with Image.open(folder / 'normal.png') as picture:
        picture.save(folder / 'normal.png', icc_profile=linear_gamma)
    before, after = (asset.read(path)[0].parameters.maps for path in (made / 'left', folder))
    np.testing.assert_array_equal(after.normal, before.normal)
    np.testing.assert_allclose(after.diffuse[0, 0], [0.2, 0.4, 0.2], atol=0.005)


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--transfer=hair', '--from=x'], 'hair'),
        (['--transfer=light'], '--from'),
        (['--light', 'nowhere.hdr'], 'nowhere.hdr'),
        (['--size=17'], 'even and at least 16'),
        (['--size=14'], 'even and at least 16'),
        (['--frames=-1'], '--frames at least 0'),
    ],
)
def test_wrong_arguments(arguments, words, made, tmp_path):
    with pytest.raises(UserError, match=words):
        relight.main([str(made / 'left'), f'--out={tmp_path}', *arguments])


def test_what_is_no_face_is_named(made, tmp_path):
    with pytest.raises(UserError, match='no reconstructed face'):
        relight.main([str(tmp_path), f'--out={tmp_path / "out"}'])
    assert not (tmp_path / 'out').exists()
    folder = Path(shutil.copytree(made / 'left', tmp_path / 'other'))
    about = (folder / 'metadata.json').read_text().replace('"makehuman"', '"ict"')
    (folder / 'metadata.json').write_text(about)
    with pytest.raises(UserError, match='needs a path'):
        relight.main([str(folder), f'--out={tmp_path / "out"}'])


def test_a_face_that_does_not_go_with_it_is_named(made, tmp_path):
    folder = Path(shutil.copytree(made / 'right', tmp_path / 'other'))
    about = json.loads((folder / 'metadata.json').read_text())
    (folder / 'metadata.json').write_text(json.dumps({**about, 'model': {**about['model'], 'name': 'ict'}}))
    with pytest.raises(UserError, match='are not faces of the same morphable model'):
        relight.main([str(made / 'left'), f'--out={tmp_path / "out"}', '--transfer=light', f'--from={folder}'])
    folder = Path(shutil.copytree(made / 'left', tmp_path / 'wide'))
    Image.new('RGB', (SIZE, SIZE + 1)).save(folder / 'photograph.png')
    with pytest.raises(UserError, match=r'photograph\.png is not square'):
        relight.main([str(folder), f'--out={tmp_path / "out"}'])
    (folder / 'photograph.png').write_text('no picture')
    with pytest.raises(UserError, match=r'photograph\.png: '):
        relight.main([str(folder), f'--out={tmp_path / "out"}'])
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('there', ['own.png', 'sun.mp4', 'sun.gif', 'unshadowed.png', 'face', 'report.html'])
def test_what_would_be_written_is_in_the_way(there, tmp_path):
    options = relight._parse(['face', f'--out={tmp_path}', '--frames=2'])
    relight._require_free(options, ['sun'])
    (tmp_path / there).write_text('mine')
    with pytest.raises(UserError, match=f'{there} is there already'):
        relight._require_free(options, ['sun'])
    options.frames = 0
    if there.startswith('sun'):
        relight._require_free(options, ['sun'])  # films that nobody asks for
    options.overwrite = True
    relight._require_free(options, ['sun'])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_pictures_that_are_there_are_refused_before_the_work_begins(made, relit, monkeypatch):
    before = contents(relit)
    monkeypatch.setattr(relight, 'unshadowed', None)
    with pytest.raises(UserError, match=r'face is there already: --overwrite'):
        relight.main([str(made / 'left'), f'--out={relit}'])
    with pytest.raises(UserError, match=r'holds another result of jfrecon \(face\): choose another --out'):
        relight.main([str(made / 'left'), f'--out={made / "left"}', '--overwrite'])
    (made / 'album').mkdir()
    (made / 'album' / 'own.png').write_text('mine')
    with pytest.raises(UserError, match=r'own\.png is there already'):
        relight.main([str(made / 'left'), f'--out={made / "album"}'])
    assert contents(relit) == before and contents(made / 'album') == {'own.png': b'mine'}


def test_overwrite_keeps_what_was_edited(made, relit, tmp_path, monkeypatch, capsys):
    folder = Path(shutil.copytree(relit, tmp_path / 'relit'))
    for name in ('own.png', 'face/diffuse.png'):
        Image.new('RGB', (8, 8), (1, 2, 3)).save(folder / name)
    (folder / 'notes.txt').write_text('mine')
    edited = contents(folder)
    capsys.readouterr()
    monkeypatch.setattr(relight, 'STILL', 1)
    relight.main([str(made / 'left'), f'--out={folder}', '--frames=0', f'--size={SIZE}', '--overwrite'])
    now, said = contents(folder), capsys.readouterr().err
    for name, kept in {'own.png': 'own.yours.png', 'face/diffuse.png': 'face/diffuse.yours.png'}.items():
        assert now[kept] == edited[name] != now[name] and f'what you had put there is kept as {kept}' in said
    assert now['notes.txt'] == b'mine' and 'own.gif' not in now and 'right.png' not in now
    assert asset.read(folder / 'face')
    assert [why for _, why in listing.find([tmp_path], ('.png',)).closed] == ['results of jfrecon']


def test_what_is_drawn_before_ctrl_c_stays(made, tmp_path, monkeypatch):
    monkeypatch.setattr(relight, 'STILL', 1)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(relight.Studio, 'turn', interrupted)
    with pytest.raises(KeyboardInterrupt):
        relight.main([str(made / 'left'), f'--out={tmp_path / "out"}', f'--size={SIZE}', '--frames=4'])
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        'face',
        'own.png',
        'unshadowed.png',
        'metadata.json',
    }


def test_each_light_has_a_name_of_its_own(tmp_path):
    given = ('a/sun.hdr', 'b/sun.hdr', 'c/b/sun.exr', 'x/own.hdr', 'x/unshadowed.exr', 'x/SUN.hdr')
    lights = [tmp_path / name for name in given]
    names = relight.named([*lights, lights[0]])
    assert list(names) == ['sun', 'b_sun', 'sun-2', 'x_own', 'x_unshadowed', 'x_SUN']
    assert list(names.values()) == lights
