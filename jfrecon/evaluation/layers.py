"""How close the layers of a reconstruction come to references: final picture, diffuse and specular albedo, light."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from jfrecon.evaluation import metrics
from jfrecon.evaluation.baseline import fitted_gain
from jfrecon.shading import colour

ALBEDOS = ('diffuse', 'specular')


def layer_scores(
    predicted: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], mask: np.ndarray
) -> dict[str, float]:
    """SSIM and PSNR of each layer that the reference has, inside a mask (dib21, table 2).

    ``final`` is a picture, sRGB in 0..1. Albedos, ``diffuse`` [H, W, 3] and ``specular`` [H, W, 1], are linear; they
    are sRGB-encoded and clipped before they are compared, as pictures are (the paper does not say). An albedo is known
    up to the light's colour and strength only: ``*_ssim_gain`` and ``*_psnr_gain`` are the scores after one gain per
    channel, fitted in linear light inside the mask, and never stand for the plain ones.

    Args:
      predicted: layers seen through the pixels of the reference, 0 where nothing was predicted.
      reference: ``final``, ``diffuse``, ``specular``, or some of them.
      mask: [H, W] above 0.5 where pixels count.

    Returns:
      ``{layer}_ssim``, ``{layer}_psnr`` (dB), and for albedos the same with ``_gain``.
    """
    scores: dict[str, float] = {}
    for layer, truth in reference.items():
        found = predicted[layer]
        if layer not in ALBEDOS:
            scores |= _scores(layer, found, truth, mask, '')
            continue
        gained = found * fitted_gain(found, truth, mask)
        scores |= _scores(layer, _encode(found), _encode(truth), mask, '')
        scores |= _scores(layer, _encode(gained), _encode(truth), mask, '_gain')
    return scores


def light_error(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Error of the radiance over the sphere, relative to the truth: RMS(predicted - truth) / RMS(truth).

    The basis is orthonormal, so the integrals are sums of squared coefficients; bands that one side lacks are zero.
    ``light_error_gain`` is the same after the one gain, not negative and the same for all colours, that lowers it most:
    light and albedo share a scale that no photograph tells.

    Args:
      predicted, truth: [L², 3] and [K², 3] spherical-harmonics radiance in one frame.
    """
    size = max(len(predicted), len(truth))
    p, t = (np.concatenate([a, np.zeros((size - len(a), 3))]).ravel() for a in (predicted, truth))
    gain = max(0.0, p @ t / max(p @ p, 1e-30))
    plain, scaled = (np.linalg.norm(g * p - t) / np.linalg.norm(t) for g in (1.0, gain))
    return {'light_error': float(plain), 'light_error_gain': float(scaled)}


def _encode(linear: np.ndarray) -> np.ndarray:
    return np.asarray(colour.linear_to_srgb(jnp.asarray(linear))).clip(0, 1)


def _scores(layer: str, found: np.ndarray, truth: np.ndarray, mask: np.ndarray, suffix: str) -> dict[str, float]:
    return {
        f'{layer}_ssim{suffix}': metrics.ssim(found, truth, mask),
        f'{layer}_psnr{suffix}': metrics.psnr(found, truth, mask),
    }
