"""The part of Wavefront OBJ that face models use: vertices, texture coordinates, polygons, groups."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jfrecon import files
from jfrecon.errors import UserError


class Obj(NamedTuple):
    """An OBJ file.

    Attributes:
      vertices: [V, 3] float64, the file's units.
      uv: [U, 2].
      polygons: [P, 4] int32 vertex ids, -1 in the last column of a triangle.
      uv_polygons: [P, 4] int32 ids into ``uv``, the same way; empty when the file has none.
      groups: [P] name of the group of each polygon.
    """

    vertices: np.ndarray
    uv: np.ndarray
    polygons: np.ndarray
    uv_polygons: np.ndarray
    groups: np.ndarray


def _numbers(lines: list[str], width: int) -> np.ndarray:
    return np.array([line.split()[1 : 1 + width] for line in lines], np.float64).reshape(-1, width)


def read_vertices(path: Path) -> np.ndarray:
    """Only the vertices [V, 3] of an OBJ file: what a blendshape file is read for."""
    try:
        lines = [line for line in path.read_text(encoding='utf-8').splitlines() if line.startswith('v ')]
        return _numbers(lines, 3)
    except (OSError, ValueError) as error:
        raise UserError(f'{path}: not a readable OBJ file ({error})') from error


def read(path: Path) -> Obj:
    """All that `Obj` holds.

    Raises:
      UserError: the file is missing, malformed, has polygons of more than four corners, or ids out of range.
    """
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
        vertices = _numbers([line for line in lines if line.startswith('v ')], 3)
        uv = _numbers([line for line in lines if line.startswith('vt ')], 2)
        polygons, uv_polygons, groups, group = [], [], [], ''
        for line in lines:
            if line.startswith('g '):
                group = line[2:].strip()
            elif line.startswith('f '):
                corners = [corner.split('/') for corner in line.split()[1:]]
                if len(corners) not in (3, 4):
                    raise ValueError(f'a polygon of {len(corners)} corners')
                pad = [0] * (4 - len(corners))
                polygons.append([int(c[0]) for c in corners] + pad)
                uv_polygons.append([int(c[1]) if len(c) > 1 and c[1] else 0 for c in corners] + pad)
                groups.append(group)
        quads = np.array(polygons, np.int64).reshape(-1, 4) - 1
        uv_quads = np.array(uv_polygons, np.int64).reshape(-1, 4) - 1
    except (OSError, ValueError, OverflowError) as error:  # numbers of twenty digits
        raise UserError(f'{path}: not a readable OBJ file ({error})') from error
    if not len(vertices) or not len(quads):
        raise UserError(f'{path}: no vertices or no polygons in this OBJ file')
    if quads[:, :3].min() < 0 or quads.max() >= len(vertices) or uv_quads.max() >= len(uv):
        raise UserError(f'{path}: polygons name vertices that the file does not have')
    return Obj(vertices, uv, quads.astype(np.int32), uv_quads.astype(np.int32), np.array(groups))


def write(path: str | Path, vertices: np.ndarray, triangles: np.ndarray) -> None:
    """Vertices [V, 3] and triangles [T, 3] in their order, nothing merged; coordinates as exact as float32."""
    lines = [f'v {x:.9g} {y:.9g} {z:.9g}' for x, y, z in np.asarray(vertices).tolist()]
    lines += [f'f {a} {b} {c}' for a, b, c in (np.asarray(triangles) + 1).tolist()]
    files.write_text(path, '\n'.join(lines) + '\n')


def triangulate(polygons: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles [T, 3] of polygons [P, 4] and the polygon [T] that each came from.

    A quadrilateral is cut along its shorter diagonal, so that a symmetric mesh gets symmetric triangles.
    """
    whole = np.arange(len(polygons))
    quad = whole[polygons[:, 3] >= 0]
    corner = vertices[polygons[quad]]
    across = (
        np.linalg.norm(corner[:, 0] - corner[:, 2], axis=1),
        np.linalg.norm(corner[:, 1] - corner[:, 3], axis=1),
    )
    # One column order per diagonal: (0, 2) or (1, 3); the winding stays. The margin keeps ties on one side.
    turn = (across[1] < across[0] * (1 - 1e-6)).astype(int)
    turned = np.where(turn[:, None] == 1, polygons[quad][:, [1, 2, 3, 0]], polygons[quad])
    first = polygons[:, :3].copy()
    first[quad] = turned[:, [0, 1, 2]]
    triangles = np.concatenate([first, turned[:, [0, 2, 3]]])
    source = np.concatenate([whole, quad])
    order = np.argsort(source, kind='stable')
    return triangles[order].astype(np.int32), source[order]
