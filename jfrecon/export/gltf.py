"""A face as glTF 2.0 (.glb), which Blender, browsers and game engines open.

The scene is camera space in metres: a camera in its origin sees the face as the photograph shows it. Meshes are the
person without expression; their morph targets are the model's expressions, set as the photograph has them. Their nodes
are ``head`` (skin), ``eye_left``, ``eye_right``, ``teeth``, ``mouth``; of a model without a head ``head`` is the face.

Cameras of glTF look through the middle of their picture, photographs seldom do. The exported camera's picture is
therefore larger than the photograph, just enough for its middle to be the principal point, and its ``extras`` say which
part of it the photograph is::

    {"picture": {"width": 1468, "height": 512}, "photograph": {"x": 734, "y": 0, "width": 734, "height": 512}}

in pixels of the photograph, x to the right and y down from the upper left corner of the picture. three.js draws that
part alone after ``camera.setViewOffset(picture.width, picture.height, photograph.x, photograph.y, photograph.width,
photograph.height)``. In Blender, where extras are custom properties of the camera, make the picture's size the
resolution; the photograph's rectangle is the render region.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import pygltflib as gltf
from scipy.spatial.transform import Rotation

from jfrecon.data import images
from jfrecon.export.head import Dressed
from jfrecon.geometry import mesh
from jfrecon.morphable import linear
from jfrecon.render import surface
from jfrecon.types import Camera, FaceParameters, MorphableModel, Pinhole, Topology

Moved = tuple[np.ndarray, np.ndarray]  # of vertices and of normals, [V, 3]
METRE = 1000.0  # mm
_normals, _tangents = jax.jit(mesh.vertex_normals), jax.jit(mesh.tangents)  # op by op they take seconds
STILL = 1e-3  # mm, and of a normal's unit length: what moves less does not move
SPECULAR = 'KHR_materials_specular'
WET, MATTE = 0.1, 0.5  # roughness of eyes, and of teeth and mouth
REFLECTANCE = 0.04  # of glTF's surfaces seen head on, which the extension scales


def binary(
    dressed: Dressed,
    face: FaceParameters,
    camera: Pinhole,
    size: tuple[int, int],
    *,
    roughness: float,
    motion: FaceParameters | None = None,
    times: np.ndarray | None = None,
) -> bytes:
    """The bytes of a .glb file: a node ``face`` with the pose, and below it one for each piece of the head.

    Args:
      dressed: the head and its textures.
      face: unbatched.
      camera: of the photograph of (H, W) = ``size`` pixels.
      roughness: of the specular lobe of skin.
      motion: the face in each frame of a video, leaves [F, ...]: an animation of pose and expressions.
      times: [F] seconds of the frames, each later than the one before.

    Raises:
      ValueError: ``motion`` without times that increase.
    """
    made, model = _Builder(), dressed.model
    neutral = np.asarray(linear.shape(model, jnp.asarray(face.identity), jnp.zeros_like(face.expression)))
    normals = np.asarray(_normals(neutral, model.topology.triangles))
    # where triangles cancel there is no normal, but glTF wants one of unit length
    normals = np.where(np.linalg.norm(normals, axis=-1, keepdims=True) > 0.5, normals, np.array([0, 0, 1], np.float32))
    moved = _expressions(model, neutral, normals)
    names = list(model.expression_names) or [f'expression_{k}' for k in range(len(moved))]
    weights = [float(w) for w in np.asarray(face.expression)]
    first = {path: values.tolist() for path, values in _pose(face, face).items()}
    made.file.nodes.append(gltf.Node(name='face', children=[], **first))
    for piece in dressed.pieces:
        textures = {
            name: made.image(f'{piece.name}_{name}', images.encode(values)) for name, values in piece.textures.items()
        }
        kind = _skin(textures, roughness) if 'normal' in textures else _plain(piece.name, textures)
        frame = None
        if 'normal' in textures:
            frame = tuple(map(np.asarray, _tangents(neutral, normals, piece.topology)))
        part = made.primitive(
            made.material(kind), *_corners(piece.topology), neutral, normals, moved, tangents=frame,
            mapped=bool(textures), colours=piece.colours,
        )  # fmt: skip
        mesh_of = gltf.Mesh(name=piece.name, primitives=[part], weights=weights, extras={'targetNames': names})
        made.file.meshes.append(mesh_of)
        made.file.nodes[0].children.append(len(made.file.nodes))
        made.file.nodes.append(gltf.Node(name=piece.name, mesh=len(made.file.meshes) - 1))
    made.file.cameras.append(_camera(surface.seen_by(face, camera), size, float(-face.translation[2] / METRE)))
    made.file.nodes.append(gltf.Node(name='camera', camera=0))
    if motion is not None:
        made.animate(times, _pose(motion, face), np.asarray(motion.expression).reshape(-1))
    made.file.scenes.append(gltf.Scene(nodes=[0, len(made.file.nodes) - 1]))
    made.file.scene = 0
    made.file.extensionsUsed = [SPECULAR]
    made.file.asset = gltf.Asset(version='2.0', generator='jfrecon', copyright=model.licence or None)
    return made.finish()


def _pose(face: FaceParameters, still: FaceParameters) -> dict[str, np.ndarray]:
    """Properties of the face's node, [..., 4], [..., 3]; the camera is that which sees ``still``."""
    place = np.asarray(face.translation, np.float64) / METRE
    turned = {'rotation': Rotation.from_rotvec(np.asarray(face.rotation, np.float64)).as_quat()}
    if face.perspective:
        return turned | {'translation': place}
    # An orthographic camera shows a face that comes closer no larger: the face grows, and stays at its depth.
    distance = float(still.translation[2]) / METRE
    growth = distance / place[..., 2:]
    place = np.concatenate([place[..., :2] * growth, np.full_like(growth, distance)], -1)
    return turned | {'translation': place, 'scale': np.repeat(growth, 3, -1)}


def _camera(camera: Camera, size: tuple[int, int], distance: float) -> gltf.Camera:
    """The camera and, in its extras, which part of its picture the photograph is.

    size: (H, W) of the photograph; distance: of the face, m.
    """
    (height, width), (x, y) = size, (float(c) for c in np.asarray(camera.principal))
    # half the sides: whole pixels around the principal point that the photograph fits in
    across, up = (int(np.ceil(max(c, side - c))) for c, side in ((x, width), (y, height)))
    extras = {
        'picture': {'width': 2 * across, 'height': 2 * up},
        'photograph': {'x': across - x, 'y': up - y, 'width': width, 'height': height},
    }
    if isinstance(camera, Pinhole):
        yfov = float(2 * np.arctan2(up, float(camera.focal)))
        seen = gltf.Perspective(yfov=yfov, aspectRatio=across / up, znear=0.01)
        return gltf.Camera(type='perspective', perspective=seen, extras=extras)
    metres = 1 / (float(camera.scale) * METRE)  # of a pixel
    box = gltf.Orthographic(xmag=across * metres, ymag=up * metres, znear=0.01, zfar=2 * distance)
    return gltf.Camera(type='orthographic', orthographic=box, extras=extras)


def _corners(topology: Topology) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vertex [N], texture coordinates [N, 2], triangles [T, 3]): one entry for each vertex and place in the map."""
    vertices, places = np.asarray(topology.triangles).ravel(), np.asarray(topology.uv_triangles).ravel()
    pairs, triangles = np.unique(np.stack([vertices, places], -1), axis=0, return_inverse=True)
    return pairs[:, 0], np.asarray(topology.uv)[pairs[:, 1]], triangles.reshape(-1, 3)


def _expressions(model: MorphableModel, neutral: np.ndarray, normals: np.ndarray) -> list[Moved]:
    """What each expression adds to vertices and normals, [V, 3] both."""
    bent = _normals(neutral + np.asarray(model.expression_basis), model.topology.triangles)
    return [(np.asarray(move), turn) for move, turn in zip(model.expression_basis, np.asarray(bent) - normals)]


def _skin(images: Mapping[str, int], roughness: float) -> gltf.Material:
    glossy = {'specularColorFactor': [1 / REFLECTANCE] * 3, 'specularColorTexture': {'index': images['specular']}}
    return gltf.Material(
        name='skin',
        pbrMetallicRoughness=gltf.PbrMetallicRoughness(
            baseColorTexture=gltf.TextureInfo(index=images['diffuse']), metallicFactor=0.0, roughnessFactor=roughness
        ),
        normalTexture=gltf.NormalMaterialTexture(index=images['normal']),
        doubleSided=True,
        alphaCutoff=None,
        extensions={SPECULAR: glossy},
    )


def _plain(name: str, images: Mapping[str, int]) -> gltf.Material:
    """Of eyes, which are wet, with their texture; and of what has the colours of its vertices."""
    texture = gltf.TextureInfo(index=images['diffuse']) if images else None
    return gltf.Material(
        name=name,
        pbrMetallicRoughness=gltf.PbrMetallicRoughness(
            baseColorTexture=texture, metallicFactor=0.0, roughnessFactor=WET if images else MATTE
        ),
        doubleSided=True,
        alphaCutoff=None,
    )


class _Builder:
    """A glTF file that grows: every array becomes an accessor of one buffer."""

    def __init__(self):
        self.file = gltf.GLTF2()
        self._data = bytearray()

    def image(self, name: str, png: bytes) -> int:
        """The texture of a PNG file."""
        self.file.images.append(gltf.Image(name=name, bufferView=self._view(png, None), mimeType='image/png'))
        if not self.file.samplers:
            self.file.samplers.append(
                gltf.Sampler(
                    magFilter=gltf.LINEAR,
                    minFilter=gltf.LINEAR_MIPMAP_LINEAR,
                    wrapS=gltf.CLAMP_TO_EDGE,
                    wrapT=gltf.CLAMP_TO_EDGE,
                )
            )
        self.file.textures.append(gltf.Texture(sampler=0, source=len(self.file.images) - 1))
        return len(self.file.textures) - 1

    def material(self, material: gltf.Material) -> int:
        self.file.materials.append(material)
        return len(self.file.materials) - 1

    def primitive(
        self,
        material: int,
        vertex: np.ndarray,
        places: np.ndarray,
        triangles: np.ndarray,
        positions: np.ndarray,
        normals: np.ndarray,
        moved: list[Moved],
        tangents: tuple[np.ndarray, ...] | None = None,
        mapped: bool = False,
        colours: np.ndarray | None = None,
    ) -> gltf.Primitive:
        """Triangles whose corners are those of vertices [V, 3]: corner n is vertex[n], at places[n] in the maps."""
        at = lambda values: np.ascontiguousarray(values[vertex], np.float32)
        attributes = gltf.Attributes(
            POSITION=self._accessor(at(positions) / METRE, gltf.ARRAY_BUFFER, bounded=True),
            NORMAL=self._accessor(at(normals), gltf.ARRAY_BUFFER),
        )
        if tangents is not None:
            tangent, bitangent = map(at, tangents)
            hand = np.sign(np.sum(np.cross(at(normals), tangent) * bitangent, -1, keepdims=True))
            attributes.TANGENT = self._accessor(np.concatenate([tangent, hand], -1), gltf.ARRAY_BUFFER)
        if mapped:
            downwards = np.stack([places[:, 0], 1 - places[:, 1]], -1).astype(np.float32)
            attributes.TEXCOORD_0 = self._accessor(downwards, gltf.ARRAY_BUFFER)
        if colours is not None:
            attributes.COLOR_0 = self._accessor(np.clip(at(colours), 0, 1), gltf.ARRAY_BUFFER)
        targets = [
            {'POSITION': self._target(at(move) / METRE, STILL / METRE, True), 'NORMAL': self._target(at(turn), STILL)}
            for move, turn in moved
        ]
        return gltf.Primitive(
            attributes=attributes,
            indices=self._accessor(triangles.astype(np.uint32).ravel(), gltf.ELEMENT_ARRAY_BUFFER),
            material=material,
            mode=gltf.TRIANGLES,
            targets=targets,
        )

    def animate(self, seconds: np.ndarray | None, pose: Mapping[str, np.ndarray], weights: np.ndarray) -> None:
        """The pose of the first node and the weights of all meshes at these times [F], linear in between."""
        seconds = np.empty(0) if seconds is None else np.asarray(seconds, np.float32)
        if not len(seconds) or not (np.diff(seconds) > 0).all() or seconds[0] < 0:
            raise ValueError(f'an animation needs times from 0 on that increase, not {seconds}')
        times = self._accessor(seconds, None, bounded=True)
        moving = gltf.Animation(name='video')
        meshes = [k for k, node in enumerate(self.file.nodes) if node.mesh is not None]
        for path, values in {**pose, 'weights': weights}.items():
            output = self._accessor(np.ascontiguousarray(values, np.float32), None)
            sampler = gltf.AnimationSampler(input=times, output=output, interpolation=gltf.ANIM_LINEAR)
            moving.samplers.append(sampler)
            for node in meshes if path == 'weights' else [0]:
                target = gltf.AnimationChannelTarget(node=node, path=path)
                moving.channels.append(gltf.AnimationChannel(sampler=len(moving.samplers) - 1, target=target))
        self.file.animations.append(moving)

    def finish(self) -> bytes:
        self.file.buffers.append(gltf.Buffer(byteLength=len(self._data)))
        self.file.set_binary_blob(bytes(self._data))
        return b''.join(self.file.save_to_bytes())

    def _view(self, content: bytes, target: int | None) -> int:
        self._data += b'\0' * (-len(self._data) % 4)
        self.file.bufferViews.append(
            gltf.BufferView(buffer=0, byteOffset=len(self._data), byteLength=len(content), target=target)
        )
        self._data += content
        return len(self.file.bufferViews) - 1

    def _accessor(self, values: np.ndarray, target: int | None, bounded: bool = False) -> int:
        kind = gltf.UNSIGNED_INT if values.dtype == np.uint32 else gltf.FLOAT
        shape = gltf.SCALAR if values.ndim == 1 else f'VEC{values.shape[-1]}'
        made = gltf.Accessor(
            bufferView=self._view(values.tobytes(), target), componentType=kind, count=len(values), type=shape
        )
        return self._add(made, values if bounded else None)

    def _target(self, values: np.ndarray, still: float, bounded: bool = False) -> int:
        """What a morph target adds, [N, 3]; zero where it is less than ``still``, and not stored where that pays."""
        kept = np.flatnonzero(np.linalg.norm(values, axis=-1) > still)
        if 16 * len(kept) > 12 * len(values):  # bytes: an index and three numbers, or three numbers
            return self._accessor(values, gltf.ARRAY_BUFFER, bounded)
        if not len(kept):
            kept = np.zeros(1, int)  # readers expect data even where nothing moves
        zeros = np.zeros_like(values)
        zeros[kept] = values[kept]
        made = gltf.Accessor(byteOffset=None, componentType=gltf.FLOAT, count=len(values), type=gltf.VEC3)
        made.sparse = gltf.Sparse(
            count=len(kept),
            indices=gltf.AccessorSparseIndices(
                bufferView=self._view(kept.astype(np.uint32).tobytes(), None), componentType=gltf.UNSIGNED_INT
            ),
            values=gltf.AccessorSparseValues(bufferView=self._view(values[kept].tobytes(), None)),
        )
        return self._add(made, zeros if bounded else None)

    def _add(self, made: gltf.Accessor, values: np.ndarray | None) -> int:
        if values is not None:
            made.min, made.max = (np.atleast_1d(x).tolist() for x in (values.min(0), values.max(0)))
        self.file.accessors.append(made)
        return len(self.file.accessors) - 1
