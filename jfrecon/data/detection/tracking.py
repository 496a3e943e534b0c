"""Follow the people of a video from frame to frame.

A frame is looked at around where the faces were in the one before, which is quick; it is searched as a whole at first,
every `SEARCH` frames, after a cut, and when a face is lost or comes close to another. Who is who is told by where a
face should be by now, and by how its person looks: after a cut or a long absence by that alone.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment

from jfrecon.data.detection.detector import Detection, Detector

SEARCH = 25  # frames from one search to the next where all goes well
PATIENCE, RARE = 8, 4  # frames without any face, after which only every fourth is searched
CUT = 28.0  # of 255: mean difference of two frames, small and grey, between which there is a cut
SMALL = 32  # pixels of the side of these
REACH = 1.1  # by how many of its sizes a face moves from one frame to the next, at most
GROWN = 0.5  # by which logarithm its size changes, at most
MEMORY = 25  # frames after which it may be anywhere
CLOSE, SAME = 0.8, 0.4  # sizes between the centres of faces of which one may hide the other; of one face found twice
LOOK = 24  # pixels of the side of the pictures by which people are told apart
UNLIKE, DOUBTFUL = 0.4, 0.55  # `apart` of faces that are not taken for one person's after a cut; that asks for a search
WEIGHT = 2.0  # of it, over that of the distance in sizes
STEADY = 0.9  # share of what was known of a person's looks and speed, from frame to frame


@dataclasses.dataclass
class Track:
    """A person in a video.

    Attributes:
      faces: number of a frame -> the face in it.
      looks: [LOOK, LOOK, 3] the mean picture of the upright face, see `picture`.
      speed: [2] pixels a frame.
    """

    faces: dict[int, Detection]
    looks: np.ndarray
    speed: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(2))

    @property
    def last(self) -> int:
        """The number of the frame that it was last seen in."""
        return max(self.faces)  # dicts keep their order, but this says it

    @property
    def area(self) -> float:
        """Square pixels of the face, over all frames."""
        return sum(size(face) ** 2 for face in self.faces.values())


def tracks(detector: Detector, images: Iterable[np.ndarray]) -> list[Track]:
    """Follow each person through a video; return the one with the largest face area, over all frames, first.

    Args:
      detector: finds the faces.
      images: [H, W, 3] uint8, the frames in their order.
    """
    follower = _Follower(detector)
    for number, image in enumerate(images):
        follower.see(number, image)
    return sorted(follower.tracks, key=lambda track: -track.area)


def picture(image: np.ndarray, face: Detection) -> np.ndarray:
    """Return an upright picture [LOOK, LOOK, 3] of a face, of mean 0 and variance 1; 0 where nothing is to be seen."""
    points = face.landmarks
    if not np.isfinite(points[36:60]).all():
        return np.zeros((LOOK, LOOK, 3), np.float32)
    right, left, mouth = (points[part].mean(axis=0) for part in (slice(36, 42), slice(42, 48), slice(48, 60)))
    across, down = left - right, mouth - (left + right) / 2
    side = 2.4 * max(float(np.linalg.norm(across)), float(np.linalg.norm(down)), 1.0)
    angle = np.arctan2(-down[0], down[1])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * side / LOOK
    origin = (left + right + 2 * mouth) / 4 - turn @ np.full(2, LOOK / 2)
    data = (*turn[0], origin[0], *turn[1], origin[1])
    reduced = Image.fromarray(image).transform((LOOK, LOOK), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    values = np.asarray(reduced, np.float32)
    values = values - values.mean()
    return values / max(float(values.std()), 1.0)


def apart(looks: np.ndarray, others: np.ndarray) -> float:
    """Return half the mean squared difference of two pictures [LOOK, LOOK, 3]: 0 if equal, about 1 if uncorrelated."""
    return float(np.square(looks - others).mean() / 2)


def centre(face: Detection) -> np.ndarray:
    """[2] pixels: the middle of a face's landmarks."""
    return (np.nanmin(face.known, axis=0) + np.nanmax(face.known, axis=0)) / 2


def size(face: Detection) -> float:
    """Pixels of the longer side of a face's landmarks."""
    return max(float(np.ptp(face.known[np.isfinite(face.known).all(-1)], axis=0).max()), 1.0)


class _Follower:
    def __init__(self, detector: Detector):
        self.tracks: list[Track] = []
        self._detector = detector
        self._small: np.ndarray | None = None  # of the frame before
        self._searched = -SEARCH

    def see(self, number: int, image: np.ndarray) -> None:
        """Find the faces in the next frame, and whose they are."""
        small = np.asarray(Image.fromarray(image).convert('L').resize((SMALL, SMALL), Image.Resampling.BOX), np.float32)
        cut = self._small is not None and float(np.abs(small - self._small).mean()) > CUT
        self._small = small
        live = [track for track in self.tracks if track.last == number - 1]
        followed: list[Detection] = []
        if self._detector.follow is not None and live and not cut:
            now = self._detector.follow(image, [track.faces[number - 1] for track in live])
            followed = [face for face in now if face is not None]
            sure = len(followed) == len(live) and number - self._searched < SEARCH and not _meet(followed)
            sure = sure and not self._hides(followed, number)
            if sure and all(self._is(track, face, image) for track, face in zip(live, followed)):
                for track, face in zip(live, followed):
                    _add(track, number, face, picture(image, face))
                return
        since = number - max((track.last for track in self.tracks), default=0)
        if since > PATIENCE and number % RARE and not cut:
            return
        self._searched = number
        faces = self._detector.find(image)
        for face in followed:  # which a search may miss
            if all(_away(face, other) > SAME for other in faces):
                faces.append(face)
        self._assign(number, faces, image, cut)

    def _hides(self, faces: Sequence[Detection], number: int) -> bool:
        """Return whether a face may hide a person who was seen in the last `MEMORY` frames and is not seen now."""
        lost = [track for track in self.tracks if 1 < number - track.last <= MEMORY]
        places = [(_expected(track, number), size(track.faces[track.last])) for track in lost]
        return any(
            float(np.linalg.norm(centre(face) - place)) < CLOSE * max(size(face), side)
            for face in faces for place, side in places
        )  # fmt: skip

    def _is(self, track: Track, face: Detection, image: np.ndarray) -> bool:
        before = track.faces[track.last]
        near = float(np.linalg.norm(centre(face) - centre(before))) < REACH * size(before)
        return near and apart(picture(image, face), track.looks) < DOUBTFUL

    def _assign(self, number: int, faces: Sequence[Detection], image: np.ndarray, cut: bool) -> None:
        looks = [picture(image, face) for face in faces]
        cost = np.full((len(self.tracks), len(faces)), np.inf)
        for t, track in enumerate(self.tracks):
            before, gone = track.faces[track.last], number - track.last
            for f, face in enumerate(faces):
                unlike = apart(looks[f], track.looks)
                away = float(np.linalg.norm(centre(face) - _expected(track, number))) / size(before)
                grown = abs(float(np.log(size(face) / size(before))))
                if not cut and gone <= MEMORY and away < REACH * np.sqrt(gone) and grown < GROWN * np.sqrt(gone):
                    cost[t, f] = away + WEIGHT * unlike
                elif unlike < UNLIKE and (cut or gone > MEMORY):
                    cost[t, f] = REACH + WEIGHT * (unlike + UNLIKE)
        free = set(range(len(faces)))
        for t, f in zip(*linear_sum_assignment(np.where(np.isfinite(cost), cost, 1e6))):
            if np.isfinite(cost[t, f]):
                _add(self.tracks[t], number, faces[f], looks[f])
                free.discard(int(f))
        self.tracks += [Track({number: faces[f]}, looks[f]) for f in sorted(free)]


def _add(track: Track, number: int, face: Detection, looks: np.ndarray) -> None:
    gone = number - track.last
    speed = (centre(face) - centre(track.faces[track.last])) / gone
    track.speed = STEADY * track.speed + (1 - STEADY) * speed if gone == 1 else np.zeros(2)
    track.looks = STEADY * track.looks + (1 - STEADY) * looks
    track.faces[number] = face


def _expected(track: Track, number: int) -> np.ndarray:
    """[2] pixels: where the face should be by now."""
    return centre(track.faces[track.last]) + track.speed * min(number - track.last, MEMORY)


def _meet(faces: Sequence[Detection]) -> bool:
    return any(_away(face, other) < CLOSE for face, other in itertools.combinations(faces, 2))


def _away(face: Detection, other: Detection) -> float:
    """The distance of two faces in sizes of the larger one."""
    return float(np.linalg.norm(centre(face) - centre(other))) / max(size(face), size(other))
