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
