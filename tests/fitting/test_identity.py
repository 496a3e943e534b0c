from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jfrecon import morphable
from jfrecon.data.detection import face_mesh
from jfrecon.fitting import identity
from jfrecon.morphable import linear

PIXELS = np.array([1, -1, -1])  # x right, y down, z away from the camera, of what has y up and z towards it


@pytest.fixture(scope='module')
def known():
    return identity._regression()


@pytest.fixture(scope='module')
def mesh(known):
    """Somebody's mesh in pixels: the mean one and a smooth change, which is not the same on both sides."""
    change = np.random.default_rng(3).normal(size=(4, 3)) * 0.02
    points = known.reference + np.sin(3 * known.reference @ change[:3].T * 40) * change[3]
    irises = np.zeros((face_mesh.POINTS - len(points), 3))
    return np.concatenate([points, irises]) * PIXELS * 100 + [250.0, 240.0, 0.0]


def test_the_mean_mesh_is_anybody(known):
    np.testing.assert_allclose(known(known.reference * PIXELS * 80 + 100), 0, atol=1e-3)


def test_pose_and_size_say_nothing_of_identity(known, mesh):
    turned = Rotation.from_euler('yxz', [40, -10, 25], degrees=True).apply(mesh) * 3 + [900, 50, 7]
    assert np.abs(known(mesh)).max() > 0.1
    np.testing.assert_allclose(known(turned), known(mesh), atol=1e-4)


def test_a_mirrored_face_has_the_mirrored_identity(known, mesh):
    """Shape by shape: the vertices of the one are those of the other in a mirror."""
    from experiments.dense_points.__main__ import mirrored_points

    model = morphable.load('makehuman')
    other = mirrored_points(known.reference)
    flipped = mesh.copy()
    flipped[: len(other)] = (mesh[: len(other)] * [-1, 1, 1])[other]
    one, two = (known(points) for points in (mesh, flipped))
    marks = np.asarray(model.landmark_ids)
    shape = lambda q: linear.landmarks(model, np.asarray(model.mean) + np.tensordot(q, model.identity_basis, 1))
    swap = mirrored_points(np.asarray(model.mean, np.float64)[marks])
    np.testing.assert_allclose((np.asarray(shape(one)) * [-1, 1, 1])[swap], shape(two), atol=0.05)


def test_errors_are_no_smaller_than_the_prior_says(known):
    """Positive definite; on average over the modes it knows little, of some half."""
    variance = np.diag(np.linalg.inv(known.precision.astype(np.float64)))
    assert (np.linalg.eigvalsh(known.precision) > 0).all()
    assert variance.min() < 0.7 < 0.8 < variance.mean() < 1.1


def test_other_models_and_points_have_no_expected_identity(mesh):
    model = morphable.load('makehuman')
    assert identity.expected(model, [mesh]) is not None
    assert identity.expected(linear.truncate(model, 3, 8, 2), [mesh]) is None
    assert identity.expected(model.replace(name='mine'), [mesh]) is None
    assert identity.expected(model, [mesh[:68]]) is None
    assert identity.expected(model, [mesh[:, :2]]) is None


def test_two_meshes_of_a_person_are_averaged(known, mesh):
    model = morphable.load('makehuman')
    mean = known.reference * PIXELS
    neutral = np.concatenate([mean, np.zeros((face_mesh.POINTS - len(mean), 3))])
    both = identity.expected(model, [mesh, neutral])
    np.testing.assert_allclose(both.mean, known(mesh) / 2, atol=1e-3)
