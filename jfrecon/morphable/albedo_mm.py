"""The morphable face albedo model (Smith et al. 2020, arXiv 2004.02711): diffuse and specular.

The files ``albedoModel2020_face12_albedoPart.h5`` and ``albedoModel2020_bfm_albedoPart.h5`` of the releases
of github.com/waps101/AlbedoMM fit the two meshes of Basel 2017; joined with one by the authors' program they
are called ``albedoModel2020_face12.h5`` and ``albedoModel2020_bfm.h5``. Parts: ``diffuseAlbedo`` and
``specularAlbedo``.

"Our model is built in a linear sRGB space" (their README and section 4): the colours are linear and are used
as they are; their program encodes renderings with a gamma of 2.2 and decodes photographs with it. The diffuse
and specular models are driven by one coefficient vector (dib21 3.1; the authors' own MoMoCoefficients).
Specular albedo is grey in three channels: their mean is the weight s of the specular lobe.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jfrecon.errors import UserError
from jfrecon.morphable import loading, statismo

MISSING = 'get it from the releases of github.com/waps101/AlbedoMM (academic research only)'
LICENCE = 'Morphable Face Albedo Model (Smith et al. 2020): academic research only'
FILES = (
    'albedoModel2020_face12_albedoPart.h5',
    'albedoModel2020_bfm_albedoPart.h5',
    'albedoModel2020_face12.h5',
    'albedoModel2020_bfm.h5',
)


class Albedo(NamedTuple):
    """Linear RGB and specular weight, bases for one standard deviation, one coefficient vector for both.

    Attributes:
      diffuse_mean, diffuse_basis: [V, 3], [A, V, 3].
      specular_mean, specular_basis: [V, 1], [A, V, 1].
    """

    diffuse_mean: np.ndarray
    diffuse_basis: np.ndarray
    specular_mean: np.ndarray
    specular_basis: np.ndarray


def load(path: str | Path) -> Albedo:
    """The albedo model in a file, or in a folder with a file of a published name.

    Modes that only the diffuse or only the specular part has are zero in the other.

    Raises:
      UserError: missing, damaged, or another model.
    """
    file_path = loading.find(path, FILES, MISSING)
    with statismo.opened(file_path, MISSING) as file:
        if 'diffuseAlbedo' not in file:
            kind = 'a Basel Face Model' if 'color' in file else 'another file'
            raise UserError(f'{file_path}: not the morphable albedo model but {kind}; {MISSING}')
        diffuse, specular = (statismo.part(file_path, file, f'{name}Albedo') for name in ('diffuse', 'specular'))
    if len(diffuse.mean) != len(specular.mean):
        raise UserError(f'{file_path}: diffuse and specular albedo are not of one mesh; {MISSING}')
    modes = max(len(diffuse.basis), len(specular.basis))
    return Albedo(
        diffuse.mean,
        _padded(diffuse.basis, modes),
        specular.mean.mean(-1, keepdims=True),
        _padded(specular.basis.mean(-1, keepdims=True), modes),
    )


def beside(path: Path, vertices: int) -> Albedo | None:
    """The published albedo file in the folder of a Basel file, if there is one for that many vertices."""
    for name in FILES:
        if (path.parent / name).is_file():
            albedo = load(path.parent / name)
            if len(albedo.diffuse_mean) == vertices:
                return albedo
    return None


def _padded(basis: np.ndarray, modes: int) -> np.ndarray:
    return np.concatenate([basis, np.zeros((modes - len(basis), *basis.shape[1:]), np.float32)])
