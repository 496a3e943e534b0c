"""The skin model on a head that is a cylinder, where the template's coordinates are known in closed form."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.morphable import skin, skin_canvas, skin_noise, skin_paint, skin_person, skin_tone
from jfrecon.types import Topology

UNIT = 63.0  # mm of arc for one unit of the template
RADIUS = 1.75 * UNIT / (np.pi / 2)  # the ends of the jaw, at 1.75, lie in the plane of the axis
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def wrap(xy):
    """Template coordinates to mm on the cylinder, whose axis is y and passes through the origin."""
    angle = np.asarray(xy)[..., 0] * UNIT / RADIUS
    return np.stack([RADIUS * np.sin(angle), np.asarray(xy)[..., 1] * UNIT, RADIUS * np.cos(angle)], -1)


def template():
    """[68, 2]: the template, with lips that meet at y = -1.08."""
    half = dict(skin_canvas._LEFT)
    middle, side = (0.0, -1.08), (0.16, -1.08)
    half |= {62: middle, 63: side, 64: (0.35, -1.1), 65: side, 66: middle}
    mirrored = {int(skin_canvas.MIRROR[i]): (-x, y) for i, (x, y) in half.items()}
    return np.array([(mirrored | half)[i] for i in range(68)])


@pytest.fixture(scope='module')
def head():
    """A mirror-symmetric grid: points, landmarks, normals, triangles."""
    x, y = np.linspace(-2.0, 2.0, 81), np.linspace(1.5, -2.2, 75)
    points = wrap(np.stack(np.meshgrid(x, y), -1)).reshape(-1, 3)
    index = np.arange(len(points)).reshape(75, 81)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, c, b), (b, c, d))])
    normals = points * [1, 0, 1] / RADIUS
    return points, wrap(template()), normals, triangles


@pytest.fixture(scope='module')
def surface(head):
    points, landmarks, normals, _ = head
    return skin_canvas.canvas(points, landmarks, normals)


def at(surface, x, y):
    """Index of the point nearest to template coordinates."""
    between_eyes = wrap(template()[36:48]).mean(0)
    offset = np.asarray(surface.position) * float(surface.unit) + between_eyes - wrap([x, y])
    return int(np.argmin((offset**2).sum(-1)))


# Tone


def test_a_white_reflector_is_white():
    # The weights are a partition: exact but for float32.
    np.testing.assert_allclose(skin_tone._TO_RGB.sum(0), 1, atol=1e-6)


@pytest.mark.parametrize(
    ('srgb', 'melanin', 'blood'),
    [
        ((194, 150, 130), 0.004, 0.026),  # Macbeth, light skin
        ((115, 82, 68), 0.226, 0.0104),  # Macbeth, dark skin
        ((160, 126, 86), 0.070, 0.0096),  # Monk 6
        ((130, 92, 67), 0.132, 0.0238),  # Monk 7
        ((96, 65, 52), 0.355, 0.0305),  # Monk 8
    ],
)
def test_reflectance_meets_measured_skin(srgb, melanin, blood):
    linear = ((np.array(srgb) / 255 + 0.055) / 1.055) ** 2.4
    # 15%: what two pigments can do for these patches, and less than one step of the Monk scale.
    np.testing.assert_allclose(skin_tone.reflectance(melanin, blood, 0.0), linear, rtol=0.15)


def test_melanin_darkens_and_blood_reddens():
    melanin = jnp.geomspace(0.003, 0.7, 40)
    for blood in (0.005, 0.02, 0.05):
        assert (np.diff(skin_tone.reflectance(melanin, blood, 0.1) @ LUMINANCE) < 0).all()
    blood = jnp.geomspace(0.003, 0.15, 40)
    for amount in (0.003, 0.05, 0.5):
        red, green, _ = np.log(skin_tone.reflectance(amount, blood, 0.1)).T
        assert (np.diff(red - green) > 0).all()
        # From anaemic skin to lips; measured 0.88, 0.83 and 0.44.
        assert (red - green)[-1] - (red - green)[0] > 0.3


def test_tone_is_a_colour_with_finite_gradients():
    melanin, blood, pheo = np.meshgrid([1e-4, 0.01, 0.1, 1.0], [1e-4, 0.01, 0.2], [0.0, 0.5, 1.0])
    colour = skin_tone.reflectance(melanin, blood, pheo)
    assert (colour > 0).all() and (colour < 1).all()
    gradient = jax.grad(lambda *a: skin_tone.reflectance(*a).sum(), argnums=(0, 1, 2))(melanin, blood, pheo)
    assert all(np.isfinite(g).all() for g in gradient)


# Noise


def test_noise_has_unit_variance_and_no_jumps():
    points = np.random.default_rng(0).uniform(-3, 3, (40000, 3)).astype(np.float32)
    seed = jnp.array([1, 2, 3], jnp.uint32)
    field = skin_noise.lattice(points, 0.2, seed)
    # 40,000 points over 216,000 cells are nearly independent: the standard error is below 0.01.
    assert abs(float(jnp.mean(field))) < 0.03 and abs(float(jnp.std(field)) - 1) < 0.03
    near = skin_noise.lattice(points + np.float32(1e-4), 0.2, seed)
    # The slope is at most about 5.25 * 2 * 3 sqrt(3) / 0.2, times a step of 1.7e-4.
    assert float(jnp.max(jnp.abs(near - field))) < 0.06
    other = skin_noise.lattice(points, 0.2, seed + 1)
    assert abs(np.corrcoef(field, other)[0, 1]) < 0.03

    # Over people, at one place: 4,000 draws give the deviation within 0.011.
    weights = jax.random.normal(jax.random.key(0), (4000, skin_noise.FEATURES))
    people = jax.vmap(lambda w: skin_noise.waves(points[:5], 0.8, w))(weights)
    np.testing.assert_allclose(np.std(people, axis=0), 1, atol=0.05)


@pytest.mark.parametrize('field', ['lattice', 'spots'])
def test_everybody_has_noise_of_their_own_under_vmap(field):
    """As alone. Cells along an axis of arrays, and so many points: person k had the lattice of person k mod 2."""
    points = np.random.default_rng(0).uniform(-3, 3, (13_500, 3)).astype(np.float32)
    seeds = jax.random.bits(jax.random.key(0), (8, 3), jnp.uint32)
    more = (jnp.full(13_500, 0.5),) if field == 'spots' else ()
    alone = lambda seed: getattr(skin_noise, field)(points, 0.2, *more, seed)
    together = jax.jit(jax.vmap(alone))(seeds)
    for seed, found in zip(seeds, together):
        np.testing.assert_allclose(found, alone(seed), atol=1e-5)
    assert np.corrcoef(together)[np.triu_indices(8, 1)].max() < 0.2


@pytest.mark.parametrize('share', [0.1, 0.5])
def test_spots_cover_what_their_mean_says(share):
    points = np.random.default_rng(0).uniform(-3, 3, (40000, 3)).astype(np.float32)
    found = skin_noise.spots(points, 0.1, jnp.full(40000, share), jnp.array([5, 6, 7], jnp.uint32))
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    # The constant is rounded and presence is soft over a twentieth: a tenth of the mean, and 0.003 of chance.
    np.testing.assert_allclose(float(found.mean()), 0.085 * share, rtol=0.1, atol=0.003)


# Canvas


def test_template_coordinates_are_recovered_on_the_cylinder(head):
    points, landmarks, _, _ = head
    wanted = np.stack(np.meshgrid(np.linspace(-2.0, 2.0, 81), np.linspace(1.5, -2.2, 75)), -1).reshape(-1, 2)
    # The cylinder is the template but for scale and height, which the affine part of the spline takes up.
    np.testing.assert_allclose(skin_canvas._to_template(points, landmarks, 1.1 * UNIT), wanted, atol=1e-4)


def test_canvas_ignores_position_and_size(head, surface):
    points, landmarks, normals, _ = head
    moved = skin_canvas.canvas(points * 1.3 + [5, -20, 40], landmarks * 1.3 + [5, -20, 40], normals)
    np.testing.assert_allclose(moved.unit, 1.3 * surface.unit, rtol=1e-6)
    for name in ('lip', 'seam', 'brow', 'lid', 'beard', 'scalp', 'cheek', 'position', 'spacing'):
        # float32 storage of distances up to 3.
        np.testing.assert_allclose(getattr(moved, name), getattr(surface, name), atol=2e-5, err_msg=name)


def test_regions_are_where_they_belong(surface):
    assert surface.lip[at(surface, 0.1, -1.0)] > 0 and surface.lip_upper[at(surface, 0.1, -1.0)] == 1
    assert surface.lip[at(surface, 0.1, -1.17)] > 0 and surface.lip_upper[at(surface, 0.1, -1.17)] == 0
    assert surface.lip[at(surface, 0.6, -0.5)] < -0.3
    assert surface.lid[at(surface, 0.55, 0.0)] > 0 > surface.lid[at(surface, 0.55, 0.3)]
    for side in (-1, 1):
        s, t = surface.brow[at(surface, side * 0.62, 0.42)]
        assert 0.3 < s < 0.7 and abs(t) < 0.06
    assert surface.scalp[at(surface, 0.0, 1.5)] > 0 > surface.scalp[at(surface, 0.0, 0.9)]
    assert surface.beard[at(surface, 0.0, -1.6)] > 0 > surface.beard[at(surface, 0.7, -0.5)]
    assert surface.moustache[at(surface, 0.2, -0.88)] > 0


def test_signed_distance_of_a_polygon_is_that_of_the_circle():
    turn = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    outline = np.stack([np.cos(turn), np.sin(turn)], -1)
    points = np.random.default_rng(0).uniform(-2, 2, (500, 2))
    # The polygon stays within 1 - cos(pi/200) = 1.3e-4 of the circle.
    np.testing.assert_allclose(skin_canvas._inside(points, outline), 1 - np.linalg.norm(points, axis=1), atol=2e-4)


# Paint


@pytest.fixture(scope='module')
def people(surface):
    """48 people: parameters, and what they look like without noise."""
    skins = jax.vmap(skin_person.sample)(jax.random.split(jax.random.key(3), 48))
    return skins, *jax.jit(jax.vmap(lambda s: skin_paint.paint(surface, s)))(skins)


def test_population_spans_human_skin(surface, people):
    skins, diffuse, _ = people
    for leaf in jax.tree.leaves(skins):
        assert leaf.shape == (48,) and np.isfinite(leaf).all()
    cheek = diffuse[:, at(surface, 0.6, -0.45)]
    luminance = cheek @ LUMINANCE
    # The Monk scale's tone 8 has a luminance of 0.065, tone 7 of 0.13, tone 5 of 0.53, tone 6 of 0.23.
    assert luminance.min() < 0.09 and luminance.max() > 0.33
    red, green, blue = cheek.T
    assert (red > green).all() and (green > blue).all()
    # Log chromaticities of 78 studio portraits fall in these ranges, those of single pixels included.
    assert np.percentile(np.log(red / green), [2, 98]).tolist() == pytest.approx([0.55, 0.7], abs=0.3)


@pytest.fixture(scope='module')
def painter():
    return jax.jit(skin_paint.paint)


def test_paint_is_deterministic_finite_and_bounded(surface, painter):
    person, place = skin_person.sample(jax.random.key(0)), jax.random.key(1)
    diffuse, specular = painter(surface, person, place)
    assert diffuse.shape == (len(surface.spacing), 3) and specular.shape == (len(surface.spacing), 1)
    for value in (diffuse, specular):
        assert np.isfinite(value).all() and value.min() >= 0 and value.max() <= 1
    np.testing.assert_array_equal(diffuse, painter(surface, person, place)[0])
    assert np.abs(diffuse - painter(surface, person, jax.random.key(9))[0]).max() > 0.01
    # Skin's F0 is 0.028; the region factors stay within a factor of six.
    assert 0.02 < np.median(specular) < 0.1 and specular.max() < 0.25


def test_paint_without_noise_is_mirror_symmetric(people):
    _, diffuse, specular = people
    for value in (diffuse, specular):
        grid = np.asarray(value).reshape(48, 75, 81, -1)
        # float32, through a spline fitted in float64 to symmetric landmarks.
        np.testing.assert_allclose(grid, grid[:, :, ::-1], atol=2e-5)


def test_lips_are_redder_than_cheeks_and_brows_are_where_hair_is(surface, people):
    skins, diffuse, specular = people
    lip, cheek = diffuse[:, at(surface, 0.1, -1.17)], diffuse[:, at(surface, 0.6, -0.45)]
    redder = np.log(lip[:, 0] / lip[:, 1]) > np.log(cheek[:, 0] / cheek[:, 1])
    # Blood in the lips is drawn, so a pale-lipped, flushed person may turn up.
    assert redder.mean() > 0.9
    forehead, brow = (
        diffuse[:, at(surface, 0.3, 0.9)] @ LUMINANCE,
        diffuse[:, at(surface, 0.55, 0.4)] @ LUMINANCE,
    )
    dark_haired = (np.asarray(skins.hair_melanin) > 3) & (np.asarray(skins.grey) == 0)
    assert dark_haired.sum() > 10 and (brow < forehead)[dark_haired].mean() > 0.95
    assert (specular[:, at(surface, 0, -0.5)] > specular[:, at(surface, 0.6, -0.45)]).all()


def test_stubble_and_beard_darken_the_chin(surface, people, painter):
    one = jax.tree.map(lambda leaf: leaf[0], people[0]).replace(melanin=0.01, hair_melanin=6.0, grey=0.0)
    chin = at(surface, 0.0, -1.6)
    bare, shaved, bearded = (
        painter(surface, one.replace(stubble=stubble, beard=beard, moustache=beard))[0]
        for stubble, beard in ((0.0, 0.0), (0.7, 0.0), (0.0, 0.9))
    )
    assert bare[chin] @ LUMINANCE > shaved[chin] @ LUMINANCE > bearded[chin] @ LUMINANCE
    # Shaved hair takes red most; and a beard leaves the forehead alone.
    assert (shaved / bare)[chin, 0] < (shaved / bare)[chin, 2]
    np.testing.assert_array_equal(bare[at(surface, 0, 0.9)], bearded[at(surface, 0, 0.9)])


def test_coarse_points_get_the_mean_of_fine_ones(surface, people, painter):
    one = jax.tree.map(lambda leaf: leaf[0], people[0]).replace(freckles=0.4, melanin=0.02, scalp=0.0, beard=0.0)
    dense = surface.replace(spacing=np.full_like(surface.spacing, 0.005))
    fine = np.mean([painter(dense, one, key)[0] for key in jax.random.split(jax.random.key(1), 8)], axis=0)
    coarse = painter(dense, one)[0]
    cheek = np.asarray(surface.cheek) > 0.5
    # 8 draws; freckles act on the logarithm of melanin, which the mean does not pass through exactly.
    np.testing.assert_allclose(fine[cheek].mean(0), coarse[cheek].mean(0), rtol=0.05)


def test_gradients_of_paint_are_finite(surface, people):
    one = jax.tree.map(lambda leaf: leaf[0], people[0])
    gradient = jax.jit(jax.grad(lambda s: skin_paint.paint(surface, s, jax.random.key(0), finest=1.0)[0].mean()))(one)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf), path
    assert gradient.melanin < 0


# Basis


@pytest.fixture(scope='module')
def basis(head):
    points, landmarks, _, triangles = head
    # The basis takes landmarks as vertices: append them to the mesh.
    mean = np.concatenate([points, landmarks])
    topology = Topology(triangles, np.zeros((1, 2)), np.zeros_like(triangles))
    ids = len(points) + np.arange(68)
    return mean, ids, skin.skin_basis(mean, topology, ids, modes=40, samples=200)


def test_basis_reconstructs_people_it_has_not_seen(head, basis):
    mean, ids, (diffuse_mean, diffuse_basis, specular_mean, specular_basis) = basis
    surface = skin_canvas.canvas(mean, mean[ids], skin._normals(mean, head[3]))
    diffuse, specular = skin.smooth_people(surface, jax.random.split(jax.random.key(77), 50))
    weight = skin.SPECULAR_WEIGHT
    modes = np.concatenate([diffuse_basis.reshape(40, -1), weight * specular_basis[..., 0]], 1)
    rows = np.concatenate([(diffuse - diffuse_mean).reshape(50, -1), weight * (specular - specular_mean)[..., 0]], 1)
    gram = modes @ modes.T
    # One space, orthogonal: off the diagonal only float32's rounding of the largest mode.
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 1e-4 * gram.max()
    scores = rows @ modes.T / np.diag(gram)
    residual = rows - scores @ modes
    # Measured 0.98 and 0.011 for 40 modes of 200 people: noise and rare beards are what is left.
    assert 1 - (residual**2).sum() / (rows**2).sum() > 0.97
    assert np.sqrt((residual[:, : 3 * len(mean)] ** 2).mean()) < 0.015
    # Overall tone is bounded, so its unit was reduced: coefficients reach past one, not past three.
    assert 1.0 < scores[:, 0].std() < 1.6 and np.abs(scores[:, 0]).max() < 3


def test_one_coefficient_vector_drives_both_and_rarely_leaves_the_range(basis):
    _, _, (diffuse_mean, diffuse_basis, specular_mean, specular_basis) = basis
    assert {a.dtype for a in basis[2]} == {np.dtype(np.float32)}
    count = len(diffuse_mean)
    assert diffuse_basis.shape == (40, count, 3) and specular_basis.shape == (40, count, 1)
    coefficients = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32)
    diffuse = diffuse_mean + np.einsum('na,avc->nvc', coefficients, diffuse_basis)
    specular = specular_mean + np.einsum('na,avc->nvc', coefficients, specular_basis)
    # What clipping at use has to catch; measured 0.2%, 0.7% and 1.7% of red, green and blue on a face.
    assert ((diffuse < 0).mean((0, 1)) < [0.01, 0.02, 0.04]).all() and (diffuse > 1).mean() < 1e-3
    assert (specular < 0).mean() < 1e-3
    # The first mode is how light the skin is, everywhere.
    assert (diffuse_basis[0].mean(0) > 0.05).all()


def test_basis_repeats_itself(head, basis):
    mean, ids, first = basis
    topology = Topology(head[3], np.zeros((1, 2)), np.zeros_like(head[3]))
    for a, b in zip(first, skin.skin_basis(mean, topology, ids, modes=40, samples=200), strict=True):
        np.testing.assert_array_equal(a, b)
