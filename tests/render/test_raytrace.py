"""The ray tracer against closed forms, the vertex renderer, itself with more samples, and finite differences."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from jfrecon.render import raytrace, vertex
from jfrecon.shading import brdf, environment, sh
from jfrecon.types import Topology
from tests.render.spheres import CAMERA, SIZE, SOFT, balls, glossy, scene

SUN = (sh.directional(jnp.array([0.8, 0.0, 0.6]), jnp.full(3, 2.0), 9, 0.1) + 0.2 * jnp.eye(81, 1))[None]


def render(scene, light, key, samples, **options):
    return raytrace.render(scene.replace(light=light), (SIZE, SIZE), key, samples=samples, **options)


# One compiled program for every scene of the same size.
picture_of = jax.jit(
    lambda scene, light, shadows: render(scene, light, jax.random.key(0), 32, shadows=shadows), static_argnums=2
)


def average(function, count, seed=0):
    """Mean and standard error over independent keys."""
    images = jax.jit(lambda keys: jax.lax.map(function, keys))(jax.random.split(jax.random.key(seed), count))
    return images.mean(0), images.std(0) / np.sqrt(count)


@pytest.mark.slow
def test_matte_ball_is_what_spherical_harmonics_say():
    """Convex and diffuse: no shadow, so the radiance is c times irradiance over pi (dib21 eq. 4)."""
    ball = scene((0, 0, 0, 60), level=4)
    mean, error = average(lambda key: render(ball, SOFT, key, 128, shadows=False).image, 96)
    seen = picture_of(ball, SUN, False)
    expected = jnp.array([0.7, 0.5, 0.4]) * vertex.irradiance(seen.normal.reshape(1, -1, 3), SOFT).reshape(mean.shape)
    # Facets hide light that the smooth normal still sees: left out where that matters, at the rim.
    inside = np.asarray((seen.coverage > 0) & (seen.normal[..., 2] > 0.35))
    wrong = np.sqrt(np.mean(np.square((mean - expected)[inside])) / np.mean(np.square(expected[inside])))
    assert wrong < 0.01
    # noise of that many samples explains all of it but the 64 x 64 texels of the light
    assert wrong < 1.5 * np.sqrt(np.mean(np.square(error[inside])) / np.mean(np.square(expected[inside]))) + 2e-3


@pytest.mark.slow
def test_uniform_light_on_a_glossy_ball_matches_the_integral_of_the_brdf():
    """At normal incidence under unit light the specular part is the lobe's albedo, quadrature by SciPy."""
    up = jnp.array([0.0, 0.0, 1.0])

    def ring(theta):
        direction = jnp.array([np.sin(theta), 0.0, np.cos(theta)])
        return 2 * np.pi * np.sin(theta) * np.cos(theta) * float(brdf.lobe(up, direction, up, 0.4))

    expected = 0.3 * integrate.quad(ring, 0, np.pi / 2, epsrel=1e-6)[0]
    ball = glossy(scene((0, 0, 0, 60), level=4), 0.3)
    light = jnp.ones((1, 16, 16, 3))
    mean, error = average(lambda key: render(ball, light, key, 128, shadows=False).image, 64)
    middle = np.s_[0, SIZE // 2 - 1 : SIZE // 2 + 1, SIZE // 2 - 1 : SIZE // 2 + 1]
    # four pixels a few degrees off the axis; c = 0.7 in red
    np.testing.assert_allclose(mean[middle][..., 0].mean(), 0.7 * 0.7 + expected, rtol=0.01)
    assert error[middle].max() < 0.03 * expected  # so the red mean of four has 0.5% of itself


def test_a_ball_does_not_shadow_itself_and_two_balls_do():
    one, two = balls(5000), balls(70)
    np.testing.assert_array_equal(picture_of(one, SUN, True).image, picture_of(one, SUN, False).image)
    lit, free = picture_of(two, SUN, True), picture_of(two, SUN, False)
    np.testing.assert_array_equal(lit.coverage, free.coverage)
    # the small ball stands between the big one and the sun: a dark spot where the big one bends away to the right
    spot, open_side = np.s_[0, 14:18, 22:25], np.s_[0, 14:18, 8:12]
    assert np.asarray(lit.visibility[spot]).mean() < 0.3 and np.asarray(lit.visibility[open_side]).min() > 0.7
    assert np.asarray(lit.irradiance[spot]).mean() < 0.4 * np.asarray(free.irradiance[spot]).mean()


@pytest.mark.slow
def test_few_samples_are_noisy_but_not_biased():
    """The mean of 2-sample pictures is the 128-sample picture, block by block, within its standard error."""
    two = glossy(balls(70, level=2), 0.3)
    blocks = lambda image: image.reshape(1, 4, SIZE // 4, 4, SIZE // 4, 3).mean((0, 2, 4))
    few, few_error = average(lambda key: blocks(render(two, SUN, key, 2).image), 200)
    many, many_error = average(lambda key: blocks(render(two, SUN, key, 128).image), 24, seed=1)
    lit = np.asarray(many) > 1e-3
    z = np.asarray((few - many) / np.sqrt(few_error**2 + many_error**2))[lit]
    # of some 30 draws; the error's own error with 24 keys included. Seen: errors of 2% and more, so 10% would show.
    assert lit.sum() > 15 and np.abs(z).max() < 4.5


@pytest.mark.slow
def test_error_falls_with_the_square_root_of_the_samples():
    ball = scene((0, 0, 0, 60))
    deviation = []
    for samples in (4, 64):
        _, error = average(lambda key: render(ball, SUN, key, samples, shadows=False).image, 48)
        deviation.append(np.sqrt(np.mean(np.square(error))))
    assert 3.2 < deviation[0] / deviation[1] < 5.5  # 4; strata do a little better


@pytest.mark.slow
def test_final_frames_are_antialiased_and_their_error_goes_on_falling():
    """Coverage is the share of the pixel inside the outline (closed form); noise falls below one table's."""
    ball = scene((0, 0, 0, 50), level=4).replace(light=SUN)

    def draw(key, samples):
        return raytrace.final(ball, (SIZE, SIZE), key, samples=samples, shadows=False)

    keys = jax.random.split(jax.random.key(0), 4)
    programs = {
        count: jax.jit(lambda keys, count=count: jax.lax.map(lambda k: draw(k, count), keys)).lower(keys).compile()
        for count in (512, 2048, 65536)
    }
    pictures = {count: programs[count](keys) for count in (512, 2048)}
    # the silhouette of a sphere: a cone of sine r / d around its centre
    radius = CAMERA.focal[0] * 50 / np.sqrt(600**2 - 50**2)
    fine = (np.arange(32 * SIZE) + 0.5) / 32 - SIZE / 2
    disc = (fine[:, None] ** 2 + fine**2 < radius**2).reshape(SIZE, 32, SIZE, 32).mean((1, 3))
    # four times 32 points of a pixel: a few hundredths beside its edge; facets: 0.3% of the radius
    assert np.abs(pictures[2048].coverage.mean((0, 1)) - disc).max() < 0.06
    inside = disc == 1
    noise = {n: float(picture.image.std(0)[0][inside].mean()) for n, picture in pictures.items()}
    assert 1.6 < noise[512] / noise[2048] < 2.5  # 2, and what 4 pictures say of it

    few, many = (programs[count].memory_analysis() for count in (2048, 65536))
    # what there is for each pass, a camera and a key, is all that there is more of
    assert many.temp_size_in_bytes < few.temp_size_in_bytes + 48 * 65536 / raytrace.MOST


def test_layers_belong_together():
    ball = balls(5000)
    picture = picture_of(ball, SUN, True)
    inside = np.asarray(picture.coverage) > 0
    np.testing.assert_allclose(np.linalg.norm(picture.normal, axis=-1)[inside], 1, atol=1e-5)
    np.testing.assert_allclose(picture.image, picture.diffuse * picture.irradiance, atol=1e-6)  # nothing glossy
    for layer in jax.tree.leaves(picture):
        assert not np.asarray(layer)[~inside].any()


def test_maps_and_vertices_agree():
    """Constant albedo, and a flat normal map, as UV maps or per vertex: the same picture."""
    ball = glossy(balls(5000), 0.2)
    full = lambda colour: jnp.broadcast_to(jnp.array(colour), (1, 8, 8, len(colour)))
    maps = ball.replace(diffuse=full([0.7, 0.5, 0.4]), specular=full([0.2]), normal_map=full([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(picture_of(maps, SUN, True).image, picture_of(ball, SUN, True).image, atol=1e-5)


def test_strategies_agree_and_images_of_a_batch_do_not_mix():
    two = glossy(balls(70, level=2), 0.5)
    vertices = jnp.concatenate([two.vertices, two.vertices * jnp.nan, two.vertices + jnp.array([10.0, 5, 0])])
    thrice = {name: jnp.repeat(getattr(two, name), 3, 0) for name in ('diffuse', 'specular')}
    three = two.replace(vertices=vertices, camera=jax.tree.map(lambda x: jnp.repeat(x, 3, 0), CAMERA), **thrice)
    light = jnp.repeat(SUN, 3, 0)

    def draw(strategy):
        return jax.jit(lambda: render(three, light, jax.random.key(0), 4, strategy=strategy))()

    a, b = draw('map'), draw('vmap')
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
        assert np.isfinite(x).all()
        # 1e-5 of a radiance of about 1, and a ray in a million may graze an edge
        assert np.mean(np.abs(np.asarray(x - y)) > 1e-5) < 1e-3
    assert a.coverage[0].sum() > 100 and a.coverage[1].sum() == 0


@pytest.mark.parametrize('what', ['nothing in view', 'behind the camera', 'black light', 'one triangle', 'flat'])
def test_degenerate_scenes_have_finite_pictures_and_gradients(what):
    ball = glossy(scene((0, 0, 0, 60), level=1), 0.2)
    if what == 'nothing in view':
        ball = ball.replace(vertices=ball.vertices + jnp.array([5000.0, 0, 0]))
    elif what == 'behind the camera':
        ball = ball.replace(vertices=ball.vertices.at[:, ::3, 2].set(50.0))
    elif what == 'black light':
        ball = ball.replace(light=0 * SOFT)
    elif what == 'one triangle':
        triangles = ball.topology.triangles[:1]
        one = Topology(triangles, ball.topology.uv, triangles)
        ball = ball.replace(topology=one, leaves=np.zeros((1, 1), np.int32))
    else:
        ball = ball.replace(vertices=ball.vertices.at[..., 0].set(0.0))

    picture, gradients = _slopes(ball)
    for leaf in jax.tree.leaves((picture, gradients)):
        assert np.isfinite(leaf).all()


@jax.jit
def _slopes(ball):
    def loss(vertices, light):
        picture = render(ball.replace(vertices=vertices), light, jax.random.key(0), 2)
        return jnp.abs(picture.image).sum(), picture

    gradients, picture = jax.grad(loss, (0, 1), has_aux=True)(ball.vertices, ball.light)
    return picture, gradients


def test_forward_and_backward_pass_lower_for_a_tpu():
    ball = glossy(scene((0, 0, 0, 60), level=1), 0.2)

    def loss(vertices, light):
        moved = ball.replace(vertices=vertices)
        return render(moved, light, jax.random.key(0), 2, strategy='vmap').image.sum()

    exported = jax.export.export(jax.jit(jax.grad(loss, (0, 1))), platforms=['tpu'])(ball.vertices, SOFT)
    shapes = [x.shape for x in exported.out_avals]
    assert exported.platforms == ('tpu',) and shapes == [ball.vertices.shape, SOFT.shape]


def test_light_gradient_is_the_picture_under_each_harmonic():
    """The picture is linear in the light: the slope along one coefficient is the picture of that harmonic alone."""
    ball = scene((0, 0, 0, 60), level=4)
    weight = np.random.default_rng(1).random((1, SIZE, SIZE, 3)).astype(np.float32)
    seen = picture_of(ball, SUN, False)
    weight *= np.asarray(seen.normal[..., 2:] > 0.35)
    slope, error = average(
        lambda key: jax.grad(lambda l: (weight * render(ball, l, key, 64, shadows=False).image).sum())(SOFT), 32
    )
    closed = lambda l: (
        weight * jnp.array([0.7, 0.5, 0.4]) * vertex.irradiance(seen.normal.reshape(1, -1, 3), l).reshape(weight.shape)
    ).sum()
    expected = jax.grad(closed)(SOFT)
    assert (np.abs(slope - expected) < 5 * error + 0.005 * np.abs(expected).max()).all()


def test_gradients_match_finite_differences_at_fixed_visibility():
    """Vertices, albedo and camera, float64, away from grazing pixels; a step of 1e-6 flips no visibility here."""
    with jax.enable_x64(True):
        two = balls(70, level=1)
        vertices = jnp.asarray(two.vertices, jnp.float64)
        camera = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), CAMERA)
        light = environment.from_sh(jnp.asarray(SOFT, jnp.float64), 16, 16)
        shape = (*vertices.shape[:2], 1)
        rng = np.random.default_rng(2)
        inputs = (vertices, rng.uniform(0.2, 0.8, (*shape[:2], 3)), rng.uniform(0.1, 0.4, shape), camera)
        weight = rng.normal(size=(1, SIZE, SIZE, 3))

        def draw(vertices, diffuse, specular, camera):
            faces = two.replace(vertices=vertices, diffuse=diffuse, specular=specular, camera=camera)
            return render(faces, light, jax.random.key(0), 4)

        seen = jax.jit(draw)(*inputs)
        weight = weight * np.asarray(seen.normal[..., 2:] > 0.45)  # facets of 30 degrees: none of these grazes

        both = jax.jit(jax.value_and_grad(lambda inputs: (weight * draw(*inputs).image).sum()))
        loss = lambda inputs: both(inputs)[0]
        gradients = both(inputs)[1]
        for i in range(len(inputs)):
            along = [jax.tree.map(jnp.zeros_like, x) for x in inputs]
            along[i] = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), inputs[i])
            moved = lambda h, along=tuple(along): jax.tree.map(lambda x, d: x + h * d, inputs, along)
            numeric = (loss(moved(1e-6)) - loss(moved(-1e-6))) / 2e-6
            pairs = zip(jax.tree.leaves(gradients), jax.tree.leaves(tuple(along)))
            # 1e-4: what is left of 16 digits after the difference, and the third derivative times h²
            np.testing.assert_allclose(sum(jnp.vdot(g, d) for g, d in pairs), numeric, rtol=1e-4)
