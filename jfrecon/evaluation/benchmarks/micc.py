"""MICC Florence: textured head scans of 53 people (Bagdanov et al. 2011), photographed by ourselves as in cest 4.2.

Ask for the data set "Florence 2D/3D hybrid face" at the Media Integration and Communication Center, University of
Florence: a form to sign. ``--data`` is the folder with ``subject_01`` to ``subject_53``, each with

* ``Model/frontal1/obj/*.obj`` and its ``.mtl`` and texture, as delivered (``frontal2`` where there is no ``frontal1``;
  convert ``.wrl`` with MeshLab);
* beside the ``.obj``, under the same name, ``.pp`` (MeshLab) or ``.txt`` with seven landmarks of the scan, or 68: see
  `jfrecon.evaluation.benchmarks.scans.read_landmarks`. The data set has none: they are picked by hand.

The paper follows Jackson et al. 2017: every subject "in 20 poses", pitch -15, 20 or 25 degrees and yaw -80, -40, 0, 40
or 80. Those are 15; pitch 0 makes them 20 here. (2,550 images of 53 subjects, as its text has it, no number of poses
gives.) Focal length, distance and background are not given: see `views`. The scan's own texture is shown, no light is
added. The square for the network lies around the landmarks of the embedded head's mean face, moved to the scan's.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from jfrecon.data.sample import Sample
from jfrecon.errors import UserError
from jfrecon.evaluation.benchmarks import scans, views
from jfrecon.evaluation.benchmarks.photographs import Benchmark, Pictures, Row, means
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.reconstruction.result import Reconstruction

MISSING = """MICC Florence: ask the Media Integration and Communication Center, University of Florence, for the
Florence 2D/3D hybrid face data set and name the folder with subject_01, subject_02 and so on with --data"""
PITCH, YAW = (-15, 0, 20, 25), (-80, -40, 0, 40, 80)  # degrees
NAMED = (-15, 20, 25)  # the pitches that the paper names
POSES = [(pitch, yaw) for pitch in PITCH for yaw in YAW]


class Views(Pictures):
    """Every scan from every side; taken when they are asked for."""

    def __init__(self, meshes: Sequence[tuple[str, Path, Path]]):
        super().__init__()
        self._meshes = meshes
        self._load = functools.lru_cache(maxsize=1)(views.load)

    def __len__(self) -> int:
        return len(self._meshes) * len(POSES)

    def name(self, index: int) -> str:
        """Subject, pitch and yaw."""
        pitch, yaw = POSES[index % len(POSES)]
        return f'{self._meshes[index // len(POSES)][0]}_{pitch}_{yaw}'

    def read(self, index: int) -> Sample:
        """One view."""
        _, path, landmarks = self._meshes[index // len(POSES)]
        return views.take(self._load(path, landmarks), *POSES[index % len(POSES)], self.name(index))


class Micc(Benchmark):
    """See the module. ``nme``: percent of the outer interocular distance after ICP; ``nme_15``: without pitch 0."""

    curve = 'nme', 10.0
    note = "this project's camera, your landmarks: the paper gives neither, nor its mask of 19,618 vertices"

    def __init__(self, folder: Path):
        subjects = sorted(path for path in folder.glob('subject_*') if path.is_dir()) if folder.is_dir() else []
        if not subjects:
            raise UserError(f'no subject_* in {folder}: {" ".join(MISSING.split())}')
        self._meshes = [(path.name, *_files(path)) for path in subjects]
        self.source = Views(self._meshes)

    def score(self, index: int, predictor: Predictor, face: Reconstruction) -> Row:
        """The error of one view, and where it was taken from."""
        _, path, landmarks = self._meshes[index // len(POSES)]
        pitch, yaw = POSES[index % len(POSES)]
        nme = scans.nme_after_icp(predictor, face.vertices, scans.read(path, landmarks))
        return {'nme': nme, 'pitch': pitch, 'yaw': yaw}

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """The mean over all views, over those that the paper names, and by yaw to either side."""
        result = {'nme': means(rows)['nme']}
        groups = {'nme_15': [row for row in rows if row['pitch'] in NAMED]}
        groups |= {f'nme_yaw_{yaw}': [row for row in rows if abs(row['yaw']) == yaw] for yaw in YAW if yaw >= 0}
        return result | {name: means(chosen)['nme'] for name, chosen in groups.items() if chosen}


def _files(subject: Path) -> tuple[Path, Path]:
    for name in ('frontal1', 'frontal2'):
        if found := sorted((subject / 'Model' / name / 'obj').glob('*.obj')):
            marks = [found[0].with_suffix(suffix) for suffix in ('.pp', '.txt')]
            landmarks = next((path for path in marks if path.is_file()), None)
            if landmarks is None:
                raise UserError(f'{marks[0]} is not there: pick seven landmarks of the scan with MeshLab, see micc.py')
            scans.read_landmarks(landmarks)
            return found[0], landmarks
    raise UserError(f'{subject / "Model/frontal1/obj"} holds no .obj: {" ".join(MISSING.split())}')
