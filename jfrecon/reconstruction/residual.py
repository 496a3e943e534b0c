"""What is left between a reconstructed face and its photograph, how sure it is that there is one, and what to doubt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jfrecon.data import cropping
from jfrecon.data.detection import skin
from jfrecon.data.sample import Sample
from jfrecon.fitting import black_and_white
from jfrecon.reconstruction.photograph import SIZE, Face
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.shading import colour
from jfrecon.types import MorphableModel

OUTER_EYES = 36, 45  # iBUG
COVERED = 0.2  # of the hull of the landmarks, below which a face that is drawn lies beside the one that is photographed
MIDDLE = 0.28  # of the side of a square, its radius: a circle as large as the hull of the landmarks of a face in it
# Below which a face is doubtful; chosen by looking at photographs, not measured by a command of the project.
SKIN, PRESENCE = 0.7, 0.75


class Limits(NamedTuple):
    """Residuals above which a face is doubtful."""

    landmarks: float
    photograph: float


# Well above the medians over the photographs of `experiments/photo_to_assets`, which are 0.022 and 0.009 after a
# fit, 0.063 and 0.09 as a network predicts. A fit's maps explain almost any picture, lettering too: what its landmarks
# say counts for more.
FITTED, PREDICTED = Limits(0.1, 0.06), Limits(0.2, 0.25)


class Residual(NamedTuple):
    """How far a face is from its photograph; None where there is nothing to compare.

    Attributes:
      landmarks: mean distance of the projected landmarks to those that are known, over the distance of the outer
        corners of the eyes as it is seen from the front.
      photograph: mean absolute difference of the re-rendering, sRGB in 0..1, over the face in the hull of the
        landmarks.
    """

    landmarks: float | None
    photograph: float | None


class Confidence(NamedTuple):
    """How far a photograph shows a face where one was reconstructed.

    Attributes:
      presence: in 0..1, that it is a face, as its detector says; None where landmarks were given.
      skin: the share of the hull of the landmarks that is skin (`jfrecon.data.detection.skin`): what is in front of the
        face, or no face at all, has little.
    """

    presence: float | None
    skin: float


def confidence(given: Face) -> Confidence:
    """Look at the photograph around a face; where no landmarks are known, at the middle of its square."""
    square = cropping.crop(given.sample.replace(mask=None), given.box, skin.SIZE, 1.0)
    found = skin.probabilities(square.image[None] / np.float32(255))[0] > 0.5
    assert square.mask is not None
    inside = square.mask > 0
    if not np.isfinite(given.sample.landmarks).any():
        rows, columns = (np.indices(inside.shape) + 0.5) / skin.SIZE - 0.5
        inside &= np.hypot(rows, columns) < MIDDLE
    return Confidence(given.presence, float(found[inside].mean()) if inside.any() else 0.0)


def measure(model: MorphableModel, face: Reconstruction, given: Face, layers: Mapping[str, np.ndarray]) -> Residual:
    """Compare a face with its photograph.

    Args:
      model: the face's.
      face: what was reconstructed.
      given: the photograph, and the landmarks that are known in it.
      layers: of the face at the size of the photograph, see `jfrecon.reconstruction.result.layers`.
    """
    points = given.sample.landmarks
    known = np.isfinite(points).all(-1)
    landmarks = None
    if known.any():
        right, left = (np.asarray(face.vertices)[np.asarray(model.landmark_ids)[k]] for k in OUTER_EYES)
        eyes = np.linalg.norm(right - left) * float(face.camera.focal) / max(-(right + left)[2] / 2, 1.0)
        landmarks = float(np.linalg.norm(face.landmarks2d - points, axis=-1)[known].mean() / eyes)

    encoded = lambda values: np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)
    drawn = Sample(encoded(layers['photo']), mask=encoded(layers['coverage']))
    seen = cropping.crop(given.sample, given.box, SIZE, 1.0)
    made = cropping.crop(drawn, given.box, SIZE, 1.0)
    assert seen.mask is not None and made.mask is not None
    both = (seen.mask > 0) & (made.mask > 0)
    if not both.any() or (known.any() and both.sum() < COVERED * (seen.mask > 0).sum()):
        return Residual(landmarks, None)
    picture = made.image / np.float32(255)
    if given.black_and_white:  # of a face whose skin has the morphable model's hue
        radiance = colour.srgb_to_linear(jnp.asarray(picture))
        picture = np.asarray(colour.linear_to_srgb(black_and_white.shown(radiance[None], jnp.array([True]))[0]))
    difference = np.abs(seen.image / 255.0 - picture)[both]
    return Residual(landmarks, float(difference.mean()))


def doubts(residual: Residual, confidence: Confidence, fitted: bool) -> list[str]:
    """Return why a face may not fit, in words; nothing where nothing says so. fitted: or as a network predicts it."""
    limits = FITTED if fitted else PREDICTED
    found = []
    if confidence.presence is not None and confidence.presence < PRESENCE:
        found.append(f'its detector is {confidence.presence:.2f} sure that it is a face')
    if confidence.skin < SKIN:
        found.append(f'{confidence.skin:.2f} of it is skin, the rest is something else')
    if residual.landmarks is not None and residual.landmarks > limits.landmarks:
        found.append(f'its landmarks are {residual.landmarks:.2f} of the distance of the eyes away from the given ones')
    if residual.photograph is None:
        found.append('it does not lie on the face in the photograph')
    elif residual.photograph > limits.photograph:
        found.append(f'its picture differs from the photograph by {residual.photograph:.2f} of white')
    return found
