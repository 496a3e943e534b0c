"""From a photograph to the faces in it, reconstructed by a network, by a fit, or by both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon import morphable
from jfrecon.data import crop, pipeline
from jfrecon.data.prepare import faces
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.evaluation import predict
from jfrecon.evaluation.predict import Predictor, Reconstruction
from jfrecon.fitting.fit import TEXTURE, Fitter
from jfrecon.geometry import uv
from jfrecon.render.portrait import Portrait
from jfrecon.types import Batch, FaceParameters, MorphableModel

SIZE = 256  # pixels of the side of a crop that is fitted to
SCALE = 1.8  # of that side over the longer side of the landmarks' box
FOCAL = 4.5  # sides of the crop, for photographs that do not know theirs
BANDS = 9  # of the light
FOREHEAD = 0.2  # see `jfrecon.data.crop.hull_mask`


class Face(NamedTuple):
    """A face in a photograph, before it is reconstructed.

    Attributes:
      sample: photograph, landmarks (NaN where unknown), focal length and principal point.
      box: the square around it.
    """

    sample: Sample
    box: crop.Box

    def cut(self, size: int) -> Batch:
        """The square at so many pixels, as a batch of one."""
        made = crop.crop(self.sample, self.box, size, FOCAL, FOREHEAD)
        return pipeline.stack([pipeline.Cut(0, self.box, self.sample.image.shape[:2], made)], 1)


def find(photo: Sample, given: faces.Given, settings: faces.Settings, focal: float = FOCAL) -> list[Face]:
    """The faces in a photograph, see `jfrecon.data.prepare.faces.find`; raises ``Unreadable`` where there is none.

    focal: of a photograph that does not know its own, in sides of the crop.
    """
    found = []
    for landmarks, box in faces.find(photo.image, given, settings):
        box = crop.box_from_landmarks(landmarks, settings.scale) if box is None else box
        crop.require_face(box, photo.image)
        sample = photo.replace(landmarks=landmarks.astype(np.float32))
        if not np.isfinite(sample.focal):
            # The same camera for crops of any size.
            centre = np.array([box.x + box.side / 2, box.y + box.side / 2], np.float32)
            sample = sample.replace(focal=focal * box.side, principal=centre)
        found.append(Face(sample, box))
    if not found:
        raise Unreadable('no face found')
    return found


@dataclasses.dataclass(frozen=True)
class Reconstructor:
    """What makes a face of a photograph.

    Attributes:
      model: the morphable model; ``portrait``: the same with eyes and teeth.
      atlas: of the maps.
      network: predicts the face, or where a fit starts; None: the fit starts from the mean face.
      fitter: fits to the photograph; None: the prediction is the result.
    """

    model: MorphableModel
    portrait: Portrait
    atlas: uv.Atlas
    network: Predictor | None = None
    fitter: Fitter | None = None

    def __call__(self, face: Face, progress: Callable[[], None] | None = None) -> Reconstruction:
        """Reconstructs a face.

        Raises:
          Unreadable: its landmarks are unknown and there is no network.
        """
        if self.network is not None:
            batch = face.cut(self.network.size)
            chi = self.network.infer(batch.image, batch.camera)
            found = self._placed(face, chi, batch)
            if self.fitter is None:
                return found
            if not np.isfinite(face.sample.landmarks).all():
                face = face._replace(sample=face.sample.replace(landmarks=found.landmarks2d))
            batch = face.cut(SIZE)
            more = max(0, self.fitter.bands**2 - chi.light.shape[-2])
            chi = dataclasses.replace(chi, light=jnp.pad(chi.light, ((0, 0), (0, more), (0, 0))))
        else:
            assert self.fitter is not None
            batch = face.cut(SIZE)
            if not batch.landmark_weight.all():
                raise Unreadable('its landmarks are not known, from which a fit starts without a network')
            chi = self.fitter.upright(batch)
        return self._placed(face, self.fitter(batch, chi, progress), batch)

    def _placed(self, face: Face, chi: FaceParameters, batch: Batch) -> Reconstruction:
        boxes = np.array([face.box], np.float32)
        made = chi, *predict.placed(self.model, chi, batch.camera, boxes, batch.image.shape[-2])
        chi, vertices, landmarks, camera = jax.tree.map(lambda leaf: np.asarray(leaf)[0], made)
        height, width = face.sample.image.shape[:2]
        return Reconstruction(chi, vertices, landmarks, camera, face.box, (height, width))


def reconstructor(network: Predictor | None, refine: bool) -> Reconstructor:
    """By a network, by a fit, or by both. Without a network the model is the embedded one."""
    if network is None:
        model, filled = morphable.load(), morphable.load_portrait()
    else:
        model, filled = network.model, network.portrait.model
    if refine or network is None:
        fitter = Fitter.of(model, filled, BANDS)
        return Reconstructor(model, fitter.portrait, fitter.atlas, network, fitter)
    return Reconstructor(model, network.portrait, uv.atlas(model.topology, np.asarray(model.mean), TEXTURE), network)
