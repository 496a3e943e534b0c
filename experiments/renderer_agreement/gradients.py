"""Gradients against float64 finite differences, against Mitsuba's, and against a world in which silhouettes move."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments import peers
from experiments.renderer_agreement.images import mean_of
from jfrecon.geometry import cameras, mesh, vectors
from jfrecon.render import raster, raytrace, sampling
from jfrecon.render.raytrace import Scene
from jfrecon.shading import environment, sh

STEP = 1e-6  # in float64; no ray passes that close to an edge
MAP = 32  # texels of the UV maps
BANDS = 5  # of the light whose coefficients are differentiated


def finite_differences(scene: Scene, size: int, samples: int, directions: int) -> dict[str, float]:
    """Largest relative error by input over random directions, at fixed visibility, draws and grazing pixels.

    The loss is a sum over the picture with random weights, 0 on the pixels that graze.
    """
    with jax.enable_x64(True):
        random = np.random.default_rng(0)
        bumps = np.concatenate([random.normal(0, 0.1, (1, MAP, MAP, 2)), np.ones((1, MAP, MAP, 1))], -1)
        inputs = {
            'vertices': scene.vertices,
            'diffuse': random.uniform(0.2, 0.8, (1, MAP, MAP, 3)),
            'specular': random.uniform(0.1, 0.4, (1, MAP, MAP, 1)),
            'normal_map': bumps / np.linalg.norm(bumps, axis=-1, keepdims=True),
            'light': sh.project(scene.light, BANDS),
            'camera': scene.camera,
        }
        inputs = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), inputs)
        weight = random.normal(size=(1, size, size, 3)) * ~np.asarray(grazing(scene, size))[..., None]
        # The light changes, but not where it is looked for.
        guide = environment.from_sh(inputs['light'], raytrace.ENVIRONMENT, raytrace.ENVIRONMENT)
        guided = functools.partial(sampling.by_radiance, guide=guide)

        def loss(inputs):
            picture = raytrace.render(
                scene.replace(**inputs), (size, size), jax.random.key(0), samples=samples, sampler=guided
            )
            return (weight * picture.image).sum()

        value, gradients = jax.jit(loss), jax.jit(jax.grad(loss))(inputs)
        errors = {}
        for name in inputs:
            worst = 0.0
            for _ in range(directions):
                along = jax.tree.map(lambda x: jnp.asarray(random.normal(size=x.shape)), inputs[name])
                ends = [
                    float(value(inputs | {name: jax.tree.map(lambda x, d, h=h: x + h * d, inputs[name], along)}))
                    for h in (STEP, -STEP)
                ]
                numeric = (ends[0] - ends[1]) / (2 * STEP)
                pairs = zip(jax.tree.leaves(gradients[name]), jax.tree.leaves(along))
                exact = sum(float(jnp.vdot(gradient, step)) for gradient, step in pairs)
                worst = max(worst, abs(exact - numeric) / abs(numeric))
            errors[name] = worst
        return errors


def grazing(scene: Scene, size: int) -> jax.Array:
    """[1, H, W] bool: pixels whose triangle is seen at a slant, where geometry gets no gradient."""
    triangles = jnp.asarray(scene.topology.triangles)
    pixels, depth = cameras.project(scene.camera, scene.vertices)
    fragments = raster.rasterise_batch(pixels, depth, triangles, (size, size), cull=True)
    covered, shown = fragments.triangle[0] >= 0, jnp.maximum(fragments.triangle[0], 0)
    face = vectors.normalise(mesh.triangle_normals(scene.vertices, triangles))[0][shown]
    corners = scene.vertices[0][triangles[shown]]
    point = (fragments.barycentric[0][..., None] * corners).sum(-2)
    point = jnp.where(covered[..., None], point, -1.0)
    slant = jnp.sum(face * cameras.towards(scene.camera, point), -1)
    return (covered & (slant < raytrace.GRAZING))[None]


def grazing_share(scene: Scene, size: int) -> float:
    """Share of the covered pixels that graze."""
    covered = np.asarray(raytrace.render(scene, (size, size), jax.random.key(0), samples=1, shadows=False).coverage)
    return float(np.asarray(grazing(scene, size)).sum() / covered.sum())


def against_mitsuba(scene: Scene, size: int, samples: int) -> dict[str, float]:
    """Relative distance |ours - Mitsuba's| / |Mitsuba's| of the gradients of a smoothly weighed picture.

    In the albedo: along 80 random smooth fields over the vertices. In the light: along the harmonics of BANDS bands.
    """
    mi = peers.mitsuba()
    import drjit as dr

    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    weight = np.float32(np.stack([1 + 0.5 * x, 1 - 0.5 * y, 1 + x * y], -1) / size**2)
    random = np.random.default_rng(0)
    place = np.asarray(scene.vertices[0]) / 40.0
    fields = np.float32(np.sin(place @ random.normal(size=(3, 80)) + random.uniform(0, 2 * np.pi, 80)))  # [V, 80]
    height, width = scene.light.shape[1:3]
    harmonics = np.asarray(environment.from_sh(jnp.eye(BANDS**2)[..., None], height, width))[..., 0]  # [K, h, w]

    def loss(diffuse, light, key):
        picture = raytrace.render(scene.replace(diffuse=diffuse, light=light), (size, size), key, samples=64)
        return (weight * picture.image[0]).sum()

    slopes = jax.jit(jax.grad(loss, (0, 1)))

    def ours(key):
        albedo, light = slopes(scene.diffuse, scene.light, key)
        along = fields.T @ np.asarray(albedo[0]), np.einsum('khw,hwc->kc', harmonics, np.asarray(light[0]))
        return np.concatenate([x.ravel() for x in along])

    passes = max(2, samples // 64)
    mine, _ = mean_of(ours, passes, 6, 'gradients')

    peer = peers.mitsuba_scene(mi, scene, size)
    parameters = mi.traverse(peer)
    albedo_key = next(key for key in parameters.keys() if key.endswith('vertex_diffuse'))
    light_key = next(key for key in parameters.keys() if key.endswith('light.data'))
    total = [0.0, 0.0]
    for k in range(passes):
        inputs = peers.differentiated(parameters, {key: parameters[key] for key in (albedo_key, light_key)})
        image = mi.render(peer, parameters, integrator=peers.integrator(mi, 1), spp=64, seed=2 * k, seed_grad=2 * k + 1)
        dr.backward(dr.sum(image * mi.TensorXf(weight), axis=None))
        total[0] = total[0] + np.asarray(dr.grad(inputs[albedo_key]), np.float64).reshape(-1, 3)
        total[1] = total[1] + np.asarray(dr.grad(inputs[light_key]), np.float64)
    fine = total[1].reshape(peers.FINER * height, -1, 3)[:, : peers.FINER * width]
    texels = peers.texels_of(fine, height, width)
    theirs = [fields.T @ total[0], np.einsum('khw,hwc->kc', harmonics, texels)]
    theirs = np.concatenate([x.ravel() for x in theirs]) / passes
    parts = {'diffuse': np.s_[: 80 * 3], 'light': np.s_[80 * 3 :]}
    return {
        name: float(np.linalg.norm(mine[part] - theirs[part]) / np.linalg.norm(theirs[part]))
        for name, part in parts.items()
    }


def moving_silhouettes(scene: Scene, size: int, samples: int, step: float = 0.5) -> dict[str, dict[str, float]]:
    """The gradient beside the true slope, in which silhouettes and shadow edges move, for shifts of the face.

    The loss is the mean square difference to the picture of the face 3 mm further right, up and forward, antialiased;
    the true slope a central difference over ``step`` mm at the same draws.
    """
    keys = jax.random.split(jax.random.key(7), 2)
    towards = jnp.array([3.0, 3.0, 3.0])

    def draw(shift, key):
        moved = scene.replace(vertices=scene.vertices + shift)
        return raytrace.final(moved, (size, size), key, samples=samples).image[0]

    target = jax.jit(draw)(towards, keys[0])
    loss = lambda shift: jnp.mean(jnp.square(draw(shift, keys[1]) - target))
    slope = np.asarray(jax.jit(jax.grad(loss))(jnp.zeros(3)))
    value = jax.jit(loss)
    found = {}
    for axis, name in enumerate(('right', 'up', 'towards the camera')):
        along = jnp.zeros(3).at[axis].set(step)
        found[name] = {
            'gradient': float(slope[axis]),
            'true slope': float((value(along) - value(-along)) / (2 * step)),
        }
    return found
