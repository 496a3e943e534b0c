from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from jfrecon.evaluation import icp
from jfrecon.geometry import alignment
from jfrecon.morphable import load


@pytest.fixture(scope='module')
def face():
    model = load('makehuman')
    return np.asarray(model.mean, np.float64), np.asarray(model.topology.triangles), np.asarray(model.landmark_ids)


def moved(points, scale=1.0, turn=(0.05, -0.1, 0.08), shift=(4, -3, 6)):
    return scale * Rotation.from_rotvec(turn).apply(points) + shift


def bumpy_ball():
    """80 triangles without symmetry, around 50 mm."""
    ball = trimesh.creation.icosphere(1, 50.0)
    return ball.vertices * [1.0, 1.25, 0.8] + np.random.default_rng(5).normal(size=(42, 3)) * 4, np.asarray(ball.faces)


@pytest.mark.parametrize('scale, scaled', [(1, False), (1.08, True), (0.9, True)])
def test_recovers_a_motion_without_correspondences(face, scale, scaled):
    vertices, triangles, _ = face
    found = icp.align(vertices, triangles, moved(vertices, scale), scaled=scaled)
    # it ends when a step is below 1e-7 of 150 mm, and Gauss-Newton has squared that error by then
    np.testing.assert_allclose(alignment.apply(*found, vertices), moved(vertices, scale), atol=1e-4)
    assert found[0] == pytest.approx(scale, abs=1e-6)


def test_a_rigid_alignment_keeps_the_scale_it_starts_with(face):
    vertices, triangles, _ = face
    points = moved(vertices, 1.1)
    scale, rotation, _ = icp.align(vertices, triangles, points, start=(1.02, np.eye(3), np.zeros(3)))
    assert scale == 1.02
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize('scaled', [False, True])
def test_finds_the_optimum_of_an_independent_solver(scaled):
    # noise keeps the points off the surface, so the optimum is no exact fit
    vertices, triangles = bumpy_ball()
    rng = np.random.default_rng(6)
    points = moved(trimesh.sample.sample_surface(trimesh.Trimesh(vertices, triangles), 80, seed=1)[0], 1.05)
    points += rng.normal(size=points.shape) * 2
    corners = np.tile(vertices[triangles], (len(points), 1, 1))

    def distances(motion):  # to every triangle, by trimesh
        scale = np.exp(motion[6]) if scaled else 1
        turned = (points - motion[3:6]) @ Rotation.from_rotvec(motion[:3]).as_matrix() / scale
        repeated = np.repeat(turned, len(triangles), axis=0)
        feet = trimesh.triangles.closest_point(corners, repeated)
        return scale * np.linalg.norm(feet - repeated, axis=1).reshape(len(points), -1).min(1)

    fit = icp.align(vertices, triangles, points, scaled=scaled)
    ours = np.concatenate([Rotation.from_matrix(fit[1]).as_rotvec(), fit[2], [np.log(fit[0])] * scaled])
    found = np.square(distances(ours)).sum()
    size = [0.02] * 3 + [1] * 3 + [0.02] * scaled
    # SciPy stays where we ended: a minimum, to its own tolerance of 1e-8
    polished = least_squares(distances, ours, x_scale=size, max_nfev=30)
    assert found == pytest.approx(2 * polished.cost, rel=1e-6)
    assert np.abs(polished.x - ours).max() < 1e-3  # mm and radians
    # and from the same start it finds none that is better by much: closest points jump, so there are several
    assert found < 1.01 * 2 * least_squares(distances, 0 * ours, x_scale=size, max_nfev=30).cost


def test_trimming_forgets_outliers(face):
    vertices, triangles, _ = face
    points = moved(vertices)
    outliers = np.random.default_rng(7).choice(len(points), len(points) // 10, replace=False)
    points[outliers] += [0, 0, 40.0]
    clean = icp.align(vertices, triangles, points, keep=0.85)
    np.testing.assert_allclose(alignment.apply(*clean, vertices), moved(vertices), atol=1e-4)
    pulled = icp.align(vertices, triangles, points)
    assert np.abs(alignment.apply(*pulled, vertices) - moved(vertices)).max() > 1


def test_directions_that_no_distance_tells_stay_where_they_are():
    ball = trimesh.creation.icosphere(4, 50.0)
    points = np.asarray(trimesh.creation.icosphere(2, 60.0).vertices)
    scale, rotation, translation = icp.align(ball.vertices, ball.faces, points, scaled=True)
    # the facets lie up to 0.13% inside the sphere and hold its turns to some degrees only
    assert scale == pytest.approx(1.2, rel=2e-3)
    assert np.abs(translation).max() < 0.1
    assert Rotation.from_matrix(rotation).magnitude() < 0.1


def test_a_plane_tells_neither_scale_nor_place_and_does_no_harm():
    x, y = (a.ravel() for a in np.meshgrid(np.arange(-60, 61, 4.0), np.arange(-60, 61, 4.0)))
    points = np.stack([x, y, np.where(np.arange(len(x)) % 2 == 0, 0.7, -0.7)], -1)  # to either side in turns
    corners = np.array([[-200, -200, 1], [200, -200, 1], [200, 200, 1], [-200, 200, 1.0]])
    start = 1.0, Rotation.from_rotvec([0.03, 0.02, 0.4]).as_matrix(), np.zeros(3)
    scale, rotation, translation = icp.align(corners, np.array([[0, 1, 2], [0, 2, 3]]), points, start, scaled=True)
    assert 0.7 < scale < 1.4  # not blown up by a slope that is only rounding
    # one point more above than below: its share of 0.7 mm
    height = (scale * corners @ rotation.T + translation)[:, 2]
    np.testing.assert_allclose(height, 0.7 / len(points), atol=1e-3)


def test_nme_by_hand():
    # points 3 mm outside the corners of a symmetric ball: no rigid motion helps, 6% of 50 mm between the eyes
    ball = trimesh.creation.icosphere(3, 40.0)
    landmarks = np.random.default_rng(8).normal(size=(68, 3)) * 30
    found = icp.nme_after_icp(ball.vertices * 43 / 40, ball.vertices, ball.faces, landmarks, landmarks, 50.0)
    assert found == pytest.approx(100 * 3 / 50, rel=1e-6)


def test_nme_sees_shape_and_not_pose(face):
    vertices, triangles, ids = face
    span = np.linalg.norm(vertices[ids[36]] - vertices[ids[45]])
    assert icp.nme_after_icp(vertices, vertices, triangles, vertices[ids], vertices[ids], span) < 1e-9
    rng = np.random.default_rng(9)
    other = vertices * [1.05, 0.97, 1.1]
    landmarks = other[ids] + rng.normal(size=(68, 3))
    found = icp.nme_after_icp(other, vertices, triangles, landmarks, vertices[ids], span)
    assert 0.5 < found < 10
    again = icp.nme_after_icp(
        moved(other, 0.01, (2, 1, -1)), vertices, triangles, moved(landmarks, 0.01, (2, 1, -1)), vertices[ids], span
    )
    assert again == pytest.approx(found, rel=1e-4)


def test_nme_counts_no_pose_that_landmarks_leave(face):
    vertices, triangles, ids = face
    wrong = moved(vertices[ids], turn=(0.03, 0.05, -0.02), shift=(1, 2, -3))  # landmarks that agree on a wrong pose
    predicted = moved(vertices, turn=(1, 0, 0.5))
    landmarks = moved(wrong, turn=(1, 0, 0.5))
    assert icp.nme_after_icp(predicted, vertices, triangles, landmarks, vertices[ids], 90.0) < 1e-4
