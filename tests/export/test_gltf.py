from __future__ import annotations

import dataclasses
import io

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial
import trimesh

from jfrecon import morphable
from jfrecon.data import images
from jfrecon.export import gltf, head
from jfrecon.geometry import rotations
from jfrecon.morphable import linear
from jfrecon.types import FaceParameters, Maps, Pinhole
from tests.export import glb


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


FLAT = Maps(
    np.full((8, 8, 3), 0.4, np.float32), np.full((8, 8, 1), 0.05, np.float32), np.tile(np.float32([0, 0, 1]), (8, 8, 1))
)


def dressed(model, face):
    """A head with small textures."""
    return head.dress(model, face, FLAT, 32)


TIMES = [0.0, 0.08, 0.2]  # seconds; of no constant rate


@pytest.fixture(scope='module')
def content(model, face):
    """A file: a face that moves, of a photograph whose principal point is not in the middle."""
    camera = Pinhole(900.0, np.array([20.0, 150.0]))
    return gltf.binary(
        dressed(model, face), face, camera, (240, 320), roughness=0.4, motion=moving(face), times=np.array(TIMES)
    )


@pytest.fixture(scope='module')
def whole(model, face):
    """The head that is in the file."""
    return dressed(model, face)


@pytest.fixture(scope='module')
def found(content):
    return glb.read(content)


def moving(face):
    """Three frames in which the head nods, comes closer and the first expression goes."""
    steps = np.arange(3, dtype=np.float32)[:, None]
    return dataclasses.replace(
        face,
        rotation=face.rotation + steps * np.array([0.1, 0, 0], np.float32),
        translation=face.translation + steps * np.array([0, 0, 50], np.float32),
        expression=face.expression * (1 - 0.5 * steps * (np.arange(6) == 0)),
    )


def used_vertices(whole):
    return np.unique(np.concatenate([piece.topology.triangles.ravel() for piece in whole.pieces]))


def test_trimesh_finds_the_neutral_face_where_the_camera_sees_it(whole, face, content):
    """Another reader, which leaves morph targets out: metres, the pose in the node."""
    scene = trimesh.load(io.BytesIO(content), file_type='glb')
    neutral = linear.shape(whole.model, face.identity, jnp.zeros(6))
    posed = np.asarray(rotations.transform(face.rotation, face.translation, neutral))
    found = np.concatenate([mesh.vertices for mesh in scene.dump()])
    used = used_vertices(whole)
    distance = scipy.spatial.cKDTree(found).query(posed[used] / 1000)[0]
    assert distance.max() < 1e-6 and len(found) >= len(used)


def test_trimesh_reads_what_was_written(whole, face, content):
    """Nodes, vertices, triangles, texture coordinates (v up) and the size of the textures, as the head has them."""
    neutral = np.asarray(linear.shape(whole.model, face.identity, jnp.zeros(6))) / 1000
    scene = trimesh.load(io.BytesIO(content), file_type='glb', process=False)
    assert list(scene.geometry) == ['head', 'eye_left', 'eye_right', 'teeth', 'mouth']
    for piece in whole.pieces:
        mesh, topology = scene.geometry[piece.name], piece.topology
        np.testing.assert_allclose(mesh.vertices[mesh.faces], neutral[topology.triangles], atol=1e-6)
        if piece.textures:
            places = topology.uv[topology.uv_triangles]
            np.testing.assert_allclose(mesh.visual.uv[mesh.faces], places, atol=1e-6)
    material = scene.geometry['head'].visual.material
    assert (material.baseColorTexture.size, material.normalTexture.size) == ((32, 32), (32, 32))


def test_morph_targets_add_up_to_the_model(whole, face, found):
    file, read = found.file, found.accessors.__getitem__
    wanted = np.asarray(linear.shape(whole.model, face.identity, face.expression)) / 1000
    for mesh in file.meshes:
        np.testing.assert_allclose(mesh.weights, face.expression, atol=1e-6)
        assert mesh.extras['targetNames'] == list(whole.model.expression_names)
        (primitive,) = mesh.primitives
        total = read(primitive.attributes.POSITION).copy()
        for weight, target in zip(mesh.weights, primitive.targets):
            total += weight * read(target['POSITION'])
        distance = scipy.spatial.cKDTree(wanted).query(total)[0]
        assert distance.max() < 2e-6 * 6  # metres; `STILL`, six times


def test_textures_go_to_the_same_place_of_the_face(whole, face, found):
    """A vertex of the file lies where the model has the vertex with its texture coordinates, v pointing down."""
    file, read = found.file, found.accessors.__getitem__
    attributes = file.meshes[0].primitives[0].attributes
    place, position = read(attributes.TEXCOORD_0), read(attributes.POSITION)
    neutral = np.asarray(linear.shape(whole.model, face.identity, jnp.zeros(6))) / 1000
    topology = whole.pieces[0].topology
    known = np.concatenate([neutral[topology.triangles.ravel()], topology.uv[topology.uv_triangles.ravel()]], -1)
    flipped = np.stack([place[:, 0], 1 - place[:, 1]], -1)
    found = np.concatenate([position, flipped], -1)
    distance = scipy.spatial.cKDTree(known).query(found)[0]
    assert distance.max() < 1e-6


def test_tangents_and_normals_are_an_orthonormal_frame_along_u(found):
    file, read = found.file, found.accessors.__getitem__
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


PHOTOGRAPHS = {  # (H, W), focal length, principal point, where the face is: px, px, mm
    'portrait': ((1280, 734), 1900.0, (610.0, 637.5), (-90, 30, -700)),  # 243 px from the middle
    'landscape': ((480, 1920), 1500.0, (960.0, 240.0), (0, 0, -900)),
    'square': ((512, 512), 300.5, (255.3, 200.8), (20, -10, -250)),
    'far off-centre': ((600, 800), 1100.0, (-300.0, 1500.0), (700, 1200, -1100)),  # a piece of a larger one
    'weak perspective': ((333, 250), 2500.0, (40.25, 300.0), (60, 110, -3000)),
}


@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_the_face_falls_on_the_photograph(name, whole, face):
    """Through the file's camera, its picture and the photograph's place in it, against our formula written out."""
    size, focal, principal, place = PHOTOGRAPHS[name]
    principal = np.array(principal)
    chi = face.replace(translation=np.array(place, np.float32), perspective=name != 'weak perspective')
    shape = np.asarray(linear.shape(whole.model, face.identity, face.expression), np.float64)[used_vertices(whole)]
    points = scipy.spatial.transform.Rotation.from_rotvec(chi.rotation).apply(shape) + place
    depth = -points[:, 2:] if chi.perspective else -place[2]
    wanted = principal + focal * points[:, :2] * [1, -1] / depth
    assert ((wanted > 0) & (wanted < size[::-1])).all(-1).mean() > 0.5, 'a face that is in the photograph'

    file = glb.read(gltf.binary(whole, chi, Pinhole(focal, principal), size, roughness=0.4))
    assert file.file.cameras[0].type == ('perspective' if chi.perspective else 'orthographic')
    pixels = glb.photographed(file, glb.vertices(file))
    vertex = scipy.spatial.cKDTree(points / 1000).query(glb.vertices(file))[1]
    assert np.abs(pixels - wanted[vertex]).max() < 0.1
    # no larger than it has to be: the photograph touches two sides of the picture, to a pixel or two
    extras = file.file.cameras[0].extras
    for side, corner, k in (('width', 'x', 0), ('height', 'y', 1)):
        start, whole = extras['photograph'][corner], extras['picture'][side]
        assert extras['photograph'][side] == size[1 - k] and start >= 0 and start + size[1 - k] <= whole
        assert min(start, whole - start - size[1 - k]) < 2


@pytest.mark.parametrize('perspective', [True, False])
def test_a_moving_face_falls_on_each_frame(perspective, whole, face):
    """An orthographic camera does not see that a face comes closer; it grows."""
    focal, principal = 900.0, np.array([20.0, 150.0])
    chi, motion = face.replace(perspective=perspective), moving(face).replace(perspective=perspective)
    file = glb.read(gltf.binary(
        whole, chi, Pinhole(focal, principal), (240, 320), roughness=0.4, motion=motion, times=np.array(TIMES)
    ))  # fmt: skip
    for k in range(3):
        shape = np.asarray(linear.shape(whole.model, face.identity, motion.expression[k]), np.float64)
        shape = shape[used_vertices(whole)]
        turned = scipy.spatial.transform.Rotation.from_rotvec(motion.rotation[k]).apply(shape)
        points = turned + motion.translation[k]
        depth = -points[:, 2:] if perspective else -motion.translation[k, 2]
        wanted = principal + focal * points[:, :2] * [1, -1] / depth
        pixels = glb.photographed(file, glb.vertices(file, k))
        assert scipy.spatial.cKDTree(wanted).query(pixels)[0].max() < 0.1
        np.testing.assert_allclose([pixels.min(0), pixels.max(0)], [wanted.min(0), wanted.max(0)], atol=0.1)


@pytest.mark.parametrize('times', [None, [0.0, 0.1, 0.1], [0.2, 0.1, 0.3], [-0.1, 0.0, 0.1]])
def test_times_of_an_animation_increase(times, whole, face):
    camera, moved = Pinhole(900.0, np.zeros(2)), moving(face)
    with pytest.raises(ValueError, match='increase'):
        gltf.binary(whole, face, camera, (240, 320), roughness=0.4, motion=moved, times=times)


def test_a_vertex_whose_triangles_cancel_has_a_normal(whole, face, issues):
    """Between a triangle and the same one turned over there is none."""
    skin = whole.pieces[0]
    ids = [np.concatenate([t[:1], t[:1, ::-1]]) for t in (skin.topology.triangles, skin.topology.uv_triangles)]
    folded = dataclasses.replace(skin.topology, triangles=ids[0], uv_triangles=ids[1])
    model = dataclasses.replace(whole.model, topology=folded)
    flat = head.Dressed(model, (skin._replace(topology=folded),))
    content = gltf.binary(flat, face, Pinhole(900.0, np.zeros(2)), (240, 320), roughness=0.4)
    file = glb.read(content)
    attributes = file.file.meshes[0].primitives[0].attributes
    np.testing.assert_allclose(np.linalg.norm(file.accessors[attributes.NORMAL], axis=-1), 1, atol=1e-5)
    assert np.isin(file.accessors[attributes.TANGENT][:, 3], (-1, 1)).all()
    assert issues(content) == []


def test_maps_are_the_files_and_skin_is_as_glossy_as_ours(found, whole):
    file = found.file
    skin = file.materials[0]
    image = lambda texture: file.images[file.textures[texture].source]
    content = lambda view: found.buffer[view.byteOffset : view.byteOffset + view.byteLength]
    glossy = skin.extensions['KHR_materials_specular']
    for name, texture in (
        ('diffuse', skin.pbrMetallicRoughness.baseColorTexture.index),
        ('normal', skin.normalTexture.index),
        ('specular', glossy['specularColorTexture']['index']),
    ):
        assert content(file.bufferViews[image(texture).bufferView]) == images.encode(whole.pieces[0].textures[name])
    # reflectance at normal incidence is 0.04 times factor times texture: the weight of our lobe
    np.testing.assert_allclose(0.04 * np.array(glossy['specularColorFactor']), 1)
    assert skin.pbrMetallicRoughness.roughnessFactor == 0.4 and skin.pbrMetallicRoughness.metallicFactor == 0


def test_khronos_validator_finds_nothing(content, issues):
    assert issues(content) == []


def test_a_video_moves_the_face(found, face):
    """The properties of the animated node at each time are the pose that our own rotation gives."""
    file, read = found.file, found.accessors.__getitem__
    (animation,) = file.animations
    samplers = animation.samplers
    found = {it.target.path: samplers[it.sampler] for it in animation.channels}
    moved = {(it.target.path, it.target.node) for it in animation.channels}
    assert moved == {('rotation', 0), ('translation', 0), *(('weights', child) for child in file.nodes[0].children)}
    values = {path: read(sampler.output) for path, sampler in found.items()}
    np.testing.assert_allclose(read(found['weights'].input)[:, 0], TIMES, atol=1e-7)
    motion = moving(face)
    np.testing.assert_allclose(values['translation'], motion.translation / 1000, atol=1e-6)
    np.testing.assert_allclose(values['weights'].reshape(3, 6), motion.expression, atol=1e-6)
    turns = scipy.spatial.transform.Rotation.from_quat(values['rotation']).as_matrix()
    np.testing.assert_allclose(turns, np.asarray(rotations.matrix(jnp.asarray(motion.rotation))), atol=1e-5)
