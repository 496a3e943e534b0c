"""GNM Head 3.0 (Google 2026, arXiv:2607.23687), Apache-2.0: a head with eyes, teeth and tongue, from scans.

``gnm_head.npz`` holds, by its authors' data schema, template_vertex_positions [V, 3] (metres, y up, the face along +z),
vertex_identity_basis [I, V, 3] and expression_basis [E, V, 3] for one standard deviation, quads [Q, 4],
quad_uvs [Q, 4, 2], vertex_groups [G, V] in 0..1 with vertex_group_names, expression_names, and joints;
V = 17,821, I = 253, E = 383. ``vertices = template + sum_k a_k identity_k + sum_j e_j expression_j``. It has no albedo:
the generic skin model is painted on it.

The landmarks come in a text file of their own, ``head_sparse_68.txt``: 68 rows of three pairs of a vertex and its
weight. `MorphableModel` wants vertices, and the corner with the largest weight is taken.

The joints (neck, head, eyes) are not read: a head is posed as a whole, and its eyeballs are vertices of their own.

This module was written from the published schema and was not tried on the published file; its tests use a small file of
the same layout.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from jfrecon.errors import UserError
from jfrecon.morphable import loading, obj
from jfrecon.morphable.coat import EYE, MOUTH, SKIN, TEETH
from jfrecon.morphable.heads import Head, assemble
from jfrecon.morphable.unwrap import cylindrical
from jfrecon.types import MorphableModel

MISSING = (
    'get gnm_head.npz and head_sparse_68.txt from github.com/google/GNM (Apache-2.0, no registration), or use '
    'makehuman meanwhile'
)
LICENCE = 'Apache-2.0 (GNM Head, Google)'
# A folder with the file, or a clone of the repository.
FILES = ('gnm_head.npz', 'versions/v3_0/gnm_head.npz', 'gnm/shape/data/versions/v3_0/gnm_head.npz')
LANDMARKS = 'head_sparse_68.txt'
KEYS = (
    'template_vertex_positions', 'vertex_identity_basis', 'expression_basis', 'expression_names', 'quads', 'quad_uvs',
    'vertex_groups', 'vertex_group_names',
)  # fmt: skip
GROUPS = ('skin', 'left_eye', 'right_eye', 'upper_teeth_and_gums', 'lower_teeth_and_gums', 'tongue')
#: Groups that some releases leave out: the clear cornea before the iris, the inside of the mouth, ears.
CORNEA, INSIDE, EARS = 'eye_exteriors', 'mouth_sock', ('ears', 'left_ear', 'right_ear')
METRE = 1000.0
# The face: directions from between the ears less than so many degrees off straight ahead, and not far below the chin.
ANGLE = 75.0
BELOW_CHIN = 35.0  # mm


def load(path: str | Path, landmark_file: str | Path | None = None) -> MorphableModel:
    """The face region: forehead to under the chin, in front of the ears, without eyes and mouth.

    Model space has its origin at the centroid of the mean's 68 landmarks. UVs are cylindrical.

    Args:
      path: gnm_head.npz, a folder with it, or a clone of google/GNM.
      landmark_file: head_sparse_68.txt, by default from the model's folder or the clone.

    Raises:
      UserError: missing, damaged, or another model.
    """
    return _build(Path(path), None if landmark_file is None else Path(landmark_file))[1]


def load_head(path: str | Path, landmark_file: str | Path | None = None) -> Head:
    """The whole head around `load`'s face: skull, ears, neck, eyeballs without corneas, teeth, gums and tongue."""
    return _build(Path(path), None if landmark_file is None else Path(landmark_file))[0]


@functools.lru_cache(maxsize=2)
def _build(path: Path, landmark_file: Path | None) -> tuple[Head, MorphableModel]:
    file = loading.find(path, FILES, MISSING)
    data = loading.arrays(file, MISSING)
    if absent := [key for key in KEYS if key not in data]:
        raise UserError(f'{file}: not GNM Head: it has no {", ".join(absent)}; {MISSING}')
    vertices = loading.shaped(file, KEYS[0], data[KEYS[0]], None, 3) * METRE
    count = len(vertices)
    identity = loading.shaped(file, KEYS[1], data[KEYS[1]], None, count, 3) * METRE
    expression = loading.shaped(file, KEYS[2], data[KEYS[2]], None, count, 3) * METRE
    names = tuple(map(str, np.ravel(data['expression_names'])))
    if len(names) != len(expression):
        raise UserError(f'{file}: {len(names)} expression_names for {len(expression)} expressions; the file is damaged')
    quads = loading.indices(file, 'quads', data['quads'], count, None, 4)
    uv = loading.shaped(file, 'quad_uvs', data['quad_uvs'], len(quads), 4, 2)
    group = _groups(file, data, count)
    landmarks = _landmarks(file, landmark_file, vertices)
    part = _parts(group, quads)
    skin = quads[part == SKIN][:, :3]
    if not np.array_equal(loading.outward(vertices, skin), skin):
        quads, uv = quads[:, ::-1], uv[:, ::-1]
    in_face = _face(group, quads, part, vertices, landmarks)
    mesh = obj.Obj(
        vertices, uv.reshape(-1, 2), quads, np.arange(4 * len(quads), dtype=np.int32).reshape(-1, 4), np.array([])
    )
    cornea = group.get(CORNEA, np.zeros(count, bool))
    return assemble(
        mesh,
        part=part,
        in_face=in_face,
        face_uv=_face_uv(quads[in_face], vertices),
        identity=identity,
        expression=expression,
        expression_names=names,
        expression_prior='gaussian',
        landmark_ids=landmarks,
        eyeballs=[np.flatnonzero(group[name] & ~cornea) for name in ('left_eye', 'right_eye')],
        subdivisions=0,
        name='gnm',
        licence=LICENCE,
    )


def _groups(file: Path, data: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Name -> which of the vertices [V] belong to the group."""
    names = [str(name) for name in np.ravel(data['vertex_group_names'])]
    weights = loading.shaped(file, 'vertex_groups', data['vertex_groups'], len(names), count)
    found = {name: weight > 0.5 for name, weight in zip(names, weights)}
    if absent := [name for name in GROUPS if not found.get(name, np.zeros(1)).any()]:
        raise UserError(f'{file}: no vertices in the groups {", ".join(absent)}, which GNM Head 3.0 has; {MISSING}')
    return found


def _parts(group: dict[str, np.ndarray], quads: np.ndarray) -> np.ndarray:
    """Part [Q] of each quadrilateral, -1 for corneas, which would hide the irises behind them."""
    whole = lambda *names: np.logical_or.reduce([group[name][quads].all(1) for name in names if name in group])
    nowhere = np.zeros(len(quads), bool)
    inside = whole(INSIDE) if INSIDE in group else nowhere
    teeth = whole('upper_teeth_and_gums', 'lower_teeth_and_gums')
    part = np.full(len(quads), -1)
    part[whole('skin')] = SKIN
    part[whole('tongue') | inside | teeth] = MOUTH
    part[teeth & whole('teeth') if 'teeth' in group else teeth] = TEETH
    part[whole('left_eye', 'right_eye')] = EYE
    part[whole(CORNEA) if CORNEA in group else nowhere] = -1
    return part


def _face(
    group: dict[str, np.ndarray], quads: np.ndarray, part: np.ndarray, vertices: np.ndarray, landmarks: np.ndarray
) -> np.ndarray:
    """Which quadrilaterals [Q] make the face region; those around a landmark do."""
    points = vertices[landmarks]
    centre = np.array([0.0, points[27, 1], points[[0, 16], 2].mean()])
    towards = vertices[quads] - centre
    angle = np.degrees(np.arccos(towards[..., 2] / np.maximum(np.linalg.norm(towards, axis=-1), 1e-6)))
    near = (angle < ANGLE).all(1) & (vertices[quads][..., 1] > points[8, 1] - BELOW_CHIN).all(1)
    for name in EARS:
        if name in group:
            near &= ~group[name][quads].all(1)
    return (part == SKIN) & (near | np.isin(quads, landmarks).any(1))


def _face_uv(quads: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Texture coordinates [V, 2] of the face's vertices, NaN elsewhere."""
    ids, corners = np.unique(quads, return_inverse=True)
    corners = corners.reshape(quads.shape)
    triangles = np.concatenate([corners[:, :3], corners[:, [0, 2, 3]]])
    uv, uv_triangles = cylindrical(vertices[ids], triangles)
    result = np.full((len(vertices), 2), np.nan)
    result[ids[triangles]] = uv[uv_triangles]
    return result


def _landmarks(file: Path, landmark_file: Path | None, vertices: np.ndarray) -> np.ndarray:
    """Vertices [68] of the iBUG landmarks, from the text file.

    The jaw is put in order, whose rows 2 to 6 were the wrong way round in the first release: around the nose from the
    subject's right ear to the left one.
    """
    candidates = [file.with_name(LANDMARKS), file.parent.parent.parent / 'landmarks' / LANDMARKS]
    source = landmark_file or next((path for path in candidates if path.is_file()), candidates[0])
    source = loading.find(source, (LANDMARKS,), MISSING)
    try:
        table = np.loadtxt(source, ndmin=2)
    except (OSError, ValueError) as error:
        raise UserError(f'{source}: not the table of landmarks of GNM ({error}); {MISSING}') from error
    table = loading.shaped(source, 'the table', table, 68, 6)
    ids = loading.indices(source, 'the table', table[:, ::2], len(vertices), 68, 3)
    if np.abs(table[:, 1::2].sum(1) - 1).max() > 1e-2:
        raise UserError(f'{source}: the weights of a landmark must sum to one; the file is damaged')
    landmarks = ids[np.arange(68), table[:, 1::2].argmax(1)]
    points = vertices[landmarks]
    if points[36, 0] >= points[45, 0]:
        raise UserError(f'{source}: the right eye is to the left of the left one: not the landmarks of GNM; {MISSING}')
    jaw, nose = points[:17], points[30]
    turn = np.arctan2(jaw[:, 0] - nose[0], nose[1] - jaw[:, 1])  # 0 at the chin, negative on the subject's right
    return np.concatenate([landmarks[:17][np.argsort(turn)], landmarks[17:]])
