"""Two people in a video that is drawn here: they cross, are away, and are somewhere else after a cut."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from jfrecon.data.detection import tracking
from jfrecon.data.detection.detector import Detection, Detector
from tests import detectors

SHAPE = 120, 200
EYES = {'ann': 22.0, 'bob': 24.0}  # pixels between them
HEAD = 2.5  # sides of the drawn head, in these
CUT, FRAMES = 70, 100
AWAY = range(45, 52)


def script(k, turn=False):
    """Who is where in a frame, the one in front first; the other is hidden where they overlap.

    turn: whether they turn back where they meet, in place of crossing.
    """
    if k in AWAY:
        return {}
    if k >= CUT:  # in another room, on the other side
        return {'ann': (50.0, 60.0), 'bob': (150.0, 60.0)} if turn else {'bob': (50.0, 60.0), 'ann': (150.0, 60.0)}
    gone = 20 - abs(20 - k) if turn else k
    bob, ann = (40.0 + 3 * gone, 60.0), (160.0 - 3 * gone, 62.0)
    if k > AWAY[-1]:
        bob, ann = ((45.0, 60.0), (150.0, 60.0)) if turn else ((150.0, 60.0), (45.0, 60.0))
    hidden = abs(bob[0] - ann[0]) < 30
    return {'bob': bob} if hidden else {'bob': bob, 'ann': ann}


def frame(k, turn=False):
    image = np.full((*SHAPE, 3), 60 if k < CUT else 150, np.uint8)
    for name, place in script(k, turn).items():
        draws = np.random.default_rng(sorted(EYES).index(name)).integers(0, 255, (5, 5, 3), np.uint8)
        side = round(HEAD * EYES[name])
        head = Image.fromarray(draws).resize((side, side), Image.Resampling.BICUBIC)
        picture = Image.fromarray(image)
        picture.paste(head, (round(place[0] - side / 2), round(place[1] - side / 2)))
        image = np.array(picture)
    noise = np.random.default_rng(k).normal(0, 4, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    image[0, 0] = k
    return image


def faces(k, turn=False):
    return {name: detectors.points(np.array(place), EYES[name]) for name, place in script(k, turn).items()}


class Drawn:
    """A detector that knows the script; what it follows is whatever face lies where one was."""

    def __init__(self, turn=False):
        self.searched, self.turn = [], turn

    def find(self, image):
        self.searched.append(int(image[0, 0, 0]))
        return [Detection(points) for points in faces(self.searched[-1], self.turn).values()]

    def follow(self, image, before):
        there = list(faces(int(image[0, 0, 0]), self.turn).values())
        found = []
        for face in before:
            near = [p for p in there if np.linalg.norm(p.mean(0) - face.landmarks.mean(0)) < 0.7 * tracking.size(face)]
            found.append(Detection(near[0]) if near else None)
        return found


@pytest.mark.parametrize('turn', [True, False])
@pytest.mark.parametrize('quick', [True, False])
def test_people_stay_who_they_are(quick, turn):
    drawn = Drawn(turn)
    detector = Detector(drawn.find, None, follow=drawn.follow if quick else None)
    found = tracking.tracks(detector, (frame(k, turn) for k in range(FRAMES)))
    assert len(found) == 2
    for name, track in zip(('bob', 'ann'), found):
        shown = [k for k in range(FRAMES) if name in script(k, turn)]
        assert sorted(track.faces) == shown, name
        for k in shown:
            np.testing.assert_array_equal(track.faces[k].landmarks, faces(k, turn)[name], err_msg=f'{name} {k}')
    assert len(drawn.searched) < (45 if quick else FRAMES + 1) and CUT in drawn.searched


def test_where_nobody_is_only_some_frames_are_searched():
    drawn = Drawn()
    blank = np.full((40, 40, 3), AWAY[0], np.uint8)
    detector = Detector(drawn.find, None)
    assert tracking.tracks(detector, [blank] * 100) == []
    assert len(drawn.searched) == pytest.approx(tracking.PATIENCE + 100 / tracking.RARE, abs=4)


def test_pictures_are_upright_and_know_no_brightness():
    image = frame(80)
    points = faces(80)['ann']
    upright = tracking.picture(image, Detection(points))
    turned = np.ascontiguousarray(np.rot90(image))  # (x, y) goes to (y, width - x)
    again = tracking.picture(turned, Detection(np.stack([points[:, 1], SHAPE[1] - points[:, 0]], -1)))
    darker = tracking.picture((image * 0.6).astype(np.uint8), Detection(points))
    other = tracking.picture(image, Detection(faces(80)['bob']))
    assert tracking.apart(upright, again) < 0.02 and tracking.apart(upright, darker) < 0.02
    assert tracking.apart(upright, other) > 0.5
