"""Posed heads under a sky: what the renderer's experiments look at."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jfrecon.geometry import rotations
from jfrecon.morphable import linear
from jfrecon.render import tree
from jfrecon.render.raytrace import Scene
from jfrecon.shading import environment
from jfrecon.types import MorphableModel, Pinhole

FOCAL = 4.5  # image widths
FILL = 0.75  # share of the image's width that the face takes
ROUGHNESS = 0.4


def face(model: MorphableModel, seed: int, size: int, light: jax.Array | None = None) -> Scene:
    """A random person with a random expression, turned by up to 40 degrees, under `sky` or another light [1, ...]."""
    random = np.random.default_rng(seed)
    identity = random.normal(size=model.identity_basis.shape[0])
    active = random.random(model.expression_basis.shape[0]) < 0.15
    expression = active * random.random(active.shape)
    if model.expression_prior == 'gaussian':
        expression = random.normal(size=expression.shape)
    shape = linear.shape(model, jnp.float32(identity), jnp.float32(expression))
    diffuse, specular = linear.albedo(model, jnp.float32(random.normal(size=model.diffuse_basis.shape[0])))
    pitch, yaw, roll = np.radians(random.uniform([-15, -40, -10], [15, 40, 10]))
    width = float(np.ptp(np.asarray(model.mean)[:, 0]))
    centre = (shape.max(0) + shape.min(0)) / 2
    turned = rotations.rotate(rotations.euler(pitch, yaw, roll), shape - centre)
    vertices = turned + jnp.array([0.0, 0.0, -FOCAL * width / FILL])
    return Scene(
        vertices=vertices[None],
        topology=model.topology,
        leaves=tree.order(np.asarray(model.mean), np.asarray(model.topology.triangles)),
        diffuse=jnp.clip(diffuse, 0.02, 0.95)[None],
        specular=jnp.clip(specular, 0.02, 0.9)[None],
        light=sky(64) if light is None else light,
        camera=camera(size),
        roughness=ROUGHNESS,
    )


def camera(size: int) -> Pinhole:
    """A pinhole that looks along -z at a square picture."""
    return Pinhole(jnp.full(1, FOCAL * size), jnp.full((1, 2), size / 2))


def sky(height: int, azimuth: float = -52.0, sun: float = 1.0) -> jax.Array:
    """A low sun, sky above and a dim warm ground: [1, height, height, 3], all positive.

    azimuth: of the sun, degrees from straight behind the camera to its right; sun: its strength.
    """
    d = environment.directions(height, height)
    up = 0.5 + 0.5 * d[..., 1:2]
    aside, elevation = np.radians([azimuth, 27.0])
    towards = np.array([np.sin(aside) * np.cos(elevation), np.sin(elevation), np.cos(aside) * np.cos(elevation)])
    glow = sun * np.exp(60 * (d @ towards - 1))[..., None]
    return jnp.float32(up * [0.5, 0.65, 0.9] + (1 - up) * [0.35, 0.28, 0.22] + glow * [14.0, 12.0, 9.0])[None]
