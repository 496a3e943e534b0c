"""The head around a face: one texture without a line, eyes that look ahead, hair kept out."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jfrecon import morphable
from jfrecon.export import head
from jfrecon.geometry import uv
from jfrecon.morphable import coat, linear
from jfrecon.shading import colour
from jfrecon.types import FaceParameters, Maps

SIZE, OF_FACE = 256, 64


@pytest.fixture(scope='module')
def model():
    return linear.truncate(morphable.load_portrait(), 1, 1, 1)


@pytest.fixture(scope='module')
def chi():
    zero = lambda *shape: np.zeros(shape, np.float32)
    return FaceParameters(zero(1), zero(1), zero(1), zero(3), zero(3), zero(9, 3))


def maps(diffuse):
    """Maps of one face: an albedo, no gloss, no relief."""
    flat = np.tile(np.float32([0, 0, 1]), (OF_FACE, OF_FACE, 1))
    return Maps(np.asarray(diffuse, np.float32), np.full((OF_FACE, OF_FACE, 1), 0.05, np.float32), flat)


def prior(model):
    """The morphable model's own albedo as a map."""
    face = morphable.load()
    texels = uv.texel_map(face.topology, OF_FACE)
    return np.asarray(uv.to_uv(texels, jnp.asarray(face.diffuse_mean)))


def linear_of(texture):
    return np.asarray(colour.srgb_to_linear(jnp.asarray(texture, jnp.float32) / 255))


def shown():
    found = morphable.head_around(morphable.load_portrait())
    texels, _ = head._texels(found, SIZE)
    layout = head._layout(found)
    return layout, np.asarray(texels.triangle)


def test_a_face_like_the_model_has_the_head_of_the_model(model, chi):
    """No line, and the colours of the head's own vertices wherever a texel shows one."""
    texture = linear_of(head.dress(model, chi, maps(prior(model)), SIZE).pieces[0].textures['diffuse'])
    whole, (layout, triangle) = morphable.load_head().model, shown()
    own = np.asarray(whole.diffuse_mean)[np.asarray(layout.skin.triangles)].mean(1)[triangle]
    seen = (triangle >= 0) & ~layout.face[triangle]
    # a triangle's mean colour for that of a texel in it
    assert np.abs(texture - own)[seen].mean() < 0.01


@pytest.mark.parametrize('factor', [(0.3, 0.3, 0.3), (1.3, 0.8, 0.7)])
def test_the_tone_of_the_face_is_that_of_the_head(factor, model, chi):
    """Lighter, darker or redder: the head is, too, and no step is seen where they meet."""
    own = linear_of(head.dress(model, chi, maps(prior(model)), SIZE).pieces[0].textures['diffuse'])
    other = linear_of(head.dress(model, chi, maps(prior(model) * factor), SIZE).pieces[0].textures['diffuse'])
    triangle = shown()[1]
    ratio = (other / np.maximum(own, 1e-3))[triangle >= 0]
    np.testing.assert_allclose(np.median(ratio, 0), factor, rtol=0.03)
    np.testing.assert_allclose(np.percentile(ratio, [2, 98], axis=0), [factor, factor], rtol=0.12)


def forehead(size=10):
    """Texels of the face's map around the middle of the forehead, and around a cheek."""
    face = morphable.load()
    places = uv.of_vertices(face.topology, len(face.mean))
    mean, marks = np.asarray(face.mean), np.asarray(face.landmark_ids)
    brow = mean[marks[17:27]]
    targets = [[0, brow[:, 1].max() + 25, mean[:, 2].max() - 25], (mean[marks[2]] + mean[marks[31]]) / 2]
    rows = []
    for target in targets:
        u, v = places[np.linalg.norm(mean - target, axis=-1).argmin()]
        y, x = round((1 - v) * OF_FACE), round(u * OF_FACE)
        rows.append(np.s_[y - size // 2 : y + size // 2, x - size // 2 : x + size // 2])
    return rows


def test_hair_on_the_forehead_is_left_out_and_a_mark_on_the_cheek_stays(model, chi):
    above, cheek = forehead()
    plain = prior(model)
    marked = plain.copy()
    marked[above] *= 0.2
    marked[cheek] *= 0.2
    draw = lambda values: linear_of(head.dress(model, chi, maps(values), SIZE).pieces[0].textures['diffuse'])
    before, after = draw(plain), draw(marked)
    layout, triangle = shown()
    centre = np.asarray(morphable.load_head().model.mean)[np.asarray(layout.skin.triangles)].mean(1)[triangle]
    brows = np.asarray(morphable.load_head().model.mean)[morphable.load_head().model.landmark_ids[17:27], 1].max()
    darker = (before - after).mean(-1) / before.mean(-1)
    up, side = ((triangle >= 0) & (centre[..., 1] > brows + 15)), ((triangle >= 0) & (centre[..., 1] < brows - 15))
    assert darker[up].max() < 0.25 and darker[side].max() > 0.7


def test_eyes_look_ahead(model, chi):
    pieces = {piece.name: piece for piece in head.dress(model, chi, maps(prior(model)), SIZE).pieces}
    whole = morphable.load_head()
    for name, ids, side in (('eye_left', whole.left_eyeball, 1), ('eye_right', whole.right_eyeball, -1)):
        eye, mean = pieces[name], np.asarray(whole.model.mean)
        corners = mean[np.unique(eye.topology.triangles)]
        assert (np.sign(corners[:, 0]) == side).all() and set(np.unique(eye.topology.triangles)) <= set(ids.tolist())
        front = ids[mean[ids, 2].argmax()]
        np.testing.assert_allclose(eye.topology.uv[front], 0.5, atol=0.03)
        texture = linear_of(eye.textures['diffuse']).mean(-1)
        middle = head.EYE // 2
        assert texture[middle, middle] < 0.01 < texture[0, 0] - 0.5
        iris = np.argwhere(texture < 0.2) - middle + 0.5
        assert np.hypot(*iris.T).max() < 0.12 * head.EYE


def test_eyes_and_teeth_have_the_tone_that_the_photograph_gives_them(model, chi):
    bright = np.asarray(linear.albedo(model, jnp.zeros(1))[0])[len(morphable.load().mean) :] * 1.3
    lit = dataclasses.replace(chi, maps=maps(prior(model)).replace(behind=bright.astype(np.float32)))
    plain = {piece.name: piece for piece in head.dress(model, chi, maps(prior(model)), SIZE).pieces}
    found = {piece.name: piece for piece in head.dress(model, lit, maps(prior(model)), SIZE).pieces}
    whites = [linear_of(pieces['eye_left'].textures['diffuse'])[0, 0] for pieces in (plain, found)]
    np.testing.assert_allclose(np.minimum(whites[0] * 1.3, 1), whites[1], rtol=0.03)
    teeth = np.unique(plain['teeth'].topology.triangles)
    assert (found['teeth'].colours[teeth] > plain['teeth'].colours[teeth] * 1.1).all()


def test_charts_lie_in_the_unit_square_side_by_side(model):
    layout, triangle = shown()
    skin = layout.skin
    assert skin.uv.min() >= 0 and skin.uv.max() <= 1
    a, b, c = (skin.uv[skin.uv_triangles[:, k]].astype(float) for k in range(3))
    area = 0.5 * np.abs(np.cross(b - a, c - a))
    covered = np.asarray(head._texels(morphable.head_around(model), SIZE)[0].coverage).mean()
    assert covered == pytest.approx(area.sum(), rel=0.03)
    assert layout.face[triangle[triangle >= 0]].mean() > 0.1
    both = np.intersect1d(skin.uv_triangles[layout.face], skin.uv_triangles[~layout.face])
    assert len(both) > 100, "the skin around goes on where the face's chart ends"


def test_a_model_without_a_head_is_its_face(model, chi):
    face = linear.truncate(morphable.load(), 1, 1, 1)
    other = dataclasses.replace(face, name='nobody')
    found = head.dress(other, chi, maps(prior(model)), SIZE)
    assert found.model is other and [piece.name for piece in found.pieces] == ['head']
    assert found.pieces[0].textures['diffuse'].shape == (OF_FACE, OF_FACE, 3)


def test_the_colours_of_parts_are_those_of_the_model(model, chi):
    pieces = {piece.name: piece for piece in head.dress(model, chi, maps(prior(model)), SIZE).pieces}
    teeth = pieces['teeth'].colours[np.unique(pieces['teeth'].topology.triangles)]
    np.testing.assert_allclose(teeth, np.tile(coat.PLAIN[coat.TEETH][0], (len(teeth), 1)), atol=1e-5)
