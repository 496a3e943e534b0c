from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jfrecon import morphable
from jfrecon.data import landmark_layout
from jfrecon.fitting import motion
from jfrecon.morphable import heads
from jfrecon.types import FaceParameters, Pinhole

CAMERA = Pinhole(np.float32(1200), np.array([256, 200], np.float32))
UPPER, LOWER = np.array(landmark_layout.OPENINGS).T


@pytest.fixture(scope='module')
def model():
    return morphable.load()


@pytest.fixture(scope='module')
def irises():
    return heads.irises(morphable.load_head())


def person(model):
    zeros = lambda basis: np.zeros(len(basis), np.float32)
    return FaceParameters(
        identity=zeros(model.identity_basis), expression=zeros(model.expression_basis), albedo=None,
        rotation=np.zeros(3, np.float32), translation=np.array([0, 0, -600], np.float32), light=None,
    )  # fmt: skip


def drawn(model, irises, turn, place, activations, times):
    """What a perfect detector sees of a face with rotation vectors and places [F, 3] and named activations [F]."""
    expression = np.zeros((len(times), len(model.expression_basis)))
    for name, values in activations.items():
        expression[:, model.expression_names.index(name)] = values
    ids = np.asarray(model.landmark_ids)
    mean, basis = np.asarray(model.mean)[ids], np.asarray(model.expression_basis)[:, ids]
    # shut lips of people meet where the model's overlap: a lower lip that would meet the upper one at rest
    points = np.concatenate([mean, irises[0], mean[UPPER[4:]]])
    moves = np.concatenate([basis, irises[2], basis[:, LOWER[4:]]], 1)
    shape = points + np.tensordot(expression, moves, 1)
    space = np.einsum('fij,fpj->fpi', Rotation.from_rotvec(turn).as_matrix(), shape) + place[:, None]
    pixels = CAMERA.principal + 1200 * space[..., :2] * [1, -1] / -space[..., 2:]
    gaze = pixels[:, 68:70].mean(1) - pixels[:, np.ravel(landmark_layout.CORNERS)].mean(1)
    openings = pixels[:, UPPER] - np.concatenate([pixels[:, LOWER[:4]], pixels[:, 70:]], 1)
    return motion.Seen(times, pixels[:, :68], np.ones((len(times), 68)), openings, gaze)


def still(count):
    return np.zeros((count, 3)), np.tile([0.0, 0.0, -600.0], (count, 1))


def test_a_known_motion_is_found_again(model, irises):
    times = np.arange(40) / 25
    turn = np.stack([0.2 * np.sin(4 * times), 0.5 * np.sin(3 * times), 0.3 * times], -1)
    place = np.stack([60 * np.sin(2 * times), 20 * times, -600 + 80 * times], -1)
    truth = {
        'jawOpen': 0.4 * (1 + np.sin(20 * times)) / 2,
        'eyeBlinkLeft': np.exp(-np.square((times - 0.8) / 0.06)),
        'eyeBlinkRight': np.exp(-np.square((times - 0.8) / 0.06)),
        'eyeLookUpLeft': 0.5 * (times > 1.2),
        'eyeLookUpRight': 0.5 * (times > 1.2),
        'browInnerUp': 0.6 * np.clip(times, 0, 1),
    }
    found = motion.follow(model, person(model), CAMERA, drawn(model, irises, turn, place, truth, times), irises)
    # of pose what the expressions' prior, which would rather have the head move, leaves over
    away = (Rotation.from_rotvec(found.rotation) * Rotation.from_rotvec(turn).inv()).magnitude()
    assert np.degrees(np.median(away)) < 1.5
    assert np.abs(found.translation[:, :2] - place[:, :2]).mean() < 2 and np.abs(found.translation - place).max() < 25
    # an activation that others can stand in for is shared with them: its course is found, and some of its size
    for name, values in truth.items():
        ours = found.expression[:, model.expression_names.index(name)]
        assert np.corrcoef(ours, values)[0, 1] > 0.9, name
        assert np.polyfit(values, ours, 1)[0] > 0.25, name
    assert found.expression.min() >= 0 and found.expression.max() <= 1


def test_irises_look_where_the_names_of_expressions_say(model, irises):
    mean, _, moves = irises
    assert mean[0, 0] < -25 and mean[1, 0] > 25 and np.ptp(mean[:, 1:], axis=0).max() < 0.01, 'right, left'
    towards = {'Up': (0, 1), 'Down': (0, -1), 'In': (1, 0), 'Out': (-1, 0)}
    for eye, side, sign in ((0, 'Right', 1), (1, 'Left', -1)):
        for name, (x, y) in towards.items():
            move = moves[model.expression_names.index(f'eyeLook{name}{side}')]
            assert move[eye, :2] @ [sign * x, y] > 2 and np.abs(move[1 - eye]).max() < 0.01


def lids(model, found):
    points = np.asarray(model.mean)[np.asarray(model.landmark_ids)]
    points = points + np.tensordot(found.expression, np.asarray(model.expression_basis)[:, model.landmark_ids], 1)
    ways = points[:, UPPER[:4]] - points[:, LOWER[:4]]
    return np.linalg.norm(ways, axis=-1).mean(-1)


def test_a_blink_of_two_frames_stays_and_a_trembling_head_is_calmed(model, irises):
    times = np.arange(24) / 25
    shut = np.zeros(24)
    shut[10:12] = 1
    turn, place = still(24)
    seen = drawn(model, irises, turn, place, {'eyeBlinkLeft': shut, 'eyeBlinkRight': shut}, times)
    shakes = np.random.default_rng(0).normal(scale=1.0, size=(24, 1, 2))  # pixels, of the detector
    found = motion.follow(model, person(model), CAMERA, seen._replace(landmarks=seen.landmarks + shakes), irises)
    apart = lids(model, found)
    open_ = np.median(apart)
    assert apart[10:12].max() < 0.25 * open_, 'the lids shut'
    assert apart[[8, 13]].min() > 0.85 * open_, 'in these frames alone'
    pixels = 1200 * found.translation[:, :2] / -found.translation[:, 2:]
    tremble = lambda values: np.square(np.diff(values, 2, axis=0)).mean() ** 0.5
    assert tremble(pixels) < 0.3 * tremble(shakes[:, 0])


def test_frames_without_a_face_are_bridged_and_cuts_are_not(model, irises):
    times = np.arange(20) / 25
    turn, place = still(20)
    place[:, 0] = 60 * times
    seen = drawn(model, irises, turn, place, {}, times)
    for values in seen[1:]:
        values[8:11] = np.nan
    found = motion.follow(model, person(model), CAMERA, seen, irises)
    np.testing.assert_allclose(found.translation[:, 0], place[:, 0], atol=0.6)

    place[:, 0], place[10:, 0] = 0, 150
    seen = drawn(model, irises, turn, place, {}, times)
    assert np.flatnonzero(motion.cuts(seen)).tolist() == [9]
    found = motion.follow(model, person(model), CAMERA, seen, irises)
    np.testing.assert_allclose(found.translation[:, 0], place[:, 0], atol=0.6)


def test_without_the_prior_of_a_box_or_names_it_is_followed_too(model, irises):
    plain = dataclasses.replace(model, expression_prior='gaussian', expression_names=())
    times = np.arange(6) / 25
    seen = drawn(model, irises, *still(6), {'jawOpen': np.linspace(0, 1.6, 6)}, times)
    found = motion.follow(plain, person(model), CAMERA, seen)
    assert found.expression.max() > 1.1, 'beyond the box'
    gap = lambda expression: np.tensordot(
        expression, np.asarray(model.expression_basis)[:, model.landmark_ids[66], 1], 1
    )
    assert gap(found.expression)[-1] < 0.8 * -35 * 1.6 and abs(gap(found.expression)[0]) < 1


def test_one_program_follows_videos_of_any_length(model, irises):
    programs = set()
    for count in (3, 20, 40):
        seen = drawn(model, irises, *still(count), {}, np.arange(count) / 25)
        motion.follow(model, person(model), CAMERA, seen, irises)
        programs.add(motion._blocks._cache_size())
    assert len(programs) == 1
