from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh

from jfrecon.errors import UserError
from jfrecon.evaluation import realy
from jfrecon.morphable import load


@pytest.fixture(scope='module')
def model():
    return load('makehuman')


def test_positions_by_hand():
    vertices, triangles = np.array([[0, 0, 0], [10, 0, 0], [0, 20, 0], [0, 0, 40.0]]), np.array([[0, 1, 2], [1, 2, 3]])
    keypoints = np.array([[0, 0.5, 0.5], [1, 0, 0.25]])  # the third weight is the rest
    np.testing.assert_allclose(realy.positions(keypoints, vertices, triangles), [[5, 0, 0], [0, 5, 30]])


def test_keypoints_are_carried_to_another_face(model):
    # the template: another person, scaled and turned, with its triangles in another order
    rng = np.random.default_rng(0)
    mean, triangles = np.asarray(model.mean, np.float64), np.asarray(model.topology.triangles)
    order = rng.permutation(len(triangles))
    offset = np.tensordot(rng.normal(size=len(model.identity_basis)), np.asarray(model.identity_basis, np.float64), 1)
    template = 0.01 * (mean + offset)[:, [2, 0, 1]]
    ids = np.asarray(model.landmark_ids)
    corner = np.array([np.argwhere(triangles[order] == i)[0] for i in ids])
    first, second = (corner[:, 1] == 0).astype(float), (corner[:, 1] == 1).astype(float)
    weights = rng.dirichlet([2, 2, 2], size=17)
    inner = np.flatnonzero(np.linalg.norm(mean[triangles[order]].mean(1)[:, :2], axis=1) < 45)
    extra = rng.choice(inner, 17)
    keypoints = np.concatenate([np.stack([corner[:, 0], first, second], -1), np.column_stack([extra, weights[:, :2]])])

    found = realy.transfer(keypoints, template, triangles[order], mean, triangles, ids)
    places, truth = realy.positions(found, mean, triangles), realy.positions(keypoints, mean, triangles[order])
    assert found.shape == (85, 3)
    np.testing.assert_allclose(places[:68], mean[ids], atol=1e-9)
    # the same points of the two faces; one person's landmarks do not tell all of the shape between them
    off = np.linalg.norm(places - truth, axis=1)[68:]
    assert np.median(off) < 2.5 and off.max() < 8, off
    similar = np.linalg.norm(
        realy.positions(found, mean + offset, triangles)[68:]
        - realy.positions(keypoints, mean + offset, triangles[order])[68:],
        axis=1,
    )
    assert np.median(similar) < 2.5


def test_what_is_written_reads_back(tmp_path, model):
    mean, triangles = np.asarray(model.mean), np.asarray(model.topology.triangles)
    rng = np.random.default_rng(1)
    keypoints = np.concatenate([rng.integers(len(triangles), size=(85, 1)), rng.dirichlet([1, 1, 1], 85)[:, :2]], -1)
    realy.write_template(tmp_path, 'ours', mean, triangles, keypoints)
    realy.write_prediction(tmp_path / 'meshes', 'images/7_3.png', mean + 1, triangles)
    np.testing.assert_array_equal(realy.read_keypoints(tmp_path / 'ours.txt', len(triangles)), keypoints)
    entries = json.loads((tmp_path / 'ours.txt').read_text())
    assert isinstance(entries[0][0], int) and len(entries) == 85
    template, mesh = (trimesh.load(tmp_path / name, process=False) for name in ('ours.obj', 'meshes/7_3.obj'))
    np.testing.assert_array_equal(template.faces, mesh.faces)
    np.testing.assert_allclose(mesh.vertices, mean + 1, atol=1e-5)  # float32 model, nine digits


@pytest.mark.parametrize(
    'text', ['', '[', '{"a": 1}', '[[0, 1]]', json.dumps([[0, 0.5, 0.5]] * 84), json.dumps([[9, 0.5, 0.5]] * 85),
             json.dumps([[-1, 0.5, 0.5]] * 85), '[[0, NaN, 0]' + ', [0, 0, 0]' * 84 + ']', '[' * 100_000]
)  # fmt: skip
def test_broken_keypoints_are_named(tmp_path, text):
    path = tmp_path / 'HIFI3D.txt'
    path.write_text(text)
    with pytest.raises(UserError, match=r'HIFI3D\.txt'):
        realy.read_keypoints(path, triangle_count=9)
    with pytest.raises(UserError, match=r'absent\.txt'):
        realy.read_keypoints(tmp_path / 'absent.txt', triangle_count=9)
