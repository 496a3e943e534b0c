from __future__ import annotations

import numpy as np
import pytest
import trimesh

from jfrecon.geometry import closest

RNG = np.random.default_rng(4)


def brute_force(points, vertices, triangles):
    """Distances to every triangle by trimesh's own closest point."""
    corners = vertices[triangles]
    best = [
        np.linalg.norm(trimesh.triangles.closest_point(corners, np.tile(p, (len(corners), 1))) - p, axis=-1).min()
        for p in points
    ]
    return np.array(best)


@pytest.mark.parametrize('scale', [0.05, 30.0])
@pytest.mark.parametrize('smallest, largest', [(1e-3, 20), (5, 5.1)])
def test_matches_brute_force_on_triangles_of_all_sizes(scale, smallest, largest):
    # Neither sizes over four decades nor a tangle of large triangles can be told apart by their centroids.
    middle = RNG.uniform(-10, 10, size=(300, 1, 3))
    corners = middle + np.exp(RNG.uniform(np.log(smallest), np.log(largest), size=(300, 1, 1))) * RNG.normal(
        size=(300, 3, 3)
    )
    vertices, triangles = corners.reshape(-1, 3), np.arange(900).reshape(300, 3)
    points = RNG.normal(size=(100, 3)) * scale
    distance, triangle, weights = closest.closest_points(points, vertices, triangles)
    # float64 rounding of coordinates of order 30.
    np.testing.assert_allclose(distance, brute_force(points, vertices, triangles), atol=1e-10)
    foot = np.einsum('nk,nkd->nd', weights, corners[triangle])
    np.testing.assert_allclose(np.linalg.norm(foot - points, axis=-1), distance, atol=1e-10)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-12)


def test_points_of_the_surface_are_found_again():
    sphere = trimesh.creation.icosphere(3)
    points, ids = trimesh.sample.sample_surface(sphere, 500, seed=0)
    distance, triangle, _ = closest.closest_points(points, sphere.vertices, sphere.faces)
    assert distance.max() < 1e-12
    np.testing.assert_array_equal(triangle, ids)


def test_degenerate_triangles_are_edges_and_points():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [5, 5, 5]], float)
    triangles = np.array([[0, 1, 2], [3, 3, 3]])
    points = np.array([[1.5, 1, 0], [5, 5, 6], [-1, 0, 0]])
    distance, triangle, weights = closest.closest_points(points, vertices, triangles)
    np.testing.assert_allclose(distance, [1, 1, 1])
    np.testing.assert_array_equal(triangle, [0, 1, 0])
    assert np.isfinite(weights).all()


def test_first_hits_match_embree():
    ball = trimesh.creation.icosphere(3, 50.0)
    origins = RNG.normal(size=(400, 3)) * 40  # some inside, some outside
    directions = RNG.normal(size=(400, 3))
    triangle, distance, weights = closest.Surface(ball.vertices, ball.faces).first_hit(origins, directions)
    from trimesh.ray.ray_pyembree import RayMeshIntersector

    where, ray, ids = RayMeshIntersector(ball).intersects_location(origins, directions, multiple_hits=False)
    assert 100 < len(ray) < 400
    np.testing.assert_array_equal(np.flatnonzero(triangle >= 0), np.sort(ray))
    assert np.isinf(distance[triangle < 0]).all() and not weights[triangle < 0].any()
    # Embree works in single precision, on coordinates of order 50
    np.testing.assert_allclose((origins + distance[:, None] * directions)[ray], where, atol=1e-3)
    corners = ball.vertices[ball.faces[triangle[ray]]]
    np.testing.assert_allclose((weights[ray][..., None] * corners).sum(1), where, atol=1e-3)
    assert (triangle[ray] == ids).mean() > 0.99  # but for rays through an edge


def test_what_libigl_would_read_out_of_bounds_is_refused():
    vertices = np.eye(3)
    for triangles in ([[0, 1, 3]], [[0, 1, -1]], np.zeros((0, 3), int)):
        with pytest.raises(ValueError, match='triangles'):
            closest.Surface(vertices, np.asarray(triangles))
    with pytest.raises(ValueError, match='finite'):
        closest.Surface(vertices * np.nan, np.array([[0, 1, 2]]))
    surface = closest.Surface(vertices, np.array([[0, 1, 2]]))
    with pytest.raises(ValueError, match='finite'):
        surface.closest(np.full((1, 3), np.inf))
    assert surface.closest(np.zeros((0, 3)))[0].shape == (0,)
    assert surface.first_hit(np.zeros((1, 3)), np.zeros((1, 3)))[0][0] == -1  # a ray without direction
