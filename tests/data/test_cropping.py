from __future__ import annotations

import jax
import numpy as np
import pytest

from jfrecon.data import cropping
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.errors import UserError
from jfrecon.geometry import cameras
from jfrecon.types import Pinhole

# A dot's centroid moves by the rounding of its tail to 8 bits, seen below 0.02 px; half a pixel would be a
# wrong convention of pixel centres.
DOT_TOLERANCE = 0.05


def dots(height: int, width: int, spread: float = 2.0) -> Sample:
    """A soft bright dot at each of 68 landmarks that lie apart on a jittered grid."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(9), np.arange(8)), axis=-1).reshape(-1, 2)[:68]
    points = (grid + 1.0 + rng.uniform(-0.15, 0.15, grid.shape)) * [width / 10, height / 9]
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    along = np.exp(-((x - points[:, :1]) ** 2) / (2 * spread**2))
    down = np.exp(-((y - points[:, 1:]) ** 2) / (2 * spread**2))
    picture = np.round(np.clip(down.T @ along, 0, 1) * 255).astype(np.uint8)
    return Sample(image=np.repeat(picture[..., None], 3, axis=-1), landmarks=points.astype(np.float32))


def assert_on_dots(sample: Sample, radius: float, tolerance: float = DOT_TOLERANCE) -> int:
    """Compares landmarks with centroids of the brightness within a radius; returns how many were compared."""
    size, grey = sample.image.shape[0], sample.image[..., 0].astype(np.float64)
    x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    compared = 0
    for px, py in sample.landmarks:
        if min(px, py, size - px, size - py) < radius + 1:
            continue
        weight = grey * ((x - px) ** 2 + (y - py) ** 2 < radius**2)
        centroid = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
        np.testing.assert_allclose(centroid, [px, py], atol=tolerance)
        compared += 1
    return compared


@pytest.mark.parametrize(
    'box, size',
    [
        (cropping.Box(0, 0, 320), 320),
        (cropping.Box(13.3, 27.8, 211.7), 96),
        (cropping.Box(-40.5, -21.25, 400), 160),
        (cropping.Box(60.1, 50.9, 90), 224),
    ],
)
def test_landmarks_stay_on_their_dots(box, size):
    cut = cropping.crop(dots(280, 320), box, size, default_focal=4.0)
    # Four standard deviations of a dot, widened by the triangle filter; short of the neighbouring dot.
    radius = 4.5 * max(2.0 * size / box.side, 1.0)
    assert assert_on_dots(cut, radius) >= 4
    assert assert_on_dots(cropping.flip(cut), radius) >= 4


def test_landmarks_stay_on_their_dots_in_a_large_photo():
    sample = dots(1500, 1800, spread=12.0)  # reduced by blocks before it is resampled
    cut = cropping.crop(sample, cropping.Box(101.3, 55.7, 1400.9), 80, default_focal=4.0)
    assert assert_on_dots(cut, radius=4.0) >= 30


def test_the_whole_image_at_its_own_size_is_unchanged():
    rng = np.random.default_rng(0)
    sample = Sample(
        image=rng.integers(0, 256, (40, 40, 3), np.uint8),
        mask=rng.choice([0, 255], (40, 40)).astype(np.uint8),
    )
    cut = cropping.crop(sample, cropping.whole_image(sample.image), 40, default_focal=2.0)
    np.testing.assert_array_equal(cut.image, sample.image)
    np.testing.assert_array_equal(cut.mask, sample.mask)
    assert cut.focal == 80.0 and cut.principal.tolist() == [20, 20]


def test_reduction_averages_fine_detail():
    checks = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    sample = Sample(image=np.repeat(checks[..., None], 3, axis=-1))
    cut = cropping.crop(sample, cropping.Box(8.3, 8.3, 230), 50, default_focal=1.0)
    # The mean of the checks is 127.5, rounded; point sampling would give 0 and 255. Seen: within 0.5.
    assert np.abs(cut.image.astype(float) - 127.5).max() < 2


def test_outside_the_photo_is_black_and_masked_out():
    sample = Sample(image=np.full((50, 60, 3), 200, np.uint8))
    cut = cropping.crop(sample, cropping.Box(-20, -10, 100), 100, default_focal=1.0)
    inside = np.zeros((100, 100), bool)
    inside[10:60, 20:80] = True
    np.testing.assert_array_equal(cut.image[..., 0], np.where(inside, 200, 0))
    np.testing.assert_array_equal(cut.mask, np.where(inside, 255, 0))


def test_a_known_camera_follows_the_crop():
    """Projecting with the crop's camera is cropping the projection, and agrees with geometry.camera.crop."""
    sample = Sample(
        image=np.zeros((300, 400, 3), np.uint8), focal=700.0, principal=np.array([190.0, 160.0], np.float32)
    )
    box = cropping.Box(33.5, -20.25, 250.0)
    cut = cropping.crop(sample, box, 128, default_focal=4.0)
    points = jax.random.uniform(jax.random.key(0), (20, 3), minval=-80, maxval=80) - np.array([0, 0, 600.0])
    full = Pinhole(np.float32(sample.focal), sample.principal)
    pixels, _ = cameras.project(full, points)
    seen, _ = cameras.project(Pinhole(np.float32(cut.focal), cut.principal), points)
    expected = (np.asarray(pixels) - [box.x, box.y]) * 128 / box.side
    np.testing.assert_allclose(seen, expected, atol=1e-3)  # float32 at a few hundred pixels: 3e-5 each, summed
    moved = cameras.crop(full, np.array([box.x, box.y], np.float32), np.float32(128 / box.side))
    np.testing.assert_allclose([moved.focal, *moved.principal], [cut.focal, *cut.principal], rtol=1e-6)


def test_a_known_focal_length_without_principal_point_takes_the_photos_centre():
    cut = cropping.crop(Sample(np.zeros((100, 200, 3), np.uint8), focal=300.0), cropping.Box(50, 20, 50), 100, 4.0)
    assert cut.focal == 600.0
    np.testing.assert_allclose(cut.principal, [(100 - 50) * 2, (50 - 20) * 2])


def test_box_from_landmarks():
    landmarks = np.full((68, 2), np.nan, np.float32)
    landmarks[:3] = [[10, 20], [50, 40], [30, 100]]
    assert cropping.box_from_landmarks(landmarks, 2.0) == cropping.Box(30 - 80, 60 - 80, 160)


@pytest.mark.parametrize('landmarks', [np.full((68, 2), np.nan), np.zeros((68, 2))])
def test_landmarks_that_make_no_box(landmarks):
    with pytest.raises(Unreadable):
        cropping.box_from_landmarks(landmarks)


@pytest.mark.parametrize('box', [(200, 0, 50), (-1e9, 0, 10), (0, 0, 1e9), (0, 0, 0), (np.nan, 0, 10), (0, 0, np.inf)])
def test_boxes_that_fit_no_photo(box):
    with pytest.raises(Unreadable, match='does not fit'):
        cropping.crop(Sample(np.zeros((100, 100, 3), np.uint8)), cropping.Box(*box), 32, 4.0)


def symmetric_face() -> np.ndarray:
    """68 landmarks of a face symmetric about x = 0, written from the iBUG figure: image left is x < 0."""
    points = np.zeros((68, 2))
    angle = np.linspace(-np.pi / 2, np.pi / 2, 17)  # 0 at image left, 8 the chin
    points[:17] = np.stack([60 * np.sin(angle), 70 * np.cos(angle)], axis=-1)
    points[17:22] = [(-50, -30), (-42, -36), (-33, -38), (-24, -37), (-15, -34)]
    points[22:27] = [(15, -34), (24, -37), (33, -38), (42, -36), (50, -30)]
    points[27:31] = [(0, -20), (0, -10), (0, 0), (0, 8)]
    points[31:36] = [(-12, 15), (-6, 17), (0, 18), (6, 17), (12, 15)]
    points[36:42] = [(-40, -20), (-34, -24), (-26, -24), (-20, -19), (-26, -17), (-34, -16)]
    points[42:48] = [(20, -19), (26, -24), (34, -24), (40, -20), (34, -16), (26, -17)]
    points[48:55] = [(-25, 35), (-16, 31), (-6, 29), (0, 30), (6, 29), (16, 31), (25, 35)]
    points[55:60] = [(15, 42), (7, 45), (0, 46), (-7, 45), (-15, 42)]
    points[60:68] = [(-20, 35), (-8, 34), (0, 34), (8, 34), (20, 35), (8, 37), (0, 38), (-8, 37)]
    return points


def test_flipping_renames_the_landmarks():
    face = (symmetric_face() + np.array([100, 90])).astype(np.float32)
    sample = Sample(image=np.zeros((200, 200, 3), np.uint8), landmarks=face)
    np.testing.assert_allclose(cropping.flip(sample).landmarks, face, atol=1e-4)  # float32 near 100


def test_flipping_twice_is_nothing():
    rng = np.random.default_rng(1)
    landmarks = rng.uniform(0, 30, (68, 2)).astype(np.float32)
    sample = Sample(
        rng.integers(0, 256, (30, 34, 3), np.uint8), landmarks, np.eye(30, 34, dtype=np.uint8), 50.0,
        np.array([12.0, 20.0], np.float32),
    )  # fmt: skip
    again = cropping.flip(cropping.flip(sample))
    np.testing.assert_array_equal(again.image, sample.image)
    np.testing.assert_array_equal(again.mask, sample.mask)
    np.testing.assert_allclose(again.landmarks, landmarks, atol=1e-5)
    np.testing.assert_allclose(again.principal, sample.principal)
    assert cropping.flip(sample).principal.tolist() == [22, 20]


def test_hull_against_half_planes():
    points = (symmetric_face() * 0.4 + [40.2, 38.7]).astype(np.float32)
    points[5] = np.nan
    known = points[np.isfinite(points[:, 0])].astype(np.float64)
    centres = np.stack(np.meshgrid(np.arange(80) + 0.5, np.arange(80) + 0.5), axis=-1)
    # Inside is where no direction separates a pixel from the points; 720 directions leave the edge open.
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    directions = np.stack([np.cos(angle), np.sin(angle)])
    distance = (centres @ directions - (known @ directions).max(0)).max(-1)
    mask = cropping.hull_mask(points, 80)
    clear = np.abs(distance) > 0.05
    np.testing.assert_array_equal(mask[clear], distance[clear] < 0)
    assert mask.sum() > 1000


def test_the_forehead_grows_upwards_only():
    face = (symmetric_face() + np.array([100, 110])).astype(np.float32)
    plain, grown = cropping.hull_mask(face, 200), cropping.hull_mask(face, 200, forehead=0.3)
    assert (grown | plain == grown).all()
    rows = np.flatnonzero((grown & ~plain).any(axis=1))
    brows, chin = 110 - 35.0, 180.0
    # The top moves by 0.3 of the distance from chin to brows; rows are whole pixels, brows are curved.
    assert abs(rows.min() - (72 - 0.3 * (chin - brows))) < 2 and rows.max() < 111


@pytest.mark.parametrize('count', [0, 2])
def test_too_few_landmarks_have_no_hull(count):
    landmarks = np.full((68, 2), np.nan, np.float32)
    landmarks[:count] = np.array([[5, 5], [20, 9]])[:count]
    assert not cropping.hull_mask(landmarks, 32).any()


def test_jitter_stays_in_its_bounds():
    rng, jitter, box = np.random.default_rng(0), cropping.Jitter(scale=0.2, shift=0.1), cropping.Box(10, 20, 100)
    boxes = [cropping.jitter_box(box, jitter, rng) for _ in range(500)]
    sides = np.array([b.side for b in boxes])
    centres = np.array([(b.x + b.side / 2 - 60, b.y + b.side / 2 - 70) for b in boxes])
    assert sides.min() > 100 * np.exp(-0.2) and sides.max() < 100 * np.exp(0.2)
    assert np.abs(centres).max() <= 10 + 1e-9 and np.abs(centres).max() > 9
    assert sides.max() > 118 and sides.min() < 84  # 500 draws come within a few percent of the ends


def test_jitter_at_the_edge_of_the_photo_still_crops():
    image, rng, jitter = np.zeros((100, 100, 3), np.uint8), np.random.default_rng(0), cropping.Jitter(0.3, 0.35)
    box = cropping.Box(-30, 69, 60)  # its centre just inside, at (0, 99)
    cropping.require_face(box, image)
    boxes = [cropping.jitter_box(box, jitter, rng) for _ in range(200)]
    for jittered in boxes:
        cropping.crop(Sample(image), jittered, 8, 4.0)
    with pytest.raises(Unreadable):
        for jittered in boxes:
            cropping.require_face(jittered, image)


def test_jitter_that_would_lose_the_face():
    with pytest.raises(UserError, match='lose the face'):
        cropping.Jitter(scale=0.5, shift=0.4)


def test_colour_jitter():
    image = np.arange(768, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)
    still = cropping.jitter_colour(image, cropping.Jitter(colour=0.0), np.random.default_rng(0))
    np.testing.assert_array_equal(still, image)
    changed = cropping.jitter_colour(image, cropping.Jitter(colour=0.1), np.random.default_rng(0))
    assert (changed[image == 0] == 0).all()
    assert 3 < np.abs(changed.astype(int) - image).mean() < 40


def truth(size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(size, size, 3))
    return {
        'vertices': rng.normal(size=(5, 3)).astype(np.float32),
        'face': np.pad(np.ones((size - 4, size - 4), np.uint8), 2),
        'diffuse': rng.uniform(size=(size, size, 3)).astype(np.float16),
        'normal': (normal / np.linalg.norm(normal, axis=-1, keepdims=True)).astype(np.float32),
        'light': rng.normal(size=(9, 3)).astype(np.float32),
    }


def test_truth_follows_the_crop():
    given = truth(32)
    sample = Sample(np.zeros((32, 32, 3), np.uint8), truth=given)
    same = cropping.crop(sample, cropping.whole_image(sample.image), 32, 1.0).truth
    face = given['face'] > 0
    np.testing.assert_array_equal(same['face'], given['face'])
    np.testing.assert_allclose(same['diffuse'][face], given['diffuse'][face], atol=1e-6)
    np.testing.assert_allclose(same['normal'][face], given['normal'][face], atol=1e-6)
    np.testing.assert_array_equal(same['vertices'], given['vertices'])
    half = cropping.crop(sample, cropping.whole_image(sample.image), 16, 1.0).truth
    inside = half['face'] > 0
    assert inside.sum() == 14 * 14
    np.testing.assert_allclose(np.linalg.norm(half['normal'][inside], axis=-1), 1, atol=1e-5)
    assert not half['diffuse'][~inside].any()


def test_truth_does_not_bleed_from_beyond_the_face():
    given = truth(32)
    given['diffuse'] = np.where(given['face'][..., None] > 0, 0.25, 100.0).astype(np.float32)
    sample = Sample(np.zeros((32, 32, 3), np.uint8), truth=given)
    half = cropping.crop(sample, cropping.Box(0.7, 0.7, 30), 17, 1.0).truth
    np.testing.assert_allclose(half['diffuse'][half['face'] > 0], 0.25, rtol=1e-5)


@pytest.mark.parametrize('size, factor', [(80, 3), (60, 4), (300, 1)])
def test_crops_of_a_shrunk_photo_are_those_of_the_photo(size, factor):
    whole = dots(601, 720, spread=6.0)
    whole = whole.replace(
        mask=np.pad(np.full((301, 400), 255, np.uint8), ((200, 100), (120, 200))),
        focal=900.0,
        principal=np.array([350.0, 280.0], np.float32),
        box=(100.0, 60.0, 500.0),
    )
    small = cropping.shrink(whole, cropping.Box(*whole.box), size)
    assert small.image.shape[1] == 720 // factor and small.mask.shape == small.image.shape[:2]
    a, b = (cropping.crop(sample, cropping.Box(*sample.box), size, default_focal=1.0) for sample in (whole, small))
    np.testing.assert_allclose(a.landmarks, b.landmarks, atol=1e-3)
    np.testing.assert_allclose([a.focal, *a.principal], [b.focal, *b.principal], rtol=1e-5)
    # Blocks of a third of a new pixel shift what a dot weighs in its triangle by some percent.
    assert np.abs(a.image.astype(float) - b.image).max() < 12 and (a.mask != b.mask).mean() < 0.01


def test_lips_left_ajar_are_shut_and_open_mouths_are_left():
    landmarks = np.random.default_rng(0).uniform(20, 40, (68, 2)).astype(np.float32)
    landmarks[[36, 45]] = [[10, 20], [110, 20]]  # 100 apart
    landmarks[[27, 8]] = [[60, 20], [60, 120]]
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        landmarks[upper], landmarks[lower] = [60, 80], [60, 84]
    gaps = lambda points: points[[67, 66, 65], 1] - points[[61, 62, 63], 1]
    shut = cropping.shut_lips(landmarks)
    np.testing.assert_allclose(gaps(shut), 0, atol=1e-5)
    np.testing.assert_allclose(shut[62], [60, 82], atol=1e-5)
    others = np.delete(np.arange(68), [61, 62, 63, 65, 66, 67])
    np.testing.assert_array_equal(shut[others], landmarks[others])
    for gap, left in ((7.5, 3.75), (10.0, 10.0), (25.0, 25.0)):  # half way, and open
        landmarks[[65, 66, 67], 1] = 80 + gap
        np.testing.assert_allclose(gaps(cropping.shut_lips(landmarks)), left, atol=1e-4)
    landmarks[8] = np.nan
    np.testing.assert_array_equal(cropping.shut_lips(landmarks), landmarks)
