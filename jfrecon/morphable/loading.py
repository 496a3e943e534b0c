"""What loaders of models' files share: finding and checking them, and finishing a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jfrecon import files
from jfrecon.errors import UserError
from jfrecon.morphable.coat import EYE, SKIN, coat
from jfrecon.morphable.unwrap import cylindrical
from jfrecon.types import MorphableModel, Skeleton, Topology


def find(path: str | Path, names: tuple[str, ...], missing: str) -> Path:
    """The file at ``path``, or the first of ``names`` in the folder at ``path``.

    Raises:
      UserError: nothing there; ``missing`` says where to get it.
    """
    path = Path(path)
    if path.is_file():
        return path
    for name in names if path.is_dir() else ():
        if (path / name).is_file():
            return path / name
    what = f'none of {", ".join(names)} in this folder' if path.is_dir() else 'no such file'
    raise UserError(f'{path}: {what}; {missing}')


def arrays(path: Path, missing: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz file.

    Raises:
      UserError: it is another file, damaged, or holds more than arrays; ``missing`` says where to get it.
    """
    try:
        return files.read_npz(path)
    except (OSError, ValueError) as error:
        raise UserError(f'{path}: damaged, or not an .npz file of arrays; {missing}') from error


def shaped(path: Path, name: str, array: object, *shape: int | None) -> np.ndarray:
    """``array`` as floats of a shape, None for any size of at least one.

    Raises:
      UserError: another shape, not numbers, or not finite.
    """
    try:
        result = np.asarray(array, np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f'{path}: {name} holds no numbers; the file is not what its name says') from error
    fits = result.ndim == len(shape) and all(n > 0 and s in (None, n) for n, s in zip(result.shape, shape))
    if not fits:
        wanted = ' x '.join('n' if s is None else str(s) for s in shape)
        raise UserError(f'{path}: {name} has the shape {" x ".join(map(str, result.shape))} instead of {wanted}')
    if not np.isfinite(result).all():
        raise UserError(f'{path}: {name} holds numbers that are not finite; the file is damaged')
    return result


def indices(path: Path, name: str, array: object, below: int, *shape: int | None) -> np.ndarray:
    """``array`` as int32 indices in 0..below-1, of a shape.

    Raises:
      UserError: another shape, not whole numbers, or out of range.
    """
    floats = shaped(path, name, array, *shape)  # exact up to 2^24, far above any mesh
    if (floats != np.round(floats)).any() or floats.min() < 0 or floats.max() >= below:
        raise UserError(f'{path}: {name} names entries outside of the {below} that there are')
    return floats.astype(np.int32)


def outward(mean: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The triangles, all turned over if they are clockwise seen from outside.

    Files do not say how they turn. The flux of the offset from the middle of the vertices through the surface
    is positive for a closed head and for a mask, which bulges outwards, exactly if the normals point out.
    """
    a, b, c = (mean[triangles[:, k]] for k in range(3))
    flux = (np.cross(b - a, c - a) * ((a + b + c) / 3 - mean.mean(0))).sum()
    return triangles if flux >= 0 else triangles[:, ::-1].copy()


def finish(
    path: Path,
    *,
    mean: np.ndarray,
    identity: np.ndarray,
    expression: np.ndarray,
    albedo: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None,
    triangles: np.ndarray,
    landmark_ids: np.ndarray,
    skeleton: Skeleton | None = None,
    eyeballs: Sequence[np.ndarray] = (),
    name: str,
    licence: str,
) -> MorphableModel:
    """The model in model space: origin at the landmarks' centroid, triangles outward, cylindrical UVs.

    Args:
      mean: [V, 3] mm, axes as in model space.
      identity, expression: [I, V, 3], [E, V, 3] mm for one standard deviation.
      albedo: diffuse mean and basis, specular mean and basis; the generic skin model where None.
      eyeballs: vertices of each eyeball, which the skin model does not paint.

    Raises:
      UserError: lengths that no head has.
    """
    if not 50 < np.ptp(mean, axis=0).max() < 1000:
        raise UserError(f'{path}: its mean shape is not the size of a head; the file is damaged or in other units')
    mean = (mean - mean[landmark_ids].mean(0)).astype(np.float32)
    triangles = outward(mean, triangles).astype(np.int32)
    topology = Topology(triangles, *cylindrical(mean, triangles))
    if albedo is None:
        part = np.full(len(triangles), SKIN)
        part[np.isin(triangles, np.concatenate([np.zeros(0, int), *eyeballs])).all(axis=1)] = EYE
        painted = coat(mean, topology, part, landmark_ids, list(eyeballs))
    diffuse_mean, diffuse_basis, specular_mean, specular_basis = painted if albedo is None else albedo
    return MorphableModel(
        mean=mean,
        identity_basis=identity,
        expression_basis=expression,
        diffuse_mean=diffuse_mean,
        diffuse_basis=diffuse_basis,
        specular_mean=specular_mean,
        specular_basis=specular_basis,
        topology=topology,
        landmark_ids=landmark_ids.astype(np.int32),
        skeleton=skeleton,
        expression_names=tuple(f'pca{i}' for i in range(len(expression))),
        name=name,
        licence=licence,
        expression_prior='gaussian',
    )
