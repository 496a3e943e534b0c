"""A face that a predictor knows, and small data sets around it in the layouts of the benchmarks."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import ExifTags, Image

from jfrecon.data.images import FILM_DIAGONAL_MM
from jfrecon.evaluation import now
from jfrecon.geometry import cameras, rotations
from jfrecon.morphable import linear, load, obj
from jfrecon.reconstruction import prediction
from jfrecon.render.portraits import Portrait
from jfrecon.types import FaceParameters, Pinhole

SIZE = 128  # pixels of the photographs, whose EXIF tells the focal length: so the crop has no say in where the face is
FILM = 100  # mm, the 35 mm equivalent
CAMERA = Pinhole(np.float32(FILM * SIZE * 2**0.5 / FILM_DIAGONAL_MM), np.full(2, SIZE / 2, np.float32))


@functools.cache
def model():
    return load('makehuman')


def code(count: int = 1) -> FaceParameters:
    """One face ``count`` times: somebody, smiling, a little turned."""
    head = model()
    tile = lambda values: np.tile(np.float32(values), (count, 1))
    light = np.zeros((count, 9, 3), np.float32)
    light[:, 0] = 3.0
    return FaceParameters(
        identity=tile(np.linspace(-1, 1, head.identity_basis.shape[0])),
        expression=tile(np.arange(head.expression_basis.shape[0]) < 6) * np.float32(0.5),
        albedo=tile(np.zeros(head.diffuse_basis.shape[0])),
        rotation=tile([0.05, -0.2, 0.02]),
        translation=tile([3.0, -5.0, -600.0]),
        light=light,
    )


def predictor(chi=code) -> prediction.Predictor:
    """Knows the face whatever it is shown."""
    portrait = Portrait(model(), None, 0.4)
    return prediction.Predictor(model(), portrait, lambda image, camera: chi(len(image)), 32, 4.5, 1.8, batch_size=2)


def vertices(expression: bool = True, posed: bool = True) -> np.ndarray:
    chi = code()
    shape = linear.shape(model(), jnp.asarray(chi.identity[0]), jnp.asarray(chi.expression[0] * expression))
    return np.asarray(rotations.transform(chi.rotation[0], chi.translation[0], shape) if posed else shape)


def landmarks2d() -> np.ndarray:
    return np.asarray(cameras.project(CAMERA, vertices()[np.asarray(model().landmark_ids)])[0])


def write_photo(path: Path, image: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = FILM
    encoded = io.BytesIO()
    picture = Image.fromarray(np.full((SIZE, SIZE, 3), 120, np.uint8) if image is None else image)
    picture.save(encoded, 'PNG' if path.suffix == '.png' else 'JPEG', exif=exif)
    path.write_bytes(encoded.getvalue())


def write_landmarks(folder: Path, names: list[str]) -> None:
    np.savez(folder / 'landmarks.npz', filename=np.array(names), landmarks=np.stack([landmarks2d()] * len(names)))


def write_scan(mesh: Path, marks: Path, points: np.ndarray) -> None:
    """The scan is the face in another frame, with the seven landmarks picked on it."""
    turn = np.asarray(rotations.matrix(jnp.array([0.3, 0.2, -0.1])))
    moved = points @ turn.T + [20.0, -40.0, 10.0]
    for path in (mesh, marks):
        path.parent.mkdir(parents=True, exist_ok=True)
    obj.write(mesh, moved, np.asarray(model().topology.triangles))
    picked = moved[np.asarray(model().landmark_ids)[list(now.LANDMARKS)]]
    if marks.suffix == '.pp':
        lines = [f'<point y="{y}" x="{x}" z="{z}" name="{i}" active="1"/>' for i, (x, y, z) in enumerate(picked)]
        marks.write_text('<!DOCTYPE PickedPoints>\n<PickedPoints>\n' + '\n'.join(lines) + '\n</PickedPoints>\n')
    else:
        np.savetxt(marks, picked)
