"""A face as Wavefront OBJ and MTL, which everything else opens: its surface with the expression that it has."""

from __future__ import annotations

import numpy as np

from jfrecon.export.gltf import METRE
from jfrecon.types import Topology


def geometry(topology: Topology, vertices: np.ndarray, normals: np.ndarray, material: str) -> str:
    """Text of an .obj file, in metres; vertices keep their numbers.

    Args:
      topology: triangles and texture coordinates.
      vertices: [V, 3] mm.
      normals: [V, 3] unit, or zero where a vertex is in no triangle.
      material: name of the .mtl file beside it.
    """
    lines = [f'mtllib {material}', 'o face', 'usemtl skin']
    lines += ['v {:.6f} {:.6f} {:.6f}'.format(*point) for point in np.asarray(vertices) / METRE]
    lines += ['vt {:.6f} {:.6f}'.format(*place) for place in np.asarray(topology.uv)]
    lines += ['vn {:.5f} {:.5f} {:.5f}'.format(*normal) for normal in np.asarray(normals)]
    corners = np.stack([topology.triangles, topology.uv_triangles], -1) + 1
    lines += ['f ' + ' '.join(f'{v}/{t}/{v}' for v, t in triangle) for triangle in corners.tolist()]
    return '\n'.join(lines) + '\n'


def material(diffuse: str, specular: str, normal: str, roughness: float) -> str:
    """Text of an .mtl file with these maps beside it; Pr and Pm are of its extension for physically based shading."""
    return '\n'.join([
        'newmtl skin', 'Kd 1 1 1', 'Ks 1 1 1', 'illum 2',
        f'Ns {1000 * (1 - roughness) ** 2:.4g}',  # Blender's reading of the exponent
        f'Pr {roughness:.4g}', 'Pm 0',
        f'map_Kd {diffuse}', f'map_Ks {specular}', f'norm {normal}', '',
    ])  # fmt: skip
