"""FaceScape, Superfaces and 3DFAW: photographs with scans, which the user arranges.

* ``facescape``: FaceScape (Yang et al., CVPR 2020), scans of 938 people in 20 expressions. Sign the licence agreement
  on the project's page (FaceScape, Nanjing University). s2f2 measures 100 subjects.
* ``superfaces``: Superfaces (Berretti et al., ECCV workshops 2012), 20 people. Ask the Media Integration and
  Communication Center, University of Florence: a form to sign. s2f2's table 1; one frontal frame each will do.
* ``3dfaw``: 3D Face Alignment in the Wild (the challenges of 2016 and, as 3DFAW-Video, 2019). Sign the agreement on the
  challenge's page. Part of the 23 images of dib21's table 1.

Their public copies differ in folders and names and bring no points to align on, and neither paper says which images it
took. So one layout of our own serves all three; ``--data`` is a folder with

* ``index.csv``: columns ``image``, ``scan``, ``landmarks``: paths inside the folder, one row per photograph;
* scans in millimetres, ``.obj``, ``.ply``, ``.stl`` or ``.off``;
* landmarks of each scan, picked in MeshLab (``.pp``) or text of rows "x y z": the seven of NoW (outer and inner corner
  of the right eye, inner and outer corner of the left eye, bottom of the nose, right and left corner of the mouth, the
  subject's right), or all 68 of iBUG;
* optionally ``landmarks.npz`` with ``filename`` (as in ``image``) and ``landmarks`` (N, 68, 2) of the photographs;
  without it the face is the largest that is found.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jfrecon.errors import UserError
from jfrecon.evaluation import now
from jfrecon.evaluation.benchmarks import scans
from jfrecon.evaluation.benchmarks.photographs import Benchmark, Photo, Photos, Row, known_landmarks, means, need
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.reconstruction.result import Reconstruction

#: What to download, and what keeps the numbers from being anybody's official score.
BENCHMARKS = {
    'facescape': (
        'FaceScape: sign the licence on the page of the project (FaceScape, Nanjing University)',
        "your choice of subjects: s2f2 does not name its 100, and this is not FaceScape's own single-view measure",
    ),
    'superfaces': (
        'Superfaces: ask the Media Integration and Communication Center, University of Florence, for the 20 scans',
        'your choice of frames, under the mask of this project: s2f2 names neither its frames nor its mask',
    ),
    '3dfaw': (
        '3DFAW: sign the agreement on the page of the challenge (3DFAW, or 3DFAW-Video)',
        "your choice of images: dib21 does not name its 23, and this is not the ARMSE of the challenge's own score",
    ),
}
INDEX = 'index.csv'
COLUMNS = ('image', 'scan', 'landmarks')
HOW = (
    'arrange photographs and scans as index.csv says (columns image, scan, landmarks; see the docstring of '
    'jfrecon/evaluation/benchmarks/arranged.py) and name the folder with --data'
)


class Arranged(Benchmark):
    """Photographs with scans of what they show, expression included.

    ``vertex_mm`` and ``normal_rad``: mean over the prediction's face, dib21's appendix C; ``*_std``: over the images.
    ``scan_to_mesh_*_mm``: median, mean and standard deviation over all points of all scans, NoW's measure.
    """

    def __init__(self, name: str, folder: Path):
        missing, self.note = BENCHMARKS[name]
        self._rows = read_index(folder, missing)
        known = known_landmarks(folder)
        self.source = Photos([Photo(image, name, known.get(name)) for name, image, _, _ in self._rows])

    def score(self, index: int, predictor: Predictor, face: Reconstruction) -> Row:
        """Errors of one photograph."""
        _, _, path, landmarks = self._rows[index]
        scan = scans.read(path, landmarks)
        distances = scans.scan_to_mesh(predictor, face.vertices, scan)
        errors = scans.vertex_and_normal_error(predictor, face.vertices, scan)
        return {**errors, 'scan_to_mesh_mm': float(distances.mean()), 'distances': distances}

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """See the class."""
        mean = means(rows)
        result: dict[str, float] = {}
        for name in ('vertex_mm', 'normal_rad'):
            result |= {name: mean[name], f'{name}_std': float(np.std([row[name] for row in rows]))}
        pooled = now.summary(row['distances'] for row in rows)
        return result | {f'scan_to_mesh_{name}_mm': value for name, value in pooled.items()}


def read_index(folder: Path, missing: str) -> list[tuple[str, Path, Path, Path]]:
    """(name, image, scan, landmarks) of each row of ``index.csv``, all of them files inside the folder."""
    path = need(folder / INDEX, f'{missing}; {HOW}')
    try:
        with path.open(newline='', encoding='utf-8') as file:
            table = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f'{path}: not a readable table') from error
    if not table or any(not row.get(column) for row in table for column in COLUMNS):
        raise UserError(f'{path}: every row needs the columns {", ".join(COLUMNS)}')
    rows = []
    for row in table:
        image, scan, landmarks = (folder / row[column] for column in COLUMNS)
        for named in (image, scan, landmarks):
            if not named.resolve().is_relative_to(folder.resolve()):
                raise UserError(f'{path} names {named}, which is not inside of {folder}')
            need(named, f'{path} names it')
        scans.read_landmarks(landmarks)
        rows.append((row['image'], image, scan, landmarks))
    return rows
