"""NoW: photographs by phone of 100 people with neutral head scans (Sanyal et al., CVPR 2019).

Register on the page of the NoW Challenge (RingNet, Max Planck Institute for Intelligent Systems) and download the
images (``NoW_Dataset``) and, for the 20 people of the validation set, scans, landmarks and the list. ``--data``
is the folder with

* ``imagepathsvalidation.txt``: rows ``SUBJECT/CHALLENGE/NAME.jpg``; or, without it, ``imagepathstest.txt``;
* ``iphone_pictures/SUBJECT/CHALLENGE/NAME.jpg`` and ``detected_face/SUBJECT/CHALLENGE/NAME.npy``, both maybe inside
  ``final_release_version``;
* ``scans/SUBJECT/*.obj`` and ``scans_lmks_onlypp/SUBJECT/*.pp``, for the validation set.

The distances of the validation scans are measured as the benchmark describes it, but by another optimiser. The folder
``<out>_export`` holds the neutral meshes and landmarks that the benchmark's own evaluator and its server read: theirs
is the official score. The scans of the test set are not public: there, the export is all. A ``landmarks.npz`` beside
the list (``filename`` as in the list, ``landmarks`` (N, 68, 2)) takes the place of the boxes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jfrecon.data.cropping import Box
from jfrecon.errors import UserError
from jfrecon.evaluation import now
from jfrecon.evaluation.benchmarks import scans
from jfrecon.evaluation.benchmarks.photographs import Benchmark, Photo, Photos, Row, known_landmarks, need
from jfrecon.morphable import restricted_pickle
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.reconstruction.result import Reconstruction

MISSING = """NoW: register on the page of the NoW Challenge (ringnet.is.tue.mpg.de) and download NoW_Dataset and, for
the validation set, its scans, their landmarks and imagepathsvalidation.txt; see the docstring of
jfrecon/evaluation/benchmarks/now_challenge.py, and name the folder with --data"""
VALIDATION, TEST = 'imagepathsvalidation.txt', 'imagepathstest.txt'
SIDES = ('left', 'top', 'right', 'bottom')
#: The landmarks' box over that of `detected_face`: what makes the customary crops of the two, 1.375 and 1.6 times as
#: large (DECA's loaders), the same. Not compared on the photographs.
GROWTH = 1.6 / 1.375


class Now(Benchmark):
    """See the module. ``median_mm``, ``mean_mm`` and ``std_mm`` over all points of all scans, also by challenge."""

    note = "validation scans by this project's optimiser: the official score is the one of the NoW server"

    def __init__(self, folder: Path):
        lists = [folder / name for name in (VALIDATION, TEST)]
        listed = next((path for path in lists if path.is_file()), None)
        if listed is None:
            need(lists[0], MISSING)
        assert listed is not None
        self._images = read_list(listed)
        pictures = folder if (folder / 'iphone_pictures').is_dir() else folder / 'final_release_version'
        need(pictures / 'iphone_pictures', MISSING)
        known = known_landmarks(folder)
        self.source = Photos([_photo(pictures, image, known) for image in self._images])
        self._scans: dict[str, tuple[Path, Path]] = {}
        if listed.name == VALIDATION:
            for subject in dict.fromkeys(image.split('/')[0] for image in self._images):
                self._scans[subject] = (
                    _only(folder / 'scans' / subject, '*.obj'),
                    _only(folder / 'scans_lmks_onlypp' / subject, '*.pp'),
                )
                scans.read_landmarks(self._scans[subject][1])

    def score(self, index: int, predictor: Predictor, face: Reconstruction) -> Row:
        """Distances from the scan of the subject to the neutral mesh of one photograph."""
        subject, challenge, _ = self._images[index].split('/')
        if subject not in self._scans:
            return {}
        scan = scans.read(*self._scans[subject])
        distances = scans.scan_to_mesh(predictor, scans.neutral(predictor, face.parameters.identity), scan)
        return {**now.summary([distances]), 'challenge': challenge, 'distances': distances}

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """See the class."""
        scored = [row for row in rows if row]
        result: dict[str, float] = {}
        for challenge in ['', *sorted({row['challenge'] for row in scored})] if scored else []:
            chosen = [row['distances'] for row in scored if challenge in ('', row['challenge'])]
            suffix = f'_{challenge}' if challenge else ''
            result |= {f'{name}_mm{suffix}': value for name, value in now.summary(chosen).items()}
        return result

    def export(self, folder: Path, index: int, predictor: Predictor, face: Reconstruction) -> None:
        """The neutral mesh and its landmarks, as the benchmark's server reads them."""
        vertices = scans.neutral(predictor, face.parameters.identity)
        triangles = np.asarray(predictor.model.topology.triangles)
        now.write_submission(folder, self._images[index], vertices, triangles, scans.seven(predictor.model, vertices))


def read_list(path: Path) -> list[str]:
    """``SUBJECT/CHALLENGE/NAME.jpg`` of each row; raises `UserError` for anything else."""
    rows = [line.strip() for line in path.read_text(encoding='utf-8', errors='replace').splitlines() if line.strip()]
    for row in rows:
        parts = row.split('/')
        if len(parts) != 3 or not all(parts) or '..' in parts or '\\' in row:
            raise UserError(f'{path}: {row[:80]!r} is not SUBJECT/CHALLENGE/NAME.jpg; download the list again')
    if not rows:
        raise UserError(f'{path} is empty; download it again')
    return rows


def _photo(pictures: Path, image: str, known: Mapping[str, np.ndarray]) -> Photo:
    path = need(pictures / 'iphone_pictures' / image, MISSING)
    if (landmarks := known.get(image)) is not None:
        return Photo(path, image, landmarks)
    return Photo(path, image, box=read_box(need((pictures / 'detected_face' / image).with_suffix('.npy'), MISSING)))


def read_box(path: Path) -> Box:
    """The landmarks' square of a ``detected_face``, a pickled dict of four numbers, read without running it."""
    found = restricted_pickle.load(path)
    try:
        found = found.item() if isinstance(found, np.ndarray) else found
        left, top, right, bottom = (float(found[side]) for side in SIDES)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UserError(f'{path}: expected numbers by the names {", ".join(SIDES)}') from error
    side = GROWTH * (right - left + bottom - top) / 2
    return Box((left + right - side) / 2, (top + bottom - side) / 2, side)


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    return found[0] if found else need(folder / pattern, MISSING)
