from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.geometry import cameras
from jfrecon.types import Pinhole, WeakPerspective

RNG = np.random.default_rng(1)
CAMERAS = [
    Pinhole(focal=jnp.float32(600), principal=jnp.array([120.0, 131.0])),
    WeakPerspective(scale=jnp.float32(0.9), principal=jnp.array([120.0, 131.0])),
]
POINTS = jnp.asarray(RNG.uniform([-90, -120, -900], [90, 120, -500], size=(40, 3)), jnp.float32)


def test_pinhole_by_hand():
    cam = Pinhole(focal=jnp.float32(100), principal=jnp.array([50.0, 60.0]))
    pixels, depth = cameras.project(cam, jnp.array([[1.0, 2.0, -10.0]]))
    # 100 * 1 / 10 to the right, 100 * 2 / 10 up, which is towards smaller rows.
    np.testing.assert_allclose(pixels, [[60, 40]])
    np.testing.assert_allclose(depth, [10])


@pytest.mark.parametrize('cam', CAMERAS)
def test_round_trip(cam):
    pixels, depth = cameras.project(cam, POINTS)
    # Coordinates up to 120 mm: float32 resolves 8e-6 mm, and pixels near 256 carry 1.5e-5 px = 2e-5 mm.
    np.testing.assert_allclose(cameras.unproject(cam, pixels, depth), POINTS, atol=1e-4)


@pytest.mark.parametrize('cam', CAMERAS)
def test_crop_is_the_crop_of_the_projection(cam):
    origin, scale = jnp.array([31.5, -12.0]), jnp.float32(1.7)
    pixels, depth = cameras.project(cam, POINTS)
    cropped, same = cameras.project(cameras.crop(cam, origin, scale), POINTS)
    # Pixels of order 500 in float32.
    np.testing.assert_allclose(cropped, (pixels - origin) * scale, atol=2e-4)
    np.testing.assert_array_equal(depth, same)


def test_leaves_broadcast_over_batches():
    focal = jnp.array([400.0, 600.0, 800.0])
    cam = Pinhole(focal=focal, principal=jnp.tile(jnp.array([64.0, 64.0]), (3, 1)))
    points = jnp.broadcast_to(POINTS, (3, *POINTS.shape))
    pixels, depth = cameras.project(cam, points)
    single = Pinhole(focal=focal[1], principal=cam.principal[1])
    np.testing.assert_allclose(pixels[1], cameras.project(single, POINTS)[0], rtol=1e-6)
    crops = cameras.crop(cam, jnp.zeros((3, 2)), jnp.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(crops.focal, [400, 1200, 2400])
    assert cameras.unproject(cam, pixels, depth).shape == points.shape


def test_behind_the_camera_is_finite_and_told_apart():
    points = jnp.array([[1.0, 2.0, 0.0], [1.0, 2.0, 5.0], [0.0, 0.0, -0.5]])
    pixels, depth = cameras.project(CAMERAS[0], points)
    assert np.isfinite(pixels).all()
    np.testing.assert_array_equal(depth, [0, -5, 0.5])
    gradient = jax.grad(lambda p: (cameras.project(CAMERAS[0], p)[0] ** 2).sum())(points)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize('cam', CAMERAS)
def test_gradient_matches_finite_differences(cam):
    with jax.enable_x64(True):
        cam = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), cam)
        p, direction = jnp.asarray(POINTS[:3], jnp.float64), jnp.asarray(RNG.normal(size=(3, 3)))

        def f(p):
            return (cameras.project(cam, p)[0] ** 2).sum()

        h = 1e-3
        numeric = (f(p + h * direction) - f(p - h * direction)) / (2 * h)
        # h² relative to a depth of 500 mm: 4e-12; rounding 1e-16 * 1e5 / h.
        np.testing.assert_allclose((jax.grad(f)(p) * direction).sum(), numeric, rtol=1e-7)


def test_towards_points_at_the_camera():
    np.testing.assert_allclose(
        cameras.towards(CAMERAS[0], POINTS),
        -POINTS / np.linalg.norm(POINTS, axis=-1, keepdims=True),
        atol=1e-6,
    )
    np.testing.assert_array_equal(cameras.towards(CAMERAS[1], POINTS), np.tile([0.0, 0, 1], (len(POINTS), 1)))


def test_subpixel_cameras_look_through_all_of_a_pixel():
    """Their pixel centres are spread evenly over the pixels of the camera, and nothing else about them differs."""
    for camera in (
        Pinhole(jnp.array([60.0, 80.0]), jnp.array([[16.0, 12.0], [8.0, 9.0]])),
        WeakPerspective(jnp.array(0.2), jnp.array([8.0, 9.0])),
    ):
        several = cameras.subpixel(camera, jax.random.key(0), 256)
        ours, theirs = (jax.tree.leaves(x) for x in (camera, several))
        np.testing.assert_array_equal(theirs[0], np.broadcast_to(ours[0], (256, *ours[0].shape)))
        # where the point that the camera sees through a pixel's centre lies in the pixels of the others
        place = np.asarray(camera.principal + 0.5 - several.principal)
        assert place.min() >= 0 and place.max() < 1
        for points in place.reshape(256, -1, 2).swapaxes(0, 1):
            cells = np.histogram2d(*points.T, 8, ((0, 1), (0, 1)))[0]
            # 4 each; of random points one of 64 cells would be empty or have nine
            assert cells.min() >= 2 and cells.max() <= 6
            np.testing.assert_allclose(points.mean(0), 0.5, atol=0.01)
