from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from jfrecon.evaluation import layers
from jfrecon.shading import sh
from tests.shading.rotation import rotated


def srgb(linear):
    """IEC 61966-2-1, written out."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def test_layers_by_hand_and_by_skimage():
    rng = np.random.default_rng(0)
    mask = np.ones((32, 40))
    reference = {
        'final': rng.uniform(size=(32, 40, 3)),
        'diffuse': rng.uniform(0.05, 0.5, size=(32, 40, 3)),
        'specular': rng.uniform(0.05, 0.5, size=(32, 40, 1)),
    }
    predicted = {name: (image + rng.normal(size=image.shape) * 0.05).clip(0, 1) for name, image in reference.items()}
    predicted['final'] = reference['final'].clip(0, 0.9) + 0.1 * (reference['final'] <= 0.9)
    found = layers.layer_scores(predicted, reference, mask)
    assert len(found) == 2 + 4 + 4
    for name in reference:
        a, b = predicted[name], reference[name]
        if name != 'final':
            a, b = srgb(a), srgb(b)
        # JAX encodes in float32
        assert found[f'{name}_psnr'] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), abs=1e-3)
        expected = structural_similarity(
            b, a, channel_axis=-1, data_range=1, gaussian_weights=True, use_sample_covariance=False, full=True
        )[1].mean()
        assert found[f'{name}_ssim'] == pytest.approx(expected, abs=1e-4)
    flat = {'final': np.full((32, 40, 3), 0.5)}
    # a tenth off everywhere: 20 dB
    assert layers.layer_scores({'final': flat['final'] + 0.1}, flat, mask)['final_psnr'] == pytest.approx(20)


def test_a_colour_cast_costs_the_plain_scores_only():
    rng = np.random.default_rng(1)
    mask = np.zeros((32, 32))
    mask[8:24, 8:24] = 1
    truth = rng.uniform(0.1, 0.6, size=(32, 32, 3))
    cast = np.where(mask[..., None] > 0, truth * [1.5, 0.8, 0.4], 0.9)  # outside the mask nothing is true
    found = layers.layer_scores({'diffuse': cast}, {'diffuse': truth}, mask)
    assert found['diffuse_psnr'] < 20
    assert found['diffuse_psnr_gain'] > 90  # float32 encoding; 100 is the most that is reported
    assert found['diffuse_ssim_gain'] == pytest.approx(1, abs=1e-6)
    assert found['diffuse_ssim'] < 0.99
    assert 'final_psnr' not in found


def test_light_error_by_hand():
    truth = np.zeros((9, 3))
    truth[0] = 2
    assert layers.light_error(truth, truth) == {'light_error': 0, 'light_error_gain': 0}
    assert layers.light_error(1.5 * truth, truth) == pytest.approx({'light_error': 0.5, 'light_error_gain': 0})
    other = truth.copy()
    other[3] = 2  # as much again, orthogonal: error 1; half of both leaves 1/4 + 1/4
    assert layers.light_error(other, truth) == pytest.approx({'light_error': 1, 'light_error_gain': np.sqrt(0.5)})
    assert layers.light_error(-truth, truth) == pytest.approx({'light_error': 2, 'light_error_gain': 1})
    assert layers.light_error(0 * truth, truth) == pytest.approx({'light_error': 1, 'light_error_gain': 1})


@pytest.mark.parametrize('bands', [(3, 5), (5, 3)])
def test_light_error_against_a_sum_over_the_sphere(bands):
    rng = np.random.default_rng(2)
    predicted, truth = (rng.normal(size=(b * b, 3)) for b in bands)
    i = np.arange(4000) + 0.5  # Fibonacci's sphere: near-uniform, error of the mean about 1 / N
    z, phi = 1 - 2 * i / len(i), np.pi * (1 + 5**0.5) * i
    directions = np.stack([np.sqrt(1 - z * z) * np.cos(phi), np.sqrt(1 - z * z) * np.sin(phi), z], -1)
    seen, wanted = (np.asarray(sh.evaluate(jnp.asarray(c), jnp.asarray(directions))) for c in (predicted, truth))

    def relative(gain):
        return np.sqrt(np.square(gain * seen - wanted).mean() / np.square(wanted).mean())

    found = layers.light_error(predicted, truth)
    assert found['light_error'] == pytest.approx(relative(1), rel=1e-3)
    best = minimize_scalar(relative, bounds=(0, 10), method='bounded')
    assert found['light_error_gain'] == pytest.approx(best.fun, rel=1e-3)
    turned = layers.light_error(*(rotated(c, np.diag([-1.0, -1, 1])) for c in (predicted, truth)))
    assert turned == pytest.approx(found, rel=1e-4)  # float32
