from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation
from trimesh.ray.ray_pyembree import RayMeshIntersector

from jfrecon.evaluation import surface
from jfrecon.morphable import load

KEYPOINTS = np.array([[0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10.0]])


def plane(half, count=21, at=(0, 0, 0)):
    """A square around a point that faces +z, of so many vertices a side."""
    x, y = np.meshgrid(np.linspace(-half, half, count), np.linspace(-half, half, count))
    vertices = np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], -1)
    a = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).ravel()
    triangles = np.concatenate([np.stack([a, a + 1, a + count], -1), np.stack([a + 1, a + count + 1, a + count], -1)])
    return vertices + at, triangles


def error(predicted, truth, region=None, keypoints=KEYPOINTS):
    return surface.vertex_and_normal_error(*predicted, keypoints, *truth, KEYPOINTS, region)


def test_distances_by_hand():
    vertices = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 0.0]])
    points = np.array([[1, 1, 3], [1, -2, 0], [-3, -4, 0], [4, 4, 0], [1, 1, 0.0]])
    found = surface.distances(points, vertices, np.array([[0, 1, 2]]))
    np.testing.assert_allclose(found, [3, 2, 5, np.sqrt(8), 0], atol=1e-12)  # inside, edge, corner, long edge, on it


def test_distances_against_trimesh_triangle_by_triangle():
    rng = np.random.default_rng(0)
    ball = trimesh.creation.icosphere(2, 70.0)
    points = rng.normal(size=(50, 3)) * 60
    corners = np.asarray(ball.triangles)
    feet = [trimesh.triangles.closest_point(corners, np.tile(p, (len(corners), 1))) for p in points]
    expected = [np.linalg.norm(foot - p, axis=1).min() for foot, p in zip(feet, points)]
    np.testing.assert_allclose(surface.distances(points, ball.vertices, ball.faces), expected, atol=1e-10)


def test_a_shifted_plane_is_off_by_the_shift():
    truth, predicted = plane(50), plane(20)
    position, normal = error((predicted[0] + [0, 0, 2], predicted[1]), truth)
    assert position == pytest.approx(2, abs=1e-9)
    assert normal == pytest.approx(0, abs=1e-9)


def test_a_tilted_plane_is_measured_along_its_normals():
    # A vertex at height y sin(a) meets z = 0 after y tan(a) along the tilted normal; the closest point would be at
    # y sin(a), 6% less.
    vertices, triangles = plane(20)
    angle = np.radians(20)
    tilted = Rotation.from_rotvec([angle, 0, 0]).apply(vertices)
    position, normal = error((tilted, triangles), plane(50))
    assert position == pytest.approx(np.abs(vertices[:, 1]).mean() * np.tan(angle), rel=1e-6)  # float32 hits
    assert normal == pytest.approx(angle, rel=1e-9)


def test_rays_that_miss_give_way_to_the_closest_point():
    predicted, patch = plane(20, at=(100, 0, 0)), plane(20, count=3)  # all rays pass the patch, which ends at x = 20
    assert error(predicted, patch)[0] == pytest.approx((predicted[0][:, 0] - 20).mean(), rel=1e-9)


@pytest.mark.parametrize('flip, depth', [(True, 1.5), (False, 60)])
def test_rays_that_meet_another_sheet_give_way_to_the_closest_point(flip, depth):
    # the truth: a patch beside the prediction, and a wide sheet above that only the rays meet
    predicted, (patch, triangles) = plane(5), plane(5, at=(11, 0, 0))

    def with_sheet(depth, flip):
        # beside the grid of the rays: one that meets an edge may slip through on some processors
        sheet, sheet_triangles = plane(50, at=(0.13, 0.07, depth))
        turned = sheet_triangles[:, ::-1] if flip else sheet_triangles
        return np.concatenate([patch, sheet]), np.concatenate([triangles, len(patch) + turned])

    truth = with_sheet(depth, flip)
    found = error(predicted, truth)[0]
    assert found == pytest.approx(surface.distances(predicted[0], *truth).mean(), rel=1e-9)
    assert error(predicted, with_sheet(1.5, False))[0] == pytest.approx(1.5, rel=1e-6)  # the rule costs the others none


def test_only_the_region_counts():
    vertices, triangles = plane(20)
    dented = vertices.copy()
    dented[:, 2] = np.where(vertices[:, 0] > 10.5, 7.0, 0)
    flat = np.flatnonzero(vertices[:, 0] < 8)
    assert error((dented, triangles), plane(50), flat) == pytest.approx((0, 0), abs=1e-9)
    assert error((dented, triangles), plane(50), vertices[:, 0] < 8) == pytest.approx((0, 0), abs=1e-9)
    assert error((dented, triangles), plane(50))[0] > 1


def test_faces_against_embree_and_under_similarity_motions():
    model = load('makehuman')
    triangles, ids = np.asarray(model.topology.triangles), np.asarray(model.landmark_ids)
    rng = np.random.default_rng(3)
    weights = rng.normal(size=len(model.identity_basis))
    truth = np.asarray(model.mean, np.float64)
    face = truth + np.tensordot(weights, np.asarray(model.identity_basis, np.float64), 1)
    found = surface.vertex_and_normal_error(face, triangles, face[ids], truth, triangles, truth[ids])
    moved = 0.4 * Rotation.from_rotvec([0.5, -1, 2]).apply(face) + [30, 500, -900]
    again = surface.vertex_and_normal_error(moved, triangles, moved[ids], truth, triangles, truth[ids])
    np.testing.assert_allclose(again, found, rtol=1e-6)  # rounding may send a ray at an edge to either triangle

    # the whole measure again with SciPy's alignment, NumPy's normals and Embree's rays
    centre, target = face[ids].mean(0), truth[ids].mean(0)
    rotation, _ = Rotation.align_vectors(truth[ids] - target, face[ids] - centre)
    turned = rotation.apply(face[ids] - centre)
    scale = (turned * (truth[ids] - target)).sum() / np.square(turned).sum()
    prediction = trimesh.Trimesh(scale * rotation.apply(face - centre) + target, triangles, process=False)
    reference = trimesh.Trimesh(truth, triangles, process=False)
    normals = area_weighted(prediction)
    closest = surface.distances(prediction.vertices, truth, triangles)
    shot = np.full(len(face), np.inf)
    for side in (1, -1):
        where, ray, hit = RayMeshIntersector(reference).intersects_location(
            prediction.vertices, side * normals, multiple_hits=False
        )
        bary = trimesh.triangles.points_to_barycentric(reference.triangles[hit], where)
        there = (bary[..., None] * area_weighted(reference)[triangles[hit]]).sum(1)
        length = np.linalg.norm(where - prediction.vertices[ray], axis=1)
        good = ((there * normals[ray]).sum(1) > 0) & (length <= 2 * closest[ray])
        np.minimum.at(shot, ray[good], length[good])
    expected = np.where(np.isfinite(shot), shot, closest).mean()
    # Embree is single precision and drops a few rays that graze an edge
    assert found[0] == pytest.approx(expected, rel=2e-3)


def area_weighted(mesh):
    crossed = np.cross(mesh.triangles[:, 1] - mesh.triangles[:, 0], mesh.triangles[:, 2] - mesh.triangles[:, 0])
    total = np.zeros_like(mesh.vertices)
    for k in range(3):
        np.add.at(total, mesh.faces[:, k], crossed)
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def test_angles_at_the_ends():
    x = np.array([1.0, 0, 0])
    for angle in (0, 1e-9, 0.3, np.pi / 2, np.pi - 1e-9, np.pi):
        other = 5 * np.array([np.cos(angle), np.sin(angle), 0])
        assert surface.angles(x, other) == pytest.approx(angle, abs=1e-15)
