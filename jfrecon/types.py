"""The shared nouns: frozen pytrees that every part of jfrecon speaks in.

Conventions, everywhere:

* Lengths are millimetres.
* Model space: x towards the subject's left, y up, z out of the face; a face in model space looks at a camera on +z.
* Camera space: x right, y up, z towards the camera, so visible points have z < 0; a frontal face has rotation zero.
* Pixels: x right, y down, the centre of the first pixel at (0.5, 0.5).
* UV: u right, v up, both in [0, 1]; row 0 of a UV map is v near 1, as in an image.
* Rendering is linear RGB; photographs are sRGB in 0..1 (`jfrecon.shading.colour` converts, at the edge).
* ``...`` is any number of batch axes. Topology is never batched.
"""

from __future__ import annotations

from typing import Any

from flax import struct

# A jax.Array on a device or an np.ndarray on the host: a leaf may be either, and no function cares.
Array = Any


@struct.dataclass
class Topology:
    """How the vertices of a model hang together; shared by all its faces, never batched.

    Attributes:
      triangles: [T, 3] int32, vertex ids, counter-clockwise seen from outside.
      uv: [U, 2] texture coordinates.
      uv_triangles: [T, 3] int32, ids into ``uv``: a vertex on a seam has several.
    """

    triangles: Array
    uv: Array
    uv_triangles: Array


@struct.dataclass
class Skeleton:
    """Joints that bend a mesh by linear blend skinning (Li et al. 2017, FLAME, eqs. 1-4).

    Attributes:
      joint_regressor: [J, V] rows that average vertices into joint positions.
      weights: [V, J] skinning weights, rows sum to one.
      pose_basis: [9 (J - 1), V, 3] mm, corrective per entry of (R_j - I), root left out.
      parents: static tuple of J ints, -1 for the root.
    """

    joint_regressor: Array
    weights: Array
    pose_basis: Array
    parents: tuple[int, ...] = struct.field(pytree_node=False)


@struct.dataclass
class MorphableModel:
    """A linear 3D morphable model of geometry and of diffuse and specular albedo.

    Attributes:
      mean: [V, 3] mm, model space.
      identity_basis: [I, V, 3] mm for one standard deviation, so a coefficient has prior N(0, 1).
      expression_basis: [E, V, 3] mm for one unit of activation, or one standard deviation (see ``expression_prior``).
      diffuse_mean, diffuse_basis: [V, 3], [A, V, 3] linear RGB; one coefficient vector drives diffuse and specular.
      specular_mean, specular_basis: [V, 1], [A, V, 1] the weight s of the specular lobe, in 0..1.
      topology: connectivity and texture coordinates.
      landmark_ids: [68] int32, vertices of the iBUG landmarks (jaw static).
      skeleton: joints, or None.
      name, licence: what it is and who may use it.
      expression_prior: 'box' when activations live in [0, 1], 'gaussian' when they are N(0, 1).
    """

    mean: Array
    identity_basis: Array
    expression_basis: Array
    diffuse_mean: Array
    diffuse_basis: Array
    specular_mean: Array
    specular_basis: Array
    topology: Topology
    landmark_ids: Array
    skeleton: Skeleton | None = None
    expression_names: tuple[str, ...] = struct.field(pytree_node=False, default=())
    name: str = struct.field(pytree_node=False, default='')
    licence: str = struct.field(pytree_node=False, default='')
    expression_prior: str = struct.field(pytree_node=False, default='box')


@struct.dataclass
class Maps:
    """Reflectance in UV, and with it the relief of the skin: what no morphable model spans.

    Attributes:
      diffuse: [..., S, S, 3] linear albedo.
      specular: [..., S, S, 1] weight of the specular lobe.
      normal: [..., S, S, 3] unit, tangent space, (0, 0, 1) where the surface is as smooth as its mesh; None where it is
        so everywhere.
      behind: [..., W, 3] linear albedo of the W vertices that a portrait (`jfrecon.morphable.load_portrait`) has beyond
        the model's: eyes, teeth, mouth; None where they have everybody's.
      light: [..., S, S, L², 3] spherical harmonics that shine on each texel (yang21 4.2.1), camera space; None where
        the same light shines everywhere.
    """

    diffuse: Array
    specular: Array
    normal: Array | None = None
    behind: Array | None = None
    light: Array | None = None


@struct.dataclass
class FaceParameters:
    """The semantic code of one face, dib21's chi (3.2).

    Attributes:
      identity: [..., I] in standard deviations.
      expression: [..., E] activations.
      albedo: [..., A] in standard deviations; drives diffuse and specular.
      rotation: [..., 3] axis-angle, radians, model to camera space.
      translation: [..., 3] mm, camera space: p_camera = R p_model + t.
      light: [..., L², 3] spherical-harmonics radiance in camera space, real orthonormal basis, index l² + l + m.
      maps: reflectance that takes the place of ``albedo``'s, or None.
      perspective: False: seen by weak perspective, magnified everywhere as the photograph's pinhole does at the depth
        of ``translation`` (cest); `jfrecon.render.surface.seen_by`.
    """

    identity: Array
    expression: Array
    albedo: Array
    rotation: Array
    translation: Array
    light: Array
    maps: Maps | None = None
    perspective: bool = struct.field(pytree_node=False, default=True)


@struct.dataclass
class Pinhole:
    """A pinhole camera at the origin of camera space.

    Attributes:
      focal: [...] pixels, the same along x and y.
      principal: [..., 2] pixels.
    """

    focal: Array
    principal: Array


@struct.dataclass
class WeakPerspective:
    """A scaled orthographic camera (cest): depth has no effect on the projection.

    Attributes:
      scale: [...] pixels per mm.
      principal: [..., 2] pixels, where x = y = 0 lands.
    """

    scale: Array
    principal: Array


Camera = Pinhole | WeakPerspective


@struct.dataclass
class Fragments:
    """What a rasteriser sees through the centre of each pixel.

    Attributes:
      triangle: [..., H, W] int32, id of the front-most triangle, -1 where there is none.
      barycentric: [..., H, W, 3] perspective-correct weights of its corners, 0 where there is none.
      depth: [..., H, W] mm in front of the camera, +inf where there is none.
      overflow: [...] int32, triangles that did not fit the fixed-capacity lists (0 means the picture is complete).
    """

    triangle: Array
    barycentric: Array
    depth: Array
    overflow: Array


@struct.dataclass
class Batch:
    """What training sees: crops of photographs with landmarks and masks. No ground truth.

    Attributes:
      image: [B, H, W, 3] float32, sRGB in 0..1.
      landmarks: [B, 68, 2] pixels of the crop, 0 where unknown.
      landmark_weight: [B, 68] 0 where the landmark is unknown, else how far it counts, up to 1.
      mask: [B, H, W] 1 on the pixels where the face is seen (no hair, hand or glasses, as far as the source knows).
      camera: Pinhole with leaves [B], [B, 2]: focal length and principal point follow the crop.
      index: [B] int32, position in the source.
    """

    image: Array
    landmarks: Array
    landmark_weight: Array
    mask: Array
    camera: Pinhole
    index: Array


@struct.dataclass
class Truth:
    """What a synthetic face knows about itself; for evaluation only, never seen by a loss.

    Attributes:
      vertices: [B, V, 3] mm, camera space, in the topology of the model's face region.
      face: [B, H, W] 1 where the unoccluded skin of the model's face region is seen.
      diffuse: [B, H, W, 3] linear albedo seen through each pixel.
      normal: [B, H, W, 3] camera space.
      light: [B, L², 3] spherical-harmonics radiance.
    """

    vertices: Array
    face: Array
    diffuse: Array
    normal: Array
    light: Array
