"""How long does a training step take at the papers' setting, and where does the time go?

    python -m experiments.step_speed --out=runs/step_speed

Every stage of dib21 and s2f2 as their configs have it: ResNet-152, 256 pixels, 8 samples, batch 8. Beside the whole
step its parts, forward and backward, each compiled alone: the encoder with its head, the renderers, and from the second
stage on the decoders or the U-nets. What is left over is optimiser, geometry and regularisers. Medians; the pictures
are noise, which costs what pictures of faces cost.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from configs import dib21, s2f2
from experiments import harness
from jfrecon import commands, methods
from jfrecon.methods.method import AXIS
from jfrecon.render import surface
from jfrecon.training import optimiser, parallel, stages, train_state
from jfrecon.types import Batch, Pinhole

NAME = 'step_speed'
CONFIGS = {'dib21': dib21, 's2f2': s2f2}
REPEATS = {'cpu': 1, 'gpu': 20, 'tpu': 20}  # on two cores a step takes half a minute


def main(arguments: list[str] | None = None) -> None:
    """Measure every stage; write results.json and a table."""
    options = harness.parser(NAME, main.__doc__).parse_args(arguments)
    run = harness.start(NAME, options.out, options.overwrite)
    size = 'quicktest' if options.quick else 'paper'
    parts = [
        (f'{name} {folder.name[2:]}', part)
        for name, module in CONFIGS.items()
        for folder, part in stages.configs(module.get_config(size), options.out)
    ]
    parallel.share_cores(parts[0][1].batch_size)
    rows: dict[str, dict[str, float]] = {}
    known: dict[str, float] = {}
    for name, part in tqdm(parts, desc='stages', disable=None):
        rows[name] = measure(part, known)
        print(name, rows[name], flush=True)
    run.record(rows, harness.table(rows))


def measure(config: ConfigDict, known: dict[str, float]) -> dict[str, float]:
    """Milliseconds of a step and of its parts, seconds of its compilation, images per second.

    known: milliseconds of parts by their program: stages share some, which are measured once.
    """
    mesh = parallel.device_mesh()
    method = methods.build(config, AXIS)
    descent, _ = optimiser.build(config.steps, **config.optimiser)
    key = jax.random.PRNGKey(0)
    state = parallel.replicate(train_state.create(*method.init(key), descent, key), mesh)
    batch = parallel.share_out(noise(config.batch_size, config.data.size, config.data.focal), mesh)
    variables = {'params': state.params, **state.model_state}
    variables = parallel.replicate(jax.tree.map(np.asarray, variables), mesh)  # the step's own copy is donated
    taken: dict[str, float] = {}
    for name, part in of_step(method, config).items():
        lowered = on_devices(part, mesh).lower(variables, batch)
        program = hashlib.sha256(lowered.as_text().encode()).hexdigest()
        if program not in known:
            run = lowered.compile()
            known[program] = median(lambda run=run: run(variables, batch))
        taken[f'{name} ms'] = known[program]

    begun = time.perf_counter()
    update = parallel.pmapped(parallel.gradient_step(method.loss, descent)).lower(state, batch).compile()
    compiled = time.perf_counter() - begun

    def once() -> Any:
        nonlocal state
        state, metrics = update(state, batch)
        return metrics

    whole = median(once)
    return {'images/s': 1000 * config.batch_size / whole, 'step ms': whole, **taken, 'compilation s': compiled}


def median(run: Callable[[], Any]) -> float:
    """Milliseconds of a call, the first of which does not count."""
    seconds = []
    for _ in range(1 + REPEATS.get(jax.default_backend(), 20)):
        begun = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - begun)
    return 1000 * float(np.median(seconds[1:]))


def of_step(method, config: ConfigDict) -> dict[str, Callable]:
    """The parts of a step by name: (variables, batch) -> what has to be computed, gradient included."""
    stage = config.energy
    decoding = stage in ('albedo', 'joint', 'medium', 'fine')

    def encoder(variables, batch):
        def out(params):
            found, _ = method.network.apply(
                {**variables, 'params': params}, batch.image, batch.camera, train=True, increments=False,
                mutable=['batch_stats'],
            )  # fmt: skip
            return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(found))

        fixed = stage in ('albedo', 'fine')
        return out(variables['params']) if fixed else jax.grad(out)(variables['params'])

    def renderers(variables, batch):
        chi, _ = method.network.apply(variables, batch.image, batch.camera, train=False, increments=False)
        maps = surface.prior_maps(method.model, method.atlas.texels, chi.albedo) if decoding else None
        if stage == 'fine':
            maps = maps.replace(normal=jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0]), maps.diffuse.shape))

        def energy(chi, maps):
            face = surface.posed(method.model, chi, batch.camera)
            terms = method.data(face, chi.light, batch, jax.random.key(0), maps)
            return sum(jnp.sum(term) for term in terms.values())

        return jax.grad(energy, argnums=0 if maps is None else (0, 1))(chi, maps)

    def increments(variables, batch):
        def out(params):
            if stage == 'fine':
                seen = jnp.ones(batch.mask.shape)
                found, _ = method.detail.apply(
                    {**variables, 'params': params}, batch.image, seen, train=True, mutable=['batch_stats']
                )
                return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(found))
            (_, found), _ = method.network.apply(
                {**variables, 'params': params}, batch.image, batch.camera, train=True, mutable=['batch_stats']
            )
            return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(found))

        return jax.grad(out)(variables['params'])

    parts = {'encoder': encoder, 'renderers': renderers}
    if stage == 'fine':
        parts['U-nets'] = increments
    elif decoding:
        parts['encoder and decoders'] = increments
    return parts


def on_devices(part: Callable, mesh: jax.sharding.Mesh) -> Callable:
    """The part compiled as the step is: variables everywhere, the batch shared out, results summed."""

    def one(variables, batch):
        return jax.tree.map(lambda x: jax.lax.psum(jnp.sum(x), AXIS), part(variables, batch))

    shared, everywhere = parallel.SHARED, parallel.EVERYWHERE
    mapped = jax.shard_map(one, mesh=mesh, in_specs=(everywhere, shared), out_specs=everywhere, check_vma=False)
    return jax.jit(mapped)


def noise(count: int, size: int, focal: float) -> Batch:
    """A batch of pictures of nothing."""
    random = np.random.default_rng(0)
    return Batch(
        image=random.uniform(size=(count, size, size, 3)).astype(np.float32),
        landmarks=random.uniform(0.2 * size, 0.8 * size, (count, 68, 2)).astype(np.float32),
        landmark_weight=np.ones((count, 68), np.float32),
        mask=np.ones((count, size, size), np.float32),
        camera=Pinhole(np.full(count, focal * size, np.float32), np.full((count, 2), size / 2, np.float32)),
        index=np.arange(count, dtype=np.int32),
    )


if __name__ == '__main__':
    commands.run(main)
