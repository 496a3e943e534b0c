from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from jfrecon.geometry import cameras, uv
from jfrecon.types import Pinhole, Topology

RNG = np.random.default_rng(5)
ICT = Path(__file__).parents[3] / 'shared' / 'ict_facekit' / 'ict_face.npz'

# Texture coordinates of a face's plane (x, y) in [-1, 1]²: upright, and turned, sheared and off centre.
LAYOUTS = {
    'symmetric': (np.array([[0.45, 0.0], [0.0, 0.45]]), np.array([0.5, 0.5])),
    'skew': (np.array([[0.30, 0.13], [-0.16, 0.27]]), np.array([0.47, 0.52])),
}


def relief(n, layout, jitter=0.0):
    """The front of a head over [-1, 1]² as a mesh of n x n vertices in units of 80 mm, with uv = A (x, y) +
    b.

    With odd n the mesh is its own mirror image. Jitter moves its inner vertices and spoils that.
    """
    a, b = LAYOUTS[layout]
    x, y = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    inner = (np.abs(x) < 1) & (np.abs(y) < 1)
    x = x + inner * RNG.uniform(-1, 1, x.shape) * jitter / n
    y = y + inner * RNG.uniform(-1, 1, x.shape) * jitter / n
    z = np.sqrt(3 - x**2 - y**2) + 0.3 * np.exp(-(x**2 + y**2) / 0.1)
    i = np.arange(n - 1)[:, None] * n + np.arange(n - 1)
    left, right = i[:, : n // 2].ravel(), i[:, n // 2 :].ravel()
    offsets = (left, (0, 1, n + 1)), (left, (0, n + 1, n)), (right, (0, 1, n)), (right, (1, n + 1, n))
    triangles = np.concatenate([np.stack([cell + k for k in corner], -1) for cell, corner in offsets])
    plane = np.stack([x.ravel(), y.ravel()], -1)
    ids = triangles.astype(np.int32)
    topology = Topology(ids, (plane @ a.T + b).astype(np.float32), ids)
    return topology, 80 * np.column_stack([plane, z.ravel()])


def mirrored_uv(texels, layout):
    """The closed form: uv -> (x, y) -> (-x, y) -> uv."""
    a, b = LAYOUTS[layout]
    plane = (uv.texel_centres(len(texels.coverage)) - b) @ np.linalg.inv(a).T
    return (plane * [-1, 1]) @ a.T + b


@pytest.mark.parametrize('layout', LAYOUTS)
def test_texel_map_says_where_each_texel_lies(layout):
    topology, _ = relief(12, layout, jitter=0.3)
    texels = uv.texel_map(topology, 96)
    coordinates = np.asarray(uv.to_uv(texels, jnp.asarray(topology.uv)))
    centres = uv.texel_centres(96)
    # float32 barycentrics.
    np.testing.assert_allclose(coordinates[texels.coverage], centres[texels.coverage], atol=1e-6)
    # The chart is the image of the square.
    a, b = LAYOUTS[layout]
    inside = np.abs((centres - b) @ np.linalg.inv(a).T).max(-1)
    clear = np.abs(inside - 1) > 1e-6  # coordinates are float32
    np.testing.assert_array_equal(texels.coverage[clear], inside[clear] <= 1)
    # The margin repeats points of the chart, none farther than the margin and the texel beside it.
    margin = (texels.triangle >= 0) & ~texels.coverage
    distance = np.linalg.norm(coordinates - centres, axis=-1)[margin] * 96
    assert margin.sum() > 4 * 96 and distance.max() <= 4 + 1e-6
    beyond = texels.triangle < 0
    assert (coordinates[beyond] == 0).all() and not texels.coverage[beyond].any()


def test_texel_map_survives_bad_layouts():
    ids = np.array([[0, 1, 2], [1, 2, 3], [0, 0, 0], [4, 5, 6]], np.int32)
    coordinates = np.array([[0, 0], [1, 0], [0, 1], [0.5, 0.5], [1.2, 0.2], [1.9, 0.2], [1.5, 0.9]], np.float32)
    texels = uv.texel_map(Topology(ids, coordinates, ids), 16)
    # A line, a point and a triangle outside of the unit square cover nothing.
    assert set(np.unique(texels.triangle[texels.coverage])) == {0}
    assert np.isfinite(texels.barycentric).all()
    nothing = uv.texel_map(Topology(ids[2:], coordinates, ids[2:]), 8)
    assert not nothing.coverage.any() and (nothing.triangle == -1).all()


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('size', [64, 128])
def test_round_trip_of_a_vertex_attribute(layout, size):
    topology, _ = relief(16, layout, jitter=0.3)
    texels = uv.texel_map(topology, size)
    attribute = np.sin(5 * topology.uv) + topology.uv[:, ::-1] ** 2
    uv_map = uv.to_uv(texels, jnp.asarray(attribute))
    error = np.abs(uv.sample(uv_map, jnp.asarray(topology.uv)) - attribute).max(-1)
    # The map is the piecewise linear attribute; its slope is at most 5 + 2 per unit of uv. The four texels
    # read have centres within sqrt 2 texels of the vertex, and show a point within another sqrt 2 of their
    # centre (the margin).
    slope = 7
    assert error.max() < slope * 2 * np.sqrt(2) / size
    # Inside the chart nothing is displaced, and what is left is the bend at the edges: half as much of the
    # change of slope between triangles, 25 h + 2 h for cells of width h = 0.9 / 15.
    a, b = LAYOUTS[layout]
    inner = np.abs((topology.uv - b) @ np.linalg.inv(a).T).max(-1) < 0.9
    assert error[inner].max() < 27 * 0.9 / 15 * np.sqrt(2) / size


def test_to_uv_takes_batches():
    topology, mean = relief(6, 'skew')
    texels = uv.texel_map(topology, 24)
    batch = jnp.asarray(RNG.normal(size=(2, 3, len(mean), 4)), jnp.float32)
    assert uv.to_uv(texels, batch).shape == (2, 3, 24, 24, 4)
    np.testing.assert_allclose(uv.to_uv(texels, batch)[1, 2], uv.to_uv(texels, batch[1, 2]), atol=1e-6)


def test_sample_image_matches_scipy_and_repeats_the_border():
    image = RNG.normal(size=(9, 13, 2)).astype(np.float32)
    pixels = RNG.uniform([-3, -3], [16, 12], size=(200, 2)).astype(np.float32)
    ours = uv.sample_image(jnp.asarray(image), jnp.asarray(pixels))
    where = pixels[:, ::-1].T - 0.5
    expected = [map_coordinates(image[..., k], where, order=1, mode='nearest') for k in range(2)]
    # float32 interpolation weights of coordinates of order 13.
    np.testing.assert_allclose(ours, np.stack(expected, -1), atol=1e-5)


@pytest.mark.parametrize('shape', [(1, 1), (1, 4), (4, 1)])
def test_sample_image_of_single_rows_and_columns(shape):
    image = jnp.asarray(RNG.normal(size=(*shape, 1)), jnp.float32)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    ours = uv.sample_image(image, jnp.asarray(np.stack([x.ravel(), y.ravel()], -1), jnp.float32))
    np.testing.assert_allclose(ours[:, 0], image.ravel(), atol=1e-6)


def test_sample_broadcasts_and_reads_row_zero_at_v_one():
    ramp = jnp.linspace(0, 1, 5)[::-1, None, None] * jnp.ones((5, 5, 1))
    np.testing.assert_allclose(uv.sample(ramp, jnp.array([[0.5, 0.9], [0.5, 0.1]]))[:, 0], [1, 0], atol=1e-6)
    assert uv.sample(jnp.zeros((2, 1, 5, 5, 3)), jnp.zeros((4, 7, 2))).shape == (2, 4, 7, 3)


def test_sample_image_gradients_match_finite_differences():
    with jax.enable_x64(True):
        image, pixels = jnp.asarray(RNG.normal(size=(6, 7, 2))), jnp.asarray(RNG.uniform(1, 5, size=(20, 2)))
        weights = jnp.asarray(RNG.normal(size=(20, 2)))

        @jax.jit
        def f(image, pixels):
            return (uv.sample_image(image, pixels) * weights).sum()

        gradients = jax.grad(f, (0, 1))(image, pixels)
        di, dp, h = RNG.normal(size=image.shape), RNG.normal(size=pixels.shape), 1e-6
        numeric = (f(image + h * di, pixels + h * dp) - f(image - h * di, pixels - h * dp)) / (2 * h)
        # Bilinear: h² times nothing but cross terms, rounding 1e-15 / 1e-6; no point lies within h of a kink.
        np.testing.assert_allclose((gradients[0] * di).sum() + (gradients[1] * dp).sum(), numeric, rtol=1e-7)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('jitter', [0.0, 0.4])
def test_mirror_map_has_its_closed_form_on_any_layout(layout, jitter):
    topology, mean = relief(41, layout, jitter)
    texels = uv.texel_map(topology, 64)
    mirror = uv.mirror_map(topology, mean, texels)
    error = np.linalg.norm(mirror - mirrored_uv(texels, layout), axis=-1)[texels.coverage] * 64
    # A symmetric mesh is exact up to float32 barycentrics and coordinates. Else the facets, of width h, lie
    # up to h² / 8 x curvature off each other, and the steep sides of the nose turn that into a shift of the
    # foot.
    assert error.max() < (0.5 if jitter else 1e-3)


def test_flip_mirrors_positions_and_twice_is_the_identity():
    topology, mean = relief(41, 'skew')
    texels = uv.texel_map(topology, 64)
    mirror = uv.mirror_map(topology, mean, texels)
    positions = uv.to_uv(texels, jnp.asarray(mean, jnp.float32))
    flipped = uv.flip(positions, mirror)
    inner = np.abs((uv.texel_centres(64) - LAYOUTS['skew'][1]) @ np.linalg.inv(LAYOUTS['skew'][0]).T).max(-1) < 0.9
    # One texel is 80 / (0.33 * 64) = 4 mm; half a texel is the promise, the slope of the nose adds in z.
    error = np.abs(flipped * jnp.array([-1.0, 1, 1]) - positions)[inner]
    assert error[:, :2].max() < 2 and error.max() < 4
    # Two bilinear look-ups blur by at most h² / 8 of the second derivative each, per axis.
    texture = np.sin(2 * np.pi * uv.texel_centres(64)).astype(np.float32)
    twice = uv.flip(uv.flip(jnp.asarray(texture), mirror), mirror)
    blur = 4 * (2 * np.pi / 64) ** 2 / 8
    # The mirror map itself is off by a tenth of a texel at the nose: times the slope.
    assert np.abs(twice - texture)[inner].max() < blur + 0.2 * 2 * np.pi / 64
    assert uv.flip(jnp.zeros((2, 64, 64, 3)), mirror).shape == (2, 64, 64, 3)


def test_unwrap_reads_the_projection_of_each_texel():
    topology, mean = relief(12, 'skew')
    texels = uv.texel_map(topology, 48)
    vertices = jnp.asarray(mean + np.array([0, 0, -600]), jnp.float32)
    cam = Pinhole(focal=jnp.array([190.0, 160.0]), principal=jnp.array([[40.0, 35.0], [42.0, 34.0]]))
    x, y = np.meshgrid(np.arange(80) + 0.5, np.arange(70) + 0.5)
    ramp = jnp.tile(jnp.asarray(np.stack([x, y], -1), jnp.float32), (2, 1, 1, 1))
    visible = np.ones((2, len(mean)), bool)
    visible[1, 77] = False
    texture, mask = uv.unwrap(ramp, jnp.tile(vertices, (2, 1, 1)), cam, jnp.asarray(visible), texels)
    points = uv.to_uv(texels, vertices).reshape(-1, 3)
    for k in range(2):
        single = Pinhole(focal=cam.focal[k], principal=cam.principal[k])
        pixels = np.asarray(cameras.project(single, points)[0]).reshape(48, 48, 2)
        # An image of its own coordinates is bilinear: the look-up is exact but for float32, up to
        # the border.
        pixels = np.clip(pixels, 0.5, [79.5, 69.5])
        np.testing.assert_allclose(texture[k][mask[k]], pixels[mask[k]], atol=1e-4)
    assert mask[0].sum() == texels.coverage.sum()
    hidden = (texels.vertices == 77).any(-1) & texels.coverage
    np.testing.assert_array_equal(mask[1], texels.coverage & ~hidden)
    # A frame that ends at x = 40 leaves what projects beyond it unmasked.
    _, cut = uv.unwrap(ramp[:, :, :40], jnp.tile(vertices, (2, 1, 1)), cam, jnp.asarray(visible), texels)
    np.testing.assert_array_equal(cut[0], mask[0] & (np.asarray(texture[0, ..., 0]) < 40))


def test_unwrap_has_finite_gradients_everywhere():
    topology, mean = relief(6, 'symmetric')
    texels = uv.texel_map(topology, 16)
    cam = Pinhole(focal=jnp.float32(60), principal=jnp.array([8.0, 8.0]))
    image = jnp.asarray(RNG.normal(size=(16, 16, 3)), jnp.float32)
    # Half of the face lies behind the camera.
    vertices = jnp.asarray(mean + np.array([0, 0, -120]), jnp.float32)

    def f(image, vertices):
        return (uv.unwrap(image, vertices, cam, jnp.ones(len(mean), bool), texels)[0] ** 2).sum()

    assert all(np.isfinite(g).all() for g in jax.jit(jax.grad(f, (0, 1)))(image, vertices))


@pytest.mark.skipif(not ICT.exists(), reason='the ICT face model is not beside the repository')
def test_mirror_map_of_the_ict_face():
    with np.load(ICT, allow_pickle=False) as data:
        mean, ids = data['neutral'][:9409] * 10, data['triangles'][:18460]
        topology = Topology(ids, data['uvs'], data['triangles_uv'][:18460])
    texels = uv.texel_map(topology, 64)
    mirror = uv.mirror_map(topology, mean, texels)
    columns = uv.texel_centres(64) * [-1, 1] + [1, 0]
    error = np.linalg.norm(mirror - columns, axis=-1)[texels.coverage] * 64
    # This layout is symmetric about u = 1/2, the mesh within rounding of its source.
    assert error.max() < 0.5
