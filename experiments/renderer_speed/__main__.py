"""How fast is the ray tracer, forward and backward, beside Mitsuba 3 on the same machine in the same run?

    python -m experiments.renderer_speed --out=runs/renderer_speed

Both render direct light with one camera ray a pixel, the same mesh, BRDF and light, and differentiate the mean square
of the picture in the vertices, the diffuse albedo per vertex and the light. The vertices move at every step, so both
refit or rebuild their trees. Ours renders a batch of 8, whose images are shared out to the cores as in training;
Mitsuba renders one image at a time on all of them. Times are per image, medians, taken in turn.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from tqdm import tqdm

from experiments import harness, peers, scenes
from experiments.renderer_agreement import rays
from jfrecon import commands, morphable
from jfrecon.render import raytrace, trace, tree
from jfrecon.training import parallel

NAME = 'renderer_speed'
BATCH = 8
MAIN = (256, 8, '18k')  # where the two ratios of results.json are taken
SWEEPS = {'samples': (2, 8, 32), 'size': (128, 256, 512), 'triangles': ('4k', '18k', '74k')}
SECONDS = 10  # of one measurement, at least
REPEATS = 7


def main(arguments: list[str] | None = None) -> None:
    """Measure; write results.json and a table."""
    parser = harness.parser(NAME, main.__doc__)
    harness.add_ict(parser)
    parser.add_argument('--memory', choices=['ours', 'mitsuba'], help='print the peak of one of them')
    options = parser.parse_args(arguments)
    harness.need(options.ict, 'ICT-FaceKit')
    parallel.share_cores(BATCH)
    if options.memory:
        print(json.dumps(_peak(options.memory, options.ict)))
        return
    run = harness.start(NAME, options.out, options.overwrite)
    settings = [MAIN]
    for position, name in enumerate(('size', 'samples', 'triangles')):
        for value in SWEEPS[name]:
            setting = (*MAIN[:position], value, *MAIN[position + 1 :])
            if setting not in settings:
                settings.append(setting)
    if options.quick:
        settings = [(64, 2, '4k')]
    rows = {}
    for size, samples, triangles in tqdm(settings, desc='settings', disable=None):
        rows[f'{size}², {samples} samples, {triangles} triangles'] = measure(size, samples, triangles, options.ict)
        print(list(rows)[-1], rows[list(rows)[-1]], flush=True)
    ratio = lambda row, what: row[f'ours {what}'] / row[f'mitsuba {what}']
    first = rows[next(iter(rows))]
    embree = shadow_rays(*settings[0], options.ict)
    print(embree, flush=True)
    with tempfile.TemporaryDirectory() as cache:
        compiling = peak_of('ours', options.ict, cache)
        memory = {who: peak_of(who, options.ict, cache) for who in ('ours', 'mitsuba')}
    results = {
        'forward_backward_ratio': ratio(first, 'forward+backward'),
        'forward_ratio': ratio(first, 'forward'),
        'worst_forward_backward_ratio': max(ratio(row, 'forward+backward') for row in rows.values()),
        'worst_forward_ratio': max(ratio(row, 'forward') for row in rows.values()),
        'embree_ratio': embree['ours'] / embree['embree'],
        'milliseconds_for_shadow_rays': embree,
        'milliseconds_per_image': rows,
        'peak_memory_mb': {**memory, 'ours, compiling': compiling},
    }
    run.record(results, harness.table(rows))
    print(results['peak_memory_mb'])


def face(size: int, triangles: str, ict: Path) -> raytrace.Scene:
    """A scene with about so many triangles."""
    if triangles == '4k':
        return scenes.face(morphable.load('makehuman'), 1, size)
    return scenes.face(morphable.load('ict', ict, subdivisions=1 if triangles == '74k' else 0), 1, size)


def measure(size: int, samples: int, triangles: str, ict: Path) -> dict[str, float]:
    """Milliseconds per image, both renderers in turn."""
    scene = face(size, triangles, ict)
    runs = ours(scene, size, samples) | mitsuba(scene, size, samples)
    for run in runs.values():
        run(0)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    begun = time.perf_counter()
    for turn in itertools.count(1):
        for name, run in runs.items():
            start = time.perf_counter()
            run(turn)
            taken[name].append(1000 * (time.perf_counter() - start) / (BATCH if name.startswith('ours') else 1))
        if turn >= REPEATS and time.perf_counter() - begun > SECONDS:
            break
    return {name: float(np.median(times)) for name, times in taken.items()}


def shadow_rays(size: int, samples: int, triangles: str, ict: Path) -> dict[str, float]:
    """Milliseconds that a picture's shadow rays take, ours and Embree's one core, in turn; trees are built before."""
    scene, key = face(size, triangles, ict), jax.random.key(0)
    bvh = jax.jit(tree.refit)(scene.leaves, scene.topology.triangles, scene.vertices)
    peer = peers.embree(np.asarray(scene.vertices[0]), np.asarray(scene.topology.triangles))
    towards = rays.through_pixels(scene, size)
    seen = jax.jit(trace.closest)(bvh, jnp.zeros_like(towards), towards, jnp.ones(towards.shape[:2], bool))
    start, direction, above, leaving = rays.to_the_light(scene, towards, seen, key, samples)
    start, direction, leaving = start[above], direction[above], leaving[above]
    ask = jax.jit(trace.occluded)
    active = jnp.ones((1, len(start)), bool)
    runs = {
        'ours': lambda: jax.block_until_ready(ask(bvh, start[None], direction[None], active, leaving=leaving[None])),
        'embree': lambda: peer.run(np.asarray(start), np.asarray(direction), query='OCCLUDED'),
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(REPEATS + 1):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            taken[name].append(1000 * (time.perf_counter() - begun))
    return {'rays': len(start), **{name: float(np.median(times[1:])) for name, times in taken.items()}}


def ours(scene: raytrace.Scene, size: int, samples: int) -> dict[str, Callable[[int], None]]:
    """Forward and forward+backward of a batch, its images on all devices; the vertices depend on the turn."""
    mesh = parallel.device_mesh()
    spread = NamedSharding(mesh, parallel.SHARED)
    names = ('vertices', 'diffuse', 'light', 'specular', 'camera')
    batch = tuple(jax.tree.map(lambda x: jnp.repeat(x, BATCH, 0), getattr(scene, name)) for name in names)
    inputs = jax.device_put(batch, spread)

    def loss(*values):
        *leaves, key = values
        faces = scene.replace(**dict(zip(names, leaves)))
        picture = raytrace.render(faces, (size, size), key, samples=samples)
        return jnp.mean(jnp.square(picture.image)), picture.image

    def on_devices(function):
        shared, everywhere = parallel.SHARED, parallel.EVERYWHERE
        return jax.jit(
            jax.shard_map(function, mesh=mesh, in_specs=(*[shared] * 5, everywhere), out_specs=shared, check_vma=False)
        )

    forward = on_devices(lambda *x: loss(*x)[1])
    both = on_devices(lambda *x: jax.grad(loss, (0, 1, 2), has_aux=True)(*x)[0])

    def run(program):
        def call(turn):
            vertices, *others = inputs
            jax.block_until_ready(program(vertices * (1 + 1e-5 * turn), *others, jax.random.key(turn)))

        return call

    return {'ours forward': run(forward), 'ours forward+backward': run(both)}


def mitsuba(scene: raytrace.Scene, size: int, samples: int) -> dict[str, Callable[[int], None]]:
    """The same of one image."""
    mi = peers.mitsuba()
    import drjit as dr

    peer = peers.mitsuba_scene(mi, scene, size, normals=False)
    parameters = mi.traverse(peer)
    inputs = [k for k in parameters.keys() if k.endswith(('vertex_positions', 'vertex_diffuse', 'light.data'))]
    assert len(inputs) == 3, inputs
    start = {key: type(parameters[key])(dr.detach(parameters[key])) for key in inputs}
    gather = peers.integrator(mi, samples)

    def moved(turn):
        return {key: start[key] * (1 + 1e-5 * turn if key.endswith('positions') else 1.0) for key in inputs}

    def forward(turn):
        parameters.update(moved(turn))
        dr.eval(mi.render(peer, integrator=gather, spp=1, seed=turn))
        dr.sync_thread()

    def both(turn):
        values = peers.differentiated(parameters, moved(turn))
        image = mi.render(peer, parameters, integrator=gather, spp=1, seed=2 * turn, seed_grad=2 * turn + 1)
        dr.backward(dr.mean(dr.square(image), axis=None))
        dr.eval([dr.grad(value) for value in values.values()])
        dr.sync_thread()

    return {'mitsuba forward': forward, 'mitsuba forward+backward': both}


def _peak(who: str, ict: Path) -> float:
    size, samples, triangles = MAIN
    scene = face(size, triangles, ict)
    Path('/proc/self/clear_refs').write_text('5')  # Linux: the peak so far is forgotten
    before = _status('VmRSS')
    runs = {'ours': ours, 'mitsuba': mitsuba}[who](scene, size, samples)
    for turn in range(3):
        runs[f'{who} forward+backward'](turn)
    return (_status('VmHWM') - before) / 1024


def _status(name: str) -> int:
    """kB of this process's memory, as the kernel counts it."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def peak_of(who: str, ict: Path, cache: str) -> float:
    """MB that forward and backward passes add to a fresh process: ours a batch of 8, Mitsuba one image.

    cache: folder of our compiled programs; where it is empty, compiling is part of it.
    """
    command = [sys.executable, '-m', f'experiments.{NAME}', '--out=.', f'--ict={ict}', f'--memory={who}']
    environment = {**os.environ, 'JAX_COMPILATION_CACHE_DIR': cache}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return float(said.splitlines()[-1])


if __name__ == '__main__':
    commands.run(main)
