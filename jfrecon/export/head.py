"""The whole head of a face, for files: skin from the crown to the neck, eyes, teeth and mouth, each with its texture.

A fit knows the face alone. The head around it moves with the same coefficients (`jfrecon.morphable.heads`). Its skin is
the morphable model's albedo times a field that is smooth over the whole skin and, on the face, close to what the fit's
maps make of that albedo. Towards the rim of the face the maps give way to it, so that no line is left; so does hair on
the forehead. Corneas, lashes and hair are not there.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import sparse
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree

from jfrecon import morphable
from jfrecon.geometry import uv
from jfrecon.morphable import coat, linear
from jfrecon.morphable.heads import SHADE, Head, in_face
from jfrecon.render import surface
from jfrecon.shading import colour
from jfrecon.types import FaceParameters, Maps, MorphableModel, Topology

TEXTURE = 1024  # texels of the side of the skin's texture
EYE = 256  # of an eye's
FEATHER = 15.0  # mm from the rim of the face inwards in which its maps give way
KEPT = 0.1  # how much a vertex of the face holds on to what its map says, where each of its neighbours pulls with 1
REACH = 0.5  # of the logarithm of a colour, around the face's median: what is beyond is hair, or a shadow
HAIR = 0.15  # of the logarithm of a colour: a forehead that is so far from the skin around begins to be hair
BLUR = 0.004  # of the texture's side, around hair
DARKEST = 1e-3  # linear, below which colours have no logarithm
TINT = 1.6  # at most so much lighter or darker are a person's eyes and teeth than everybody's
STRIP = 0.08  # of the texture's height, for charts that do not hang together with the face's
SAME_CHART = 0.01  # in sides of the face's chart: how far an affine map may be off where both charts meet


class Piece(NamedTuple):
    """A part of a head.

    Attributes:
      name: of its node in a file.
      topology: its triangles, of the model's vertices, and texture coordinates in the unit square.
      textures: [S, S, 3] uint8 each: ``diffuse`` and ``specular`` in sRGB and ``normal`` as (n + 1) / 2. Of skin all,
        of an eye ``diffuse``, of others none.
      colours: [V, 3] linear, of the vertices of a part without textures.
    """

    name: str
    topology: Topology
    textures: dict[str, np.ndarray]
    colours: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Dressed:
    """A head and its parts, in one person's colours.

    Attributes:
      model: of all its vertices, with the face's coefficients.
      pieces: the skin, ``head``, first; around a face whose model has no head only what a portrait shows.
    """

    model: MorphableModel
    pieces: tuple[Piece, ...]


@dataclasses.dataclass(frozen=True)
class _Layout:
    """What does not depend on the person.

    Attributes:
      skin: its triangles with texture coordinates in the unit square; face: [T] which of them are the face model's.
      places: [T, 3, 2] texture coordinates of these in the face's maps.
      share: [V] of the face's maps, 1 well inside of the face and 0 on its rim and outside.
      hairline: [V] 1 above the brows and towards the rim, where what is not like the skin around is hair.
      pull: of the smooth field on the V vertices of the head: its quadratic form [V, V].
    """

    skin: Topology
    face: np.ndarray
    places: np.ndarray
    share: np.ndarray
    hairline: np.ndarray
    pull: sparse.csr_matrix


def dress(model: MorphableModel, chi: FaceParameters, maps: Maps, size: int = TEXTURE) -> Dressed:
    """A face with its head, where its morphable model has one.

    Args:
      model: of `jfrecon.morphable.load_portrait`, with as many modes as the face has.
      chi: unbatched; what it has of eyes and teeth (`Maps.behind`) colours them.
      maps: of the face, leaves [S, S, C], with a normal map.
      size: texels of the side of the skin's texture.
    """
    head = morphable.head_around(model)
    if head is None:
        return _bare(model, chi, maps)
    modes = len(model.identity_basis), len(model.expression_basis), len(model.diffuse_basis)
    whole = linear.truncate(head.model, *modes)
    diffuse, specular = (np.asarray(values) for values in linear.albedo(whole, jnp.asarray(chi.albedo)))
    layout = _layout(head)
    pieces = [Piece('head', layout.skin, _skin(head, size, diffuse, specular, maps))]
    part, triangles, mean = (np.asarray(x) for x in (head.part, whole.topology.triangles, whole.mean))
    tint = _tint(model, chi, whole)
    ball = lambda ids: triangles[(part == coat.EYE) & np.isin(triangles, ids).all(1)]
    for name, ids in (('eye_left', head.left_eyeball), ('eye_right', head.right_eyeball)):
        places, radius = _eye(mean, np.asarray(ids))
        pieces.append(
            Piece(name, Topology(ball(ids), places, ball(ids)), {'diffuse': _iris(radius, tint[ids], mean[ids])})
        )
    teeth = np.exp(np.log(tint[np.unique(triangles[part == coat.TEETH])]).mean(0))
    for name, label, factor in (('teeth', coat.TEETH, teeth), ('mouth', coat.MOUTH, SHADE[coat.MOUTH])):
        there = triangles[part == label]
        if len(there):
            pieces.append(Piece(name, Topology(there, np.zeros((1, 2), np.float32), 0 * there), {}, diffuse * factor))
    return Dressed(whole, tuple(pieces))


def _bare(model: MorphableModel, chi: FaceParameters, maps: Maps) -> Dressed:
    """What a portrait shows: the face by its maps, and what is behind its openings by its vertices' colours."""
    topology, mapped = model.topology, np.asarray(surface.mapped(model.topology))
    some = lambda kept: Topology(
        np.asarray(topology.triangles)[kept], np.asarray(topology.uv), np.asarray(topology.uv_triangles)[kept]
    )
    texels = uv.texel_map(some(mapped), len(maps.diffuse))
    nearest = tuple(_nearest(np.asarray(texels.triangle) >= 0))
    skin = _encoded(*(np.asarray(values)[nearest] for values in (maps.diffuse, maps.specular, maps.normal)))
    pieces = [Piece('head', some(mapped), skin)]
    if not mapped.all():
        behind = None if chi.maps is None else chi.maps.behind
        colours = surface.coloured(linear.albedo(model, jnp.asarray(chi.albedo))[0], behind)
        pieces.append(Piece('behind', some(~mapped), {}, np.asarray(colours)))
    return Dressed(model, tuple(pieces))


@functools.lru_cache(maxsize=2)
def _layout(head: Head) -> _Layout:
    topology = head.model.topology
    skin = np.asarray(head.part) == coat.SKIN
    triangles = np.asarray(topology.triangles)[skin]
    face = in_face(head)[skin]
    corners = np.asarray(topology.uv, np.float64)[np.asarray(topology.uv_triangles)[skin]]
    charts = _charts(np.asarray(topology.uv_triangles)[skin], face)
    places = corners.copy()
    own = np.full((len(head.model.mean), 2), np.nan)  # of vertices of the face, in its chart
    own[triangles[face]] = corners[face]
    rest = []
    for chart in np.unique(charts[~face]):
        member = charts == chart
        met = np.isfinite(own[triangles[member]]).all(-1)
        corner, goal = corners[member][met], own[triangles[member]][met]
        affine, off = _affine(corner, goal)
        if affine is None or off > SAME_CHART:
            rest.append(member)
            continue
        places[member] = _apply(affine, corners[member])
        places[member] = np.where(met[..., None], own[triangles[member]], places[member])
    together = np.ones(len(triangles), bool)
    for member in rest:
        together &= ~member
    packed = np.empty_like(places)
    strip = STRIP if rest else 0.0
    packed[together] = _into(places[together], np.array([0, strip]), np.array([1, 1 - strip]))
    for k, member in enumerate(rest):
        packed[member] = _into(corners[member], np.array([k / len(rest), 0]), np.array([1 / len(rest), strip]))
    flat, index = np.unique(packed.reshape(-1, 2).astype(np.float32), axis=0, return_inverse=True)
    whole = Topology(triangles.astype(np.int32), flat, index.reshape(-1, 3).astype(np.int32))
    mean = np.asarray(head.model.mean)
    return _Layout(whole, face, corners, *_field(mean, triangles, face, np.asarray(head.model.landmark_ids)))


def _charts(uv_triangles: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Number [T] of the piece of the atlas that a triangle is in; the face is one by itself."""
    count = uv_triangles.max() + 1
    edges = uv_triangles[:, [0, 1, 1, 2]].reshape(-1, 2)
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count))
    label = connected_components(graph, directed=False)[1][uv_triangles[:, 0]]
    return np.where(face, -1, label)


def _affine(corner: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray | None, float]:
    """The map [3, 2] that takes corners [N, 2] closest to their goals, and how far the farthest is off."""
    if len(corner) < 8:
        return None, np.inf
    design = np.concatenate([corner, np.ones((len(corner), 1))], 1)
    found = np.linalg.lstsq(design, goal, rcond=None)[0]
    return found, float(np.abs(design @ found - goal).max())


def _apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ affine[:2] + affine[2]


def _into(points: np.ndarray, origin: np.ndarray, sides: np.ndarray, border: float = 0.01) -> np.ndarray:
    """Points [..., 2] moved and stretched into a rectangle, a border of it left free."""
    low, high = points.reshape(-1, 2).min(0), points.reshape(-1, 2).max(0)
    return origin + sides * (border + (1 - 2 * border) * (points - low) / (high - low))


def _field(
    mean: np.ndarray, triangles: np.ndarray, face: np.ndarray, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, sparse.csr_matrix]:
    """How much of the maps a vertex keeps [V], where hair may be [V], and the graph Laplacian [V, V] of the skin."""
    count = len(mean)
    inside = np.unique(triangles[face])
    rim = np.intersect1d(inside, triangles[~face])
    share = np.zeros(count)
    away = cKDTree(mean[rim]).query(mean[inside])[0] / FEATHER
    share[inside] = np.clip(away, 0, 1) ** 2 * (3 - 2 * np.clip(away, 0, 1))
    above = (mean[:, 1] - mean[landmarks[17:27], 1].max()) / FEATHER
    hairline = np.clip(above, 0, 1)
    hairline[inside] = np.maximum(hairline[inside], np.clip(2 - away, 0, 1))
    edges = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(count, count)).tocsr()
    graph = ((graph + graph.T) > 0).astype(float)
    return share, hairline, sparse.csr_matrix(sparse.diags(np.asarray(graph.sum(1)).ravel()) - graph)


@functools.lru_cache(maxsize=2)
def _texels(head: Head, size: int) -> tuple[uv.TexelMap, np.ndarray]:
    """Which point of the skin a texel shows, and the nearest texel [2, S, S] that shows one."""
    texels = uv.texel_map(_layout(head).skin, size)
    return texels, _nearest(np.asarray(texels.triangle) >= 0)


def _skin(head: Head, size: int, diffuse: np.ndarray, specular: np.ndarray, maps: Maps) -> dict[str, np.ndarray]:
    """The textures of the skin, of albedo [V, 3] and [V, 1] and of the face's maps."""
    layout, (texels, nearest) = _layout(head), _texels(head, size)
    triangle = np.asarray(texels.triangle)
    shown = triangle >= 0
    weights = np.asarray(texels.barycentric)[shown][..., None]
    vertices = np.asarray(texels.vertices)[shown]
    place = (weights * layout.places[triangle[shown]]).sum(1)
    of_face = layout.face[triangle[shown]]
    share = np.where(of_face, (weights[..., 0] * layout.share[vertices]).sum(1), 0)[:, None]
    hair = (weights[..., 0] * layout.hairline[vertices]).sum(1)
    inside = np.unique(np.asarray(layout.skin.triangles)[layout.face])
    at_vertices = np.zeros((len(diffuse), 2))
    at_vertices[np.asarray(layout.skin.triangles)[layout.face]] = layout.places[layout.face]

    def look(values: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.asarray(uv.sample(jnp.asarray(values), jnp.asarray(at, jnp.float32)))

    def around(values: np.ndarray, prior: np.ndarray) -> np.ndarray:
        known = np.log(np.maximum(look(values, at_vertices[inside]), DARKEST))
        known -= np.log(np.maximum(prior[inside], DARKEST))
        middle = np.median(known, axis=0)
        times = _smooth(layout, inside, np.clip(known, middle - REACH, middle + REACH))
        coloured = np.maximum(prior, DARKEST) * np.exp(times)
        return (weights * coloured[vertices]).sum(1)

    def whole(own: np.ndarray, field: np.ndarray, share: np.ndarray) -> np.ndarray:
        result = np.zeros((*triangle.shape, own.shape[-1]), np.float32)
        result[shown] = share * own + (1 - share) * field
        return result[tuple(nearest)]

    own, field = look(np.asarray(maps.diffuse), place), around(np.asarray(maps.diffuse), diffuse)
    off = np.abs(np.log(np.maximum(own, DARKEST)) - np.log(np.maximum(field, DARKEST))).mean(-1)
    foreign = np.zeros(triangle.shape)
    foreign[shown] = hair * np.clip((off - HAIR) / HAIR, 0, 1)
    share = share * (1 - np.clip(2 * gaussian_filter(foreign, BLUR * len(triangle)), 0, 1)[shown][:, None])
    normal = whole(look(np.asarray(maps.normal), place), np.array([0.0, 0.0, 1.0]), share)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    glossy = whole(look(np.asarray(maps.specular), place), around(np.asarray(maps.specular), specular), share)
    return _encoded(whole(own, field, share), glossy, normal)


def _encoded(diffuse: np.ndarray, specular: np.ndarray, normal: np.ndarray) -> dict[str, np.ndarray]:
    maps = {'diffuse': _srgb(diffuse), 'specular': np.repeat(_srgb(specular), 3, -1), 'normal': 0.5 + 0.5 * normal}
    return {name: eight_bits(values) for name, values in maps.items()}


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Values in 0..1 as uint8."""
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _srgb(values: np.ndarray) -> np.ndarray:
    return np.asarray(colour.linear_to_srgb(jnp.clip(jnp.asarray(values, jnp.float32), 0, 1)))


def _smooth(layout: _Layout, inside: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The field [V, C] that is smooth over the skin and close to what is known [N, C] at the vertices ``inside``."""
    count = layout.pull.shape[0]
    hold = np.zeros(count)
    hold[inside] = KEPT
    loose = np.asarray(layout.pull.diagonal() == 0)  # no skin
    system = layout.pull + sparse.diags(hold + loose)
    goal = np.zeros((count, known.shape[1]))
    goal[inside] = KEPT * known
    return spsolve(sparse.csc_matrix(system), goal).reshape(count, -1)


def _nearest(shown: np.ndarray) -> np.ndarray:
    """The nearest texel [2, S, S] of a chart, whose colour goes on around it: no border is seen from afar."""
    return distance_transform_edt(~shown, return_distances=False, return_indices=True)


def _tint(model: MorphableModel, chi: FaceParameters, whole: MorphableModel) -> np.ndarray:
    """Factor [V, 3] of what a photograph makes of everybody's eyes, teeth and mouth; 1 elsewhere."""
    result = np.ones((len(whole.mean), 3))
    behind = None if chi.maps is None else chi.maps.behind
    if behind is not None:
        everybody = np.asarray(linear.albedo(model, jnp.asarray(chi.albedo))[0])[-len(behind) :]
        place = cKDTree(np.asarray(whole.mean)).query(np.asarray(model.mean)[-len(behind) :])[1]
        result[place] = np.clip(np.asarray(behind), DARKEST, 1) / np.maximum(everybody, DARKEST)
    return np.clip(result, 1 / TINT, TINT)


def _eye(mean: np.ndarray, ball: np.ndarray) -> tuple[np.ndarray, float]:
    """Texture coordinates [V, 2] of an eyeball, angles off straight ahead as distances from the middle; its radius."""
    low, high = mean[ball].min(0), mean[ball].max(0)
    towards = mean - (low + high) / 2
    angle = np.arctan2(np.hypot(towards[:, 0], towards[:, 1]), towards[:, 2])
    around = np.arctan2(towards[:, 1], towards[:, 0])
    places = 0.5 + 0.5 * (angle / np.pi)[:, None] * np.stack([np.cos(around), np.sin(around)], -1)
    return places.astype(np.float32), float((high - low)[:2].mean() / 2)


def _iris(radius: float, tint: np.ndarray, ball: np.ndarray) -> np.ndarray:
    """The texture [EYE, EYE, 3] of an eye: pupil, iris with a dark rim, and white.

    Args:
      radius: of the eyeball, mm.
      tint: [K, 3] factors of its vertices.
      ball: [K, 3] mm, its vertices.
    """
    off_axis = np.hypot(*(ball - (ball.min(0) + ball.max(0)) / 2)[:, :2].T)
    front = ball[:, 2] > (ball[:, 2].min() + ball[:, 2].max()) / 2
    mean = lambda where: np.exp(np.log(tint[where & front]).mean(0)) if (where & front).any() else np.ones(3)
    of_iris, of_white = mean(off_axis < coat.IRIS_RADIUS), mean(off_axis >= coat.IRIS_RADIUS)
    at = uv.texel_centres(EYE) - 0.5
    angle, around = 2 * np.pi * np.hypot(at[..., 0], at[..., 1]), np.arctan2(at[..., 1], at[..., 0])
    away = np.where(angle < np.pi / 2, radius * np.sin(np.minimum(angle, np.pi / 2)), np.inf)
    beyond = lambda edge, width: np.clip((away - edge) / width + 0.5, 0, 1)[..., None]
    fibres = 1 + 0.2 * np.sin(41 * around + 2 * np.sin(13 * around))[..., None]
    iris = np.array(coat.IRIS) * of_iris * fibres * (1 - 0.6 * beyond(coat.IRIS_RADIUS - 0.6, 1.0))
    albedo = coat.PUPIL + beyond(coat.PUPIL_RADIUS, 0.3) * (iris - coat.PUPIL)
    white = np.array(coat.PLAIN[coat.EYE][0]) * of_white
    albedo = albedo + beyond(coat.IRIS_RADIUS, 0.5) * (white - albedo)
    return eight_bits(_srgb(albedo))
