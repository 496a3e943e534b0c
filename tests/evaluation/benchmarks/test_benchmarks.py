"""What all benchmarks share: errors for missing data, the run with its files, the command; and those without scans."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from jfrecon import evaluate
from jfrecon.data.cropping import Box
from jfrecon.errors import UserError
from jfrecon.evaluation import benchmarks, realy
from jfrecon.evaluation.benchmarks import run
from jfrecon.evaluation.benchmarks.photographs import Benchmark, Photo, Photos
from jfrecon.morphable import obj
from tests.evaluation.benchmarks import scene

MAPS = ('normal', 'diffuse', 'specular')


@pytest.mark.parametrize('name', [name for name in benchmarks.NAMES if name != 'synthetic'])
@pytest.mark.parametrize('there', [True, False])
def test_missing_data_is_one_line_with_the_remedy(tmp_path, name, there):
    with pytest.raises(UserError) as error:
        benchmarks.load(name, tmp_path if there else tmp_path / 'nowhere')
    said = str(error.value)
    assert '\n' not in said and str(tmp_path) in said and '--data' in said


def test_the_command_asks_for_data_before_anything_else(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, 'share_cores', lambda batch: None)  # too late in this process
    arguments = [f'--checkpoint={tmp_path}', '--benchmark=now', f'--data={tmp_path}', f'--out={tmp_path}/a.json']
    with pytest.raises(UserError, match=r'imagepathsvalidation.txt is not there: NoW: register'):
        evaluate.main(arguments)


@pytest.mark.parametrize(
    'benchmark, there',
    [('now', 'a.json'), ('now', 'a.csv'), ('now', 'a_panels.png'), ('synthetic', 'report.html')],
)
def test_results_that_are_there_are_refused_before_anything_else(tmp_path, benchmark, there):
    (tmp_path / there).write_text('mine')
    data = [] if benchmark == 'synthetic' else [f'--data={tmp_path}']
    arguments = [f'--checkpoint={tmp_path}', f'--benchmark={benchmark}', *data]
    with pytest.raises(UserError, match=f'{there} is there already: --overwrite'):
        evaluate.main([*arguments, f'--out={tmp_path}/a.json'])
    with pytest.raises(UserError, match=r'a\.csv is to end in \.json'):
        evaluate.main([*arguments, f'--out={tmp_path}/a.csv'])
    assert (tmp_path / there).read_text() == 'mine'


class Offsets(Benchmark):
    """A benchmark whose error is the height of the face's nose over the middle of the picture."""

    note = 'made up'
    curve = 'nme', 10.0

    def __init__(self, folder):
        for name in ('a.jpg', 'b.jpg'):
            scene.write_photo(folder / name)
        (folder / 'c.jpg').write_bytes(b'no picture')
        landmarks = scene.landmarks2d()
        self.source = Photos([Photo(folder / name, name, landmarks) for name in ('a.jpg', 'c.jpg', 'b.jpg')])

    def score(self, index, predictor, face):
        return {'nme': float(index + 1), 'distances': np.zeros(3)}

    def export(self, folder, index, predictor, face):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f'{index}.txt').write_text('')


def test_a_run_writes_numbers_a_table_and_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(run, 'PANEL', 32)
    out = tmp_path / 'out' / 'results.json'
    predictors = {'mean_face': scene.predictor(), 'trained': scene.predictor()}
    results = run.run(Offsets(tmp_path), predictors, out)
    standing = {'images': 2, 'of': 3, 'official': False, 'note': 'made up'}
    assert results == {'nme': {'mean_face': 2.0, 'trained': 2.0, **standing}}  # images 0 and 2 are readable: 1 and 3
    assert json.loads(out.read_text()) == results
    rows = list(csv.DictReader((tmp_path / 'out' / 'results.csv').open()))
    assert rows[1] == {'image': 'b.jpg', 'method': 'mean_face', 'nme': '3.0'} and len(rows) == 4
    assert Image.open(tmp_path / 'out' / 'results_panels.png').size == (5 * 32, 2 * 32)
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        f'results{suffix}' for suffix in ('.json', '.csv', '.html', '_ced.png', '_panels.png', '_export')
    }
    assert sorted(path.name for path in (tmp_path / 'out' / 'results_export').iterdir()) == ['0.txt', '2.txt']


def test_a_score_over_some_of_the_images_is_not_official(tmp_path):
    benchmark = Offsets(tmp_path)
    benchmark.note = ''
    row = {'nme': 1.0}
    assert not run._results(benchmark, {'trained': {0: row, 2: row}})['nme']['official']
    assert run._results(benchmark, {'trained': {0: row, 1: row, 2: row}})['nme']['official']


def test_squares_around_what_is_known_of_the_face(tmp_path):
    scene.write_photo(tmp_path / 'a.jpg')
    landmarks = scene.landmarks2d()
    boxed = Photos([Photo(tmp_path / 'a.jpg', 'a', box=Box(30, 40, 50)), Photo(tmp_path / 'a.jpg', 'b', landmarks)])
    rule = boxed.rule(1.6)
    assert rule(boxed.read(0)) == pytest.approx((15, 25, 80))  # 50 grown to 80 about the middle (55, 65)
    assert rule(boxed.read(1)).side == pytest.approx(1.6 * np.ptp(landmarks, axis=0).max())
    lost = Photos([Photo(tmp_path / 'a.jpg', 'c')])
    assert lost.attempt(0) is None and 'no face was found' in lost.unreadable[0][1]


@pytest.fixture(scope='module')
def layers(tmp_path_factory):
    """What a predictor that knows the face draws of it, from its photograph."""
    folder = tmp_path_factory.mktemp('known')
    scene.write_photo(folder / 'photo.png')
    source = Photos([Photo(folder / 'photo.png', 'photo', scene.landmarks2d())])
    predictor = scene.predictor()
    _, face = next(predictor.faces(source, source.rule(1.8)))
    return predictor.layers(face)


def view(folder, layers, photo, normal):
    one = folder / 'front'
    scene.write_photo(one / 'photo.png', np.round(255 * photo).astype(np.uint8))
    Image.fromarray(np.uint8(255 * layers['coverage'])).save(one / 'mask.png')
    for name, layer in zip(MAPS, (normal, layers['albedo'], layers['specular'])):
        np.save(one / f'{name}.npy', layer)
    scene.write_landmarks(folder, ['front/photo.png'])
    return folder


def scores(benchmark):
    predictor = scene.predictor()
    found = predictor.faces(benchmark.source, benchmark.source.rule(1.8))
    return benchmark.summary([benchmark.score(index, predictor, face) for index, face in found])


@pytest.mark.parametrize('name', ['emily', 'male014'])
def test_references_that_are_the_prediction(tmp_path, layers, name):
    found = scores(benchmarks.load(name, view(tmp_path, layers, layers['photo'], layers['normal'])))
    assert found['normal_mean'] < 0.01 and found['normal_under_20'] == 1  # float32 normals
    assert found['diffuse_psnr'] > 80 and found['specular_psnr'] > 80  # as much as float32 albedos have
    # photo.png has 256 values: 59 dB, and a little less structure where skin is flat
    assert found['final_psnr'] > 55 and found['final_ssim'] > 0.998


def test_references_off_by_a_known_amount(tmp_path, layers):
    normal, coverage = layers['normal'], layers['coverage'][..., None]
    aside = np.cross(normal, [0.3, 0.9, 0.1])
    aside /= np.maximum(np.linalg.norm(aside, axis=-1, keepdims=True), 1e-9)
    turned = (np.cos(np.radians(22)) * normal + np.sin(np.radians(22)) * aside) * coverage
    darker = np.where(coverage > 0, np.maximum(layers['photo'] - 0.1, 0), 0)
    assert layers['photo'][coverage[..., 0] > 0].min() > 0.1
    found = scores(benchmarks.load('emily', view(tmp_path, layers, darker, turned)))
    assert found['normal_mean'] == pytest.approx(22, abs=0.01) and found['normal_std'] < 0.01
    assert (found['normal_under_20'], found['normal_under_25']) == (0, 1)
    assert found['final_psnr'] == pytest.approx(20, abs=0.02)  # 0.1 everywhere is 20 dB, up to 256 values


@pytest.mark.parametrize(
    ('wrong', 'content', 'said'),
    [
        ('mask.png', None, 'mask.png is not there'),
        ('normal.npy', np.zeros((3, 4, 3)), 'normal.npy: not plain numbers of the shape'),
        ('normal.npy', np.array([{}], object), 'normal.npy: not plain numbers'),
        ('diffuse.npy', np.full((scene.SIZE, scene.SIZE, 3), np.nan), 'diffuse.npy: numbers that are not finite'),
        ('normal.npy', np.zeros((scene.SIZE, scene.SIZE, 3)), 'marks no pixel'),
    ],
)
def test_references_that_are_wrong(tmp_path, layers, wrong, content, said):
    path = view(tmp_path, layers, layers['photo'], layers['normal']) / 'front' / wrong
    path.unlink()
    if content is not None:
        np.save(path, content)
    with pytest.raises(UserError, match=said):
        benchmarks.load('emily', tmp_path)


def test_realy_export_has_what_its_evaluator_reads(tmp_path):
    """Our mean face doubles as the template: the keypoints carried over must lie where they were."""
    head = scene.model()
    mean, triangles = np.asarray(head.mean, np.float64), np.asarray(head.topology.triangles)
    ids = np.asarray(head.landmark_ids)
    holds = [np.argwhere(triangles == i)[0] for i in [*ids, *ids[:17]]]
    corners = np.eye(3)[[corner for _, corner in holds]]
    keypoints = np.concatenate([[[triangle] for triangle, _ in holds], corners[:, :2]], -1)
    realy.write_template(tmp_path / 'template', 'own', mean, triangles, keypoints)
    scene.write_photo(tmp_path / 'images' / 'p01.png')
    scene.write_landmarks(tmp_path, ['p01.png'])
    benchmark = benchmarks.load('realy', tmp_path)
    predictor = scene.predictor()
    index, face = next(predictor.faces(benchmark.source, benchmark.source.rule(1.8)))
    assert benchmark.summary([benchmark.score(index, predictor, face)]) == {'exported': 1}
    benchmark.export(tmp_path / 'out', index, predictor, face)
    mesh = obj.read(tmp_path / 'out' / 'predictions' / 'p01.obj')
    np.testing.assert_allclose(mesh.vertices, face.vertices, atol=1e-4)
    carried = realy.read_keypoints(tmp_path / 'out' / 'template' / 'jfrecon.txt', len(triangles))
    wanted = mean[[*ids, *ids[:17]]]
    # a thin-plate spline between equal points is the identity, up to its solver
    np.testing.assert_allclose(realy.positions(carried, mean, triangles), wanted, atol=1e-3)


def test_realy_templates_that_are_not_of_triangles(tmp_path):
    scene.write_photo(tmp_path / 'images' / 'p01.png')
    (tmp_path / 'template').mkdir()
    (tmp_path / 'template' / 'a.obj').write_text('v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n')
    (tmp_path / 'template' / 'a.txt').write_text('[]')
    with pytest.raises(UserError, match='not triangles'):
        benchmarks.load('realy', tmp_path)
