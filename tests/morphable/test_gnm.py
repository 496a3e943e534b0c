"""GNM Head from a small file of its layout: units, parts, landmarks, modes, damage."""

import numpy as np
import pytest

from jfrecon import morphable
from jfrecon.errors import UserError
from jfrecon.morphable import heads
from jfrecon.morphable.coat import EYE, MOUTH, SKIN, TEETH
from jfrecon.morphable.models import gnm

EYE_NAMES = 'left_eye', 'right_eye'
PIECES = (  # name, rows, columns, radii and centre in metres
    ('skin', 24, 32, (0.075, 0.115, 0.095), (0, 0, 0)),
    ('left_eye', 6, 8, (0.012, 0.012, 0.012), (0.032, 0.02, 0.07)),
    ('right_eye', 6, 8, (0.012, 0.012, 0.012), (-0.032, 0.02, 0.07)),
    ('eye_exteriors', 4, 6, (0.013, 0.013, 0.013), (0.032, 0.02, 0.071)),
    ('upper_teeth_and_gums', 4, 6, (0.02, 0.004, 0.01), (0, -0.035, 0.07)),
    ('lower_teeth_and_gums', 4, 6, (0.02, 0.004, 0.01), (0, -0.045, 0.07)),
    ('tongue', 4, 6, (0.015, 0.004, 0.02), (0, -0.04, 0.05)),
)
# iBUG points as directions on the skull: degrees to the subject's left, and up.
JAW = [(angle, -60 * np.cos(np.radians(angle)) - 5) for angle in np.linspace(-72, 72, 17)]
OTHERS = [
    *((a, 28) for a in np.linspace(-35, 35, 10)), *((0, e) for e in (20, 12, 4, -4)),
    *((a, -9) for a in (-8, -4, 0, 4, 8)),
    *((a, e) for a, e in ((-30, 16), (-24, 20), (-18, 20), (-12, 16), (-18, 12), (-24, 12))),
    *((a, e) for a, e in ((12, 16), (18, 20), (24, 20), (30, 16), (24, 12), (18, 12))),
    *((a, -20 - 6 * (k > 6)) for k, a in enumerate([-18, -12, -6, 0, 6, 12, 18, 12, 6, 0, -6, -12])),
    *((a, -21 - 3 * (k > 4)) for k, a in enumerate([-14, -5, 0, 5, 14, 5, 0, -5])),
]  # fmt: skip


def piece(rows, columns, radii, centre):
    """An ellipsoid of quadrilaterals, open at both poles, counter-clockwise from outside."""
    up, around = np.meshgrid(
        np.radians(np.linspace(80, -80, rows)), np.arange(columns) / columns * 2 * np.pi, indexing='ij'
    )
    points = np.stack([np.cos(up) * np.sin(around), np.sin(up), np.cos(up) * np.cos(around)], -1).reshape(-1, 3)
    i, j = (index.ravel() for index in np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing='ij'))
    k = (j + 1) % columns
    quads = np.stack([i * columns + j, (i + 1) * columns + j, (i + 1) * columns + k, i * columns + k], -1)
    return points * radii + centre, quads


def arrays():
    """What `np.savez` writes: the fields of GNM's schema that are read."""
    random = np.random.default_rng(0)
    vertices, quads, members = [], [], {}
    for name, *shape in PIECES:
        points, faces = piece(*shape)
        first = sum(map(len, vertices))
        vertices.append(points)
        quads.append(faces + first)
        members[name] = np.arange(first, first + len(points))
    vertices, quads = np.concatenate(vertices), np.concatenate(quads)
    members['left_eye'] = np.concatenate([members['left_eye'], members['eye_exteriors']])
    groups = np.zeros((len(members), len(vertices)), np.float32)
    for row, ids in zip(groups, members.values()):
        row[ids] = 1
    return {
        'version': '3.0', 'variant': 'head',
        'template_vertex_positions': vertices.astype(np.float32),
        'vertex_identity_basis': random.normal(scale=1e-3, size=(4, *vertices.shape)).astype(np.float32),
        'expression_basis': random.normal(scale=1e-3, size=(3, *vertices.shape)).astype(np.float32),
        'expression_names': ['left_eye_region_000', 'lower_face_region_000', 'tongue_mean'],
        'quads': quads, 'quad_uvs': random.uniform(0, 1, (len(quads), 4, 2)).astype(np.float32),
        'vertex_groups': groups, 'vertex_group_names': list(members),
    }  # fmt: skip


ARRAYS = arrays()


def nearest():
    """Vertices [68] of the skull that lie closest to the directions above, all different along the jaw."""
    skull = ARRAYS['template_vertex_positions'][: 24 * 32] / (0.075, 0.115, 0.095)
    across, up = np.radians(np.array(JAW + OTHERS)).T
    wanted = np.stack([np.cos(up) * np.sin(across), np.sin(up), np.cos(up) * np.cos(across)], -1)
    return np.linalg.norm(skull[None] - wanted[:, None], axis=-1).argmin(1)


def write(folder, ids=None, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / 'gnm_head.npz', **{**ARRAYS, **changes})
    ids = nearest() if ids is None else ids
    others = (ids + 1) % 700
    rows = [f'{a} 0.6 {b} 0.3 {c} 0.1' for a, b, c in zip(ids, others, (others + 1) % 700)]
    (folder / gnm.LANDMARKS).write_text('\n'.join(rows) + '\n')
    return folder


@pytest.fixture(autouse=True)
def plain_coat(monkeypatch):
    """Painting takes seconds, and is the same for all heads."""
    empty = lambda mean, *_: [
        np.zeros((*k, len(mean), c), np.float32) for k, c in (((), 3), ((2,), 3), ((), 1), ((2,), 1))
    ]
    monkeypatch.setattr(heads, 'coat', empty)
    gnm._build.cache_clear()


def test_a_face_and_its_head_in_millimetres(tmp_path):
    head, face = morphable.load_head('gnm', write(tmp_path)), morphable.load('gnm', tmp_path)
    template, ids = ARRAYS['template_vertex_positions'] * 1000, nearest()
    origin = template[ids].mean(0)
    kept = np.unique(
        np.concatenate([ARRAYS['quads'][: 23 * 32].ravel(), np.flatnonzero(ARRAYS['vertex_groups'][0] == 0)])
    )
    cornea = np.flatnonzero(ARRAYS['vertex_groups'][3])
    np.testing.assert_allclose(head.model.mean, template[np.setdiff1d(kept, cornea)] - origin, atol=1e-3)
    np.testing.assert_allclose(np.asarray(face.mean)[face.landmark_ids], template[ids] - origin, atol=1e-3)
    np.testing.assert_array_equal(face.mean, np.asarray(head.model.mean)[head.face_vertices])
    basis = ARRAYS['vertex_identity_basis'][:, ids] * 1000
    np.testing.assert_allclose(np.asarray(face.identity_basis)[:, face.landmark_ids], basis, atol=1e-4)
    assert face.expression_prior == 'gaussian' and face.expression_names == tuple(ARRAYS['expression_names'])
    assert (face.name, face.licence) == ('gnm', 'Apache-2.0 (GNM Head, Google)')
    behind_the_ears = -60 - origin[2]
    assert np.asarray(face.mean)[:, 2].min() > behind_the_ears > np.asarray(head.model.mean)[:, 2].min()


def test_parts_are_told_apart_and_corneas_left_out(tmp_path):
    head = morphable.load_head('gnm', write(tmp_path))
    triangles = np.asarray(head.model.topology.triangles)
    count = {part: (np.asarray(head.part) == part).sum() for part in (SKIN, EYE, TEETH, MOUTH)}
    assert count == {SKIN: 2 * 23 * 32, EYE: 2 * 2 * 5 * 8, TEETH: 2 * 2 * 3 * 6, MOUTH: 2 * 3 * 6}
    left = np.asarray(head.model.mean)[head.left_eyeball]
    right = np.asarray(head.model.mean)[head.right_eyeball]
    assert len(left) == len(right) == 48 and left[:, 0].min() > 0 > right[:, 0].max()
    assert set(np.unique(triangles[np.asarray(head.part) == EYE])) == {*head.left_eyeball, *head.right_eyeball}
    a, b, c = (np.asarray(head.model.mean)[triangles[:, k]] for k in range(3))
    skin = np.asarray(head.part) == SKIN
    middle = np.asarray(head.model.mean)[np.unique(triangles[skin])].mean(0)
    assert (np.einsum('tc,tc->t', np.cross(b - a, c - a), (a + b + c) / 3 - middle)[skin] > 0).all()


def test_texture_coordinates_of_the_face_fill_the_unit_square_without_a_seam(tmp_path):
    face = morphable.load('gnm', write(tmp_path))
    uv, ids = np.asarray(face.topology.uv), np.asarray(face.topology.uv_triangles)
    assert len(uv) == len(face.mean) and 0 <= uv.min() and uv.max() <= 1
    order = np.zeros(len(face.mean), int)
    order[np.asarray(face.topology.triangles)] = ids
    x = np.asarray(face.mean)[:, 0]
    assert (uv[order][x > 20, 0] > 0.5).all() and (uv[order][x < -20, 0] < 0.5).all()


def test_the_jaw_is_put_in_order(tmp_path):
    ids = nearest()
    swapped = ids.copy()
    swapped[2:7] = ids[6:1:-1]
    as_published = morphable.load('gnm', write(tmp_path / 'a', swapped))
    in_order = morphable.load('gnm', write(tmp_path / 'b', ids))
    np.testing.assert_array_equal(as_published.landmark_ids, in_order.landmark_ids)
    x = np.asarray(in_order.mean)[in_order.landmark_ids[:17], 0]
    assert (np.diff(x) >= 0).all() and x[0] < -50 and x[-1] > 50


def test_quadrilaterals_that_turn_the_other_way_are_turned_over(tmp_path):
    turned = {name: ARRAYS[name][:, ::-1] for name in ('quads', 'quad_uvs')}
    there, here = morphable.load('gnm', write(tmp_path / 'a', **turned)), morphable.load('gnm', write(tmp_path / 'b'))
    facing = [np.cross(b - a, c - a)[:, 2].sum() for a, b, c in (corners(there), corners(here))]
    assert facing[0] == pytest.approx(facing[1], rel=0.05) and facing[0] > 0


def corners(face):
    triangles = np.asarray(face.topology.triangles)
    return (np.asarray(face.mean)[triangles[:, k]] for k in range(3))


def test_a_clone_of_the_repository_is_taken(tmp_path):
    data = tmp_path / 'gnm' / 'shape' / 'data'
    write(data / 'versions' / 'v3_0')
    (data / 'landmarks').mkdir()
    (data / 'versions' / 'v3_0' / gnm.LANDMARKS).rename(data / 'landmarks' / gnm.LANDMARKS)
    assert morphable.load('gnm', tmp_path).name == 'gnm'


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'template_vertex_positions': ARRAYS['template_vertex_positions'][:5]},
            r'vertex_identity_basis has the shape',
        ),
        ({'expression_names': ['one']}, r'1 expression_names for 3 expressions'),
        ({'quads': ARRAYS['quads'] + 9000}, r'quads names entries outside'),
        ({'vertex_group_names': [f'g{i}' for i in range(len(PIECES))]}, r'no vertices in the groups skin'),
        ({'vertex_identity_basis': np.full((4, len(ARRAYS['template_vertex_positions']), 3), np.nan)}, 'not finite'),
    ],
)
def test_what_is_not_the_model_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        morphable.load('gnm', write(tmp_path, **changes))


def test_missing_and_damaged_files_name_the_remedy(tmp_path):
    with pytest.raises(UserError, match=r'github.com/google/GNM'):
        morphable.load('gnm', tmp_path)
    folder = write(tmp_path)
    (folder / gnm.LANDMARKS).write_text('1 0.5 2 0.2 3 0.1\n' * 68)
    with pytest.raises(UserError, match=r'must sum to one'):
        morphable.load('gnm', folder)
    (folder / gnm.LANDMARKS).write_text('nothing here')
    with pytest.raises(UserError, match=r'not the table of landmarks'):
        morphable.load('gnm', folder)
    (folder / gnm.LANDMARKS).unlink()
    with pytest.raises(UserError, match=r'head_sparse_68.txt: no such file'):
        morphable.load('gnm', folder)
    np.savez(folder / 'gnm_head.npz', v_template=np.zeros(3))
    with pytest.raises(UserError, match=r'not GNM Head'):
        morphable.load('gnm', folder)


def test_mirrored_landmarks_are_refused(tmp_path):
    ids = nearest()
    ids[[36, 45]] = ids[[45, 36]]
    with pytest.raises(UserError, match=r'right eye is to the left'):
        morphable.load('gnm', write(tmp_path, ids))
