from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jfrecon.evaluation import normals


def test_by_hand():
    reference = np.tile([0, 0, 1.0], (1, 4, 1))
    turned = np.radians([0, 22, 28, 40])
    predicted = np.stack([np.sin(turned), 0 * turned, np.cos(turned)], -1)[None] * 3  # lengths mean nothing
    found = normals.normal_error(predicted, reference, np.ones((1, 4)))
    expected = {'mean': 22.5, 'std': np.std([0, 22, 28, 40]), 'under_20': 0.25, 'under_25': 0.5, 'under_30': 0.75}
    assert found == pytest.approx(expected)


def test_against_scipy_rotations_and_arccos():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(30, 40, 3))
    reference /= np.linalg.norm(reference, axis=-1, keepdims=True)
    predicted = rng.normal(size=(30, 40, 3))
    predicted /= np.linalg.norm(predicted, axis=-1, keepdims=True)
    mask = rng.uniform(size=(30, 40)) > 0.4
    degrees = np.degrees(np.arccos((reference * predicted).sum(-1)))[mask]
    found = normals.normal_error(predicted, reference, mask)
    assert found['mean'] == pytest.approx(degrees.mean(), abs=1e-6)  # arccos loses digits near 0
    assert found['std'] == pytest.approx(degrees.std(), abs=1e-6)
    assert found['under_30'] == (degrees < 30).mean()
    rotation = Rotation.from_rotvec([0.2, -0.4, 0.3])
    turned = rotation.apply(predicted.reshape(-1, 3)).reshape(predicted.shape)
    both = rotation.apply(reference.reshape(-1, 3)).reshape(reference.shape)
    assert normals.normal_error(turned, both, mask) == pytest.approx(found)


def test_only_pixels_with_a_reference_inside_the_mask_count_and_a_gap_costs_90_degrees():
    reference = np.tile([0, 0, 1.0], (2, 3, 1))
    predicted = reference.copy()
    predicted[0, 0] = [1, 0, 0]  # outside the mask
    reference[0, 1] = 0
    predicted[0, 2] = 0
    mask = np.ones((2, 3))
    mask[0, 0] = 0
    assert normals.normal_error(predicted, reference, mask)['mean'] == pytest.approx(90 / 4)
    with pytest.raises(ValueError, match='no pixel'):
        normals.normal_error(predicted, reference, 0 * mask)
