"""Hits and shadows against Embree."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from experiments import peers
from jfrecon.geometry import mesh, vectors
from jfrecon.render import raytrace, sampling, trace, tree
from jfrecon.render.raytrace import Scene

SHADOWS = 4  # rays towards the light from each point that is seen
TIE = 1e-5  # of the distance: two triangles there share an edge or a corner


def compare(scene: Scene, size: int, key: jax.Array) -> dict[str, int]:
    """Rays through all pixels (first triangle hit), and from what they hit towards the light (anything in the way).

    Returns ``rays``, ``ties``, ``hit_mismatches`` and ``occlusion_mismatches``. A tie is another triangle at the same
    depth; a ray that only one of the two finds to hit anything is a mismatch.
    """
    triangles = np.asarray(scene.topology.triangles)
    peer = peers.embree(np.asarray(scene.vertices[0]), triangles)
    bvh = tree.refit(scene.leaves, triangles, scene.vertices)

    towards = through_pixels(scene, size)
    origin = jnp.zeros_like(towards)
    ours = jax.jit(trace.closest)(bvh, origin, towards, jnp.ones(towards.shape[:2], bool))
    theirs = peer.run(np.asarray(origin[0]), np.asarray(towards[0]), output=1)
    found, distance = np.asarray(ours.triangle[0]), np.asarray(ours.distance[0])
    named = theirs['primID']
    with np.errstate(invalid='ignore'):
        level = np.abs(distance - theirs['tfar']) <= TIE * distance
    tie = (found != named) & (found >= 0) & (named >= 0) & level
    wrong = (found != named) & ~tie

    start, direction, above, leaving = to_the_light(scene, towards, ours, key, SHADOWS)
    blocked = jax.jit(trace.occluded)(bvh, start[None], direction[None], above[None], leaving=leaving[None])
    start, direction, above = np.asarray(start), np.asarray(direction), np.asarray(above)
    also = peer.run(start[above], direction[above], query='OCCLUDED') >= 0
    return {
        'rays': len(found) + int(above.sum()),
        'ties': int(tie.sum()),
        'hit_mismatches': int(wrong.sum()),
        'occlusion_mismatches': int((np.asarray(blocked[0])[above] != also).sum()),
    }


def through_pixels(scene: Scene, size: int) -> jax.Array:
    """Unit directions [1, N, 3] from a pinhole through the centres of all pixels of a square picture."""
    at = (jnp.arange(size) + 0.5 - size / 2) / scene.camera.focal[0]
    y, x = jnp.meshgrid(-at, at, indexing='ij')
    return vectors.normalise(jnp.stack([x, y, -jnp.ones_like(x)], -1).reshape(1, -1, 3))


def to_the_light(
    scene: Scene, towards: jax.Array, seen: trace.Hits, key: jax.Array, samples: int
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Rays from what is seen to the light: starts and directions [R, 3], which are above the horizon, triangles [R].

    They leave as the ray tracer's do: a little above what is seen, towards drawn directions above it.
    """
    found, distance = np.asarray(seen.triangle[0]), np.asarray(seen.distance[0])
    hit = found >= 0
    lights = sampling.table(scene.light, key[None])
    face = vectors.normalise(mesh.triangle_normals(scene.vertices, np.asarray(scene.topology.triangles)))[0][found[hit]]
    lift = raytrace.LIFT * float(np.ptp(np.asarray(scene.vertices[0]), axis=0).max())
    facing = -jnp.sign(jnp.sum(face * towards[0][hit], -1, keepdims=True))
    start = towards[0][hit] * distance[hit][:, None] + lift * facing * face
    start, face, facing, leaving = (jnp.repeat(x, samples, 0) for x in (start, face, facing, found[hit]))
    direction = lights.direction[0][jax.random.randint(key, (len(start),), 0, sampling.TABLE)]
    return start, direction, jnp.sum(facing * face * direction, -1) > raytrace.HORIZON, leaving
