"""A face of the benchmark through Mitsuba 3, with global illumination, and its ground truth through Embree."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from experiments import peers
from experiments.synthetic_benchmark.people import SIZE, Face
from jfrecon.data.synthetic.materials import IRIS
from jfrecon.geometry import uv
from jfrecon.morphable.coat import EYE, SKIN, TEETH
from jfrecon.shading import colour

DEPTH = 5  # of Mitsuba's: a path scatters up to four times
SAMPLES = 128  # camera rays of a pixel
ENAMEL, GUMS = (0.66, 0.61, 0.52), (0.28, 0.07, 0.06)


def photograph(
    mi: ModuleType, face: Face, corner_uv: np.ndarray, samples: int = SAMPLES, extra: dict | None = None
) -> np.ndarray:
    """Linear radiance [SIZE, SIZE, 3].

    corner_uv: [Th, 3, 2] texture coordinates of the head's triangles. extra: more of Mitsuba's shapes, by name.
    """
    scene = mi.load_dict(
        {
            'type': 'scene',
            **_shapes(mi, face, corner_uv),
            **(extra or {}),
            'light': peers.environment(mi, face.light),
            'sensor': peers.sensor(mi, SIZE, face.focal),
        }
    )
    path = mi.load_dict({'type': 'path', 'max_depth': DEPTH})
    return np.asarray(mi.render(scene, integrator=path, spp=samples, seed=0))[..., :3]


def develop(radiance: np.ndarray) -> np.ndarray:
    """uint8 sRGB."""
    return np.round(255 * np.asarray(colour.linear_to_srgb(radiance)).clip(0, 1)).astype(np.uint8)


def truth(face: Face, corner_uv: np.ndarray) -> dict[str, np.ndarray]:
    """What is seen through each pixel's centre.

    'mask' [S, S] of the face region, and in it, elsewhere 0, 'diffuse' [S, S, 3] linear, 'specular' [S, S] and 'normal'
    [S, S, 3] unit, camera space.
    """
    at = (np.arange(SIZE) + 0.5 - SIZE / 2) / face.focal
    x, y = np.meshgrid(at, -at)
    towards = np.stack([x, y, -np.ones_like(x)], -1).reshape(-1, 3)
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    towards = np.float32(towards)
    hits = peers.embree(face.vertices, face.triangles).run(np.zeros_like(towards), towards, output=1)
    seen = (hits['primID'] >= 0) & face.face[hits['primID']]
    triangle = np.where(seen, hits['primID'], 0)
    u, v = hits['u'], hits['v']
    weights = np.stack([1 - u - v, u, v], -1)
    normal = np.einsum('nk,nkc->nc', weights, face.normals[face.triangles[triangle]])
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    coordinates = np.einsum('nk,nkc->nc', weights, corner_uv[triangle])
    painted = np.asarray(uv.sample(face.texture, np.float32(coordinates)))
    image = lambda values: np.float32(values * seen[:, None]).reshape(SIZE, SIZE, -1)
    return {
        'mask': seen.reshape(SIZE, SIZE),
        'diffuse': image(painted[:, :3]),
        'specular': image(painted[:, 3:])[..., 0],
        'normal': image(normal),
    }


def _shapes(mi: ModuleType, face: Face, corner_uv: np.ndarray) -> dict:
    head = len(face.colours)
    painted = _skin(_texture(mi, face.texture[..., :3]), _texture(mi, face.texture[..., 3:]), face.roughness)
    by_vertex = lambda name: {'type': 'mesh_attribute', 'name': f'vertex_{name}'}
    skin = _skin(by_vertex('diffuse'), by_vertex('specular'), face.roughness)
    torso = face.triangles[face.part == -1]
    cloth = np.tile(np.asarray(face.scene.clothes.colours[0]), (len(face.vertices) - head, 1))
    colours = np.concatenate([face.colours[:, :3], cloth])
    wet = np.tile(np.float32(GUMS), (len(face.vertices), 1))
    wet[np.unique(face.triangles[face.part == TEETH])] = ENAMEL
    inside = (face.part > SKIN) & (face.part != EYE)
    rest = (face.part == SKIN) & ~face.face
    saliva = _skin(by_vertex('diffuse'), 0.04, roughness=0.3)
    matte = {'type': 'twosided', 'b': {'type': 'diffuse', 'reflectance': by_vertex('diffuse')}}
    specular = np.concatenate([face.colours[:, 3:], np.zeros((len(cloth), 1))])
    shapes = {
        'face': _mesh(mi, face, face.triangles[face.face], painted, texcoords=corner_uv[face.face[: len(corner_uv)]]),
        'skin': _mesh(mi, face, face.triangles[rest], skin, diffuse=colours, specular=specular),
        'mouth': _mesh(mi, face, face.triangles[inside], saliva, diffuse=wet),
        'torso': _mesh(mi, face, torso, matte, diffuse=colours),
    }
    for side, centre in zip(('left', 'right'), face.eyes, strict=True):
        shapes[f'{side}_eye'] = {
            'type': 'sphere',
            'to_world': mi.ScalarTransform4f().look_at(centre, centre + face.gaze, [0, 1, 0]),
            'radius': face.eye_radius,
            'bsdf': {'type': 'plastic', 'diffuse_reflectance': _texture(mi, _eye(face)), 'int_ior': 1.376},
        }
    return shapes


def _skin(diffuse: dict, specular: dict | float, roughness: float) -> dict:
    """dib21's surface: a blend of weight s between a matte and a glossy one."""
    gloss = {'type': 'roughconductor', 'material': 'none', 'distribution': 'ggx', 'alpha': roughness**2}
    matte = {'type': 'diffuse', 'reflectance': diffuse}
    return {'type': 'twosided', 'b': {'type': 'blendbsdf', 'weight': specular, 'body': matte, 'gloss': gloss}}


def _texture(mi: ModuleType, values: np.ndarray) -> dict:
    return {'type': 'bitmap', 'bitmap': mi.Bitmap(np.ascontiguousarray(values, np.float32)), 'raw': True}


def _mesh(mi: ModuleType, face: Face, triangles: np.ndarray, bsdf: dict, texcoords=None, **colours):
    """A mesh of some triangles, with texture coordinates of its corners [T, 3, 2] or colours of all vertices."""
    used, corners = np.unique(triangles, return_inverse=True)
    corners = corners.reshape(-1, 3)
    properties = mi.Properties()
    properties['bsdf'] = mi.load_dict(bsdf)
    mesh = mi.Mesh(
        'part', len(used), len(corners), has_vertex_normals=True, has_vertex_texcoords=texcoords is not None,
        props=properties,
    )  # fmt: skip
    for name, values in colours.items():
        mesh.add_attribute(f'vertex_{name}', values.shape[1], np.float32(values[used]).ravel())
    parameters = mi.traverse(mesh)
    parameters['vertex_positions'] = np.float32(face.vertices[used]).ravel()
    parameters['faces'] = np.uint32(corners).ravel()
    parameters.update()
    parameters['vertex_normals'] = np.float32(face.normals[used]).ravel()
    if texcoords is not None:
        at = np.zeros((len(used), 2), np.float32)
        at[corners] = texcoords
        at[:, 1] = 1 - at[:, 1]  # Mitsuba's first row of a bitmap is at v = 0
        parameters['vertex_texcoords'] = at.ravel()
    parameters.update()
    return mesh


def _eye(face: Face) -> np.ndarray:
    """Sclera, iris with fibres, and pupil: rows by the angle to the gaze, columns around it."""
    person = face.scene.person
    angle, turn = np.meshgrid((np.arange(256) + 0.5) / 256 * np.pi, np.arange(256) / 256 * 2 * np.pi, indexing='ij')
    r = angle / IRIS
    fibres = 1.1 - 0.3 * r + 0.15 * np.sin(23 * turn + 4 * np.sin(6 * turn)) - 0.6 * (r > 0.9)
    iris = np.asarray(person.iris) * np.maximum(fibres, 0.1)[..., None]
    iris = np.where((r < float(person.pupil))[..., None], 0.004, iris)
    return np.where((r < 1)[..., None], iris, np.asarray(person.sclera))
