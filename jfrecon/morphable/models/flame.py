"""FLAME (Li et al. 2017), releases of 2019, 2020, 2023 and 2023 Open: a head with jaw, neck and eyeballs that turn.

``generic_model.pkl``, ``flame2023.pkl`` and the like hold v_template [V, 3] (metres), shapedirs [V, 3, 400]
(300 identity, then 100 expression modes, for one standard deviation), posedirs [V, 3, 36], J_regressor [5,
V], weights [V, 5], kintree_table [2, 5] and f [T, 3], 5,023 vertices; axes as in model space. The .npz
variants have the same keys.
FLAME has no albedo of its own: the generic skin model is painted on it.

Landmarks come in separate files: ``landmark_embedding.npy`` (of DECA; full_lmk_faces_idx,
full_lmk_bary_coords), or ``flame_static_embedding_68*.npz``, or ``flame_static_embedding.pkl`` (51 without
the jaw; lmk_face_idx, lmk_b_coords) together with ``flame_dynamic_embedding.npy``, whose first row is the jaw
line of a frontal face. They are points in triangles; `MorphableModel` wants vertices, and the corner with the
largest weight is taken, within 3 mm on average.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from jfrecon.errors import UserError
from jfrecon.morphable import loading, restricted_pickle
from jfrecon.types import MorphableModel, Skeleton

MISSING = (
    'get FLAME 2023 Open (CC BY 4.0), or ask for another release, at flame.is.tue.mpg.de; or use makehuman meanwhile'
)
LICENCE = 'FLAME, Max Planck Institute for Intelligent Systems: its licence depends on the release'
OPEN = 'flame2023_Open.pkl'  # the one release without registration
OPEN_LICENCE = 'CC BY 4.0 (FLAME 2023 Open, Max Planck Institute for Intelligent Systems)'
FILES = (
    OPEN, 'flame2023.pkl', 'flame2023_no_jaw.pkl', 'generic_model.pkl', 'FLAME_NEUTRAL.pkl', 'flame.npz',
    'generic_model.npz', 'female_model.pkl', 'male_model.pkl',
)  # fmt: skip
EMBEDDINGS = (
    'landmark_embedding.npy', 'flame_static_embedding_68_v4.npz', 'flame_static_embedding_68.npz',
    'flame_static_embedding.pkl',
)  # fmt: skip
DYNAMIC = 'flame_dynamic_embedding.npy'
KEYS = ('v_template', 'shapedirs', 'posedirs', 'J_regressor', 'weights', 'kintree_table', 'f')
IDENTITY, EXPRESSION = 300, 100
EYES = (3, 4)  # joints
METRE = 1000.0


def load(path: str | Path, landmark_file: str | Path | None = None) -> MorphableModel:
    """The whole head of 5,023 vertices, with its skeleton.

    Args:
      path: .pkl or .npz, or a folder with a file of a published name.
      landmark_file: one of the embeddings (see the module), by default from the model's folder.

    Raises:
      UserError: missing, damaged, another model, or a pickle that asks for more than arrays.
    """
    file = loading.find(path, FILES, MISSING)
    data = _read(file)
    absent = [key for key in KEYS if key not in data]
    if absent:
        raise UserError(f'{file}: not FLAME: it has no {", ".join(absent)}; {MISSING}')
    mean = loading.shaped(file, 'v_template', data['v_template'], None, 3) * METRE
    count = len(mean)
    if count == 6890:
        raise UserError(f'{file}: this is SMPL, a body of 6890 vertices, not FLAME; {MISSING}')
    modes = loading.shaped(file, 'shapedirs', data['shapedirs'], count, 3, IDENTITY + EXPRESSION) * METRE
    modes = np.ascontiguousarray(modes.transpose(2, 0, 1))
    triangles = loading.indices(file, 'f', data['f'], count, None, 3)
    skeleton = _skeleton(file, data, count)
    weights = np.asarray(skeleton.weights)
    eyeballs = [np.flatnonzero(weights[:, joint] > 0.5) for joint in EYES if joint < weights.shape[1]]
    return loading.finish(
        file,
        mean=mean,
        identity=modes[:IDENTITY],
        expression=modes[IDENTITY:],
        albedo=None,
        triangles=triangles,
        landmark_ids=_landmark_ids(file, landmark_file, triangles),
        skeleton=skeleton,
        eyeballs=[ids for ids in eyeballs if len(ids)],
        name='flame',
        licence=OPEN_LICENCE if file.name.lower() == OPEN.lower() else LICENCE,
    )


def _skeleton(file: Path, data: dict[str, Any], count: int) -> Skeleton:
    weights = loading.shaped(file, 'weights', data['weights'], count, None)
    joints = weights.shape[1]
    regressor = data['J_regressor']
    regressor = regressor.toarray() if sparse.issparse(regressor) else regressor
    regressor = loading.shaped(file, 'J_regressor', regressor, joints, count)
    if np.abs(regressor.sum(1) - 1).max() > 1e-2 or np.abs(weights.sum(1) - 1).max() > 1e-2:
        raise UserError(f'{file}: rows of J_regressor and weights must sum to one; the file is damaged')
    pose = loading.shaped(file, 'posedirs', data['posedirs'], count, 3, 9 * (joints - 1)) * METRE
    tree = loading.shaped(file, 'kintree_table', data['kintree_table'], 2, joints)[0]
    parents = (-1, *(int(p) for p in tree[1:]))  # the root's entry is 2^32 - 1
    if any(not 0 <= parent < joint for joint, parent in enumerate(parents) if joint):
        raise UserError(f'{file}: kintree_table is no tree in which parents come first')
    return Skeleton(regressor, weights, np.ascontiguousarray(pose.transpose(2, 0, 1)), parents)


def _landmark_ids(file: Path, landmark_file: str | Path | None, triangles: np.ndarray) -> np.ndarray:
    source = loading.find(
        file.parent if landmark_file is None else landmark_file,
        EMBEDDINGS,
        'FLAME needs its landmarks: put landmark_embedding.npy or flame_static_embedding.pkl with '
        f'{DYNAMIC} (flame.is.tue.mpg.de) beside the model',
    )
    data = _read(source)
    if 'full_lmk_faces_idx' in data:
        faces, corners = data['full_lmk_faces_idx'], data.get('full_lmk_bary_coords', ())
    elif 'lmk_face_idx' in data:
        faces, corners = data['lmk_face_idx'], data.get('lmk_b_coords', ())
        if np.size(faces) == 51:
            jaw_faces, jaw_corners = _jaw_line(source)
            faces = np.concatenate([jaw_faces, np.ravel(faces)])
            corners = np.concatenate([jaw_corners, loading.shaped(source, 'lmk_b_coords', corners, 51, 3)])
    else:
        raise UserError(f'{source}: no landmark embedding of FLAME: it has {", ".join(map(str, data))}')
    faces = loading.indices(source, 'the triangles of its landmarks', np.ravel(faces), len(triangles), 68)
    corners = loading.shaped(source, 'the weights of its landmarks', np.squeeze(corners), 68, 3)
    return triangles[faces, corners.argmax(1)]


def _jaw_line(static: Path) -> tuple[np.ndarray, np.ndarray]:
    """Triangles [17] and weights [17, 3] of a frontal face, from the file beside the static embedding."""
    file = loading.find(static.with_name(DYNAMIC), (), f'{static.name} has no jaw line without it')
    data = _read(file)
    if 'lmk_face_idx' not in data or 'lmk_b_coords' not in data:
        raise UserError(f'{file}: no landmark embedding of FLAME')
    faces = loading.shaped(file, 'lmk_face_idx', data['lmk_face_idx'], None, 17)
    return faces[0], loading.shaped(file, 'lmk_b_coords', data['lmk_b_coords'], len(faces), 17, 3)[0]


def _read(file: Path) -> dict[str, Any]:
    """The arrays of a .npz, or the dict in a .pkl or .npy."""
    if file.suffix == '.npz':
        return loading.arrays(file, MISSING)
    if file.suffix not in ('.pkl', '.npy'):
        raise UserError(f'{file}: FLAME comes as .pkl or .npz; {MISSING}')
    data = restricted_pickle.load(file)
    if not isinstance(data, dict):
        raise UserError(f'{file}: holds no table of arrays; {MISSING}')
    return data
