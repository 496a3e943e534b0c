from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon import morphable
from jfrecon.data import shards
from jfrecon.data.synthetic import (
    __main__ as command,
)
from jfrecon.data.synthetic import (
    backdrop,
    dataset,
    framing,
    generate,
    hair,
    lighting,
    materials,
    photograph,
    pose,
    props,
    shadow,
    skins,
)
from jfrecon.data.synthetic.dice import LIMIT, Dice
from jfrecon.geometry import cameras, rotations
from jfrecon.morphable import linear
from jfrecon.render import raster
from jfrecon.shading import sh

FACES, PIXELS, FOCAL, FILL = 4, 40, 4.5, 1 / 1.8
LAMP = np.array([0.8, 0.36, 0.48])  # unit


@pytest.fixture(scope='module')
def head():
    return morphable.load_head('makehuman')


@pytest.fixture(scope='module')
def scenery(head):
    return generate.prepare(head)


@pytest.fixture(scope='module')
def painted(scenery):
    return skins.paint(scenery, 7, FACES, 48)


@pytest.fixture(scope='module')
def shots(scenery, painted):
    return take(scenery, painted, range(FACES))


@pytest.fixture(scope='module')
def draw(scenery):
    one = lambda k, frames: generate.draw(scenery, 3, k, k // frames % 4, frames, FOCAL, FILL)
    many = jax.jit(lambda frames: jax.lax.map(lambda k: one(k, frames), jnp.arange(500)))
    return lambda frames: jax.device_get(many(frames))


@pytest.fixture(scope='module')
def scenes(draw):
    return draw(1)


def take(scenery, painted, indices):
    return generate.take(scenery, painted, 7, jnp.array(indices), PIXELS, 1, FOCAL, FILL)


# Randomness


def test_dice_repeat_and_never_hand_out_a_number_twice():
    a, b = Dice(jax.random.key(1)), Dice(jax.random.key(1))
    first = a.uniform(50)
    np.testing.assert_array_equal(first, b.uniform(50))
    second = np.asarray(a.uniform(50))
    assert not np.isin(second, np.asarray(first)).any()
    with pytest.raises(ValueError, match='random numbers'):
        a.uniform(10_000)


def test_dice_are_fair():
    dice = [Dice(jax.random.key(k)) for k in range(3)]
    normal = np.concatenate([d.normal(1500) for d in dice])
    assert np.abs(normal).max() <= LIMIT
    # Truncation at 2.5 leaves a variance of 0.91; five standard errors of 4,500 numbers.
    assert abs(normal.mean()) < 0.075 and abs(normal.std() - 0.955) < 0.06
    picks = np.array([d.choice(np.array([1.0, 0.0, 3.0])) for d in dice for _ in range(300)])
    assert not (picks == 1).any()
    assert abs((picks == 2).mean() - 0.75) < 0.075  # five standard errors


def test_scenes_stay_within_their_limits(scenes):
    angles = np.degrees(scenes.framing.angles)
    assert (np.abs(angles) <= np.array(framing.LIMITS) + 1e-3).all()
    # The tails are used, the middle is preferred.
    assert (np.abs(angles).max(0) > 0.9 * np.array(framing.LIMITS)).all()
    assert (np.abs(angles[:, 1]) < 15).mean() > 0.4
    assert (scenes.person.expression >= 0).all() and (scenes.person.expression <= 1).all()
    assert np.abs(scenes.person.identity).max() <= LIMIT
    np.testing.assert_allclose(np.linalg.norm(scenes.lamps.direction, axis=-1), 1, atol=1e-5)  # rounding
    assert (scenes.lamps.irradiance >= 0).all() and (scenes.lamps.softness > 0).all()
    assert (scenes.framing.focal >= 4).all() and (scenes.framing.focal <= 10).all()
    assert (scenes.framing.focal == FOCAL).mean() > 0.4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(scenes) if leaf.dtype == jnp.float32)


def test_scenes_have_what_photographs_have(scenes):
    names = list(morphable.load_head('makehuman').model.expression_names)
    unit = lambda name: np.asarray(scenes.person.expression[:, names.index(name)])
    for share, low, high in (
        ((unit('mouthSmileLeft') > 0.3).mean(), 0.2, 0.7),
        ((unit('jawOpen') > 0.15).mean(), 0.05, 0.5),
        ((unit('eyeBlinkLeft') > 0.75).mean(), 0.02, 0.15),
        (np.mean(scenes.glasses.worn), 0.1, 0.3),
        (np.mean(scenes.hair.opacity == 0), 0.01, 0.12),
        (np.mean(scenes.hair.length > 0), 0.2, 0.6),
        (np.mean(scenes.strands.width.max(-1) > 0), 0.03, 0.3),
        (np.mean(scenes.backdrop.occluder[:, 6]), 0.02, 0.15),
        (np.mean(scenes.photograph.saturation == 0), 0.01, 0.12),
        (np.mean(scenes.lamps.softness[:, 0] < 0.25), 0.1, 0.6),
    ):
        assert low < share < high


def test_a_person_keeps_identity_and_hair_in_all_their_pictures(draw):
    scenes = draw(2)
    a, b, other = (jax.tree.map(lambda leaf, k=k: leaf[k], scenes) for k in range(3))
    np.testing.assert_array_equal(a.person.identity, b.person.identity)
    np.testing.assert_array_equal(a.hair.hairline, b.hair.hairline)
    np.testing.assert_array_equal(a.skin.melanin, b.skin.melanin)
    assert not np.array_equal(a.framing.angles, b.framing.angles)
    assert not np.array_equal(a.person.identity, other.person.identity)


# Light


def test_a_lamp_lights_a_surface_as_the_integral_over_the_sphere_says():
    # A Gaussian (heat kernel) on the sphere from its own series, times the clamped cosine, by Gauss-Legendre and
    # equal steps around: the lamp's centre at the angle theta from the normal.
    mu, weight = np.polynomial.legendre.leggauss(400)
    around = (np.arange(720) + 0.5) * 2 * np.pi / 720
    for softness in (0.2, 0.5, 1.2):
        for cosine in (-0.6, -0.1, 0.3, 0.95):
            sine = np.sqrt(1 - cosine**2)
            towards = np.clip(cosine * mu[:, None] + sine * np.sqrt(1 - mu[:, None] ** 2) * np.cos(around), -1, 1)
            l = np.arange(60)
            series = np.polynomial.legendre.legval(
                towards, (2 * l + 1) / (4 * np.pi) * np.exp(-0.5 * l * (l + 1) * softness**2)
            )
            expected = np.sum(weight * np.maximum(mu, 0) * series.mean(1)) * 2 * np.pi
            got = lighting.received(jnp.float32(cosine), jnp.float32(softness))
            assert abs(got - expected) < 0.003  # what the docstring promises


def test_the_true_light_shades_a_white_sphere_like_the_lamps(scenes):
    # Nine bands cannot carry the sharpest suns; 0.3 radians are carried to exp(-0.5 · 90 · 0.09) of band nine.
    lamps = scenes.lamps.replace(softness=np.maximum(scenes.lamps.softness, 0.3))
    normals = jax.random.normal(jax.random.key(0), (64, 3))
    normals = normals / jnp.linalg.norm(normals, axis=-1, keepdims=True)
    shade = lambda one: lighting.received(normals @ one.direction.T, one.softness) @ one.irradiance
    truth = lambda one: sh.evaluate(lighting.harmonics(one), normals, sh.cosine_kernel(lighting.BANDS))
    both = jax.jit(lambda one: (shade(one), truth(one)))
    for k in range(20):
        one = jax.tree.map(lambda leaf, k=k: leaf[k], lamps)
        white, from_truth = both(one)
        # The clamp at zero of the one and the bands above nine of the other: 0.3% of the brightest lamp.
        np.testing.assert_allclose(from_truth, white, atol=0.003 * float(one.irradiance.sum()) + 1e-4)


@pytest.fixture(scope='module')
def lit(scenery, scenes):
    """A head without hair under LAMP, and the share of it that arrives at 10 x 10 tiles of pixels."""
    side = 10 * shadow.TILE
    look = jax.jit(shadow.visible)

    def at(softness):
        view = jax.tree.map(lambda leaf: leaf[jnp.argmin(scenes.hair.opacity)], scenes)
        lamps = view.lamps.replace(
            softness=np.full(lighting.LAMPS, softness, np.float32),
            direction=np.tile(np.float32(LAMP), (lighting.LAMPS, 1)),
        )
        return view.replace(lamps=lamps, hair=view.hair.replace(opacity=jnp.float32(0)))

    posed = jax.jit(pose.pose, static_argnums=2)(scenery, at(1e-4), PIXELS)

    def visible(softness, key, points, normals, active):
        image = lambda x: jnp.float32(x).reshape(1, side, side, 3)
        active = jnp.asarray(active).reshape(1, side, side)
        found = look(scenery, at(softness), posed, jax.random.key(key), image(points), image(normals), active)
        return np.asarray(found)[0]

    return posed, side, visible


def test_shadow_rays_meet_head_torso_and_hair(scenery, lit):
    """A lamp without size against Möller and Trumbore over all triangles, in NumPy."""
    posed, side, visible = lit
    some = np.arange(0, len(scenery.model.mean), len(scenery.model.mean) // 100)[:100]
    normals = np.asarray(posed.solid.normals)[some]
    points = np.asarray(posed.solid.vertices)[some] + 2 * normals
    # one pixel of each tile, so that none shares what it finds
    middle = np.s_[1 :: shadow.TILE, 1 :: shadow.TILE]
    at, facing, active = np.zeros((side, side, 3)), np.zeros((side, side, 3)), np.zeros((side, side), bool)
    at[middle], facing[middle], active[middle] = points.reshape(10, 10, 3), normals.reshape(10, 10, 3), True
    found = visible(1e-4, 0, at, facing, active)[middle].reshape(-1)

    facing = normals @ LAMP > 0.1  # others are bent up, or not asked
    free = ~blocked(scenery, posed, points, np.tile(LAMP, (len(points), 1)))
    assert 5 < (facing & free).sum() and 5 < (facing & ~free).sum()
    assert (found[facing] == free[facing]).mean() > 0.98  # rays through an edge may differ


@pytest.mark.slow
def test_a_soft_shadow_is_the_share_of_the_light_that_arrives(scenery, lit):
    """A wide lamp: tiles that share their rays against its Gaussian, drawn in NumPy."""
    posed, side, visible = lit
    softness, rays, times = 0.35, 400, 12
    normals = np.asarray(posed.solid.normals)[: len(scenery.model.mean)]
    lit_ids = np.flatnonzero(normals @ LAMP > 0.3)
    some = lit_ids[:: len(lit_ids) // 25][:25]
    normals, points = normals[some], np.asarray(posed.solid.vertices)[some] + 2 * normals[some]
    # 5 x 5 squares of 2 x 2 tiles, each all of one point; at their rims two points share
    square = lambda x: np.kron(x.reshape(5, 5, 3), np.ones((side // 5, side // 5, 1)))
    active = np.ones((side, side), bool)
    seen = [visible(softness, key, square(points), square(normals), active) for key in range(times)]
    inner = np.mean(seen, 0).reshape(5, side // 5, 5, side // 5)[:, 1:-1, :, 1:-1]
    found = inner.mean((1, 3)).reshape(-1)

    random = np.random.default_rng(0)
    angle = np.minimum(softness * np.sqrt(-2 * np.log(random.random((25, rays)))), np.pi / 2)
    turn = random.uniform(0, 2 * np.pi, (25, rays))
    right = np.cross(LAMP, [0, 1, 0]) / np.linalg.norm(np.cross(LAMP, [0, 1, 0]))
    towards = np.cos(angle)[..., None] * LAMP + np.sin(angle)[..., None] * (
        np.cos(turn)[..., None] * right + np.sin(turn)[..., None] * np.cross(LAMP, right)
    )
    weight = np.maximum(np.einsum('nrc,nc->nr', towards, normals), 0)
    hidden = blocked(scenery, posed, np.repeat(points, rays, 0), towards.reshape(-1, 3)).reshape(25, rays)
    expected = 1 - (weight * hidden).sum(1) / weight.sum(1)
    shaded = (expected > 0.05) & (expected < 0.95)
    assert shaded.sum() >= 4
    # Two samples of about 400 rays are 0.035 apart in the worst case (one standard deviation). More than that is the
    # tile's doing: its nine rays lie along one spiral, the same in all tiles, which misses most of the lamp.
    assert np.abs(found - expected).max() < 0.2 and np.abs(found - expected)[shaded].mean() < 0.08


def blocked(scenery, posed, points, towards):
    """Whether rays [N] from points [N, 3] along towards [N, 3] meet a head without hair: Möller and Trumbore."""
    vertices, casters = np.asarray(posed.solid.vertices), np.asarray(scenery.casters)
    casters = casters[(casters < len(vertices)).all(-1)]
    a, b, c = (vertices[casters[:, k]] for k in range(3))
    found = []
    for point, ray in zip(points, towards, strict=True):
        across = np.cross(ray, c - a)
        with np.errstate(all='ignore'):
            determinant = np.einsum('tc,tc->t', b - a, across)
            offset = point - a
            u = np.einsum('tc,tc->t', offset, across) / determinant
            q = np.cross(offset, b - a)
            v, t = q @ ray / determinant, np.einsum('tc,tc->t', q, c - a) / determinant
        found.append(((u > 0) & (v > 0) & (u + v < 1) & (t > 0)).any())
    return np.array(found)


# Geometry


def test_the_head_is_placed_where_the_framing_says(head, scenes):
    landmarks = linear.landmarks(head.model, head.model.mean)

    @jax.jit
    @jax.vmap
    def project(frame):
        rotation, translation, camera = framing.place(frame, landmarks, 100.0)
        return cameras.project(camera, rotations.transform(rotation, translation, landmarks))[0]

    pixels = np.asarray(project(scenes.framing))
    low, high = pixels.min(1), pixels.max(1)
    # "Six rounds leave less than 0.1 pixel", here of 100.
    np.testing.assert_allclose((high - low).max(-1), 100 * scenes.framing.fill, atol=0.1)
    np.testing.assert_allclose((high + low) / 2, 100 * scenes.framing.centre, atol=0.1)
    # And the whole box stays in the picture.
    assert low.min() > 0 and high.max() < 100


def test_a_bald_head_has_its_shell_inside(scenery, scenes):
    grid = hair.skull(scenery, scenery.model.mean)
    shell = jax.jit(lambda style: hair.vertices(style, scenery, grid)[: len(grid)])
    distance = lambda points: np.linalg.norm(points - scenery.scalp_origin, axis=-1)
    outward = lambda k: distance(shell(jax.tree.map(lambda leaf: leaf[k], scenes.hair))) - distance(grid)
    bald = int(np.argmin(scenes.hair.opacity))
    thick = int(np.argmax(scenes.hair.volume[:, 0]))
    assert scenes.hair.opacity[bald] == 0
    assert outward(bald).max() < 0
    assert 10 < outward(thick).max() < 150


def test_the_neck_goes_on_into_the_torso(scenery, scenes):
    clothes = jax.tree.map(lambda leaf: leaf[0], scenes.clothes)
    head = np.asarray(scenery.model.mean)
    ring = np.einsum('gk,gkc->gc', scenery.neck_weights, head[scenery.neck_ids])
    eye = jnp.eye(3)
    torso = props.torso_vertices(clothes, jnp.asarray(ring), eye, eye).reshape(props.TORSO_ROWS, -1, 3)
    torso = np.asarray(torso + ring[:-1].mean(0))
    np.testing.assert_allclose(torso[0], ring, atol=0.01)  # mm: it starts on the skin
    assert abs(torso[-1, :, 0].max() - clothes.width) < 1 and torso[-1, :, 1].max() < ring[:, 1].min() - 100


def test_frames_are_opaque_and_lenses_tint(scenes):
    one = jax.tree.map(lambda leaf: leaf[0], scenes)
    point, normal = jnp.tile(jnp.array([[0.0, 0.0, -500.0]]), (4, 1)), jnp.tile(jnp.array([[0.0, 0.0, 1.0]]), (4, 1))
    through, added = jax.jit(materials.front)(one, jnp.ones(4), point, normal, jnp.arange(4.0))
    np.testing.assert_array_equal(through[0], 0)
    np.testing.assert_allclose(through[1], one.glasses.tint, rtol=1e-6)
    assert (np.asarray(added) >= 0).all()


# Pictures


def test_a_face_depends_on_seed_and_index_alone(scenery, painted, shots):
    again = take(scenery, painted, [2, 0, 2, 1])
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(shots), strict=True):
        np.testing.assert_array_equal(np.asarray(a)[:2], np.asarray(b)[[2, 0]])
        np.testing.assert_array_equal(np.asarray(a)[0], np.asarray(a)[2])
    assert not np.array_equal(shots.image[0], shots.image[1])


def test_pictures_are_finite_and_in_range(shots):
    for leaf in jax.tree.leaves(shots):
        assert np.isfinite(leaf).all()
    assert shots.image.min() >= 0 and shots.image.max() <= 1
    assert shots.image.std((1, 2, 3)).min() > 0.03  # nothing is a blank
    assert set(np.unique(shots.face)) <= {0.0, 1.0}
    assert 0.08 < shots.face.mean((1, 2)).min()
    assert shots.diffuse.min() >= 0 and shots.diffuse.max() <= 1


def test_landmarks_are_those_of_the_true_vertices(shots):
    model = morphable.load('makehuman')
    assert shots.vertices.shape[1:] == model.mean.shape
    pixels, depth = cameras.project(shots.camera, linear.landmarks(model, shots.vertices))
    np.testing.assert_allclose(pixels, shots.landmarks, atol=1e-3)  # pixels; rounding
    assert (depth > 0).all()
    assert shots.landmarks.min() > 0 and shots.landmarks.max() < PIXELS


def test_the_mask_lies_where_the_true_face_projects(shots):
    model = morphable.load('makehuman')
    for k in range(FACES):
        camera = jax.tree.map(lambda leaf, k=k: leaf[k], shots.camera)
        pixels, depth = cameras.project(camera, shots.vertices[k])
        covered = raster.rasterise(pixels, depth, model.topology.triangles, (PIXELS, PIXELS)).triangle >= 0
        near = np.pad(np.asarray(covered), 1)
        near = sum(near[dy : dy + PIXELS, dx : dx + PIXELS] for dy in range(3) for dx in range(3)) > 0
        face = np.asarray(shots.face[k]) > 0
        assert not (face & ~near).any()  # a mask of half covered pixels may reach one pixel further
        assert not np.asarray(shots.diffuse[k])[~face].any()
        # The true normals are those of the true vertices.
        normals = np.asarray(shots.normal[k])[face]
        np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-4)
        assert (normals[:, 2] > -0.3).mean() > 0.98


@pytest.mark.slow
def test_shards_hold_what_was_drawn_and_are_made_once(tmp_path, head, monkeypatch, shots):
    monkeypatch.setattr(dataset, 'CHUNK', FACES)
    monkeypatch.setattr(generate, 'TEXTURE', 48)
    make = lambda seed, **more: dataset.prepare(
        tmp_path / 'set', head, FACES, PIXELS, seed, focal=FOCAL, fill=FILL, truth=True, **more
    )
    source = make(7)
    assert len(source) == FACES
    sample = source[1]
    np.testing.assert_allclose(sample.landmarks, shots.landmarks[1], atol=1e-3)  # pixels
    np.testing.assert_array_equal(sample.mask > 127, np.asarray(shots.face[1]) > 0.5)
    np.testing.assert_allclose(sample.truth['vertices'], shots.vertices[1], atol=1e-2)  # mm at 600 mm
    # JPEG keeps most of a picture at any quality drawn.
    assert np.abs(sample.image / 255.0 - np.asarray(shots.image[1])).mean() < 0.06

    monkeypatch.setattr(generate, 'take', None)  # reused, not made again
    before = (tmp_path / 'set' / shards.MANIFEST).stat().st_mtime_ns
    assert len(make(7)) == FACES
    assert (tmp_path / 'set' / shards.MANIFEST).stat().st_mtime_ns == before
    with pytest.raises(TypeError):
        make(8)  # another recipe is made anew


# Film


def test_exposure_and_balance_reach_their_target(scenes):
    film = jax.tree.map(lambda leaf: leaf[0], scenes.photograph).replace(
        insist=jnp.ones(()), balance=jnp.ones(3), target=jnp.float32(0.2)
    )
    radiance = jax.random.uniform(jax.random.key(0), (8, 8, 3)) * 5
    gains = photograph.gains(film, radiance, jnp.ones((8, 8)))
    luminance = np.asarray(radiance * gains) @ [0.2126, 0.7152, 0.0722]
    np.testing.assert_allclose(luminance.mean(), 0.2, rtol=1e-3)  # of rounded luma weights


def test_a_perfect_camera_keeps_the_picture(scenes):
    film = jax.tree.map(lambda leaf: leaf[0], scenes.photograph).replace(
        blur=jnp.zeros(3), noise=jnp.zeros(2), gamma=jnp.ones(()), contrast=jnp.zeros(()), lift=jnp.zeros(()),
        saturation=jnp.ones(()),
    )  # fmt: skip
    srgb = jax.random.uniform(jax.random.key(0), (12, 12, 3), maxval=0.85)  # below the shoulder
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((np.asarray(srgb) + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(photograph.develop(film, jnp.asarray(linear)), srgb, atol=2e-3)


def test_blur_keeps_the_mean_and_spreads_by_its_deviation():
    dot = jnp.zeros((21, 21, 3)).at[10, 10].set(1.0)
    got = np.asarray(photograph._blurred(dot, jnp.array([1.2, 0.6, 0.0])))[..., 0]
    np.testing.assert_allclose(got.sum(), 1, rtol=1e-5)
    at = np.arange(21) - 10
    # Samples of a Gaussian as narrow as 0.6 pixels have a variance 2% below its own.
    np.testing.assert_allclose((got * at[None, :] ** 2).sum(), 1.44, rtol=0.01)
    np.testing.assert_allclose((got * at[:, None] ** 2).sum(), 0.36, rtol=0.03)


def test_backdrops_are_smooth_positive_pictures(scenes):
    paint = jax.jit(jax.vmap(lambda b: backdrop.paint(b, 48)))
    pictures = np.asarray(paint(jax.tree.map(lambda leaf: leaf[:64], scenes.backdrop)))
    assert np.isfinite(pictures).all() and pictures.min() >= 0
    assert pictures.mean((1, 2, 3)).std() > 0.05
    # Out of focus: most of the variation is between places, not between neighbours.
    step = np.abs(np.diff(pictures, axis=2)).mean()
    assert step < 0.25 * pictures.std()


def test_the_command_needs_positive_numbers(tmp_path):
    with pytest.raises(ValueError, match='positive'):
        command.main([f'--out={tmp_path}', '--count=0'])


def test_a_sheet_shows_every_tile_in_its_place():
    tiles = np.linspace(0.1, 0.9, 3)[:, None, None, None] * np.ones((3, 2, 4, 3))
    picture = np.asarray(command.sheet(tiles, 2)) / 255
    assert picture.shape == (4, 8, 3)
    np.testing.assert_allclose(picture[[0, 0, 2, 2], [0, 4, 0, 4], 0], [0.1, 0.5, 0.9, 0], atol=0.003)
