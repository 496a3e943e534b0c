"""The cylindrical unwrap: layout, symmetry, and the seam at the back."""

import numpy as np
import pytest

from jfrecon.geometry import uv
from jfrecon.morphable.unwrap import cylindrical
from jfrecon.types import Topology
from tests.morphable import small_files


def signed_area(uv, triangles):
    a, b, c = (uv[triangles[:, k]] for k in range(3))
    return ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2


def test_a_mask_is_unrolled_about_its_back():
    """Points (sin t, h, cos t) of a half cylinder: u = 1/2 + t / pi, no vertex twice."""
    t, h = np.meshgrid(np.radians(np.linspace(-90, 90, 7)), np.array([0.0, 10, 40]))
    points = np.stack([50 * np.sin(t), h, 50 * np.cos(t)], -1).reshape(-1, 3)
    i = (np.arange(2)[:, None] * 7 + np.arange(6)).ravel()
    triangles = np.concatenate([np.stack([i, i + 1, i + 7], -1), np.stack([i + 1, i + 8, i + 7], -1)])
    uv, uv_triangles = cylindrical(points, triangles)
    np.testing.assert_array_equal(uv_triangles, triangles)
    want = np.stack([0.5 + t / np.pi, h / 40], -1).reshape(-1, 2)
    np.testing.assert_allclose(uv, want, atol=1e-6)  # float32


@pytest.mark.parametrize('shape', [small_files.mask(), small_files.ball()])
def test_layout(shape):
    points, triangles = shape
    uv, uv_triangles = cylindrical(points, triangles)
    assert uv.min() >= 0 and uv.max() <= 1
    # Extremes are reached: nothing of the square is wasted beyond what the shape leaves.
    np.testing.assert_allclose([*uv.min(0), *uv.max(0)], [0, 0, 1, 1], atol=1e-6)
    # The vertex of each corner stays: same height, same angle up to whole turns of the (stretched) cylinder.
    height = points[triangles][..., 1]
    v = (height - points[:, 1].min()) / np.ptp(points[:, 1])
    np.testing.assert_allclose(uv[uv_triangles][..., 1], v, atol=1e-6)
    # No triangle runs around the head but the degenerate ones at the poles.
    width = np.ptp(uv[uv_triangles][..., 0], axis=1)
    pole = (np.abs(points[triangles]) < 1e-6).any(-1) & (np.abs(height) > 109)
    assert width[~pole.any(1)].max() < 0.2
    # Seen from outside, triangles keep their orientation.
    area = signed_area(uv, uv_triangles)
    assert (area[~pole.any(1)] > 0).all()


def test_a_symmetric_head_has_a_symmetric_layout():
    points, triangles = small_files.ball(7, 16)
    uv, uv_triangles = cylindrical(points, triangles)
    count = {}
    for triangle, corners in zip(triangles, uv[uv_triangles]):
        for vertex, (u, v) in zip(triangle, corners):
            count.setdefault(int(vertex), set()).add((round(float(u), 5), round(float(v), 5)))
    mirror = np.linalg.norm(points[:, None] * [-1, 1, 1] - points[None], axis=-1).argmin(1)
    inner = [i for i in count if len(count[i]) == 1 and len(count[mirror[i]]) == 1]
    assert len(inner) > 90
    for i in inner:
        ((u, v),), ((mirrored, same),) = count[i], count[mirror[i]]
        assert abs(u + mirrored - 1) < 2e-5 and abs(v - same) < 2e-5
    # A vertex straight behind lies on both edges.
    behind = [i for i in count if abs(points[i, 0]) < 1e-9 and points[i, 2] < -1 and len(count[i]) > 1]
    assert len(behind) == 7


def test_every_texel_in_front_is_covered():
    """The unwrap of a closed head leaves no hole between the columns at the seam and none inside."""
    points, triangles = small_files.ball(11, 24)
    corners, uv_triangles = cylindrical(points, triangles)
    texels = uv.texel_map(Topology(triangles, corners, uv_triangles), 64)
    assert texels.coverage[8:-8, 4:-4].all()


def test_left_of_the_subject_is_right_in_the_map():
    points, triangles = small_files.mask()
    uv, uv_triangles = cylindrical(points, triangles)
    u = uv[uv_triangles][..., 0]
    x = points[triangles][..., 0]
    assert (np.sign(np.round(x, 6)) == np.sign(np.round(u - 0.5, 6))).all()
