"""Where the faces of a photograph are: as given, or as a detector finds them.

A detector is a module of `jfrecon.data.detection.detectors`, found by its name, which is what ``--landmarker`` says;
`docs/adding.md` says how to add one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jfrecon import registry
from jfrecon.data.detection.detector import Detection, Detector
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.errors import UserError

DEFAULT = 'mesh'
HELP = (
    "who finds the faces and their landmarks where none are given: mesh (MediaPipe's face mesh, offline, the default), "
    "face-alignment (pip install 'jfrecon[landmarks]') or one that you add"
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
    """What ``--landmarker`` may be."""
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


def choose(name: str | None = None, landmarks: bool = False) -> str:
    """Return the name of the detector that looks for what is not given, '' where landmarks are given.

    Args:
      name: what ``--landmarker`` says, None where it says nothing.
      landmarks: whether they are given.

    Raises:
      UserError: there is none of that name, it has to be installed first, or nothing is left for it to do.
    """
    if landmarks and name is not None:
        raise UserError(f'--landmarks says where the faces are: leave it or --landmarker={name} out')
    if landmarks:
        return ''
    load(name or DEFAULT)
    return name or DEFAULT


def find(photo: Sample, given: Given, landmarker: str = '') -> list[Detection | Unreadable]:
    """The faces in a photograph: the given landmarks, else the faces in given boxes, else those that a detector finds.

    Args:
      photo: its image is looked at.
      given: in pixels of the photo's file, while what is found is in those of its image (`Sample.scale`).
      landmarker: as `choose` returned it.

    Returns:
      The faces; in the place of one that is not in its box, the reason.
    """
    image, given = photo.image, given.scaled(photo.scale)
    if given.landmarks is not None:
        shares = [None] * len(given.landmarks) if given.confidence is None else given.confidence
        return [
            Detection(landmarks, confidence=share) for landmarks, share in zip(given.landmarks, shares, strict=True)
        ]
    detector = load(landmarker)
    if given.boxes is None:
        return [*detector.find(image)]
    are_boxes = np.isfinite(given.boxes).all(axis=1) & (given.boxes[:, 2:] > 0).all(axis=1)
    seen = iter(detector.find_in(image, given.boxes[are_boxes]) if are_boxes.any() else [])
    found: list[Detection | Unreadable] = []
    for is_box in are_boxes:
        if is_box:
            found.append(next(seen) or Unreadable('no face is seen in the given box'))
        else:
            found.append(Unreadable('the given box is not a box'))
    return found


def _modules() -> dict[str, str]:
    """Name -> name of the module."""
    return {module.replace('_', '-'): module for module in registry.names(_DETECTORS)}


def _detector(name: str) -> Detector:
    modules = _modules()
    if name not in modules:
        raise UserError(f'--landmarker={name}: there are {", ".join(modules)}')
    return registry.find(_DETECTORS, modules[name], f'--landmarker={name}').DETECTOR
