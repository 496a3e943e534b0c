"""Where the faces of a photograph are: as given, or as a detector finds them.

A detector is a module of `jfrecon.data.detection.detectors`, found by its name, which is what ``--landmarker`` says;
`docs/adding.md` says how to add one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jfrecon import registry
from jfrecon.data.cropping import Box
from jfrecon.data.detection.detector import Detection, Detector
from jfrecon.data.sample import Sample
from jfrecon.errors import UserError

AUTO = 'auto'
PREFERENCE = ('face-alignment', 'cascade')  # `AUTO` is the first that is installed
HELP = (
    'who finds the faces and their landmarks where none are given; auto: face-alignment where it is installed (pip '
    "install 'jfrecon[landmarks]'), else cascade, which finds boxes only; mesh: MediaPipe's face mesh, offline"
)
_DETECTORS = f'{__name__}.detectors'


class Given(NamedTuple):
    """What is known of K faces beforehand.

    Attributes:
      landmarks: [K, 68, 2] pixels, NaN where unknown; None where none are given.
      boxes: [K, 4] pixels, (x, y, width, height); None where none are given.
      groups: K subjects, or none.
      confidence: [K, 68] in 0..1 of the landmarks; None: 1.
    """

    landmarks: np.ndarray | None = None
    boxes: np.ndarray | None = None
    groups: tuple[str, ...] = ()
    confidence: np.ndarray | None = None

    def scaled(self, scale: float) -> Given:
        """Return landmarks and boxes multiplied by ``scale``: the pixels of a resized picture."""
        times = lambda values: None if values is None else scale * values
        return self if scale == 1 else self._replace(landmarks=times(self.landmarks), boxes=times(self.boxes))


def names() -> tuple[str, ...]:
    """What ``--landmarker`` may be, beside `AUTO`."""
    return tuple(_modules())


def load(name: str) -> Detector:
    """The detector of a name.

    Raises:
      UserError: there is none of that name, or something has to be installed first.
    """
    detector = _detector(name)
    if missing := detector.missing():
        others = ', '.join(other for other in names() if other != name and not _detector(other).missing())
        raise UserError(f'--landmarker={name} is not installed ({missing}); there are {others}')
    return detector


def finds_landmarks(landmarker: str) -> bool:
    """Whether what `choose` returned finds landmarks."""
    return landmarker != '' and load(landmarker).landmarks


def choose(name: str = AUTO, landmarks: bool = False, boxes: bool = False, need: str = '') -> str:
    """Return the name of the detector to run, or '' if the given landmarks or boxes are enough.

    Args:
      name: what ``--landmarker`` says.
      landmarks: whether they are given.
      boxes: whether they are given, which are enough where no detector is there that finds landmarks in them.
      need: 'landmarks' where boxes are not enough; 'boxes' where they are, unless a detector is asked for by name.

    Raises:
      UserError: there is none of that name, it has to be installed first, or nothing is left for it to do.
    """
    if landmarks:
        if name != AUTO:
            raise UserError(f'--landmarks says where the faces are: leave it or --landmarker={name} out')
        return ''
    if name != AUTO:
        detector = load(name)
        if need == 'landmarks' and not detector.landmarks:
            raise UserError(f'--landmarker={name} finds boxes and no landmarks: choose another, or --crop=box')
        if boxes and not detector.landmarks:
            raise UserError(f'--landmarker={name} finds boxes, which are given: leave one of them out')
        return name
    if boxes and need == 'boxes':
        return ''
    there = {other: _detector(other) for other in PREFERENCE}
    for other, detector in there.items():
        if not detector.missing() and need != ('boxes' if detector.landmarks else 'landmarks'):
            return '' if boxes and not detector.landmarks else other
    missing = ' or '.join(f'{other} ({detector.missing()})' for other, detector in there.items() if detector.landmarks)
    raise UserError(f'nobody finds landmarks here: give --landmarks=FILE.npz, or install {missing}')


def find(photo: Sample, given: Given, landmarker: str = '') -> list[Detection]:
    """The faces in a photograph: where landmarks or boxes are given those, else what a detector finds.

    Args:
      photo: its image is looked at.
      given: in pixels of the photo's file, while what is found is in those of its image (`Sample.scale`); a box with a
        side that is no length becomes a detection whose `square` says so.
      landmarker: as `choose` returned it, for those boxes and landmarks.
    """
    image, given = photo.image, given.scaled(photo.scale)
    if given.landmarks is not None:
        shares = [None] * len(given.landmarks) if given.confidence is None else given.confidence
        return [
            Detection(landmarks, confidence=share) for landmarks, share in zip(given.landmarks, shares, strict=True)
        ]
    if given.boxes is None:
        return load(landmarker).find(image, None) if landmarker else []
    known = np.isfinite(given.boxes).all(axis=1) & (given.boxes[:, 2:] > 0).all(axis=1)
    found = [Detection(box=square(box)) for box in given.boxes]
    if landmarker and known.any():
        seen = load(landmarker).find(image, given.boxes[known])
        for k, detection in zip(np.flatnonzero(known), seen, strict=True):
            found[k] = detection
    return found


def square(box: np.ndarray) -> Box:
    """The square about the centre of (x, y, w, h) whose side is the longer one; NaN where it is not a box."""
    x, y, width, height = (float(value) for value in box)
    side = max(width, height) if min(width, height) > 0 else float('nan')
    return Box(x + (width - side) / 2, y + (height - side) / 2, side)


def _modules() -> dict[str, str]:
    """Name -> name of the module."""
    return {module.replace('_', '-'): module for module in registry.names(_DETECTORS)}


def _detector(name: str) -> Detector:
    modules = _modules()
    if name not in modules:
        raise UserError(f'--landmarker={name}: there are {", ".join([AUTO, *modules])}')
    return registry.find(_DETECTORS, modules[name], f'--landmarker={name}').DETECTOR
