"""Spheres for the ray tracer to look at."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import trimesh

from jfrecon.render import raytrace, tree
from jfrecon.types import Pinhole, Topology

SIZE = 32
CAMERA = Pinhole(jnp.full(1, 4.0 * SIZE), jnp.full((1, 2), SIZE / 2))
SOFT = jnp.asarray(np.random.default_rng(0).normal(size=(1, 9, 3)) * 0.25).at[:, 0].set(3.0)


def scene(*spheres, level=3):
    """Matte spheres (x, y, z, radius) 600 mm in front of the camera, under soft light."""
    meshes = [trimesh.creation.icosphere(level, radius) for *_, radius in spheres]
    for made, (x, y, z, _) in zip(meshes, spheres):
        made.apply_translation([x, y, z - 600])
    joined = trimesh.util.concatenate(meshes)
    vertices, triangles = np.float32(joined.vertices), np.int32(joined.faces)
    uv = np.float32(vertices[:, :2] / 200 + 0.5)
    ones = jnp.ones((1, len(vertices), 1))
    return raytrace.Scene(
        vertices=jnp.asarray(vertices)[None],
        topology=Topology(triangles, uv, triangles),
        leaves=tree.order(vertices, triangles),
        diffuse=jnp.array([0.7, 0.5, 0.4]) * ones,
        specular=0 * ones,
        light=SOFT,
        camera=CAMERA,
        roughness=0.4,
    )


def balls(x, level=3):
    """A ball, and a smaller one between it and a sun at the right; at x = 5000 that one is out of the way."""
    return scene((0, 0, 0, 50), (x, 0, 45, 30), level=level)


def glossy(scene, weight):
    return scene.replace(specular=jnp.full_like(scene.specular, weight))
