"""The data term hands on what it was built with."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon import morphable
from jfrecon.geometry import uv
from jfrecon.losses.data_term import DataTerm
from jfrecon.morphable import linear
from jfrecon.render import sampling, surface, tree
from jfrecon.types import Batch, FaceParameters, Pinhole

SIZE = 16


@pytest.mark.parametrize('renderer', ['raytrace', 'both'])
def test_the_ray_tracer_draws_by_the_sampler_of_the_data_term(renderer):
    model = linear.truncate(morphable.load(), 1, 1, 1)
    asked = []

    def sampler(light, keys):
        asked.append(keys.shape)
        return sampling.by_radiance(light, keys)

    term = DataTerm(
        model=model,
        leaves=tree.order(np.asarray(model.mean), np.asarray(model.topology.triangles)),
        places=uv.of_vertices(model.topology, len(model.mean)),
        renderer=renderer,
        samples=2,
        roughness=0.4,
        sampler=sampler,
    )
    coefficient = jnp.zeros((1, 1))
    place = jnp.array([[0.0, 0.0, -900.0]])
    chi = FaceParameters(coefficient, coefficient, coefficient, jnp.zeros((1, 3)), place, jnp.ones((1, 4, 3)))
    batch = Batch(
        image=jnp.zeros((1, SIZE, SIZE, 3)),
        landmarks=jnp.zeros((1, 68, 2)),
        landmark_weight=jnp.zeros((1, 68)),
        mask=jnp.ones((1, SIZE, SIZE)),
        camera=Pinhole(jnp.full(1, 4.5 * SIZE), jnp.full((1, 2), SIZE / 2)),
        index=jnp.zeros(1, jnp.int32),
    )

    def terms(key):
        return term(surface.posed(model, chi, batch.camera), chi.light, batch, key)

    shapes = jax.eval_shape(terms, jax.random.key(0))
    assert shapes['photo'].shape == (1,) and asked == [(1,)]
