from __future__ import annotations

import numpy as np
import pytest

from jfrecon.fitting import outline
from jfrecon.types import Topology

SIZE, RADIUS = 256, 70.0
SKIN, HAIR, WALL = [0.8, 0.6, 0.5], [0.25, 0.18, 0.12], [0.95, 0.97, 1.0]

rows, columns = np.indices((SIZE, SIZE)) + 0.5
right, down = columns - SIZE / 2, rows - SIZE / 2
away = np.hypot(right, down)


def disc(*rings, noise=0.01):
    """A picture of discs, each of a colour, the largest first: (radius, colour)."""
    image = np.full((SIZE, SIZE, 3), WALL)
    for radius, colour in rings:
        image = np.where(away[..., None] < radius, colour, image)
    return np.clip(image + noise * np.random.default_rng(0).normal(size=image.shape), 0, 1)


def found(image, inner=True):
    """The outline of a ball that is drawn with `RADIUS`, seen from afar."""
    height = np.sqrt(np.maximum(1 - (away / RADIUS) ** 2, 0))
    normals = np.stack([right / RADIUS, -down / RADIUS, height], -1)
    view = np.broadcast_to([0.0, 0.0, 1.0], normals.shape)
    triangle = np.where(away < RADIUS, 0, -1)
    third = np.full((SIZE, SIZE, 3), 1 / 3)
    return outline.found(image, triangle, third, normals, view, np.array([[0, 1, 2]]), np.array([inner]))


@pytest.mark.parametrize('further', [-2, 0, 4, 9])
def test_the_edge_of_the_skin_is_found(further):
    edges = found(disc((RADIUS + further, SKIN)))
    known = edges.share[0] > 0
    assert known.mean() > 0.9 and edges.share.sum() <= 1 + 1e-5
    place, outward = edges.place[0][known], edges.outward[0][known]
    np.testing.assert_allclose(np.linalg.norm(place - SIZE / 2, axis=-1), RADIUS + further, atol=1.5)
    np.testing.assert_allclose(
        (place - SIZE / 2) / np.linalg.norm(place - SIZE / 2, axis=-1)[:, None], outward, atol=0.1
    )


def test_skin_ends_where_hair_begins():
    edges = found(disc((RADIUS + 9, HAIR), (RADIUS + 3, SKIN)))
    known = edges.share[0] > 0
    assert known.mean() > 0.9
    np.testing.assert_allclose(np.linalg.norm(edges.place[0][known] - SIZE / 2, axis=-1), RADIUS + 3, atol=1.5)


@pytest.mark.parametrize('image', [disc((SIZE, SKIN)), disc((SIZE, SKIN), (RADIUS - 8, HAIR))])
def test_where_no_edge_is_near_nothing_counts(image):
    assert found(image).share.sum() == 0


def test_a_lonely_edge_is_not_believed():
    spot = disc((RADIUS + 30, SKIN))
    spot[int(SIZE / 2) - 3 : int(SIZE / 2) + 3, int(SIZE / 2 + RADIUS + 4) :] = WALL
    assert found(spot).share.sum() == 0


def test_the_border_of_a_mesh_is_no_outline():
    assert found(disc((RADIUS + 4, SKIN)), inner=False).share.sum() == 0


def test_a_point_may_slide_along_its_edge():
    """A point in the middle of a triangle, 3 pixels beyond its line and far along it; a second that does not count."""
    edges = outline.nothing(1)
    edges.corners[0, :2] = [[0, 1, 2], [2, 1, 0]]
    edges.weights[0, :2] = 1 / 3
    edges.place[0, :2] = [[10, 20], [0, 0]]
    edges.outward[0, :2] = [[1, 0], [0, 1]]
    edges.share[0, 0] = 0.5
    pixels = np.array([[[12.0, 90], [13, 100], [14, 110]]], np.float32)
    np.testing.assert_allclose(outline.distance(pixels, edges, 100), [0.5 * 3 / 100], rtol=1e-5)


def test_vertices_are_as_far_from_the_border_as_along_the_edges():
    """A grid with a hole in it, whose border is not the outer one."""
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(9), np.arange(9)))
    vertices = np.stack([x, y, 0 * x], -1).astype(float)
    corner = np.array([k for k in range(80) if k % 9 < 8 and k < 72 and k != 40])
    triangles = np.concatenate(
        [np.stack([corner, corner + 1, corner + 9], 1), np.stack([corner + 1, corner + 10, corner + 9], 1)]
    )
    topology = Topology(*[triangles] * len(Topology.__dataclass_fields__))
    expected = np.minimum.reduce([x, y, 8 - x, 8 - y])
    np.testing.assert_allclose(outline.from_border(topology, vertices), expected)
    closed = Topology(*[np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])] * len(Topology.__dataclass_fields__))
    assert np.isinf(outline.from_border(closed, np.eye(4, 3))).all()
