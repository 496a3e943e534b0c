"""AFLW2000-3D: 2,000 photographs of faces in any pose, with the 3DMM fits of Zhu et al. (CVPR 2016, section 5).

Download ``AFLW2000-3D.zip`` from the project page of 3DDFA (Face Alignment Across Large Poses) and unpack it;
``--data`` is the folder that then holds ``image00002.jpg``, ``image00002.mat`` and so on. For research only. The
projected landmarks of the fit, ``pt3d_68`` of each ``.mat``, are the truth here: the jaw is that of the head, not the
visible outline. The network sees a square around them. A ``landmarks.npz`` beside them with ``pts68_2d_reannotated``
(LS3D-W's corrections, Bulat and Tzimiropoulos 2017) is scored too.

The surface of the fit is a combination of the gated Basel basis: whoever has it can put ``meshes/imageXXXXX.obj``
(right-handed, any unit) and its 68 landmarks ``meshes/imageXXXXX.txt`` (rows of x y z) there, for cest's dense error.
The paper measures 19,618 vertices of these meshes, which Jackson et al. 2017 chose. Whoever has their numbers, from 0,
can list them in ``meshes/vertices.txt``: then their distances from the prediction are measured. Without it, the
distances of the prediction's own vertices within NoW's ball are, which is another number.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging

from jfrecon.data import landmark_files
from jfrecon.errors import UserError
from jfrecon.evaluation import metrics
from jfrecon.evaluation.benchmarks import scans
from jfrecon.evaluation.benchmarks.photographs import LANDMARKS, Benchmark, Photo, Photos, Row
from jfrecon.morphable import matlab
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.reconstruction.result import Reconstruction

MISSING = """AFLW2000-3D: download AFLW2000-3D.zip from the project page of 3DDFA (Face Alignment Across Large Poses,
CVPR 2016) and name the unpacked folder, with image00002.jpg beside image00002.mat and so on, with --data"""
IMAGES = 2000
BINS = (0, 30, 60, 90)  # degrees of yaw
REANNOTATED = 'pts68_2d_reannotated'
VERTICES = 'vertices.txt'


class Aflw2000(Benchmark):
    """See the module. Errors are distances of 68 landmarks in percent.

    ``nme_box``: over sqrt(width height) of the true landmarks' bounding box, as 3DDFA has it. ``nme_interocular``: over
    the distance of the outer eye corners in the picture, which vanishes in profile. ``nme_dense``: cest's, see
    `jfrecon.evaluation.benchmarks.scans.nme_after_icp`.
    """

    curve = 'nme_box', 10.0

    def __init__(self, folder: Path):
        paths = sorted(folder.glob('image*.mat')) if folder.is_dir() else []
        if not paths:
            raise UserError(f'no image*.mat in {folder}: {" ".join(MISSING.split())}')
        if missing := [path for path in paths if not path.with_suffix('.jpg').is_file()]:
            raise UserError(f'{missing[0].with_suffix(".jpg")} is not there: {" ".join(MISSING.split())}')
        self._truth, self._yaw = zip(*(read_fit(path) for path in paths))
        self._again = _reannotated(folder)
        self._names = [path.with_suffix('.jpg').name for path in paths]
        self._meshes = [folder / 'meshes' / f'{path.stem}.obj' for path in paths]
        self._dense = all(mesh.is_file() for mesh in self._meshes)
        chosen = folder / 'meshes' / VERTICES
        self._chosen = scans.read_vertices(chosen) if self._dense and chosen.is_file() else None
        if not self._dense and (folder / 'meshes').is_dir():
            logging.warning('%s: not all images have a mesh; no dense error', folder / 'meshes')
        photos = [
            Photo(path.with_suffix('.jpg'), name, landmarks)
            for path, name, landmarks in zip(paths, self._names, self._truth)
        ]
        self.source = Photos(photos)
        self.note = '' if len(paths) == IMAGES else f'{len(paths)} of the {IMAGES:,} images'

    def unofficial(self, metric: str) -> str:
        """See `Benchmark`: the dense error is never the paper's own number."""
        if not metric.startswith('nme_dense'):
            return self.note
        vertices = (
            '' if self._chosen is not None else f'other vertices than cest measures, for want of meshes/{VERTICES}; '
        )
        return f'nme_dense: {vertices}correspondences by the ICP of this project' + (f'; {self.note}' * bool(self.note))

    def score(self, index: int, predictor: Predictor, face: Reconstruction) -> Row:
        """Errors of one photograph, and its yaw in degrees."""
        truth = self._truth[index]
        row = {'yaw': self._yaw[index], **_errors(face.landmarks2d, truth, '')}
        if (again := self._again.get(self._names[index])) is not None:
            row |= _errors(face.landmarks2d, again, '_reannotated')
        if self._dense:
            scan = scans.read(self._meshes[index], self._meshes[index].with_suffix('.txt'))
            row['nme_dense'] = scans.nme_after_icp(predictor, face.vertices, scan, self._chosen)
        return row

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Means over all images, over those of each bin of yaw, and over the bins."""
        yaw = np.array([abs(row['yaw']) for row in rows])
        result: dict[str, float] = {}
        for name in rows[0]:
            if name == 'yaw' or any(name not in row for row in rows):
                continue
            errors = np.array([row[name] for row in rows])
            inside = [(low, high, (yaw >= low) & (yaw < high)) for low, high in itertools.pairwise(BINS)]
            binned = {f'{name}_{low}_{high}': float(errors[at].mean()) for low, high, at in inside if at.any()}
            result |= {name: float(errors.mean()), **binned}
            if len(binned) == len(inside):  # 3DDFA's "mean" weighs the poses, not the images
                result[f'{name}_bins_mean'] = float(np.mean(list(binned.values())))
        return result


def read_fit(path: Path) -> tuple[np.ndarray, float]:
    """Landmarks [68, 2] in the pixels of the file, and the yaw in degrees; raises `UserError`."""
    try:
        content = matlab.read(path, 'pt3d_68', 'Pose_Para')
        landmarks = np.asarray(content['pt3d_68'], np.float32)
        yaw = float(np.asarray(content['Pose_Para'], np.float64).ravel()[1])
    except Exception as error:  # the reader of a damaged file fails in any way
        raise UserError(f'{path}: not a fit of AFLW2000-3D with pt3d_68 and Pose_Para; download it again') from error
    if landmarks.shape != (3, 68) or not np.isfinite(landmarks).all() or not np.isfinite(yaw):
        raise UserError(f'{path}: pt3d_68 is not 3 x 68 finite numbers; download it again')
    return landmarks[:2].T, float(np.degrees(yaw))


def _reannotated(folder: Path) -> dict[str, np.ndarray]:
    path = folder / LANDMARKS
    if not path.is_file():
        return {}
    table = landmark_files.read(path, REANNOTATED)
    return dict(zip(table.names, table.landmarks))


def _errors(predicted: np.ndarray, truth: np.ndarray, suffix: str) -> Row:
    width, height = np.ptp(truth, axis=0)
    distance = np.linalg.norm(predicted - truth, axis=-1).mean()
    return {
        f'nme_box{suffix}': float(100 * distance / np.sqrt(width * height)),
        f'nme_interocular{suffix}': 100 * metrics.landmark_nme(predicted, truth),
    }
