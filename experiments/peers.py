"""The renderers that ours is compared with: Embree for rays, Mitsuba 3 for pictures and gradients."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import numpy as np

from jfrecon.errors import UserError
from jfrecon.geometry import mesh
from jfrecon.render.raytrace import Scene

FINER = 16  # Mitsuba interpolates between texels, ours are constant: it gets each of them so many times
LLVM = 'libLLVM.so.1[6-9]*'  # 15 crashes


def embree(vertices: np.ndarray, triangles: np.ndarray):
    """Embree's scene of a mesh [V, 3], [T, 3], in robust mode."""
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    scene = EmbreeScene(robust=True)
    TriangleMesh(scene, np.float32(vertices), np.int32(triangles))
    return scene


def mitsuba(variant: str = 'llvm_ad_rgb') -> ModuleType:
    """Mitsuba 3, by default compiled and differentiable.

    Raises:
      UserError: it is not installed, or the LLVM library that it compiles with is missing.
    """
    if variant.startswith('llvm') and 'DRJIT_LIBLLVM_PATH' not in os.environ:
        found = sorted(path for folder in ('/usr/lib', '/usr/local/lib') for path in Path(folder).rglob(LLVM))
        if not found:
            raise UserError('Mitsuba needs LLVM 16 to 19 (Debian: apt-get install libllvm19), or DRJIT_LIBLLVM_PATH')
        os.environ['DRJIT_LIBLLVM_PATH'] = str(found[-1])
    try:
        import mitsuba as mi
    except ImportError:
        raise UserError('Mitsuba is not installed: pip install mitsuba') from None
    mi.set_variant(variant)
    return mi


def mitsuba_scene(mi: ModuleType, scene: Scene, size: int, normals: bool = True):
    """The same mesh, normals, light, camera and BRDF; albedo per vertex, no normal map.

    The BRDF is a `blendbsdf` of weight s over `diffuse` and a `roughconductor` without material. With ``normals`` the
    shading normals are ours; without, they follow the vertices as Mitsuba makes them.
    """
    vertices, triangles = np.float32(scene.vertices[0]), np.uint32(scene.topology.triangles)
    bsdf = {
        'type': 'blendbsdf',
        'weight': {'type': 'mesh_attribute', 'name': 'vertex_specular'},
        'body': {'type': 'diffuse', 'reflectance': {'type': 'mesh_attribute', 'name': 'vertex_diffuse'}},
        'gloss': {
            'type': 'roughconductor',
            'material': 'none',
            'distribution': 'ggx',
            'alpha': float(scene.roughness) ** 2,
        },
    }
    properties = mi.Properties()
    properties['bsdf'] = mi.load_dict(bsdf)
    face = mi.Mesh('face', len(vertices), len(triangles), has_vertex_normals=True, props=properties)
    face.add_attribute('vertex_diffuse', 3, np.float32(scene.diffuse[0]).ravel())
    face.add_attribute('vertex_specular', 1, np.float32(scene.specular[0]).ravel())
    parameters = mi.traverse(face)
    parameters['vertex_positions'], parameters['faces'] = vertices.ravel(), triangles.ravel()
    parameters.update()
    if normals:
        ours = mesh.vertex_normals(scene.vertices, scene.topology.triangles)[0]
        parameters['vertex_normals'] = np.float32(ours).ravel()
        parameters.update()
    return mi.load_dict(
        {
            'type': 'scene',
            'face': face,
            'light': environment(mi, np.asarray(scene.light[0])),
            'sensor': sensor(mi, size, float(scene.camera.focal[0])),
        }
    )


def environment(mi: ModuleType, light: np.ndarray) -> dict:
    """Mitsuba's light of a map [h, w, 3] whose texels are constant."""
    return {'type': 'envmap', 'bitmap': mi.Bitmap(light_map(light))}


def sensor(mi: ModuleType, size: int, focal: float) -> dict:
    """A pinhole that looks along -z at a square picture, focal length in pixels, through a box filter."""
    return {
        'type': 'perspective',
        'fov': float(np.degrees(2 * np.arctan(size / 2 / focal))),
        'near_clip': 1.0,
        'far_clip': 1e5,
        'to_world': mi.ScalarTransform4f().look_at([0, 0, 0], [0, 0, -1], [0, 1, 0]),
        'film': {
            'type': 'hdrfilm',
            'width': size,
            'height': size,
            'rfilter': {'type': 'box'},
            'pixel_format': 'rgb',
            'component_format': 'float32',
        },
    }


def differentiated(parameters, values: dict) -> dict:
    """Puts copies of values into a scene's parameters and returns them: the variables that gather the gradients.

    The parameters themselves do not always: an environment map is copied once more when it is updated.
    """
    import drjit as dr

    inputs = {key: type(value)(dr.detach(value)) for key, value in values.items()}
    for key, value in inputs.items():
        dr.enable_grad(value)
        parameters[key] = value
    parameters.update()
    return inputs


def light_map(light: np.ndarray) -> np.ndarray:
    """A map [h, w, 3] whose texels are constant, as Mitsuba's points [FINER h, FINER w, 3], between which it blends.

    Its points are at u = i / w across, which wraps, and at v = j / (h - 1) down.
    """
    row, column = _finer(*light.shape[:2])
    return np.float32(light[row][:, column])


def texels_of(fine: np.ndarray, height: int, width: int) -> np.ndarray:
    """The sums [h, w, 3] over the points of each texel: `light_map` transposed, which takes gradients back."""
    row, column = _finer(height, width)
    total = np.zeros((height, width, 3))
    np.add.at(total, (row[:, None], column[None, :]), fine)
    return total


def _finer(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    row = np.minimum(np.linspace(0, 1, FINER * height) * height, height - 1).astype(int)
    return row, np.arange(FINER * width) // FINER


def integrator(mi: ModuleType, samples: int):
    """Direct light by ``samples`` directions drawn from the light for each camera ray."""
    return mi.load_dict({'type': 'direct', 'emitter_samples': samples, 'bsdf_samples': 0, 'hide_emitters': True})


def antialiased(mi: ModuleType, scene, rays: int, samples: int, passes: int, seed: int = 0) -> np.ndarray:
    """Mitsuba's picture [H, W, 3] through a box filter: ``rays`` a pixel, ``samples`` for each, ``passes`` times."""
    total = 0.0
    for k in range(passes):
        picture = mi.render(scene, integrator=integrator(mi, samples), spp=rays, seed=seed + k)
        total = total + np.asarray(picture, np.float64)
    return total / passes


def centred(mi: ModuleType, scene, size: int, focal: float, samples: int, passes: int) -> np.ndarray:
    """Mitsuba's picture [H, W, 3] through the pixel centres, as training sees it."""
    at = np.arange(size) + 0.5 - size / 2
    x, y = np.meshgrid(at / focal, -at / focal)
    towards = np.stack([x, y, -np.ones_like(x)], -1).reshape(-1, 3)
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    total = np.zeros((size * size, 3))
    gather = integrator(mi, samples)
    for k in range(passes):
        sampler = mi.load_dict({'type': 'independent'})
        sampler.seed(k, size * size)
        ray = mi.RayDifferential3f(mi.Point3f(0, 0, 0), mi.Vector3f(np.float32(towards.T)))
        radiance, hit, _ = gather.sample(scene, sampler, ray)
        total += np.asarray(radiance, np.float64).T * np.asarray(hit)[:, None]
    return (total / passes).reshape(size, size, 3)
