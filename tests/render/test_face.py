from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon import morphable
from jfrecon.geometry import uv
from jfrecon.morphable import model as linear
from jfrecon.render import face as faces
from jfrecon.types import FaceParameters, Maps, Pinhole


def test_maps_of_the_vertices_albedo_draw_the_face_that_the_vertices_draw():
    model = linear.truncate(morphable.load(), 4, 4, 8)
    rng = np.random.default_rng(0)
    light = np.float32(0.2 * rng.normal(size=(1, 9, 3)))
    light[:, 0] = 3.0
    chi = FaceParameters(
        identity=jnp.zeros((1, 4)),
        expression=jnp.zeros((1, 4)),
        albedo=jnp.float32(rng.normal(size=(1, 8))),
        rotation=jnp.array([[0.1, 0.3, 0.0]]),
        translation=jnp.array([[0.0, 0.0, -1300.0]]),
        light=light,
    )
    size = (96, 96)
    camera = Pinhole(jnp.array([4.5 * 96]), jnp.array([[48.0, 48.0]]))
    texels = uv.texel_map(model.topology, 256)
    maps = Maps(*(uv.to_uv(texels, albedo) for albedo in linear.albedo(model, chi.albedo)))

    @jax.jit
    def draw(chi):
        face = faces.surface(model, chi, camera)
        return faces.layers(model, face, chi, faces.fragments(model, face, size), 0.4)

    plain, textured = draw(chi), draw(chi.replace(maps=maps))
    np.testing.assert_array_equal(plain.coverage, textured.coverage)
    assert plain.coverage.mean() > 0.2
    np.testing.assert_allclose(plain.normal, textured.normal, atol=1e-5)
    # Linear within a triangle in both; a texel on an edge between two charts or triangles is a blend.
    for a, b in ((plain.diffuse, textured.diffuse), (plain.specular, textured.specular)):
        assert np.abs(a - b).mean() < 1e-3 and np.quantile(np.abs(a - b), 0.999) < 0.05
    # Product of interpolated and interpolated product of albedo and light: second order in a triangle.
    assert np.abs(plain.radiance - textured.radiance).mean() < 2e-3
    brighter = draw(chi.replace(maps=maps.replace(diffuse=2 * maps.diffuse)))
    np.testing.assert_allclose(brighter.diffuse, 2 * textured.diffuse, atol=1e-6)
    assert brighter.radiance.mean() > 1.5 * textured.radiance.mean()
