"""The vertex renderer against closed forms, brute-force integration of the BRDF, and finite differences."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jfrecon.render import vertex
from jfrecon.shading import brdf, sh, sphere
from tests.shading.rotation import rotated

BANDS = 9
shade = jax.jit(vertex.shade)
photometric = jax.jit(vertex.photometric)


def _unit(rng, *shape):
    d = rng.normal(size=(*shape, 3))
    return d / np.linalg.norm(d, axis=-1, keepdims=True)


def _scene(vertices=7, batch=(), bands=BANDS, seed=0):
    rng = np.random.default_rng(seed)
    return {
        'normals': _unit(rng, *batch, vertices),
        'view': _unit(rng, *batch, vertices),
        'diffuse': rng.uniform(size=(*batch, vertices, 3)),
        'specular': rng.uniform(size=(*batch, vertices, 1)),
        'light': rng.normal(size=(*batch, bands * bands, 3)),
        'roughness': 0.5,
    }


def _float32(scene):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), scene)


def _grey(bands=BANDS):
    return jnp.zeros((bands * bands, 3)).at[0].set(sh.GREY)


def test_unit_light_shows_the_albedo():
    scene = _float32({**_scene(), 'specular': np.zeros((7, 1)), 'light': _grey()})
    # One product by 1 / sqrt(4 pi) and back, in float32.
    np.testing.assert_allclose(shade(**scene), scene['diffuse'], rtol=1e-6)


@pytest.mark.parametrize('roughness', [0.2, 0.8])
def test_unit_light_on_a_glossy_surface(roughness):
    scene = _float32({**_scene(), 'light': _grey(), 'roughness': roughness})
    c, s = scene['diffuse'], scene['specular']
    expected = (1 - s) * c + s * sh.brdf_kernel(roughness, 1)[0]
    np.testing.assert_allclose(shade(**scene), expected, rtol=1e-5)


def test_shading_is_linear_in_the_light_by_its_responses():
    scene = _float32(_scene(batch=(2,)))
    light = scene.pop('light')
    each = vertex.responses(**scene, bands=BANDS)
    expected = np.einsum('bvck,bkc->bvc', *(np.asarray(x, np.float64) for x in (each, light)))
    np.testing.assert_allclose(shade(**scene, light=light), expected, rtol=1e-4, atol=1e-5)


def test_seen_from_above_it_is_the_rendering_equation():
    """At n = v the colour is the integral of BRDF x cosine x light, diffuse and specular alike."""
    scene = _scene(vertices=2)
    scene['view'], scene['roughness'] = scene['normals'], 0.7
    n = 256
    d = sphere.latlong_directions(n, 2 * n).reshape(-1, 3)
    area = sphere.latlong_solid_angles(n, 2 * n).reshape(-1, 1)
    with jax.enable_x64(True):
        exact = jax.tree.map(jnp.asarray, scene)
        radiance = jax.jit(sh.evaluate)(exact['light'], jnp.asarray(d))
        for i, normal in enumerate(exact['normals']):
            f = brdf.evaluate(normal, d, normal, exact['diffuse'][i], exact['specular'][i], 0.7)
            expected = jnp.sum(f * jnp.maximum(d @ normal, 0)[:, None] * radiance * area, axis=0)
            # The map's texels straddle the horizon, where the cosine has a kink: second order in pi / 256.
            np.testing.assert_allclose(shade(**exact)[i], expected, atol=1e-3)


def test_turning_everything_changes_nothing():
    scene = _float32(_scene())
    turn = jnp.asarray(Rotation.random(random_state=1).as_matrix(), jnp.float32)
    turned = {
        **scene,
        'normals': scene['normals'] @ turn.T,
        'view': scene['view'] @ turn.T,
        'light': rotated(scene['light'], turn),
    }
    # Colours of a few units, 81 terms and one change of basis in float32.
    np.testing.assert_allclose(shade(**turned), shade(**scene), atol=5e-5)


def test_mirror():
    rng = np.random.default_rng(2)
    n, v = _unit(rng, 20), _unit(rng, 20)
    r = np.asarray(vertex.mirror(jnp.asarray(v), jnp.asarray(n)))
    np.testing.assert_allclose(np.linalg.norm(r, axis=-1), 1.0, atol=1e-6)  # float32
    np.testing.assert_allclose(np.sum(r * n, -1), np.sum(v * n, -1), atol=1e-6)  # the same angle to the normal
    np.testing.assert_allclose(np.cross(r + v, n), 0.0, atol=1e-6)  # the normal halves the two


def test_light_is_linear_and_signed():
    scene = _float32(_scene())
    negative = {**scene, 'light': -scene['light']}
    np.testing.assert_allclose(shade(**negative), -shade(**scene), rtol=1e-6)


def test_batches_equal_one_by_one():
    scene = _float32(_scene(batch=(2,)))
    scene['roughness'] = jnp.array([0.3, 0.6])
    alone = jnp.stack([shade(**jax.tree.map(lambda x, i=i: x[i], scene)) for i in range(2)])
    # Another order of summation in float32.
    np.testing.assert_allclose(shade(**scene), alone, atol=2e-5)


def test_gradients_agree_with_finite_differences():
    def energy(scene):
        unit = {k: scene[k] / jnp.linalg.norm(scene[k], axis=-1, keepdims=True) for k in ('normals', 'view')}
        return jnp.sum(jnp.sin(vertex.shade(**{**scene, **unit})))

    with jax.enable_x64(True):
        scene = jax.tree.map(jnp.asarray, _scene(vertices=3, bands=5))
        value, slopes = jax.jit(energy), jax.jit(jax.grad(energy))(scene)
        rng = np.random.default_rng(3)
        for name, slope in slopes.items():
            direction = jnp.asarray(rng.normal(size=slope.shape))
            step = 1e-5
            plus, minus = (value({**scene, name: scene[name] + e * direction}) for e in (step, -step))
            # Third derivatives of degree-4 harmonics (about 1e2) times step² = 1e-8; rounding 1e-15 / step.
            np.testing.assert_allclose(
                jnp.sum(slope * direction), (plus - minus) / (2 * step), rtol=1e-5, atol=1e-6, err_msg=name
            )


@pytest.mark.parametrize('function', ['shade', 'project', 'from_sh'])
def test_harmonics_are_contracted_at_the_highest_precision(function):
    """Accelerators would otherwise round the products to TF32 or bfloat16."""
    from jfrecon.shading import environment

    light, env = jnp.zeros((9, 3)), jnp.zeros((4, 8, 3))
    program = {
        'shade': lambda: jax.jit(vertex.shade).lower(**_float32(_scene(bands=3))),
        'project': lambda: jax.jit(sh.project, static_argnums=1).lower(env, 3),
        'from_sh': lambda: jax.jit(environment.from_sh, static_argnums=(1, 2)).lower(light, 4, 8),
    }[function]().as_text()
    products = re.findall(r'stablehlo\.dot_general.*', program)
    assert products and all('precision = [HIGHEST, HIGHEST]' in product for product in products)


def test_photometric_by_hand():
    image = jnp.zeros((2, 4, 4, 3)).at[:, 1, 2].set(jnp.array([0.2, 0.4, 0.6]))
    colours = jnp.full((2, 3, 3), 0.5)
    pixels = jnp.broadcast_to(jnp.array([[2.5, 1.5], [0.5, 0.5], [2.5, 1.5]]), (2, 3, 2))
    visible = jnp.array([[True, True, False], [True, False, True]])
    # |0.5 - (0.2, 0.4, 0.6)| = 0.5 in all; black misses by 1.5; hidden counts nothing.
    np.testing.assert_allclose(photometric(colours, image, pixels, visible), [[0.5, 1.5, 0], [0.5, 0, 0.5]], rtol=1e-6)


def test_photometric_moves_vertices_along_the_image_gradient():
    ramp = jnp.broadcast_to(0.1 * (jnp.arange(8) + 0.5)[None, :, None], (8, 8, 3))  # the value is 0.1 x
    slope = jax.grad(lambda p: photometric(jnp.ones((1, 3)), ramp, p, jnp.ones(1)).sum())(jnp.array([[3.2, 4.0]]))
    # Three channels that brighten by 0.1 a pixel bring white closer by 0.3.
    np.testing.assert_allclose(slope, [[-0.3, 0.0]], atol=1e-6)


def test_hidden_vertices_may_project_anywhere():
    pixels = jnp.array([[1.0, 1.0], [jnp.nan, jnp.inf], [1e30, -1e30]])
    visible = jnp.array([True, False, False])
    loss = lambda c, i, p: photometric(c, i, p, visible).sum()
    value, slopes = jax.value_and_grad(loss, (0, 1, 2))(jnp.ones((3, 3)), jnp.zeros((4, 4, 3)), pixels)
    assert value == 3.0
    assert all(bool(jnp.isfinite(s).all()) for s in slopes)
    assert not slopes[0][1:].any() and not slopes[2][1:].any()
