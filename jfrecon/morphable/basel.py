"""The Basel Face Model, editions 2009, 2017 and 2019 (University of Basel; a licence has to be asked for).

2017 and 2019 (Gerig et al. 2018) are read here from their HDF5 files; `models.basel2009` reads the first edition
(Paysan et al. 2009) in the cut of Deng et al. 2019.

    vertices = shape mean + expression mean + sum_i a_i sqrt(variance_i) basis_i + the same for expressions

Lengths are millimetres; x points to the subject's left, y up, z out of the face, as in model space: the
landmarks 'right.eye.*' of the files have x < 0 and y > 0. The expression model's mean is part of the neutral
face here, as in the model's own software: zero is the centre of N(0, 1).

Colours: nothing says that gamma or light have been removed from the scans, and the colours (0..1) look right
as sRGB; they are taken as sRGB-encoded albedo and linearised about their mean, which keeps the model linear
[our reading]. There is no specular albedo: a constant 0.028, skin's reflectance at normal incidence for a
refractive index of 1.4, stands in. Where a file of the morphable albedo model with as many vertices lies
beside, it replaces both (`albedo_mm`).
"""

from __future__ import annotations

from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.errors import UserError
from jfrecon.morphable import albedo_mm, landmarks, loading, statismo
from jfrecon.shading.colour import srgb_to_linear
from jfrecon.types import MorphableModel

MISSING = 'ask for the Basel Face Model at faces.dmi.unibas.ch/bfm, or use makehuman meanwhile'
LICENCE = 'Basel Face Model, University of Basel: licence on request, not for commercial use'
# Vertices of the files that were published: (edition, file).
EDITIONS = {
    53490: ('basel2009', 'model2009-publicmm1-bfm.h5'),
    53149: ('basel2017', 'model2017-1_bfm_nomouth.h5'),
    28588: ('basel2017', 'model2017-1_face12_nomouth.h5'),
    47439: ('basel2019', 'model2019_bfm.h5'),
    27657: ('basel2019', 'model2019_face12.h5'),
    58203: ('basel2019', 'model2019_fullHead.h5'),
}
# In a folder, the face crop first: it is what the albedo model's users fit, and half the size.
FILES = {
    'basel2017': ('model2017-1_face12_nomouth.h5', 'model2017-1_bfm_nomouth.h5'),
    'basel2019': ('model2019_face12.h5', 'model2019_bfm.h5', 'model2019_fullHead.h5'),
}
SPECULAR = 0.028
Albedo = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def load(path: str | Path, edition: str, landmark_file: str | Path | None = None) -> MorphableModel:
    """The model of an edition, from its file or from a folder with files of published names.

    Landmarks: ``landmark_file``, or ``landmarks68.txt`` beside the model, with the vertex ids of the 68 iBUG
    landmarks; else they are worked out from the landmarks that the file names (`landmarks.transfer`), which
    is coarse along the jaw.

    Args:
      path: file or folder.
      edition: 'basel2017' or 'basel2019'; for the first, of 2009, see `jfrecon.morphable.models.basel2009.load`.
      landmark_file: see above.

    Raises:
      UserError: missing, damaged, of another edition, or without landmarks.
    """
    if edition not in FILES:
        raise UserError(f'no edition {edition!r} of the Basel Face Model; there are {", ".join(FILES)}')
    file_path = loading.find(path, FILES[edition], MISSING)
    if file_path.suffix == '.mat':
        raise UserError(f'{file_path}: a .mat file is the edition of 2009, not {edition}; name basel2009')
    with statismo.opened(file_path, MISSING) as file:
        _check_edition(file_path, file, edition)
        shape, expression = (statismo.part(file_path, file, name) for name in ('shape', 'expression'))
        colour = statismo.part(file_path, file, 'color')
        count = len(shape.mean)
        if {len(expression.mean), len(colour.mean)} != {count}:
            raise UserError(f'{file_path}: shape, expression and color are not of one mesh; {MISSING}')
        triangles = statismo.triangles(file_path, file, 'shape', count)
        named = statismo.landmarks(file_path, file, shape.mean)
    published = albedo_mm.beside(file_path, count)
    mean = shape.mean + expression.mean
    return loading.finish(
        file_path,
        mean=mean,
        identity=shape.basis,
        expression=expression.basis,
        albedo=published or encoded_colour(colour.mean, colour.basis),
        triangles=triangles,
        landmark_ids=_landmark_ids(file_path, landmark_file, named, mean),
        name=edition,
        licence=f'{LICENCE}; {albedo_mm.LICENCE}' if published else LICENCE,
    )


def encoded_colour(mean: np.ndarray, basis: np.ndarray) -> Albedo:
    """Linear diffuse and constant specular albedo from an sRGB-encoded colour model, in 0..1 or 0..255.

    Args:
      mean: [V, 3]; basis: [A, V, 3].
    """
    scale = 255.0 if mean.max() > 2 else 1.0
    colour = jnp.clip(jnp.asarray(mean / scale), 0, 1)
    linear, slope = jax.jvp(srgb_to_linear, (colour,), (jnp.ones_like(colour),))
    count, modes = len(mean), len(basis)
    return (
        np.asarray(linear, np.float32),
        basis * (np.asarray(slope, np.float32) / np.float32(scale)),
        np.full((count, 1), SPECULAR, np.float32),
        np.zeros((modes, count, 1), np.float32),
    )


def _check_edition(path: Path, file: h5py.File, edition: str) -> None:
    if 'diffuseAlbedo' in file and 'color' not in file:
        raise UserError(
            f'{path}: this is the morphable albedo model, not a face; name the Basel file and put this beside'
        )
    if 'shape/model/mean' not in file:
        raise UserError(f'{path}: not a Basel Face Model: it has no shape/model/mean; {MISSING}')
    found = EDITIONS.get(file['shape/model/mean'].size // 3)
    if found and found[0] != edition:
        hint = f'name {found[0]}'
        if found[0] == 'basel2009':
            hint = 'it has no expressions; give the folder with 01_MorphableModel.mat'
        raise UserError(f'{path}: this is {found[1]} of {found[0]}, not {edition}; {hint}')


def _landmark_ids(path: Path, landmark_file: str | Path | None, named: dict[str, int], mean: np.ndarray) -> np.ndarray:
    given = path.with_name(landmarks.FILE) if landmark_file is None else Path(landmark_file)
    if landmark_file is not None or given.is_file():
        return landmarks.read(given, len(mean))
    if len(named.keys() & landmarks.NAMED.keys()) < landmarks.FEWEST:
        raise UserError(f'{path}: names no landmarks; put {landmarks.FILE}, vertex ids of the 68 landmarks, beside it')
    from jfrecon.morphable.models import makehuman

    template = makehuman.load()
    return landmarks.transfer(named, mean, np.asarray(template.mean)[template.landmark_ids])
