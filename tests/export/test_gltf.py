from __future__ import annotations

import dataclasses
import io
import json
import shutil
import subprocess

import jax.numpy as jnp
import numpy as np
import pygltflib
import pytest
import scipy.spatial
import trimesh
from PIL import Image

from jfrecon import morphable
from jfrecon.export import gltf
from jfrecon.geometry import cameras, rotations
from jfrecon.morphable import linear
from jfrecon.render import surface
from jfrecon.types import FaceParameters, Pinhole

VALIDATOR = 'gltf-validator@2.0.0-dev.3.10'


@pytest.fixture(scope='module')
def model():
    return linear.truncate(morphable.load_portrait(), 3, 6, 2)


@pytest.fixture(scope='module')
def face():
    draws = np.random.default_rng(0)
    return FaceParameters(
        identity=draws.normal(size=3).astype(np.float32),
        expression=draws.uniform(size=6).astype(np.float32),
        albedo=draws.normal(size=2).astype(np.float32),
        rotation=np.array([0.2, -0.4, 0.1], np.float32),
        translation=np.array([12.0, -30.0, -700.0], np.float32),
        light=np.zeros((9, 3), np.float32),
    )


def png(shade):
    written = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), shade, np.uint8)).save(written, 'PNG')
    return written.getvalue()


TEXTURES = {'diffuse': png(200), 'specular': png(60), 'normal': png(128)}


@pytest.fixture(scope='module')
def glb(model, face):
    camera = Pinhole(900.0, np.array([160.0, 120.0]))
    return gltf.binary(model, face, camera, (240, 320), TEXTURES, roughness=0.4, motion=moving(face), rate=12.5)


def moving(face):
    """Three frames in which the head nods, comes closer and the first expression goes."""
    steps = np.arange(3, dtype=np.float32)[:, None]
    return dataclasses.replace(
        face,
        rotation=face.rotation + steps * np.array([0.1, 0, 0], np.float32),
        translation=face.translation + steps * np.array([0, 0, 50], np.float32),
        expression=face.expression * (1 - 0.5 * steps * (np.arange(6) == 0)),
    )


def arrays(glb):
    """Accessors read with the help of the specification alone."""
    file = pygltflib.GLTF2.load_from_bytes(glb)
    blob = file.binary_blob()

    def view(index, dtype, width, count):
        found = file.bufferViews[index]
        return np.frombuffer(blob, dtype, width * count, found.byteOffset).reshape(count, width)

    def read(index):
        accessor = file.accessors[index]
        width = {'SCALAR': 1, 'VEC2': 2, 'VEC3': 3, 'VEC4': 4}[accessor.type]
        dtype = {5125: np.uint32, 5126: np.float32}[accessor.componentType]
        values = np.zeros((accessor.count, width), dtype)
        if accessor.bufferView is not None:
            values = view(accessor.bufferView, dtype, width, accessor.count)
        if accessor.sparse is not None:
            rows = view(accessor.sparse.indices.bufferView, np.uint32, 1, accessor.sparse.count)[:, 0]
            values[rows] = view(accessor.sparse.values.bufferView, dtype, width, accessor.sparse.count)
        return values

    return file, read


def test_trimesh_finds_the_neutral_face_where_the_camera_sees_it(model, face, glb):
    """Another reader, which leaves morph targets out: metres, the pose in the node."""
    scene = trimesh.load(io.BytesIO(glb), file_type='glb')
    neutral = linear.shape(model, face.identity, jnp.zeros(6))
    posed = np.asarray(rotations.transform(face.rotation, face.translation, neutral))
    found = np.concatenate([mesh.vertices for mesh in scene.dump()])
    used = np.unique(model.topology.triangles)
    distance = scipy.spatial.cKDTree(found).query(posed[used] / 1000)[0]
    assert distance.max() < 1e-6 and len(found) >= len(used)


def test_morph_targets_add_up_to_the_model(model, face, glb):
    file, read = arrays(glb)
    mesh = file.meshes[0]
    np.testing.assert_allclose(mesh.weights, face.expression, atol=1e-6)
    assert mesh.extras['targetNames'] == list(model.expression_names)
    wanted = np.asarray(linear.shape(model, face.identity, face.expression)) / 1000
    for primitive in mesh.primitives:
        total = read(primitive.attributes.POSITION).copy()
        for weight, target in zip(mesh.weights, primitive.targets):
            total += weight * read(target['POSITION'])
        distance = scipy.spatial.cKDTree(wanted).query(total)[0]
        assert distance.max() < 2e-6 * 6  # metres; `STILL`, six times


def test_textures_go_to_the_same_place_of_the_face(model, face, glb):
    """A vertex of the file lies where the model has the vertex with its texture coordinates, v pointing down."""
    file, read = arrays(glb)
    attributes = file.meshes[0].primitives[0].attributes
    place, position = read(attributes.TEXCOORD_0), read(attributes.POSITION)
    neutral = np.asarray(linear.shape(model, face.identity, jnp.zeros(6))) / 1000
    topology = model.topology
    known = np.concatenate([neutral[topology.triangles.ravel()], topology.uv[topology.uv_triangles.ravel()]], -1)
    flipped = np.stack([place[:, 0], 1 - place[:, 1]], -1)
    found = np.concatenate([position, flipped], -1)
    distance = scipy.spatial.cKDTree(known).query(found)[0]
    assert distance.max() < 1e-6


def test_tangents_and_normals_are_an_orthonormal_frame_along_u(glb):
    file, read = arrays(glb)
    primitive = file.meshes[0].primitives[0]
    normal, tangent = read(primitive.attributes.NORMAL), read(primitive.attributes.TANGENT)
    np.testing.assert_allclose(np.linalg.norm(normal, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(tangent[:, :3], axis=-1), 1, atol=1e-5)
    assert np.abs(np.sum(normal * tangent[:, :3], -1)).max() < 1e-4
    assert set(np.unique(tangent[:, 3])) <= {-1.0, 1.0}
    # along a triangle's edge of growing u the tangent points forwards, and n x t times the hand where v grows
    triangles = read(primitive.indices).reshape(-1, 3)
    points, places = read(primitive.attributes.POSITION), read(primitive.attributes.TEXCOORD_0) * [1, -1]
    edge, du = points[triangles[:, 1]] - points[triangles[:, 0]], places[triangles[:, 1]] - places[triangles[:, 0]]
    t = tangent[triangles[:, 0]]
    bitangent = np.cross(normal[triangles[:, 0]], t[:, :3]) * t[:, 3:]
    for axis, direction in ((0, t[:, :3]), (1, bitangent)):
        steep = np.abs(du[:, axis]) > 3 * np.abs(du[:, 1 - axis])
        assert steep.sum() > 100
        assert np.mean(np.sign(np.sum(edge * direction, -1)) == np.sign(du[:, axis]), where=steep) > 0.98


def test_weak_perspective_is_an_orthographic_camera(model, face):
    """glTF's projection (its appendix) and ours put a vertex in the same place."""
    camera = Pinhole(np.float32(900), np.array([160, 120], np.float32))
    weak = face.replace(perspective=False)
    file = pygltflib.GLTF2.load_from_bytes(gltf.binary(model, weak, camera, (240, 320), TEXTURES, roughness=0.4))
    assert file.cameras[0].type == 'orthographic'
    box = file.cameras[0].orthographic
    points = np.asarray(rotations.transform(weak.rotation, weak.translation, jnp.asarray(model.mean[:50]))) / 1000
    ours, depth = cameras.project(surface.seen_by(weak, camera), 1000 * points)
    width, height = 320 * (0.5 + 0.5 * points[:, 0] / box.xmag), 240 * (0.5 - 0.5 * points[:, 1] / box.ymag)
    np.testing.assert_allclose(np.stack([width, height], -1), ours, atol=1e-3)
    assert (depth / 1000 > box.znear).all() and (depth / 1000 < box.zfar).all()


def test_camera_sees_what_the_photograph_shows(glb):
    file, _ = arrays(glb)
    camera = file.cameras[0].perspective
    assert camera.aspectRatio == pytest.approx(320 / 240)
    assert np.tan(camera.yfov / 2) == pytest.approx(120 / 900)


def test_maps_are_the_files_and_skin_is_as_glossy_as_ours(glb):
    file, _ = arrays(glb)
    skin = file.materials[0]
    image = lambda texture: file.images[file.textures[texture].source]
    content = lambda view: file.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    glossy = skin.extensions['KHR_materials_specular']
    for name, texture in (
        ('diffuse', skin.pbrMetallicRoughness.baseColorTexture.index),
        ('normal', skin.normalTexture.index),
        ('specular', glossy['specularColorTexture']['index']),
    ):
        assert content(file.bufferViews[image(texture).bufferView]) == TEXTURES[name]
    # reflectance at normal incidence is 0.04 times factor times texture: the weight of our lobe
    np.testing.assert_allclose(0.04 * np.array(glossy['specularColorFactor']), 1)
    assert skin.pbrMetallicRoughness.roughnessFactor == 0.4 and skin.pbrMetallicRoughness.metallicFactor == 0


@pytest.mark.skipif(shutil.which('npm') is None, reason="Khronos' validator comes with npm, which is not here")
def test_khronos_validator_finds_nothing(glb, tmp_path):
    (tmp_path / 'face.glb').write_bytes(glb)
    (tmp_path / 'package.json').write_text('{"type": "module"}')
    (tmp_path / 'validate.js').write_text(
        "import validator from 'gltf-validator'; import { readFileSync } from 'fs';\n"
        "const found = await validator.validateBytes(new Uint8Array(readFileSync('face.glb')));\n"
        'console.log(JSON.stringify(found.issues));\n'
    )
    quiet = ['--silent', '--no-audit', '--no-fund']
    subprocess.run(['npm', 'install', *quiet, VALIDATOR], cwd=tmp_path, check=True, timeout=120)
    run = subprocess.run(['node', 'validate.js'], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    issues = json.loads(run.stdout)
    assert (issues['numErrors'], issues['numWarnings']) == (0, 0), issues['messages']


def test_a_video_moves_the_face(glb, face):
    """The properties of the animated node at each time are the pose that our own rotation gives."""
    file, read = arrays(glb)
    (animation,) = file.animations
    samplers = animation.samplers
    found = {it.target.path: (samplers[it.sampler], it.target.node) for it in animation.channels}
    assert {node for _, node in found.values()} == {0} and file.nodes[0].mesh == 0
    values = {path: read(sampler.output) for path, (sampler, _) in found.items()}
    np.testing.assert_allclose(read(found['weights'][0].input)[:, 0], [0, 0.08, 0.16])
    motion = moving(face)
    np.testing.assert_allclose(values['translation'], motion.translation / 1000, atol=1e-6)
    np.testing.assert_allclose(values['weights'].reshape(3, 6), motion.expression, atol=1e-6)
    turns = scipy.spatial.transform.Rotation.from_quat(values['rotation']).as_matrix()
    np.testing.assert_allclose(turns, np.asarray(rotations.matrix(jnp.asarray(motion.rotation))), atol=1e-5)
