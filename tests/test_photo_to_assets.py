from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.photo_to_assets import __main__ as experiment
from jfrecon.data.cropping import Box
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.reconstruction import photograph
from jfrecon.reconstruction.photograph import Face, Reconstructor


def test_maps_that_differ_in_the_light_alone_are_not_apart():
    draws = np.random.default_rng(0)
    albedo, where = draws.uniform(0.1, 0.5, (8, 8, 3)), draws.uniform(size=(8, 8)) > 0.3
    lit = albedo * [1.5, 1.2, 0.7]
    lit[~where] = 9
    assert experiment.apart(albedo, lit, where, gain=True) < 1e-6
    assert experiment.apart(albedo, lit, where) > 0.03
    grey = np.full((1, 1, 3), 0.2), np.full((1, 1, 3), 0.5)  # 0.4845 and 0.7354 in sRGB
    assert experiment.apart(*grey, np.ones((1, 1), bool)) == pytest.approx(0.2509, abs=2e-4)


def test_failures_are_counted_and_leave_the_medians_alone():
    rows = [{name: value for name in experiment.METRICS} for value in (1.0, 2.0, 9.0)]
    found = experiment.medians([rows[0], None, rows[1], rows[2], None])
    assert found['failures'] == 2 and all(found[name] == 2 for name in experiment.METRICS)
    assert math.isnan(experiment.medians([None])['psnr'])


def test_a_detected_face_counts_where_the_given_one_is(monkeypatch):
    landmarks = np.random.default_rng(0).uniform([100, 100], [200, 200], (68, 2)).astype(np.float32)
    photo = Sample(np.zeros((400, 400, 3), np.uint8), landmarks, name='two.jpg')
    boxes = [Box(280.0, 280.0, 100.0), Box(70.0, 60.0, 170.0)]
    make = Reconstructor(None, None, None)
    monkeypatch.setattr(photograph, 'find', lambda photo, *_: [Face(photo, box) for box in boxes])
    face = experiment.found(make, experiment.WAYS['found'], photo)
    assert face.box == boxes[1] and not np.isfinite(face.sample.landmarks).any()
    del boxes[1]
    with pytest.raises(Unreadable, match='not found'):
        experiment.found(make, experiment.WAYS['found'], photo)
