from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon import morphable
from jfrecon.geometry import uv
from jfrecon.morphable import linear
from jfrecon.render import surface
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
        face = surface.posed(model, chi, camera)
        return surface.layers(model, face, chi.light, chi.maps, surface.rasterise(model, face, size), 0.4)

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


def test_bent_normals_in_the_picture_are_those_at_the_vertices():
    """Pixel by pixel through the normal map, and vertex by vertex then interpolated."""
    model = linear.truncate(morphable.load(), 1, 1, 1)
    chi, camera, size = plain_face(1, 1, 1), Pinhole(jnp.array([4.5 * 192]), jnp.array([[96.0, 96.0]])), (192, 192)
    texels = uv.texel_map(model.topology, 128)
    u, v = np.moveaxis(uv.texel_centres(128), -1, 0)
    bumps = np.stack([0.3 * np.sin(12 * u), 0.3 * np.cos(9 * v), np.ones_like(u)], -1)
    bumps = np.float32(bumps / np.linalg.norm(bumps, axis=-1, keepdims=True))[None]
    maps = surface.prior_maps(model, texels, chi.albedo).replace(normal=bumps)

    @jax.jit
    def draw(maps):
        face = surface.posed(model, chi, camera)
        seen = surface.rasterise(model, face, size)
        bent = surface.textured(model, face, maps, uv.of_vertices(model.topology, len(model.mean)))
        drawn = surface.layers(model, face, chi.light, maps, seen, 0.4)
        return face.normals, bent.normals, surface.picture(model, seen, bent.normals)[0], drawn

    before, after, interpolated, drawn = draw(maps)
    angle = lambda a, b: np.degrees(np.arccos(np.clip((a * b).sum(-1), -1, 1)))
    # each vertex turns by as much as its bump leans
    bump = np.asarray(uv.sample(bumps[0], uv.of_vertices(model.topology, len(model.mean))))
    lean = angle(bump / np.linalg.norm(bump, axis=-1, keepdims=True), np.array([0, 0, 1.0]))
    np.testing.assert_allclose(angle(before[0], after[0]), lean, atol=0.1)  # float32 near 1
    covered = np.asarray(drawn.coverage) > 0
    unit = interpolated / (jnp.linalg.norm(interpolated, axis=-1, keepdims=True) + 1e-9)
    # apart by what a coarse triangle misses of a wave
    off = angle(drawn.normal, unit)[covered]
    assert np.median(off) < 1 and np.quantile(off, 0.95) < 6
    # and nothing like the normals of the smooth surface
    assert np.median(angle(drawn.normal, draw(maps.replace(normal=flat(bumps)))[3].normal)[covered]) > 8


def flat(bumps):
    return jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), bumps.shape)


def plain_face(identity, expression, albedo):
    light = np.zeros((1, 9, 3), np.float32)
    light[:, 0] = 3.0
    return FaceParameters(
        identity=jnp.zeros((1, identity)),
        expression=jnp.zeros((1, expression)),
        albedo=jnp.zeros((1, albedo)),
        rotation=jnp.array([[0.1, 0.3, 0.0]]),
        translation=jnp.array([[0.0, 0.0, -1300.0]]),
        light=light,
    )


def test_a_portrait_has_eyes_where_the_face_has_holes():
    face, portrait = (linear.truncate(load(), 1, 1, 1) for load in (morphable.load, morphable.load_portrait))
    chi, camera, size = plain_face(1, 1, 1), Pinhole(jnp.array([4.5 * 192]), jnp.array([[96.0, 96.0]])), (192, 192)

    @jax.jit
    def drawn_by(model, chi):
        face = surface.posed(model, chi, camera)
        seen = surface.rasterise(model, face, size)
        return surface.layers(model, face, chi.light, chi.maps, seen, 0.4), face.pixels

    draw = lambda model, chi: jax.tree.map(lambda x: np.asarray(x[0]), drawn_by(model, chi))

    holes, pixels = draw(face, chi)
    filled, _ = draw(portrait, chi)
    x, y = pixels[np.asarray(face.landmark_ids)][36:42].mean(0).astype(int)  # the middle of the right eye
    assert holes.coverage[y, x] == 0 and filled.coverage[y, x] == 1
    # iris and pupil are darker than the white beside them, which is 0.7 in the shade of the lids
    eye = filled.diffuse[y - 1 : y + 2, x - 6 : x + 7].mean((0, 2))
    assert eye.max() > 0.3 and eye.min() < 0.1
    # maps reach the skin only: the eyes stay, the skin turns white
    texels = uv.texel_map(face.topology, 64)
    white = jax.tree.map(jnp.ones_like, surface.prior_maps(face, texels, chi.albedo))
    painted, _ = draw(portrait, chi.replace(maps=white))
    np.testing.assert_allclose(painted.diffuse[y, x], filled.diffuse[y, x], atol=1e-6)
    skin = (holes.coverage > 0) & (filled.coverage > 0)
    assert np.median(painted.diffuse[skin]) == 1.0
