"""From a photograph to the faces in it, reconstructed by a network, by a fit, or by both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon import morphable
from jfrecon.data import cropping, detection, images, landmark_layout, pipeline
from jfrecon.data.detection import Given
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.fitting import black_and_white, gaze, identity
from jfrecon.fitting.fitter import TEXTURE, Fitter
from jfrecon.fitting.identity import Expected
from jfrecon.geometry import uv
from jfrecon.reconstruction import result
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.render.portraits import Portrait
from jfrecon.types import Batch, FaceParameters, MorphableModel

SIZE = 256  # pixels of the side of a crop that is fitted to
SCALE = 1.8  # of that side over the longer side of the landmarks' box
FOCAL = 4.5  # sides of the crop, for photographs that do not know theirs
BANDS = 9  # of the light
WIDEST, NARROWEST = 0.25, 1000.0  # focal lengths in sides of a photograph: 127 degrees; a face cut out of a telephoto
FOREHEAD = 0.2  # see `jfrecon.data.cropping.hull_mask`


class Face(NamedTuple):
    """A face in a photograph, before it is reconstructed.

    Attributes:
      sample: photograph, landmarks (NaN where unknown), focal length and principal point.
      box: the square around it.
      presence: in 0..1, that it is a face, as a detector says; None where nobody was asked.
      dense: [M, 3] pixels, the points of the face mesh that found it; None where something else did.
    """

    sample: Sample
    box: cropping.Box
    presence: float | None = None
    dense: np.ndarray | None = None

    def cut(self, size: int) -> Batch:
        """The square at so many pixels, as a batch of one."""
        return cut([self], size)

    @property
    def black_and_white(self) -> bool:
        """Whether its photograph has no colours where the face is."""
        return bool(black_and_white.found(self.cut(SIZE).image)[0])

    def supported(self, predicted: np.ndarray) -> Face:
        """The face itself; where too few of its landmarks are known, with predicted ones [68, 2] for the others."""
        known = np.isfinite(self.sample.landmarks).all(-1)
        if known.sum() >= landmark_layout.ENOUGH:
            return self
        landmarks = np.where(known[:, None], self.sample.landmarks, predicted)
        return self._replace(sample=self.sample.replace(landmarks=landmarks.astype(np.float32)))

    @classmethod
    def again(cls, photo: Sample, found: Reconstruction) -> Face:
        """The face that was found in a photograph, where it was found and with the camera of then."""
        camera = found.camera
        sample = photo.replace(landmarks=found.landmarks2d, focal=float(camera.focal), principal=camera.principal)
        return cls(sample, found.box)


def cut(faces: Sequence[Face], size: int) -> Batch:
    """The squares of faces, of so many pixels, as a batch."""
    made = [cropping.crop(face.sample, face.box, size, FOCAL, FOREHEAD) for face in faces]
    cuts = [pipeline.Cut(k, face.box, face.sample.image.shape[:2], made[k]) for k, face in enumerate(faces)]
    return pipeline.stack(cuts, len(cuts))


def find(
    photo: Sample, given: Given, landmarker: str = '', network: Predictor | None = None, scale: float = SCALE
) -> list[Face]:
    """The faces in a photograph, see `jfrecon.data.detection.find`; raises ``Unreadable`` where there is none.

    Lips that a detector of landmarks left ajar are shut (`jfrecon.data.cropping.shut_lips`).

    Args:
      photo: its image, name and focal length are used.
      given: what is known of its faces.
      landmarker: the detector that looks for what is not given.
      network: a photograph that does not know its focal length gets the network's, in sides of the crop.
      scale: side of the crop over the longer side of the landmarks' box.
    """
    found = []
    for face in search(photo, given, landmarker, network, scale):
        if isinstance(face, Unreadable):
            raise face
        found.append(face)
    return found


def search(
    photo: Sample, given: Given, landmarker: str = '', network: Predictor | None = None, scale: float = SCALE
) -> list[Face | Unreadable]:
    """The same as `find`, with a reason in the place of each face that cannot be reconstructed; at least one."""
    found: list[Face | Unreadable] = []
    for seen in detection.find(photo, given, landmarker):
        if isinstance(seen, Unreadable):
            found.append(seen)
            continue
        try:
            share = None if seen.confidence is None else np.asarray(seen.confidence, np.float32)
            face = locate(photo.replace(confidence=share), seen.known, network, scale)
            known = given.landmarks is None
            found.append(face._replace(presence=seen.presence if known else None, dense=seen.dense))
        except Unreadable as error:
            found.append(error)
    if not found:
        raise Unreadable('no face found')
    return found


def with_focal(photo: Sample, focal: float) -> Sample:
    """Return a photograph with a focal length that a user gives, in pixels of its file.

    Raises:
      Unreadable: no photograph of a face has it; in millimetres, say.
    """
    width, height = (round(side / photo.scale) for side in photo.image.shape[1::-1])
    sides = focal / max(height, width)
    if not WIDEST <= sides <= NARROWEST:
        angle = 2 * np.degrees(np.arctan(0.5 / sides))
        times = np.hypot(width, height) / images.FILM_DIAGONAL_MM
        raise Unreadable(
            f'with a focal length of {focal:g} pixels its {width} x {height} pixels would see {angle:.3g} degrees; '
            f'millimetres (35 mm equivalent) times {times:.1f} are pixels'
        )
    return photo.replace(focal=focal * photo.scale)


def locate(photo: Sample, landmarks: np.ndarray, network: Predictor | None, scale: float = SCALE) -> Face:
    """A face of which landmarks [68, 2] are known, NaN where not; the rest as `find` has it.

    scale: side of the crop over the longer side of the landmarks' box.
    """
    landmark_layout.require(landmarks, *photo.image.shape[:2])
    landmarks = cropping.shut_lips(landmarks)
    box = cropping.box_from_landmarks(landmarks, scale)
    cropping.require_face(box, photo.image)
    sample = photo.replace(landmarks=landmarks.astype(np.float32))
    if not np.isfinite(sample.focal):
        # The same camera for crops of any size.
        centre = np.array([box.x + box.side / 2, box.y + box.side / 2], np.float32)
        focal = FOCAL if network is None else network.focal
        sample = sample.replace(focal=focal * box.side, principal=centre)
    return Face(sample, box)


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

    def __call__(self, faces: Sequence[Face], progress: Callable[[], None] | None = None) -> list[Reconstruction]:
        """Reconstructs one person from a photograph or several: identity, albedo and maps are the same in all.

        Raises:
          Unreadable: too few landmarks are known and there is no network.
        """
        if self.network is None:
            assert self.fitter is not None
            batch = cut(faces, SIZE)
            if (known := int(np.sum(batch.landmark_weight, -1).min())) < landmark_layout.ENOUGH:
                raise Unreadable(
                    f'{known} of its landmarks are known, too few for a fit to start from without a network'
                )
            chi = self.fitter(batch, self.fitter.upright(batch), progress, self.expected(faces), looks(faces))
            return self.placed(faces, chi, batch)

        batch = cut(faces, self.network.size)
        chi = _of_one_person(self.predicted(batch))
        found = self.placed(faces, chi, batch)
        if self.fitter is None:
            return found
        faces = [face.supported(first.landmarks2d) for face, first in zip(faces, found)]
        batch = cut(faces, SIZE)
        more = max(0, self.fitter.bands**2 - chi.light.shape[-2])
        light = jnp.pad(jnp.asarray(chi.light), ((0, 0), (0, more), (0, 0)))
        chi = dataclasses.replace(chi, light=light, maps=None)
        return self.placed(faces, self.fitter(batch, chi, progress, self.expected(faces), looks(faces)), batch)

    def expected(self, faces: Sequence[Face]) -> Expected | None:
        """The identity that the meshes of one person's faces suggest; None where there is no mesh."""
        meshes = [face.dense for face in faces if face.dense is not None]
        return identity.expected(self.model, meshes) if meshes else None

    def predicted(self, batch: Batch) -> FaceParameters:
        """What the network sees in crops of its size, leaves [B, ...]; the light of black-and-white ones is grey."""
        assert self.network is not None
        chi = self.network.infer(batch.image, batch.camera)
        return dataclasses.replace(chi, light=black_and_white.shown(chi.light, black_and_white.found(batch.image)))

    def go_on(self, face: Face, found: Reconstruction, progress: Callable[[], None] | None = None) -> Reconstruction:
        """What was found of a face, and perhaps edited since, fitted on to its photograph; shape and pose stay."""
        assert self.fitter is not None
        batch = face.cut(SIZE)
        chi = jax.tree.map(lambda leaf: np.asarray(leaf)[None], found.parameters)
        return self.placed([face], self.fitter.go_on(batch, chi, progress), batch)[0]

    def placed(self, faces: Sequence[Face], chi: FaceParameters, batch: Batch) -> list[Reconstruction]:
        """Faces of parameters, leaves [B, ...] or [1, ...], in their photographs; batch: of their squares."""
        boxes = np.array([face.box for face in faces], np.float32)
        chi = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(faces), *leaf.shape[1:])), chi)
        made = chi, *result.placed(self.model, chi, batch.camera, boxes, batch.image.shape[-2])
        made = jax.tree.map(np.asarray, made)
        placed = []
        for k, face in enumerate(faces):
            chi_k, vertices, landmarks, camera = jax.tree.map(lambda leaf, k=k: leaf[k], made)
            height, width = face.sample.image.shape[:2]
            placed.append(Reconstruction(chi_k, vertices, landmarks, camera, face.box, (height, width)))
        return placed


def looks(faces: Sequence[Face]) -> gaze.Gaze:
    """Where the eyes of faces look, as far as they have a mesh."""
    return gaze.of_meshes([face.dense for face in faces], [face.box.side for face in faces])


def _of_one_person(chi: FaceParameters) -> FaceParameters:
    """Means over the images, leaves [1, ...], of what a person keeps."""
    mean = lambda leaves: jax.tree.map(lambda leaf: jnp.mean(leaf, 0, keepdims=True), leaves)
    maps = chi.maps
    if maps is not None:
        maps = dataclasses.replace(mean(dataclasses.replace(maps, light=None)), light=maps.light)
    return dataclasses.replace(chi, identity=mean(chi.identity), albedo=mean(chi.albedo), maps=maps)


def reconstructor(network: Predictor | None, refine: bool, frozen: tuple[str, ...] = ()) -> Reconstructor:
    """By a network, by a fit, or by both. Without a network the model is the embedded one.

    frozen: what a fit that goes on leaves as it is, see `Fitter`.
    """
    if network is None:
        model, filled = morphable.load(), morphable.load_portrait()
    else:
        model, filled = network.model, network.portrait.model
    if refine or network is None:
        fitter = dataclasses.replace(Fitter.of(model, filled, BANDS), frozen=frozen)
        return Reconstructor(model, fitter.portrait, fitter.atlas, network, fitter)
    return Reconstructor(model, network.portrait, uv.atlas(model.topology, np.asarray(model.mean), TEXTURE), network)
