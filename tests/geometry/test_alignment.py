import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jfrecon.geometry import alignment


def test_similarity_recovers_a_known_motion(rng=np.random.default_rng(0)):
    points = rng.normal(size=(20, 3)) * 50
    rotation = Rotation.from_rotvec([0.3, -0.8, 0.2]).as_matrix()
    scale, found, translation = alignment.similarity(points, 1.7 * points @ rotation.T + [5, -3, 40])
    # float64 throughout and an exact correspondence: only rounding is left
    np.testing.assert_allclose(scale, 1.7, rtol=1e-12)
    np.testing.assert_allclose(found, rotation, atol=1e-12)
    np.testing.assert_allclose(translation, [5, -3, 40], atol=1e-9)


def test_similarity_never_reflects(rng=np.random.default_rng(1)):
    points = rng.normal(size=(20, 3))
    _, rotation, _ = alignment.similarity(points, points * [-1, 1, 1])
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_similarity_is_the_least_squares_optimum(rng=np.random.default_rng(2)):
    source, target = rng.normal(size=(2, 15, 3))
    best = alignment.similarity(source, target)

    def error(scale, rotation, translation):
        return np.square(alignment.apply(scale, rotation, translation, source) - target).sum()

    for _ in range(50):
        turned = Rotation.from_rotvec(rng.normal(size=3) * 0.05).as_matrix() @ best[1]
        moved = (best[0] * np.exp(rng.normal() * 0.05), turned, best[2] + rng.normal(size=3) * 0.05)
        assert error(*moved) > error(*best)


def test_pinhole_pose_recovers_a_pose(rng=np.random.default_rng(3)):
    points = rng.normal(size=(68, 3)) * [60, 80, 30]
    rotation, translation = np.array([0.2, 0.4, -0.1]), np.array([12.0, -30.0, -1100.0])
    moved = Rotation.from_rotvec(rotation).apply(points) + translation
    principal = np.array([40.0, 41.0])
    pixels = principal + 360 * np.stack([moved[:, 0], -moved[:, 1]], -1) / -moved[:, 2:]
    found = alignment.pinhole_pose(points, pixels, 360.0, principal, depth=1000.0)
    # SciPy stops at a relative change of 1e-8 in the cost of an exactly solvable problem
    np.testing.assert_allclose(found[0], rotation, atol=1e-4)
    np.testing.assert_allclose(found[1], translation, atol=0.1)


def test_without_scale_it_is_scipys_rigid_alignment(rng=np.random.default_rng(4)):
    source = rng.normal(size=(15, 3)) * 40
    target = 1.3 * Rotation.from_rotvec([0.3, -0.8, 0.2]).apply(source) + rng.normal(size=(15, 3)) * 5
    scale, rotation, translation = alignment.similarity(source, target, scaled=False)
    best, _ = Rotation.align_vectors(target - target.mean(0), source - source.mean(0))
    assert scale == 1
    np.testing.assert_allclose(rotation, best.as_matrix(), atol=1e-10)
    np.testing.assert_allclose(translation, target.mean(0) - best.apply(source.mean(0)), atol=1e-9)
