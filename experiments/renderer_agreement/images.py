"""Pictures against Mitsuba, against the vertex renderer, and against themselves with more samples."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import trimesh
from tqdm import tqdm

from experiments import peers, scenes
from jfrecon.geometry import vectors
from jfrecon.render import raytrace, tree, vertex
from jfrecon.render.raytrace import Scene
from jfrecon.types import Topology


def relative_rmse(image: np.ndarray, reference: np.ndarray, where: np.ndarray | None = None) -> float:
    """Root mean square of the difference over that of the reference, over all pixels or those of a mask [H, W]."""
    where = np.ones(reference.shape[:-1], bool) if where is None else where
    return float(np.sqrt(np.mean(np.square((image - reference)[where])) / np.mean(np.square(reference[where]))))


def without_noise(image: np.ndarray, error: np.ndarray, reference: np.ndarray, where: np.ndarray) -> float:
    """`relative_rmse` less what the standard error of the image [H, W, 3] explains; 0 where that is all."""
    square = np.mean(np.square((image - reference)[where])) - np.mean(np.square(error[where]))
    return float(np.sqrt(max(square, 0.0) / np.mean(np.square(reference[where]))))


def mean_of(draw: Callable[[jax.Array], jax.Array], count: int, seed: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean of a compiled picture over independent keys, and its standard error."""
    drawn = [
        np.asarray(draw(key), np.float64)
        for key in tqdm(jax.random.split(jax.random.key(seed), count), desc=what, disable=None)
    ]
    return np.mean(drawn, 0), np.std(drawn, 0, ddof=1) / np.sqrt(count)


def mitsuba(scene: Scene, size: int, samples: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Converged images, antialiased (``final``) and through pixel centres (``centre``), ours and Mitsuba's."""
    mi = peers.mitsuba()
    peer = peers.mitsuba_scene(mi, scene, size)
    keys = jax.random.split(jax.random.key(0), 2)
    final = jax.jit(lambda key: raytrace.final(scene, (size, size), key, samples=samples).image[0])
    ours = np.asarray(final(keys[0]))
    centre = jax.jit(lambda key: raytrace.render(scene, (size, size), key, samples=64).image[0])
    through_centres, _ = mean_of(centre, max(2, samples // 64), 1, 'pixel centres')
    theirs = peers.antialiased(mi, peer, 64, 16, max(1, samples // 256))
    focal = float(scene.camera.focal[0])
    their_centres = peers.centred(mi, peer, size, focal, 64, max(1, samples // 64))
    return (
        {'final': relative_rmse(ours, theirs), 'centre': relative_rmse(through_centres, their_centres)},
        {'ours': ours, 'Mitsuba': theirs, 'difference x 10': 10 * np.abs(ours - theirs)},
    )


def ball(size: int, specular: float, light: jax.Array, roughness: float = scenes.ROUGHNESS) -> Scene:
    """A ball of grey albedo 0.5: convex, so nothing is shadowed."""
    made = trimesh.creation.icosphere(5, 60.0)
    vertices, triangles = np.float32(made.vertices), np.int32(made.faces)
    placed = vertices + np.float32([0, 0, -scenes.FOCAL * 160])
    ones = jnp.ones((1, len(vertices), 1))
    return Scene(
        vertices=jnp.asarray(placed)[None],
        topology=Topology(triangles, vertices[:, :2] / 200 + 0.5, triangles),
        leaves=tree.order(vertices, triangles),
        diffuse=0.5 * ones * jnp.ones(3),
        specular=specular * ones,
        light=light,
        camera=scenes.camera(size),
        roughness=roughness,
    )


def against_vertex_renderer(
    scene: Scene, size: int, samples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The ray tracer's picture and its standard error, the vertex renderer's at the same points, [H, W, 3], and the
    cosine of the view.

    The light has to be spherical harmonics. Pixels without surface have a cosine of 0.
    """
    draw = jax.jit(lambda key: raytrace.render(scene, (size, size), key, samples=64, shadows=False))
    traced, error = mean_of(lambda key: draw(key).image[0], max(2, samples // 64), 2, f'roughness {scene.roughness}')
    seen = draw(jax.random.key(0))
    cosine = np.asarray(seen.coverage[0] * seen.normal[0, ..., 2])
    # far enough away that the view is nearly the same everywhere: exactly the ray through the pixel all the same
    at = (jnp.arange(size) + 0.5 - size / 2) / scene.camera.focal[0]
    y, x = jnp.meshgrid(-at, at, indexing='ij')
    view = vectors.normalise(-jnp.stack([x, y, -jnp.ones_like(x)], -1).reshape(1, -1, 3))
    normal, body, gloss = (layer.reshape(1, size * size, -1) for layer in (seen.normal, seen.diffuse, seen.specular))
    shaded = vertex.shade(normal, view, body, gloss, scene.light, scene.roughness).reshape(size, size, 3)
    facing = np.asarray(jnp.sum(normal * view, -1).reshape(size, size)) * (cosine > 0)
    return traced, error, np.asarray(shaded), facing


def bias(scene: Scene, size: int, few: int, keys: int) -> float:
    """Largest |z| over lit 8 x 8 pixel blocks: the mean of many pictures of ``few`` samples against 256-sample ones."""

    def blocks(samples):
        def draw(key):
            image = raytrace.render(scene, (size, size), key, samples=samples).image[0]
            return image.reshape(size // 8, 8, size // 8, 8, 3).mean((1, 3))

        return jax.jit(draw)

    low, low_error = mean_of(blocks(few), keys, 3, f'{few} samples')
    high, high_error = mean_of(blocks(256), max(8, keys // 8), 4, '256 samples')
    error = np.sqrt(low_error**2 + high_error**2)
    lit = (high > 1e-3) & (error > 0)
    return float(np.abs((low - high)[lit] / error[lit]).max())


def convergence(scene: Scene, size: int, counts: tuple[int, ...], repeats: int) -> dict[str, float]:
    """Relative noise of final frames, by samples: standard deviation over keys against the mean picture."""
    noise = {}
    for count in counts:
        draw = jax.jit(lambda key, count=count: raytrace.final(scene, (size, size), key, samples=count).image[0])
        mean, error = mean_of(draw, repeats, 5, f'{count} samples')
        spread = error * np.sqrt(repeats)
        noise[str(count)] = float(np.sqrt(np.mean(np.square(spread)) / np.mean(np.square(mean))))
    return noise
