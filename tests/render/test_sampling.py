"""Samplers: what they may not do, and the default's table against the light that it was made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.render import raytrace, sampling
from jfrecon.shading import environment
from tests.render.spheres import SIZE, balls, glossy


@pytest.mark.slow
def test_no_gradient_passes_through_a_density():
    """A sampler whose density and directions depend on the light, and that does not stop the gradient itself."""
    two = glossy(balls(70, level=2), 0.3)
    light = jnp.float32(np.random.default_rng(0).gamma(2.0, 0.5, (1, 12, 24, 3)))

    def leaky(light, keys):
        draw = sampling.by_radiance(light, keys)
        bright = light.mean()
        moving = 1 + bright - jax.lax.stop_gradient(bright)  # 1, with a slope

        def draw_leaky(pixel, n, samples):
            l, L, p = draw(pixel, n, samples)
            return sampling.Draws(moving * l, L, moving * p)

        return draw_leaky

    def slope(sampler):
        total = lambda light: raytrace.render(
            two.replace(light=light), (SIZE, SIZE), jax.random.key(0), samples=4, sampler=sampler
        ).image.sum()
        return jax.jit(jax.grad(total))(light)

    expected = slope(sampling.by_radiance)
    # other programs, so other sums of some thousand terms
    np.testing.assert_allclose(slope(leaky), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_table_holds_what_the_light_has_there():
    """Radiance by the angles of the direction, and a density that integrates to one over the sphere."""
    light = jnp.float32(np.random.default_rng(1).gamma(0.5, 2.0, (3, 16, 8, 3)))
    keys = jax.random.split(jax.random.key(2), 3)
    direction, radiance, density = jax.jit(sampling.table)(light, keys)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=-1), 1, atol=1e-6)
    looked_up = jax.jit(sampling.radiance)(light, direction[None])[0]
    # a direction may round into the next texel
    assert (np.asarray(looked_up) == radiance).all(-1).mean() > 0.999
    # the share of the table in each texel, times 1 / p, is the texel's solid angle, but for one entry more or less
    angles = environment.solid_angles(16, 8)
    for image in range(3):
        texel = np.asarray(light[image, ..., 0]) == np.asarray(radiance[image, :, None, None, 0])
        share = texel.mean(0)
        expected = np.where(texel, np.asarray(density[image])[:, None, None], 0).max(0) * angles
        np.testing.assert_allclose(share, expected, atol=2 / sampling.TABLE)


def test_random_numbers_are_even_and_the_same_for_a_pixel_in_any_company():
    keys = jax.random.split(jax.random.key(3), 2)
    pixel = jnp.tile(jnp.arange(4096, dtype=jnp.int32), (2, 1))
    numbers = np.asarray(sampling.uniforms(keys, pixel, 4))
    assert numbers.shape == (4, 2, 4096) and numbers.min() >= 0 and numbers.max() < 1
    np.testing.assert_array_equal(numbers[:, :, 100:300:2], sampling.uniforms(keys, pixel[:, 100:300:2], 4))
    other = np.asarray(sampling.uniforms(keys, pixel, 4, stream=2))
    for x in (numbers, other):
        # 8,192 numbers in 8 bins of each sample: a deviation of 30
        counts = np.stack([np.histogram(row, 8, (0, 1))[0] for row in x.reshape(4, -1)])
        assert np.abs(counts - 1024).max() < 150
    # the correlation of 8,192 pairs deviates by 0.011
    pairs = [(numbers[0], numbers[1]), (numbers[0], other[0]), (numbers[0, 0], numbers[0, 1])]
    pairs.append((numbers[0, :, :-1], numbers[0, :, 1:]))
    assert max(abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in pairs) < 0.07
