"""Wavefront OBJ and MTL, which everything else opens: a face, or a whole head, with the expression that it has."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jfrecon.export.gltf import METRE
from jfrecon.types import Topology


def geometry(parts: Mapping[str, Topology], vertices: np.ndarray, normals: np.ndarray, material: str) -> str:
    """Text of an .obj file, in metres; vertices keep their numbers.

    Args:
      parts: object and material -> its triangles and texture coordinates.
      vertices: [V, 3] mm.
      normals: [V, 3] unit, or zero where a vertex is in no triangle.
      material: name of the .mtl file beside it.
    """
    lines = [f'mtllib {material}']
    lines += ['v {:.6f} {:.6f} {:.6f}'.format(*point) for point in np.asarray(vertices) / METRE]
    lines += ['vn {:.5f} {:.5f} {:.5f}'.format(*normal) for normal in np.asarray(normals)]
    before = 1
    for name, topology in parts.items():
        lines += ['vt {:.6f} {:.6f}'.format(*place) for place in np.asarray(topology.uv)]
        lines += [f'o {name}', f'usemtl {name}']
        corners = np.stack([np.asarray(topology.triangles) + 1, np.asarray(topology.uv_triangles) + before], -1)
        lines += ['f ' + ' '.join(f'{v}/{t}/{v}' for v, t in triangle) for triangle in corners.tolist()]
        before += len(topology.uv)
    return '\n'.join(lines) + '\n'


def material(name: str, roughness: float, maps: Mapping[str, str], colour: np.ndarray | None = None) -> str:
    """Text of one material of an .mtl file; Pr and Pm are of its extension for physically based shading.

    Args:
      name: as the .obj file has it.
      roughness: of the specular lobe.
      maps: ``diffuse``, ``specular``, ``normal`` -> names of files beside it, of those that there are.
      colour: linear RGB, by which the diffuse map is multiplied; white where None.
    """
    red, green, blue = (1.0, 1.0, 1.0) if colour is None else colour
    keys = {'diffuse': 'map_Kd', 'specular': 'map_Ks', 'normal': 'norm'}
    return '\n'.join([
        f'newmtl {name}', f'Kd {red:.4g} {green:.4g} {blue:.4g}',
        'Ks 1 1 1' if 'specular' in maps else 'Ks 0.04 0.04 0.04', 'illum 2',
        f'Ns {1000 * (1 - roughness) ** 2:.4g}',  # Blender's reading of the exponent
        f'Pr {roughness:.4g}', 'Pm 0', *(f'{keys[map]} {file}' for map, file in maps.items()), '',
    ])  # fmt: skip
