"""The pieces of `experiments.synthetic_benchmark` that need no renderer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from experiments.synthetic_benchmark import lights, marks
from jfrecon import morphable
from jfrecon.morphable import skin_canvas
from jfrecon.shading import environment


@pytest.mark.parametrize('kind', lights.KINDS)
def test_a_frontal_white_surface_sends_back_one_under_every_light(kind):
    light = lights.draw(np.random.default_rng(5), kind)
    assert light.shape == (64, 64, 3) and light.min() > 0
    # Directions drawn by the cosine: the mean of what they meet is the radiance of a white matte surface.
    random, count = np.random.default_rng(0), 20_000
    u, phi = random.random(count), random.uniform(0, 2 * np.pi, count)
    towards = np.stack([np.sqrt(u) * np.cos(phi), np.sqrt(u) * np.sin(phi), np.sqrt(1 - u)], -1)
    texel = cKDTree(environment.directions(64, 64).reshape(-1, 3)).query(towards)[1]
    values = light.reshape(-1, 3)[texel].mean(-1)
    # The mean of so many draws is off by its standard error; four of them, and 1% for texels near the horizon.
    np.testing.assert_allclose(values.mean(), 1, atol=0.01 + 4 * values.std() / np.sqrt(count))


def test_marks_change_a_part_of_the_skin_the_same_way_each_time():
    model = morphable.load()
    mean = np.asarray(model.mean)
    canvas = skin_canvas.canvas(mean, mean[np.asarray(model.landmark_ids)])
    diffuse, specular = np.full((len(mean), 3), 0.4), np.full((len(mean), 1), 0.2)
    for kind in marks.KINDS:
        once, again = (marks.draw(np.random.default_rng(3), kind, canvas, diffuse, specular) for _ in range(2))
        np.testing.assert_array_equal(once[0], again[0])
        assert once[0].min() >= 0 and once[0].max() <= 1 and once[1].max() <= 1
        touched = (np.abs(once[0] - diffuse).max(-1) > 0.01).mean()
        drawn = kind in ('tattoo', 'scar', 'mole', 'make-up')
        assert (0 < touched < 0.6) if drawn else touched == 0
