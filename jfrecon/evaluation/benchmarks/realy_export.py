"""REALY: 100 scans with region-wise errors (Chai et al., ECCV 2022). The score is its own program's; this exports.

Ask for the data on the project's page (REALY, with a form), and clone its evaluator. ``--data`` is a folder with

* ``images/*.png`` or ``.jpg``: the photographs of the benchmark;
* ``template/NAME.obj`` and ``template/NAME.txt``: any of the templates that the evaluator ships in its ``data``, from
  which the keypoints of our topology are carried over;
* optionally ``landmarks.npz`` with ``filename`` (``NAME.png``) and ``landmarks`` (N, 68, 2).

``<out>_export/predictions`` holds a mesh per image, ``<out>_export/template`` what goes into the evaluator's ``data``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jfrecon.data import images
from jfrecon.errors import UserError
from jfrecon.evaluation import realy
from jfrecon.evaluation.benchmarks.photographs import Benchmark, Photo, Photos, Row, known_landmarks, means, need
from jfrecon.morphable import obj
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.reconstruction.result import Reconstruction

MISSING = """REALY: ask for the benchmark on the page of the project (REALY, Chai et al. 2022), clone its evaluator, and
name the folder with images/ and template/ with --data; see the docstring of
jfrecon/evaluation/benchmarks/realy_export.py"""
TOPOLOGY = 'jfrecon'


class Realy(Benchmark):
    """See the module. There is nothing to score here: ``exported`` counts the meshes."""

    note = 'no score here: run the evaluator of REALY on the exported folder'

    def __init__(self, folder: Path):
        pictures = need(folder / 'images', MISSING)
        paths = sorted(path for path in pictures.iterdir() if path.suffix.lower() in images.SUFFIXES)
        if not paths:
            raise UserError(f'no pictures in {pictures}: {" ".join(MISSING.split())}')
        templates = sorted((folder / 'template').glob('*.obj'))
        template = templates[0] if templates else need(folder / 'template' / 'BFM09.obj', MISSING)
        keypoints = need(template.with_suffix('.txt'), MISSING)
        mesh = obj.read(template)
        # a keypoint names a triangle by its place in the file: nothing may be cut anew
        if (mesh.polygons[:, 3] >= 0).any():
            raise UserError(f'{template}: its polygons are not triangles; take the template that REALY ships')
        self._template = mesh.vertices, mesh.polygons[:, :3]
        self._keypoints = realy.read_keypoints(keypoints, len(mesh.polygons))
        known = known_landmarks(folder)
        self.source = Photos([Photo(path, path.name, known.get(path.name)) for path in paths])
        self._written = False

    def score(self, index: int, predictor: Predictor, face: Reconstruction) -> Row:
        """Counts."""
        return {'exported': 1.0}

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """How many meshes there are."""
        return {name: value * len(rows) for name, value in means(rows).items()}

    def export(self, folder: Path, index: int, predictor: Predictor, face: Reconstruction) -> None:
        """The mesh of one image, and once the template of our topology."""
        model = predictor.model
        triangles = np.asarray(model.topology.triangles)
        realy.write_prediction(folder / 'predictions', self.source.name(index), face.vertices, triangles)
        if not self._written:
            mean = np.asarray(model.mean, np.float64)
            found = realy.transfer(self._keypoints, *self._template, mean, triangles, np.asarray(model.landmark_ids))
            realy.write_template(folder / 'template', TOPOLOGY, mean, triangles, found)
            self._written = True
