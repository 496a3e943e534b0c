"""Wavefront OBJ and MTL, which everything else opens: a face, or a whole head, with the expression that it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def material(
    name: str,
    roughness: float,
    diffuse: str = '',
    specular: str = '',
    normal: str = '',
    colour: Sequence[float] = (1, 1, 1),
) -> str:
    """Text of one material of an .mtl file; Pr and Pm are of its extension for physically based shading.

    Args:
      name: as the .obj file has it.
      roughness: of the specular lobe.
      diffuse, specular, normal: names of maps beside the file, '' for none.
      colour: linear RGB, by which the diffuse map is multiplied.
    """
    maps = {'map_Kd': diffuse, 'map_Ks': specular, 'norm': normal}
    return '\n'.join([
        f'newmtl {name}', 'Kd {:.4g} {:.4g} {:.4g}'.format(*colour), 'Ks 1 1 1' if specular else 'Ks 0.04 0.04 0.04',
        'illum 2',
        f'Ns {1000 * (1 - roughness) ** 2:.4g}',  # Blender's reading of the exponent
        f'Pr {roughness:.4g}', 'Pm 0', *(f'{key} {file}' for key, file in maps.items() if file), '',
    ])  # fmt: skip
