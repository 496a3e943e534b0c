"""A whole head around the face region: what a synthetic photograph shows besides the model's face."""

from __future__ import annotations

import numpy as np
from flax import struct

from jfrecon.types import Array, MorphableModel, Topology

SKIN, EYE, TEETH, MOUTH, LASH, HAIR = range(6)
PART_NAMES = ('skin', 'eye', 'teeth', 'mouth', 'lash', 'hair')


@struct.dataclass
class Head:
    """A head that moves with the same coefficients as the face model cut out of it.

    Attributes:
      model: the whole head as a MorphableModel: skin to the neck, eyeballs, teeth, gums, tongue, lashes. The uv of the
        face's triangles are the face model's own, in [0, 1]; all other triangles have u in [1, 2].
      part: [T] int32 per triangle: SKIN, EYE, TEETH, MOUTH (gums, tongue, inside of the mouth), LASH or HAIR (a
        hair-like shell around the skull, for occluders; not part of the person).
      face_vertices: [Vf] int32, where the vertices of the face model stand in the head.
      left_eyeball, right_eyeball: [K] int32, vertices of the subject's left and right eyeball.
    """

    model: MorphableModel
    part: Array
    face_vertices: Array
    left_eyeball: Array
    right_eyeball: Array


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
    face = head.replace(
        mean=head.mean[vertices],
        identity_basis=head.identity_basis[:, vertices],
        expression_basis=head.expression_basis[:, vertices],
        diffuse_mean=head.diffuse_mean[vertices],
        diffuse_basis=head.diffuse_basis[:, vertices],
        specular_mean=head.specular_mean[vertices],
        specular_basis=head.specular_basis[:, vertices],
        topology=Topology(
            triangles=triangles_new.reshape(triangles.shape).astype(np.int32),
            uv=np.asarray(head.topology.uv)[uvs],
            uv_triangles=uv_triangles_new.reshape(uv_triangles.shape).astype(np.int32),
        ),
        landmark_ids=landmark_ids.astype(np.int32),
    )
    return face, vertices.astype(np.int32)
