import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from jfrecon.evaluation import metrics


def test_landmark_nme_by_hand():
    target = np.zeros((68, 2))
    target[36], target[45] = [10, 20], [60, 20]
    predicted = target + np.array([3, 4])  # every landmark 5 pixels off, 50 pixels between the eyes
    assert metrics.landmark_nme(predicted, target) == pytest.approx(0.1)
    weight = np.ones(68)
    weight[:17] = 0
    predicted[:17] += 1000  # what is not known does not count
    assert metrics.landmark_nme(predicted, target, weight) == pytest.approx(0.1)


def test_vertex_error_is_blind_to_similarity_motions_and_sees_everything_else():
    rng = np.random.default_rng(0)
    vertices = rng.normal(size=(200, 3)) * 60
    moved = 1.3 * Rotation.from_rotvec([0.1, 0.5, -0.4]).apply(vertices) + [10, 20, -900]
    ids = np.arange(0, 68)
    assert metrics.vertex_error_mm(vertices, moved, ids) < 1e-9
    dented = moved.copy()
    dented[150] += [0, 0, 8.0]  # not among the landmarks: only this vertex is wrong, by 8 mm
    assert metrics.vertex_error_mm(vertices, dented, ids) == pytest.approx(8 / 200, rel=1e-9)


def test_image_metrics_against_skimage_on_a_full_mask():
    rng = np.random.default_rng(1)
    image = rng.uniform(size=(40, 48, 3))
    other = (image + rng.normal(size=image.shape) * 0.1).clip(0, 1)
    mask = np.ones(image.shape[:2])
    assert metrics.photometric_l1(other, image, mask) == pytest.approx(np.abs(other - image).mean())
    assert metrics.psnr(other, image, mask) == pytest.approx(peak_signal_noise_ratio(image, other, data_range=1))
    _, similarity = structural_similarity(
        other, image, channel_axis=-1, data_range=1, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    assert metrics.ssim(other, image, mask) == pytest.approx(similarity.mean())


def test_image_metrics_look_only_inside_the_mask():
    rng = np.random.default_rng(2)
    image = rng.uniform(size=(32, 32, 3))
    mask = np.zeros((32, 32))
    mask[8:24, 8:24] = 1
    other = np.where(mask[..., None] > 0, image, 1 - image)
    assert metrics.photometric_l1(other, image, mask) == 0
    assert metrics.ssim(other, image, mask) == pytest.approx(1)
    assert metrics.psnr(other, image, mask) == pytest.approx(100)
    black = np.where(mask[..., None] > 0, 0, image)  # a face left uncovered is black, not free
    assert metrics.photometric_l1(black, image, mask) == pytest.approx(image[8:24, 8:24].mean())
