"""The training loop, for every method."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from absl import logging
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from jfrecon import methods
from jfrecon.data import build
from jfrecon.errors import UserError
from jfrecon.methods.method import AXIS, Method
from jfrecon.training import checkpoints, optimiser, parallel, record, settings, train_state
from jfrecon.training.logging import Journal, Silence
from jfrecon.training.meter import Meter, due
from jfrecon.training.prefetch import prefetched
from jfrecon.training.stopping import Stopping
from jfrecon.training.train_state import TrainState
from jfrecon.types import Batch

PANEL_ROWS = 4


class Batches(Protocol):
    """The data of a run: batch ``step`` is the same whenever it is asked for, on whichever thread."""

    def __getitem__(self, step: int, /) -> Batch:
        """This process's part, numpy leaves [batch_size / processes, ...]."""
        ...


def train(
    config: ConfigDict,
    workdir: str | Path,
    method: Method | None = None,
    data: Batches | None = None,
    held_out: Sequence[Batch] = (),
) -> TrainState:
    """Train ``config`` in ``workdir``, from its newest checkpoint if there is one; return the last state.

    On the same machine a resumed run computes what an uninterrupted one does, to the last bit.

    Args:
      config: reads ``seed``, ``steps``, ``optimiser`` (see `jfrecon.training.optimiser`), ``log_every``,
        ``panels_every`` (0: only at the end), ``checkpoint_every``, ``keep_checkpoints``, ``keep_checkpoints_every``
        (0: none for good), ``max_skipped_in_a_row`` and ``start_from`` (another run, whose network it begins with).
        The rest belongs to method and data.
      workdir: gets config.json, metrics.jsonl, checkpoints/, panels/ and TensorBoard's events.
      method: instead of the one that the config names.
      data: instead of the data that the config names.
      held_out: this process's parts of batches that are not trained on. Their mean loss is logged as 'validation_loss'
        with every checkpoint. Batch norms look at their batch as in training, and nothing learns of it.

    Raises:
      UserError: the config cannot be trained, or ``workdir`` holds another experiment.
      Diverged: the newest checkpoint is from before the trouble.
      SystemExit: with a shell's code after Ctrl-C or SIGTERM, when the state is saved.
    """
    workdir = Path(workdir)
    first_process = jax.process_index() == 0
    settings.check_numbers(config)
    if method is None:
        method = methods.build(config, AXIS)
    descent, rates = optimiser.build(config.steps, **config.optimiser)
    mesh = parallel.device_mesh()

    # State: the newest checkpoint's, or a fresh one.
    workdir.mkdir(parents=True, exist_ok=True)
    saved = checkpoints.manager(
        workdir, config.checkpoint_every, config.keep_checkpoints, config.keep_checkpoints_every
    )
    experiment = record.plain(config)
    before = checkpoints.config_of(saved)
    if before is not None:
        record.check_same_experiment(workdir, before, experiment)
    state = _restored(saved, config, method, descent, mesh)
    if state is None:
        state = _fresh(config, method, descent, mesh)
    step = int(state.step)
    if step >= config.steps:
        logging.warning('%s is at step %d of %d already; nothing to do', workdir, step, config.steps)
        saved.close()
        return state
    if first_process:
        record.write(workdir, experiment)

    # Data.
    if data is None:
        data, held_out = build.training_data(config, workdir)
    example = data[step]
    shown = jax.tree.map(lambda leaf: leaf[:PANEL_ROWS], data[0])
    images = len(example.image) * jax.process_count()
    if len(example.image) % jax.local_device_count():
        raise UserError(
            f'config.batch_size: {len(example.image)} images a process cannot be shared out evenly to '
            f'{jax.local_device_count()} devices'
        )

    # Step.
    update = parallel.pmapped(parallel.gradient_step(method.loss, descent))
    update = _compiled(update.lower(state, parallel.share_out(example, mesh)))
    validate = parallel.pmapped(parallel.loss_step(method.loss), donated=False)

    # Loop.
    journal = Journal(workdir, step, config.steps) if first_process else Silence()
    meter = Meter(journal, config, rates, images, step, lambda: _kept(workdir, saved))
    batches = prefetched(lambda number: parallel.share_out(data[number], mesh), step, config.steps)
    try:
        with Stopping() as stopping:
            for batch in batches:
                state, metrics = update(state, batch)
                step += 1
                last, stop = step == config.steps, stopping.after(step)
                draw, save = last or due(step, config.panels_every), saved.should_save(step)
                if len(held_out) and (last or save):
                    losses = [validate(state, parallel.share_out(unseen, mesh)) for unseen in held_out]
                    metrics = {**metrics, 'validation_loss': jnp.mean(jnp.stack(losses))}
                meter.add(step, metrics, wait=last or stop or draw or save)
                if draw and first_process:
                    pictures = method.panels(parallel.local(state.params), parallel.local(state.model_state), shown)
                    journal.panels(step, np.asarray(pictures))
                # Parameters that stopped giving finite losses do not displace older ones.
                if last or stop or (save and not meter.skipped_in_a_row):
                    checkpoints.save(saved, state, experiment, force=last or stop)
                if draw or save:
                    meter.restart_clock(step)
                if stop:
                    break
    finally:
        journal.close()
        batches.close()
        checkpoints.close(saved)
    if stopping.signal is not None and step < config.steps:
        print(f'stopped after step {step}; the same command resumes', file=sys.stderr, flush=True)
        raise SystemExit(stopping.exit_code)
    return state


def _restored(
    saved: ocp.CheckpointManager, config: ConfigDict, method: Method, descent: optax.GradientTransformation, mesh: Mesh
) -> TrainState | None:
    """The newest checkpoint's state on all devices, None where there is no checkpoint."""
    key = jax.random.PRNGKey(config.seed)
    shapes = jax.eval_shape(lambda: train_state.create(*method.init(key), descent, key))
    everywhere = NamedSharding(mesh, parallel.EVERYWHERE)
    replicated = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), shapes)
    return checkpoints.restore(saved, replicated)


def _fresh(config: ConfigDict, method: Method, descent: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """The state before the first step on all devices, its network fresh or that of ``config.start_from``."""
    key = jax.random.PRNGKey(config.seed)
    params, model_state = method.init(key)
    if config.start_from is not None:
        params, model_state = checkpoints.load_network(config.start_from, params, model_state)
    return parallel.replicate(train_state.create(params, model_state, descent, key), mesh)


def _compiled(lowered: Any) -> Any:
    """Compiles on a thread: it can take minutes, and Ctrl-C does not reach a main thread inside XLA."""
    pool = ThreadPoolExecutor(1)
    compiled = pool.submit(lowered.compile)
    pool.shutdown(wait=False)
    return compiled.result()


def _kept(workdir: Path, saved: ocp.CheckpointManager) -> str:
    good = saved.latest_step()
    return f'{workdir}/checkpoints: ' + (
        'there is no checkpoint yet' if good is None else f'the last good one is {good}'
    )
