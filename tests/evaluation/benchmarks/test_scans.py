"""The benchmarks with scans: a network that knows the face is right, whatever the layout and the frame of the scan."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from PIL import Image

from jfrecon.errors import UserError
from jfrecon.evaluation import benchmarks, now
from jfrecon.evaluation.benchmarks import micc, run, scans, views
from jfrecon.evaluation.benchmarks.now_challenge import read_box
from tests.evaluation.benchmarks import scene


def judged(benchmark, predictor=None):
    """Rows of all photographs."""
    predictor = predictor or scene.predictor()
    found = predictor.faces(benchmark.source, benchmark.source.rule(predictor.crop_scale))
    return [benchmark.score(index, predictor, face) for index, face in found]


def arrange(folder, expression=True):
    for name in ('a', 'b'):
        scene.write_photo(folder / 'pictures' / f'{name}.jpg')
    scene.write_scan(folder / 'scan.obj', folder / 'scan.txt', scene.vertices(expression))
    scene.write_landmarks(folder, ['pictures/a.jpg', 'pictures/b.jpg'])
    rows = [f'pictures/{name}.jpg,scan.obj,scan.txt' for name in ('a', 'b')]
    (folder / 'index.csv').write_text('\n'.join(['image,scan,landmarks', *rows]))
    return folder


@pytest.mark.parametrize('name', ['facescape', 'superfaces', '3dfaw'])
def test_arranged_benchmarks_find_a_known_face(tmp_path, name):
    benchmark = benchmarks.load(name, arrange(tmp_path))
    summary = benchmark.summary(judged(benchmark))
    # the file keeps 9 digits of coordinates below a metre, and float32 vertices at 600 mm are exact to 6e-5 mm
    assert summary['vertex_mm'] < 1e-3 and summary['scan_to_mesh_median_mm'] < 1e-3
    assert summary['normal_rad'] < 1e-3 and summary['vertex_mm_std'] < 1e-3
    assert benchmark.note


def test_arranged_benchmarks_see_the_expression(tmp_path):
    benchmark = benchmarks.load('facescape', arrange(tmp_path, expression=False))
    rows = judged(benchmark)
    # a smile moves corners of the mouth by millimetres
    assert all(row['vertex_mm'] > 0.2 and row['scan_to_mesh_mm'] > 0.1 for row in rows)


def now_folder(folder, images=('one/selfie/IMG_1.jpg', 'one/multiview_neutral/IMG_2.jpg')):
    low, high = scene.landmarks2d().min(0), scene.landmarks2d().max(0)
    box = {'left': low[0], 'top': low[1], 'right': high[0], 'bottom': high[1]}
    pictures = folder / 'final_release_version'
    for image in images:
        scene.write_photo(pictures / 'iphone_pictures' / image)
        path = (pictures / 'detected_face' / image).with_suffix('.npy')
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.array(box, dtype=object), allow_pickle=True)
    (folder / 'imagepathsvalidation.txt').write_text('\n'.join(images) + '\n')
    marks = folder / 'scans_lmks_onlypp' / 'one' / 'head_picked_points.pp'
    scene.write_scan(folder / 'scans' / 'one' / 'head.obj', marks, scene.vertices(expression=False))
    return folder


def test_now_measures_the_neutral_face_and_exports_it(tmp_path):
    benchmark = benchmarks.load('now', now_folder(tmp_path))
    predictor = scene.predictor()
    rows = judged(benchmark, predictor)
    summary = benchmark.summary(rows)
    assert set(summary) == {
        f'{name}_mm{suffix}' for name in ('median', 'mean', 'std') for suffix in ('', '_selfie', '_multiview_neutral')
    }
    # the predicted face smiles, the scan does not: with the expression left in this is tenths of a millimetre
    assert max(summary.values()) < 1e-3
    for index, face in predictor.faces(benchmark.source, benchmark.source.rule(1.8)):
        benchmark.export(tmp_path / 'out', index, predictor, face)
    written = trimesh.load(tmp_path / 'out' / 'one' / 'selfie' / 'IMG_1.obj', process=False)
    neutral = scene.vertices(expression=False, posed=False)
    np.testing.assert_allclose(written.vertices, neutral, atol=1e-4)
    marks = np.load(tmp_path / 'out' / 'one' / 'selfie' / 'IMG_1.npy')
    np.testing.assert_allclose(marks, neutral[np.asarray(scene.model().landmark_ids)[list(now.LANDMARKS)]], atol=1e-4)


def test_now_boxes_are_read_without_running_them(tmp_path):
    np.save(tmp_path / 'box.npy', np.array({'left': 10, 'right': 30, 'top': 20.0, 'bottom': np.float64(44)}, object))
    box = read_box(tmp_path / 'box.npy')
    assert box.side == pytest.approx(22 * 1.6 / 1.375)  # mean of 20 and 24, grown about the middle (20, 32)
    assert (box.x + box.side / 2, box.y + box.side / 2) == pytest.approx((20, 32))

    class Evil:
        def __reduce__(self):
            return (print, ('run',))

    np.save(tmp_path / 'evil.npy', np.array(Evil(), object), allow_pickle=True)
    np.save(tmp_path / 'other.npy', np.array({'left': 1}, object))
    for name in ('evil.npy', 'other.npy'):
        with pytest.raises(UserError, match=name):
            read_box(tmp_path / name)


def test_the_test_set_of_now_is_exported_only(tmp_path, monkeypatch):
    monkeypatch.setattr(run, 'PANEL', 32)
    folder = now_folder(tmp_path)
    (folder / 'imagepathsvalidation.txt').rename(folder / 'imagepathstest.txt')
    predictors = {'mean_face': scene.predictor(), 'trained': scene.predictor()}
    assert run.run(benchmarks.load('now', folder), predictors, tmp_path / 'now.json') == {}
    assert len(list((tmp_path / 'now_export' / 'one').rglob('*.obj'))) == 2


GREY = 0.6  # a colour of the vertices: 153 of 255


def micc_folder(folder):
    scan = folder / 'subject_01' / 'Model' / 'frontal1' / 'obj' / '110920150452.obj'
    scene.write_scan(scan, scan.with_suffix('.pp'), scene.vertices(posed=False))
    lines = scan.read_text().splitlines()
    scan.write_text('\n'.join(f'{line} {GREY} {GREY} {GREY}' if line[0] == 'v' else line for line in lines))
    return folder


def test_micc_photographs_its_scans_and_finds_a_known_face(tmp_path, monkeypatch):
    monkeypatch.setattr(views, 'SIZE', 64)
    benchmark = benchmarks.load('micc', micc_folder(tmp_path))
    assert len(benchmark.source) == 20
    assert benchmark.source.name(7) == 'subject_01_0_0'
    frontal, turned, down = (benchmark.source.read(micc.POSES.index(pose)) for pose in ((0, 0), (0, 40), (25, 0)))
    for sample in (frontal, turned, down):
        grey = sample.image.max(-1) > 0
        assert 0.1 < grey.mean() < 0.9 and set(np.unique(sample.image)) == {0, 153}
        # the box of the landmarks takes its share of the frontal view, and stays in the others
        assert (sample.landmarks > 0).all() and (sample.landmarks < 64).all()
    assert np.ptp(frontal.landmarks, axis=0).max() == pytest.approx(64 * views.FILL, rel=0.15)
    nose, eyes = 30, (36, 45)
    # towards the image's right, and down: the nose moves so with respect to the eyes
    shift = lambda sample: sample.landmarks[nose] - sample.landmarks[list(eyes)].mean(0)
    assert shift(turned)[0] > shift(frontal)[0] + 3 and shift(down)[1] > shift(frontal)[1] + 1

    predictor = scene.predictor()
    _, face = next(predictor.faces(benchmark.source, benchmark.source.rule(1.8)))
    row = benchmark.score(0, predictor, face)
    # percent of 90 mm between the eyes: float32 vertices again
    assert row['nme'] < 1e-3 and (row['pitch'], row['yaw']) == (-15, -80)
    rows = [{'nme': float(pitch == 0), 'pitch': pitch, 'yaw': yaw} for pitch, yaw in micc.POSES]
    assert benchmark.summary(rows) == {
        'nme': 0.25, 'nme_15': 0.0, 'nme_yaw_0': 0.25, 'nme_yaw_40': 0.25, 'nme_yaw_80': 0.25,
    }  # fmt: skip


def test_scans_without_colours_make_no_photographs(tmp_path):
    scene.write_scan(tmp_path / 'scan.obj', tmp_path / 'scan.txt', scene.vertices())
    with pytest.raises(UserError, match=r'scan.obj: neither texture nor colours'):
        views.load(tmp_path / 'scan.obj', tmp_path / 'scan.txt')


def test_views_show_the_colours_of_the_scan_where_they_are(tmp_path, monkeypatch):
    """Vertices coloured by their place: a pixel beside a visible landmark shows that landmark's place."""
    monkeypatch.setattr(views, 'SIZE', 64)
    points, ids = scene.vertices(posed=False), np.asarray(scene.model().landmark_ids)
    low, high = points.min(0), points.max(0)
    colours = np.round(255 * (points - low) / (high - low)).astype(np.uint8)
    triangles = np.asarray(scene.model().topology.triangles)
    trimesh.Trimesh(points, triangles, vertex_colors=colours, process=False).export(tmp_path / 'scan.ply')
    np.savetxt(tmp_path / 'scan.txt', points[ids])  # all 68: the seven are taken out of them
    scan = views.load(tmp_path / 'scan.ply', tmp_path / 'scan.txt')
    # own landmarks, not those of the mean face, to look at the right pixels
    upright = scan.vertices[ids]
    sample = views.take(scan._replace(landmarks=upright), 0, 0, 'view')
    for landmark in (30, 8, 27, 57):  # nose, chin, bridge, lip: seen from the front
        x, y = sample.landmarks[landmark].astype(int)
        # a pixel is 5 mm of some 200, and the landmark lies somewhere in it
        np.testing.assert_allclose(sample.image[y, x].astype(float), colours[ids[landmark]], atol=20)


def test_textures_are_looked_up_with_v_upwards(tmp_path):
    texture = np.zeros((4, 8, 3), np.uint8)
    texture[0, 7] = [200, 100, 50]  # top right
    (tmp_path / 'quad.obj').write_text(
        'mtllib quad.mtl\nusemtl skin\nv 0 0 0\nv 9 0 0\nv 9 9 0\nvt 0 0\nvt 1 0\nvt 1 1\nf 1/1 2/2 3/3\n'
    )
    (tmp_path / 'quad.mtl').write_text('newmtl skin\nmap_Kd quad.png\n')
    Image.fromarray(texture).save(tmp_path / 'quad.png')
    corners, painted = views._paint(scans.load_trimesh(tmp_path / 'quad.obj'))
    np.testing.assert_array_equal(painted, texture)
    np.testing.assert_array_equal(corners, [[0, 0], [1, 0], [1, 1]])
    uv = np.array([[[7.5 / 8, 3.5 / 4], [0.5 / 8, 3.5 / 4], [7.5 / 8, 0.5 / 4]]])
    found = views._look_up(texture, uv)
    np.testing.assert_allclose(found[0], [[200, 100, 50], [0, 0, 0], [0, 0, 0]], atol=1e-3)


def plane(ripple):
    """A flat square [-60, 60]² mm of 4 mm cells; the interior goes up and down by turns, which no motion explains."""
    x, y = np.meshgrid(np.arange(-60.0, 61, 4), np.arange(-60.0, 61, 4))
    count = x.shape[0]
    sign = np.where(np.add.outer(np.arange(count), np.arange(count)) % 2 == 0, 1.0, -1.0)
    vertices = np.stack([x, y, ripple * sign], -1).reshape(-1, 3)
    corner = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).ravel()
    a, b, c, d = corner, corner + 1, corner + count, corner + count + 1
    return vertices, np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)])


def test_a_rippled_plane_is_as_far_from_a_flat_one_as_its_ripples():
    """By hand: 2 mm but for seven vertices; over 80 mm between the outer eye corners nearly 2.5%."""
    flat, triangles = plane(0.0)
    rippled, _ = plane(2.0)
    picked = [[-40, 32, 0], [-12, 32, 0], [12, 32, 0], [40, 32, 0], [0, 0, 0], [-20, -28, 0], [20, -28, 0]]
    # the model is the plane, with seven of its vertices as landmarks
    ids = [int(np.linalg.norm(flat - point, axis=-1).argmin()) for point in picked]
    landmark_ids = np.zeros(68, int)
    landmark_ids[list(now.LANDMARKS)] = ids
    topology = SimpleNamespace(triangles=triangles)
    head = SimpleNamespace(mean=flat, landmark_ids=landmark_ids, topology=topology)
    predictor = SimpleNamespace(model=head)
    marks = flat[ids]

    # the prediction ripples, but for its landmarks, which align it with the flat scan
    predicted = rippled.copy()
    predicted[ids] = flat[ids]
    nme = scans.nme_after_icp(predictor, predicted, scans.Scan(flat, triangles, marks))
    inside = scans.region(head)
    expected = 100 * np.abs(predicted[inside, 2]).mean() / 80
    # ups and downs do not quite balance inside the ball, so the flat plane is not quite the best: a percent of 2.5
    assert nme == pytest.approx(expected, rel=0.01)

    # the scan ripples; its own landmarks are the flat ones
    distances = scans.scan_to_mesh(predictor, flat, scans.Scan(rippled, triangles, marks))
    np.testing.assert_allclose(distances, 2.0, rtol=0.03)


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('few.txt', '1 2 3\n4 5 6\n'),
        ('words.txt', 'a b c\n' * 7),
        ('ragged.txt', '1 2 3\n' * 6 + '1 2\n'),
        ('nan.txt', 'nan 2 3\n' * 7),
        ('half.pp', '<point x="1" y="2" z="3"/>\n' * 6 + '<point x="1" y="2"/>'),
        ('gone.pp', None),
    ],
)
def test_landmark_files_that_are_wrong(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=name):
        scans.read_landmarks(tmp_path / name)


def test_meshes_that_are_wrong(tmp_path):
    (tmp_path / 'scan.ply').write_bytes(b'ply\nformat binary_little_endian 1.0\nelement vertex 9999999\nend_header\n')
    (tmp_path / 'scan.wrl').write_text('#VRML V2.0')
    (tmp_path / 'scan.obj').write_text('v 0 0 nan\nv 0 1 0\nv 1 0 0\nf 1 2 3\n')
    np.savetxt(tmp_path / 'marks.txt', np.zeros((7, 3)))
    for name in ('scan.ply', 'scan.wrl', 'scan.obj'):
        with pytest.raises(UserError, match=name):
            scans.read(tmp_path / name, tmp_path / 'marks.txt')


def test_tables_that_name_what_is_not_theirs(tmp_path):
    folder = arrange(tmp_path / 'data')
    (tmp_path / 'secret.obj').write_text('')
    for row, said in [
        ('pictures/a.jpg,scan.obj,', 'every row needs'),
        ('pictures/a.jpg,../secret.obj,scan.txt', 'not inside'),
        ('pictures/none.jpg,scan.obj,scan.txt', 'none.jpg is not there'),
    ]:
        (folder / 'index.csv').write_text('image,scan,landmarks\n' + row)
        with pytest.raises(UserError, match=said):
            benchmarks.load('superfaces', folder)


@pytest.mark.parametrize(
    ('name', 'folder', 'gone'),
    [
        ('now', now_folder, 'scans/one/head.obj'),
        ('now', now_folder, 'scans_lmks_onlypp/one/head_picked_points.pp'),
        ('now', now_folder, 'final_release_version/iphone_pictures/one/selfie/IMG_1.jpg'),
        ('now', now_folder, 'final_release_version/detected_face/one/selfie/IMG_1.npy'),
        ('micc', micc_folder, 'subject_01/Model/frontal1/obj/110920150452.pp'),
        ('micc', micc_folder, 'subject_01/Model/frontal1/obj/110920150452.obj'),
        ('facescape', arrange, 'scan.txt'),
    ],
)
def test_the_first_missing_thing_is_named(tmp_path, name, folder, gone):
    whole = folder(tmp_path)
    benchmarks.load(name, whole)
    (whole / gone).unlink()
    with pytest.raises(UserError) as error:
        benchmarks.load(name, whole)
    named = gone.rsplit('/', 1)[0] if gone.endswith(('.obj', '.pp')) else gone
    assert named in str(error.value) and '\n' not in str(error.value)
