"""Does the ray tracer agree with Embree, with Mitsuba 3, with the vertex renderer, with itself and with calculus?

    python -m experiments.renderer_agreement --out=runs/renderer_agreement

Needs `pip install -e '.[test]'` and, for Mitsuba, LLVM 16 to 19. Rays and pictures are of random people with the
MakeHuman and the ICT head.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments import drawing, harness, scenes
from experiments.renderer_agreement import gradients, images, rays
from jfrecon import commands, files, morphable
from jfrecon.render import raytrace
from jfrecon.shading import sh

NAME = 'renderer_agreement'
ROUGHNESSES = (0.2, 0.3, 0.4, 0.5, 0.6)
ANGLES = (0, 30, 45, 60, 75)  # degrees between view and normal, lower ends of the bins


def main(arguments: list[str] | None = None) -> None:
    """Compare; write results.json, tables and pictures."""
    parser = harness.parser(NAME, main.__doc__)
    harness.add_ict(parser)
    options = parser.parse_args(arguments)
    harness.need(options.ict, 'ICT-FaceKit')
    run = harness.start(NAME, options.out, options.overwrite)
    quick = options.quick
    # Rays and angles at the size of training; pictures converge to a percent at a size that leaves time for it.
    size, side, samples = (64, 64, 256) if quick else (256, 128, 16384)
    models = {'makehuman': morphable.load('makehuman'), 'ict': morphable.load('ict', options.ict)}

    results: dict = {'rays': 0, 'ties': 0, 'hit_mismatches': 0, 'occlusion_mismatches': 0}
    for model in models.values():
        for seed in range(1 if quick else 5):
            for name, count in rays.compare(scenes.face(model, seed, size), size, jax.random.key(seed)).items():
                results[name] += count
    print(results)

    errors, pictures = images.mitsuba(scenes.face(models['ict'], 1, side), side, samples)
    results['mitsuba_relative_rmse'] = max(errors.values())
    results['mitsuba_relative_rmse_by_path'] = errors
    save(options.out / 'mitsuba.png', pictures)
    print(errors)

    results |= vertex_renderer(side, samples, options.out)
    small = 32 if quick else 64
    results['bias_z'] = images.bias(scenes.face(models['ict'], 2, small), small, 4, 64 if quick else 512)
    counts = (16, 64, 256) if quick else (16, 64, 256, 1024, 4096)
    results['noise_by_samples'] = images.convergence(scenes.face(models['makehuman'], 3, small), small, counts, 8)
    print({name: results[name] for name in ('bias_z', 'noise_by_samples')})

    pose = scenes.face(models['makehuman'], 4, small)
    results['gradient_relative_error'] = gradients.finite_differences(pose, small, 4, 2 if quick else 5)
    results['gradient_mitsuba_relative_error'] = gradients.against_mitsuba(pose, small, samples)
    results['grazing_share'] = gradients.grazing_share(scenes.face(models['ict'], 1, size), size)
    results['moving_silhouettes'] = gradients.moving_silhouettes(pose, small, 64 if quick else 1024)
    last = ('gradient_relative_error', 'gradient_mitsuba_relative_error', 'grazing_share', 'moving_silhouettes')
    print({name: results[name] for name in last})

    sun(scenes.face(models['ict'], 1, size), size, 64 if quick else 512, options.out / 'moving_sun.png')
    run.record(results)


def vertex_renderer(size: int, samples: int, out: Path) -> dict:
    """A ball under soft light: matte, then the lobe alone by roughness and angle, then the mixture at s = 0.3."""
    light = soft()
    inner = lambda cosine: cosine > np.cos(np.radians(75))
    traced, _, shaded, cosine = images.against_vertex_renderer(images.ball(size, 0.0, light), size, samples)
    results = {'vertex_renderer_relative_rmse': images.relative_rmse(traced, shaded, inner(cosine))}
    traced, _, shaded, cosine = images.against_vertex_renderer(images.ball(size, 0.3, light), size, samples)
    results['vertex_renderer_relative_rmse_s_0.3'] = images.relative_rmse(traced, shaded, inner(cosine))
    table: dict[str, dict[str, float]] = {}
    for roughness in ROUGHNESSES:
        lobe = images.ball(size, 1.0, light, roughness)
        traced, error, shaded, cosine = images.against_vertex_renderer(lobe, size, samples)
        angle = np.degrees(np.arccos(np.clip(cosine, 0, 1)))
        bins = zip(ANGLES, (*ANGLES[1:], 85))
        table[f'{roughness}'] = {
            f'{low}-{high}': images.without_noise(traced, error, shaded, (cosine > 0) & (angle >= low) & (angle < high))
            for low, high in bins
        }
    results['specular_relative_rmse_by_roughness_and_angle'] = table
    files.write_text(out / 'specular.md', harness.table(table))
    print(results)
    return results


def soft() -> jax.Array:
    """A light of 9 bands that is bright above and to the left and positive everywhere, [1, 81, 3]."""
    lamp = sh.directional(jnp.array([-0.5, 0.6, 0.62]), jnp.array([1.6, 1.4, 1.2]), 9, softness=0.5)
    return lamp[None].at[:, 0].add(0.5 * sh.GREY)


def sun(face: raytrace.Scene, size: int, samples: int, path: Path) -> None:
    """One face under a sun that moves from its right to its left: above with, below without shadows."""
    rows = []
    for shadows in (True, False):
        draw = jax.jit(
            lambda light, shadows=shadows: raytrace.final(
                face.replace(light=light), (size, size), jax.random.key(0), samples=samples, shadows=shadows
            ).image[0]
        )
        rows.append({f'{angle}°': draw(scenes.sky(64, angle, sun=5.0)) for angle in (-80, -40, 0, 40, 80)})
    save(path, *rows)


def save(path: Path, *rows: dict[str, np.ndarray]) -> None:
    """Linear pictures side by side as one sRGB file."""
    strips = [np.concatenate([np.asarray(image) for image in row.values()], 1) for row in rows]
    drawing.save(path, drawing.srgb(np.stack(strips)))


if __name__ == '__main__':
    commands.run(main)
