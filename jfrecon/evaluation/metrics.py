"""How far a reconstruction is from the truth. NumPy, one face at a time, nothing learned and nothing tuned."""

from __future__ import annotations

import numpy as np
from skimage.metrics import structural_similarity

from jfrecon.geometry import alignment

OUTER_EYE_CORNERS = (36, 45)


def landmark_nme(predicted: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Mean distance of 68 landmarks [68, 2] over the outer interocular distance of the target."""
    span = np.linalg.norm(target[OUTER_EYE_CORNERS[0]] - target[OUTER_EYE_CORNERS[1]])
    distance = np.linalg.norm(predicted - target, axis=-1)
    return float(np.average(distance, weights=weight) / span)


def vertex_error_mm(predicted: np.ndarray, target: np.ndarray, landmark_ids: np.ndarray) -> float:
    """Mean distance in mm of corresponding vertices [V, 3] after a similarity alignment on the landmarks."""
    fit = alignment.similarity(predicted[landmark_ids], target[landmark_ids])
    return float(np.linalg.norm(alignment.apply(*fit, predicted) - target, axis=-1).mean())


def photometric_l1(predicted: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute difference of sRGB images [H, W, 3] in 0..1 over a mask [H, W]; one number per channel value.

    What the rendering leaves uncovered counts as black: pass it black there.
    """
    inside = mask > 0.5
    return float(np.abs(predicted - target)[inside].mean())


def psnr(predicted: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal to noise ratio in dB of sRGB images in 0..1 over a mask."""
    error = np.square(predicted - target)[mask > 0.5].mean()
    return float(-10 * np.log10(max(error, 1e-10)))


def ssim(predicted: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004, Gaussian window, sigma 1.5) averaged over a mask.

    Outside the mask both images are the target, so that the background neither helps nor hurts.
    """
    inside = (mask > 0.5)[..., None]
    _, similarity = structural_similarity(
        np.where(inside, predicted, target),
        target,
        channel_axis=-1,
        data_range=1.0,
        gaussian_weights=True,
        use_sample_covariance=False,
        full=True,
    )
    return float(similarity[mask > 0.5].mean())
