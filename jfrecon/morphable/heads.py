"""A whole head around the face region: what a synthetic photograph shows besides the model's face."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from flax import struct

from jfrecon.geometry.mesh import apply_map, subdivide
from jfrecon.morphable.coat import EYE, IRIS_RADIUS, MOUTH, SKIN, TEETH, coat
from jfrecon.morphable.obj import Obj, triangulate
from jfrecon.types import Array, MorphableModel, Topology

BASES = (
    'mean', 'identity_basis', 'expression_basis',
    'diffuse_mean', 'diffuse_basis', 'specular_mean', 'specular_basis',
)  # fmt: skip
#: The share of the light that reaches what is behind lids and lips.
SHADE = {EYE: 0.6, TEETH: 0.6, MOUTH: 0.3}
UV_BORDER = 0.01  # keeps bilinear look-ups at the rim of the face inside the map


@struct.dataclass(eq=False)  # told apart by what they are, not by their arrays
class Head:
    """A head that moves with the same coefficients as the face model cut out of it.

    Attributes:
      model: the whole head as a MorphableModel: skin to the neck, eyeballs, teeth, gums, tongue, lashes. The
        uv of the face's triangles are the face model's own, in [0, 1]; all other triangles have u in [1, 2].
      part: [T] int32 per triangle: SKIN, EYE, TEETH, MOUTH (gums, tongue, inside of the mouth), LASH or HAIR
        (a hair-like shell around the skull, for occluders; not part of the person).
      face_vertices: [Vf] int32, where the vertices of the face model stand in the head.
      left_eyeball, right_eyeball: [K] int32, vertices of the subject's left and right eyeball.
    """

    model: MorphableModel
    part: Array
    face_vertices: Array
    left_eyeball: Array
    right_eyeball: Array


def assemble(
    mesh: Obj,
    *,
    part: np.ndarray,
    in_face: np.ndarray,
    face_uv: np.ndarray,
    identity: np.ndarray,
    expression: np.ndarray,
    expression_names: tuple[str, ...],
    landmark_ids: np.ndarray,
    eyeballs: Sequence[np.ndarray],
    subdivisions: int,
    name: str,
    licence: str,
    expression_prior: str = 'box',
) -> tuple[Head, MorphableModel]:
    """A head and the face cut out of it, from the polygons of a larger mesh.

    Args:
      mesh: V vertices, mm; the origin is moved to the centroid of the landmarks.
      part: [P] part of each polygon, -1 for polygons to leave out.
      in_face: [P] bool, the polygons of the face region; one uv per vertex there.
      face_uv: [V, 2] texture coordinates of the face in any rectangle, NaN elsewhere; stretched to the unit
        square.
      identity, expression: [K, V, 3] mm.
      landmark_ids: [68] on the face region.
      eyeballs: vertices of the subject's left and right eyeball.
      subdivisions: 0 or 1.
      expression_prior: see `MorphableModel`.
    """
    polygons = np.flatnonzero(part >= 0)
    keep = np.unique(mesh.polygons[polygons][mesh.polygons[polygons] >= 0])
    index = np.full(len(mesh.vertices) + 1, -1)  # the last entry answers for the -1 of a triangle's fourth corner
    index[keep] = np.arange(len(keep))
    landmark_ids = index[landmark_ids]
    mean = mesh.vertices[keep]
    mean = mean - mean[landmark_ids].mean(axis=0)

    corners = index[mesh.polygons[polygons]]
    triangles, source = triangulate(corners, mean)
    inside = in_face[polygons][source]
    # The corners of each triangle, found in its polygon to pick the matching texture corner.
    which = (corners[source][:, None, :] == triangles[:, :, None]).argmax(axis=2)
    uv_triangles = np.take_along_axis(mesh.uv_polygons[polygons][source], which, axis=1)
    uv, uv_triangles = _merge_uv(mesh.uv, uv_triangles, face_uv[keep], triangles, inside)

    topology = Topology(triangles, uv.astype(np.float32), uv_triangles.astype(np.int32))
    kept_part = part[polygons][source].astype(np.int32)
    left, right = (index[ids][index[ids] >= 0].astype(np.int32) for ids in eyeballs)

    bases = [mean, identity[:, keep], _closed_mouth(expression[:, keep], expression_names)]
    bases += coat(mean, topology, kept_part, landmark_ids, [left, right])
    bases = [np.asarray(basis, np.float32) for basis in bases]
    for _ in range(subdivisions):
        topology, finer = subdivide(topology, len(bases[0]), smooth=True)
        bases = [apply_map(finer, basis) for basis in bases]
        kept_part, inside = np.repeat(kept_part, 4), np.repeat(inside, 4)
        left, right = (_around(ids, np.asarray(topology.triangles)) for ids in (left, right))
    model = MorphableModel(
        **dict(zip(BASES, bases)),
        topology=topology,
        landmark_ids=landmark_ids.astype(np.int32),
        expression_names=expression_names,
        name=name,
        licence=licence,
        expression_prior=expression_prior,
    )
    face, face_vertices = cut(model, inside)
    return Head(model, kept_part, face_vertices, left, right), face


def _closed_mouth(expression: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """ARKit's mouthClose on top of jawOpen.

    As artists deliver it, it only undoes jawOpen at the lips; alone it pushes the lower lip into the nose.
    Together they are what its name says, a lowered jaw behind closed lips, and the expressions span the same
    space.
    """
    if 'mouthClose' not in names or 'jawOpen' not in names:
        return expression
    result = expression.copy()
    result[names.index('mouthClose')] += expression[names.index('jawOpen')]
    return result


def _around(ids: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Vertices of the triangles that touch the given ones: a closed piece after a subdivision."""
    return np.unique(triangles[np.isin(triangles, ids).any(axis=1)]).astype(np.int32)


def _merge_uv(
    uv: np.ndarray, uv_triangles: np.ndarray, face_uv: np.ndarray, triangles: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One list of texture coordinates: the face's, stretched to the unit square, others moved right."""
    low, high = np.nanmin(face_uv, axis=0), np.nanmax(face_uv, axis=0)
    used = np.flatnonzero(~np.isnan(face_uv[:, 0]))
    slot = np.full(len(face_uv), -1)
    slot[used] = np.arange(len(used)) + len(uv)
    uv_triangles = np.where(inside[:, None], slot[triangles], uv_triangles)
    stretched = UV_BORDER + (1 - 2 * UV_BORDER) * (face_uv[used] - low) / (high - low)
    kept, renumbered = np.unique(uv_triangles, return_inverse=True)
    return np.concatenate([uv + np.array([1.0, 0.0]), stretched])[kept], renumbered.reshape(triangles.shape)


def in_face(head: Head) -> np.ndarray:
    """[T] bool, the triangles of the face model."""
    topology = head.model.topology
    u = np.asarray(topology.uv)[np.asarray(topology.uv_triangles), 0]
    return (u <= 1.0).all(-1) & (np.asarray(head.part) == SKIN)


def irises(head: Head) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The middles of the right and the left iris: mean [2, 3], identity and expression bases [K, 2, 3], mm."""
    mean = np.asarray(head.model.mean)
    middles = []
    for ball in (np.asarray(head.right_eyeball), np.asarray(head.left_eyeball)):
        axis = (mean[ball].min(0) + mean[ball].max(0)) / 2
        off = np.hypot(*(mean[ball] - axis)[:, :2].T)
        iris = ball[(off < IRIS_RADIUS) & (mean[ball, 2] > axis[2])]
        middles.append([np.asarray(getattr(head.model, name))[..., iris, :].mean(-2) for name in BASES[:3]])
    right, left = middles
    mean, identity, expression = (np.stack(both, -2) for both in zip(right, left))
    return mean, identity, expression


def portrait(head: Head) -> MorphableModel:
    """The face with what is seen through its openings: the fronts of eyes and teeth, gums, tongue, inside of the mouth.

    For pictures: nobody fits it to photographs. Its first vertices are the face model's, in their order. What is behind
    them has the same colours for everybody, as dark as lids and lips leave them (`SHADE`), since the vertex renderer
    knows no shadows; and texture coordinates with u in [1, 2], where a map of the face does not reach.
    """
    model, count = head.model, len(head.model.mean)
    mean, triangles = np.asarray(model.mean), np.asarray(model.topology.triangles)
    a, b, c = (mean[triangles[:, k]] for k in range(3))
    forward = np.cross(b - a, c - a)[:, 2] > 0
    behind = np.isin(head.part, (EYE, TEETH, MOUTH)) & forward
    order = np.concatenate([head.face_vertices, np.setdiff1d(np.arange(count), head.face_vertices)])
    place = np.argsort(order)
    sorted_head = dataclasses.replace(
        model,
        **{name: getattr(model, name)[..., order, :] for name in BASES},
        topology=dataclasses.replace(model.topology, triangles=place[triangles].astype(np.int32)),
        landmark_ids=place[np.asarray(model.landmark_ids)].astype(np.int32),
    )
    found, used = cut(sorted_head, in_face(head) | behind)
    shade = np.ones((count, 1), np.float32)
    for part, share in SHADE.items():
        shade[np.unique(triangles[np.asarray(head.part) == part])] = share
    shade[np.asarray(head.face_vertices)] = 1.0
    return dataclasses.replace(found, diffuse_mean=found.diffuse_mean * shade[order][used])


def cut(head: MorphableModel, triangle_in_face: np.ndarray) -> tuple[MorphableModel, np.ndarray]:
    """The face model made of some of a head's triangles, and the head's ids [Vf] of its vertices.

    Args:
      head: landmarks must lie on the kept triangles.
      triangle_in_face: [T] bool.
    """
    triangles = np.asarray(head.topology.triangles)[triangle_in_face]
    uv_triangles = np.asarray(head.topology.uv_triangles)[triangle_in_face]
    vertices, triangles_new = np.unique(triangles, return_inverse=True)
    uvs, uv_triangles_new = np.unique(uv_triangles, return_inverse=True)
    landmark_ids = np.searchsorted(vertices, head.landmark_ids)
    if not np.array_equal(vertices[np.minimum(landmark_ids, len(vertices) - 1)], head.landmark_ids):
        raise ValueError(f'{head.name}: landmarks lie outside the face region')
    face = dataclasses.replace(
        head,
        **{name: getattr(head, name)[..., vertices, :] for name in BASES},
        topology=Topology(
            triangles=triangles_new.reshape(triangles.shape).astype(np.int32),
            uv=np.asarray(head.topology.uv)[uvs],
            uv_triangles=uv_triangles_new.reshape(uv_triangles.shape).astype(np.int32),
        ),
        landmark_ids=landmark_ids.astype(np.int32),
    )
    return face, vertices.astype(np.int32)
