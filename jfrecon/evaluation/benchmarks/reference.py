"""Digital Emily and Male014: one head, rendered from a few sides, with normal, diffuse and specular maps to compare.

* ``emily``: Digital Emily 2 of the Wikihuman project (USC Institute for Creative Technologies): accept its terms on the
  project's page and render the asset. dib21's table 2 and figure 9, s2f2's table 3.
* ``male014``: the "realistic 3D head model" of s2f2's table 3, a commercial asset; render it the same way.

Neither paper gives its views, lights or masks (dib21 rendered with Maya), so the layout is ours: ``--data`` is a folder
with one folder per view, in which

* ``photo.png``: the rendered picture, which is both the input and the reference of the final picture;
* ``mask.png``: bright on the pixels that count, the one mask of all methods;
* ``normal.npy`` [H, W, 3] float: camera space, x right, y up, z towards the camera, zero where there is none;
* optionally ``diffuse.npy`` [H, W, 3] and ``specular.npy`` [H, W] float, linear albedo;
* optionally ``landmarks.npz`` in ``--data`` with ``filename`` (``VIEW/photo.png``) and ``landmarks`` (N, 68, 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jfrecon.data import images
from jfrecon.data.sample import Unreadable
from jfrecon.errors import UserError
from jfrecon.evaluation import layers, normals
from jfrecon.evaluation.benchmarks.photographs import Benchmark, Photo, Photos, Row, known_landmarks, means, need
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.reconstruction.result import Reconstruction

MISSING = {
    'emily': 'Digital Emily 2: accept the terms on the page of the Wikihuman project (USC ICT) and render the asset',
    'male014': 'Male014: a commercial head model (reference 62 of s2f2); render the asset',
}
HOW = """into VIEW/photo.png, mask.png and normal.npy, maybe diffuse.npy and specular.npy (see the docstring of
jfrecon/evaluation/benchmarks/reference.py), and name the folder with --data"""
NOTE = 'views and masks of your own, the predicted pose: the papers give neither views nor masks'
LAYERS = {'normal': 3, 'diffuse': 3, 'specular': 1}  # channels
NEEDED = ('photo.png', 'mask.png', 'normal.npy')


class Reference(Benchmark):
    """See the module. ``normal_*``: degrees and shares; ``final``, ``diffuse``, ``specular``: SSIM and PSNR."""

    note = NOTE

    def __init__(self, name: str, folder: Path):
        views = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        how = f'{MISSING[name]} {HOW}'
        if not views:
            raise UserError(f'no folders of views in {folder}: {" ".join(how.split())}')
        self._truth = [read_view(view, how) for view in views]
        known = known_landmarks(folder)
        names = [f'{view.name}/photo.png' for view in views]
        self.source = Photos([Photo(folder / name, name, known.get(name)) for name in names])

    def score(self, index: int, predictor: Predictor, face: Reconstruction) -> Row:
        """Normals and layers of one view, at the size of the picture."""
        truth, seen = dict(self._truth[index]), predictor.layers(face)
        mask, normal = truth.pop('mask'), truth.pop('normal')
        row = {f'normal_{name}': value for name, value in normals.normal_error(seen['normal'], normal, mask).items()}
        predicted = {'final': seen['photo'], 'diffuse': seen['albedo'], 'specular': seen['specular'][..., None]}
        return row | layers.layer_scores(predicted, truth, mask)

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Means over the views; what only some views have is left out."""
        shared = set.intersection(*(set(row) for row in rows))
        return means([{name: value for name, value in row.items() if name in shared} for row in rows])


def read_view(view: Path, how: str) -> dict[str, np.ndarray]:
    """``mask`` [H, W], ``final`` sRGB in 0..1, ``normal`` and, where they are, ``diffuse`` and ``specular``."""
    for name in NEEDED:
        need(view / name, how)
    try:
        photo, mask = images.read(view / 'photo.png').image, images.read_mask(view / 'mask.png')
    except Unreadable as error:
        raise UserError(f'{view}: {error}') from error
    truth = {'mask': mask / 255.0, 'final': photo / 255.0}
    for name, channels in LAYERS.items():
        path = view / f'{name}.npy'
        if path.is_file():
            truth[name] = _read_layer(path, (*photo.shape[:2], channels))
    if mask.shape != photo.shape[:2] or not ((mask > 0) & truth['normal'].any(-1)).any():
        raise UserError(f'{view / "mask.png"}: it marks no pixel of photo.png that has a normal')
    return truth


def _read_layer(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        layer = np.load(path, allow_pickle=False)
        layer = np.asarray(layer, np.float32).reshape(shape)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise UserError(f'{path}: not plain numbers of the shape {shape}, that of photo.png') from error
    if not np.isfinite(layer).all():
        raise UserError(f'{path}: numbers that are not finite')
    return layer
