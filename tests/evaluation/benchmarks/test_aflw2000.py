from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from jfrecon.errors import UserError
from jfrecon.evaluation import benchmarks
from jfrecon.evaluation.benchmarks import aflw2000
from tests.evaluation.benchmarks import scene

SHARED = Path(os.environ.get('JFRECON_SHARED', Path(__file__).parents[3].parent / 'shared')) / 'aflw2000'
YAWS = (5.0, -40.0, 75.0)


def folder(path, offset=(0.0, 0.0)):
    """Three images of the known face, whose landmarks are said to be ``offset`` pixels from where they are."""
    for i, yaw in enumerate(YAWS):
        scene.write_photo(path / f'image0000{i}.jpg')
        landmarks = np.concatenate([scene.landmarks2d() + offset, np.zeros((68, 1))], -1).T
        pose = np.array([[0.1, np.radians(yaw), 0.0, 0, 0, 0, 1e-3]])
        scipy.io.savemat(path / f'image0000{i}.mat', {'pt3d_68': landmarks, 'Pose_Para': pose})
    return path


def summary(benchmark):
    predictor = scene.predictor()
    found = predictor.faces(benchmark.source, benchmark.source.rule(1.8))
    return benchmark.summary([benchmark.score(index, predictor, face) for index, face in found])


def test_a_network_that_knows_is_right(tmp_path):
    # float32 pixels around 100: 1e-5 of them, in percent
    assert max(summary(benchmarks.load('aflw2000', folder(tmp_path))).values()) < 1e-2


def test_a_known_offset_scores_what_it_is_by_hand(tmp_path):
    found = summary(benchmarks.load('aflw2000', folder(tmp_path, offset=(3.0, 4.0))))
    landmarks = scene.landmarks2d()
    width, height = landmarks.max(0) - landmarks.min(0)
    box = 100 * 5 / np.sqrt(width * height)  # every landmark is 5 pixels off
    eyes = 100 * 5 / np.hypot(*(landmarks[36] - landmarks[45]))
    for name, expected in (('nme_box', box), ('nme_interocular', eyes)):
        for suffix in ('', '_0_30', '_30_60', '_60_90', '_bins_mean'):
            assert found[f'{name}{suffix}'] == pytest.approx(expected, rel=1e-4)  # float32 pixels of a few hundred


def test_bins_of_yaw_and_their_mean():
    benchmark = aflw2000.Aflw2000.__new__(aflw2000.Aflw2000)
    rows = [{'yaw': yaw, 'nme_box': error} for yaw, error in [(0, 1.0), (-29.9, 3.0), (30, 6.0), (-80, 10.0)]]
    assert benchmark.summary(rows) == {
        'nme_box': 5.0,
        'nme_box_0_30': 2.0,
        'nme_box_30_60': 6.0,
        'nme_box_60_90': 10.0,
        'nme_box_bins_mean': 6.0,  # of the three bins, not of the four images
    }
    assert 'nme_box_bins_mean' not in benchmark.summary(rows[:2])


def test_dense_error_where_there_are_meshes(tmp_path):
    for i in range(len(YAWS)):
        mesh = tmp_path / 'meshes' / f'image0000{i}.obj'
        scene.write_scan(mesh, mesh.with_suffix('.txt'), scene.vertices())
    benchmark = benchmarks.load('aflw2000', folder(tmp_path))
    assert summary(benchmark)['nme_dense'] < 1e-3  # as for the scans
    assert benchmark.unofficial('nme_dense_0_30').startswith('nme_dense: other vertices than cest measures')
    assert benchmark.unofficial('nme_box') == benchmark.note == '3 of the 2,000 images'


def test_dense_error_on_the_vertices_that_a_file_names(tmp_path):
    """The truth has a bump that the prediction lacks: it counts by the share of the named vertices that lie on it."""
    points = scene.vertices().astype(np.float64)
    mean = np.asarray(scene.model().mean)
    tip = mean[np.asarray(scene.model().landmark_ids)[30]]
    nearest = np.argsort(np.linalg.norm(mean - tip, axis=-1))
    bump, around = nearest[:4], nearest[600:900]
    points[bump, 2] += 20  # mm, towards the camera
    for i in range(len(YAWS)):
        mesh = tmp_path / 'meshes' / f'image0000{i}.obj'
        scene.write_scan(mesh, mesh.with_suffix('.txt'), points)
    listed = tmp_path / 'meshes' / 'vertices.txt'
    listed.write_text('\n'.join(map(str, around)))
    benchmark = benchmarks.load('aflw2000', folder(tmp_path))
    assert benchmark.unofficial('nme_dense') == (
        'nme_dense: correspondences by the ICP of this project; 3 of the 2,000 images'
    )
    assert summary(benchmark)['nme_dense'] < 1e-2
    listed.write_text(' '.join(map(str, [*around, *bump])))
    eyes = np.linalg.norm(np.subtract(*points[np.asarray(scene.model().landmark_ids)[[36, 45]]]))
    expected = 100 * 20 * len(bump) / (len(bump) + len(around)) / eyes
    # the motion follows the bump by the mean distance, which moves all others away by as much, and turns a little
    assert expected < summary(benchmarks.load('aflw2000', tmp_path))['nme_dense'] < 3 * expected
    listed.write_text('99999')
    with pytest.raises(UserError, match='vertex 99999'):
        summary(benchmarks.load('aflw2000', tmp_path))
    listed.write_text('one two')
    with pytest.raises(UserError, match=r'vertices\.txt: not whole numbers'):
        benchmarks.load('aflw2000', tmp_path)


@pytest.mark.parametrize('content', [b'', b'MATLAB 5.0 MAT-file' + b'\0' * 300, b'\x00\x01IM' * 200, {'pt3d_68': 1}])
def test_fits_that_are_damaged(tmp_path, content):
    folder(tmp_path)
    path = tmp_path / 'image00001.mat'
    if isinstance(content, dict):
        scipy.io.savemat(path, content)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r'image00001.mat: .*download it again') as error:
        benchmarks.load('aflw2000', tmp_path)
    assert '\n' not in str(error.value)


def test_a_fit_without_its_photograph(tmp_path):
    (folder(tmp_path) / 'image00002.jpg').unlink()
    with pytest.raises(UserError, match=r'image00002.jpg is not there: AFLW2000-3D: download'):
        benchmarks.load('aflw2000', tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason='the four images of AFLW2000-3D are not beside the repository')
def test_four_images_with_their_reference_fits():
    benchmark = benchmarks.load('aflw2000', SHARED)
    table = np.load(SHARED / 'landmarks.npz')
    assert [benchmark.source.name(i) for i in range(4)] == list(table['filename'])
    for i in range(4):
        # the fits were copied into the table by somebody else
        np.testing.assert_array_equal(benchmark.source.read(i).landmarks, table['pts68_3d'][i, :, :2])
    assert benchmark.note == '4 of the 2,000 images'
