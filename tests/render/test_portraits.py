from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon import morphable
from jfrecon.morphable import linear
from jfrecon.render import portraits, raytrace, surface, tree
from jfrecon.render.portraits import Portrait
from jfrecon.shading import sh
from jfrecon.types import FaceParameters, Pinhole

SIZE = 48
CAMERA = Pinhole(jnp.full(1, 4.5 * SIZE), jnp.full((1, 2), SIZE / 2))


@pytest.fixture(scope='module')
def head():
    """Without gloss, whose two lobes differ, and without what has its shade in its colours: eyes and teeth."""
    model = linear.truncate(morphable.load(), 1, 1, 1)
    matte = {name: jnp.zeros_like(getattr(model, name)) for name in ('specular_mean', 'specular_basis')}
    model = dataclasses.replace(model, **matte)
    return Portrait(model, tree.order(np.asarray(model.mean), np.asarray(model.topology.triangles)), 0.4)


@pytest.fixture(scope='module')
def chi():
    """A face under a high sun and a dim sky."""
    sun = sh.directional(jnp.array([0.1, 0.95, 0.3]), jnp.full(3, 3.0), 9).at[0].add(0.4 * sh.GREY)
    return FaceParameters(
        identity=jnp.zeros((1, 1)),
        expression=jnp.zeros((1, 1)),
        albedo=jnp.zeros((1, 1)),
        rotation=jnp.array([[0.0, 0.3, 0.0]]),
        translation=jnp.array([[0.0, 0.0, -800.0]]),
        light=sun[None],
    )


def test_shadows_are_the_ray_tracers(head, chi):
    """How much of the light of 6 x 6 pixels shadows take away, against the ray tracer with and without them."""

    @jax.jit
    def every(portrait, chi):
        face, drawn = portraits.draw(portrait, chi, CAMERA, (SIZE, SIZE))
        scene = raytrace.Scene(
            vertices=face.vertices,
            topology=portrait.model.topology,
            leaves=portrait.leaves,
            diffuse=face.diffuse,
            specular=face.specular,
            light=chi.light,
            camera=CAMERA,
            roughness=0.4,
        )
        traced = lambda shadows: raytrace.render(
            scene, (SIZE, SIZE), jax.random.PRNGKey(1), samples=256, shadows=shadows
        )
        fragments = surface.rasterise(portrait.model, face, (SIZE, SIZE))
        answer, _ = portraits.transfer(portrait, face, fragments, 9)
        return (
            drawn,
            surface.picture(portrait.model, fragments, face.diffuse * (answer @ chi.light))[0],
            traced(True).image,
            traced(False),
        )

    drawn, transferred, shadowed, lit = every(head, chi)
    np.testing.assert_array_equal(drawn.coverage, lit.coverage)
    blocks = lambda image: np.asarray(image[0]).reshape(SIZE // 6, 6, SIZE // 6, 6, -1).mean((1, 3, 4))
    full = blocks(lit.coverage) == 1
    open_sky = blocks(drawn.radiance / jnp.maximum(drawn.arriving, 1e-6))[full]
    theirs = blocks(shadowed)[full] / blocks(lit.image)[full]
    assert full.sum() > 20 and theirs.min() < 0.8 and theirs.max() > 0.99
    # Theirs are a percent or two from their mean over many samples; ours do not see edges of shadows between vertices,
    # which are 5 mm apart where a pixel is 4 mm wide.
    for image in (drawn.radiance, transferred):
        ours = blocks(image)[full] / open_sky
        assert np.abs(ours - theirs).mean() < 0.02
        np.testing.assert_allclose(ours, theirs, atol=0.08)


def test_without_a_tree_there_are_no_shadows(head, chi):
    bare = dataclasses.replace(head, leaves=None)
    drawn = jax.jit(lambda portrait: portraits.draw(portrait, chi, CAMERA, (SIZE, SIZE))[1])(bare)
    np.testing.assert_array_equal(drawn.arriving, np.repeat(np.asarray(drawn.coverage)[..., None], 3, -1))
