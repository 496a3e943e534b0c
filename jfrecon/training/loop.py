"""The training loop, for every method."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
import optax
from absl import logging
from jax.sharding import NamedSharding
from ml_collections import ConfigDict

from jfrecon import methods
from jfrecon.data import build
from jfrecon.errors import UserError
from jfrecon.methods.method import AXIS, Method
from jfrecon.training import checkpoints, optimiser, parallel, record, train_state
from jfrecon.training.logging import Journal, Silence
from jfrecon.training.prefetch import prefetched
from jfrecon.training.stopping import Stopping
from jfrecon.training.train_state import TrainState
from jfrecon.types import Batch

# Steps that are under way before the numbers of the oldest are looked at: enough that the device never waits
# for the host, few enough that a diverged run is noticed and that no batches pile up.
LAG = 2
PANEL_ROWS = 4


class Batches(Protocol):
    """The data of a run: batch ``step`` is the same whenever it is asked for, on whichever thread."""

    def __getitem__(self, step: int, /) -> Batch:
        """This process's part, numpy leaves [batch_size / processes, ...]."""
        ...


class Diverged(RuntimeError):
    """Too many steps in a row whose loss or gradient was not finite."""


def train(
    config: ConfigDict, workdir: str | Path, method: Method | None = None, data: Batches | None = None
) -> TrainState:
    """Trains ``config`` in ``workdir``, from its newest checkpoint if there is one; returns the last state.

    On the same machine a resumed run computes what an uninterrupted one does, to the last bit.

    Args:
      config: reads ``seed``, ``steps``, ``optimiser`` (see `jfrecon.training.optimiser`), ``log_every``,
        ``panels_every`` (0: only at the end), ``checkpoint_every``, ``max_skipped_in_a_row``, and if they are
        there ``keep_checkpoints`` (3) and ``keep_checkpoints_every`` (0: none for good). The rest belongs to
        method and data.
      workdir: gets config.json, metrics.jsonl, checkpoints/, panels/ and TensorBoard's events.
      method: instead of the one that the config names.
      data: instead of the data that the config names.

    Raises:
      UserError: the config cannot be trained, or ``workdir`` holds another experiment.
      Diverged: the newest checkpoint is from before the trouble.
      SystemExit: with a shell's code after Ctrl-C or SIGTERM, when the state is saved.
    """
    workdir = Path(workdir)
    first_process = jax.process_index() == 0
    _check(config)
    if method is None:
        method = methods.build(config, AXIS)
    descent, rates = optimiser.build(config.steps, **config.optimiser)
    mesh = parallel.device_mesh()

    # State: the newest checkpoint's, or fresh.
    workdir.mkdir(parents=True, exist_ok=True)
    saved = checkpoints.manager(
        workdir,
        config.checkpoint_every,
        config.get('keep_checkpoints', 3),
        config.get('keep_checkpoints_every', 0),
    )
    experiment = record.plain(config)
    before = checkpoints.config_of(saved)
    if before is not None:
        record.check_same_experiment(workdir, before, experiment)
    key = jax.random.PRNGKey(config.seed)
    fresh = lambda: train_state.create(*method.init(key), descent, key)
    state = checkpoints.restore(saved, _replicated_shapes(jax.eval_shape(fresh), mesh))
    if state is None:
        params, model_state = method.init(key)
        if config.get('start_from') is not None:
            params, model_state = checkpoints.load_network(config.start_from, params, model_state)
        state = parallel.replicate(train_state.create(params, model_state, descent, key), mesh)
    step = int(state.step)
    if step >= config.steps:
        logging.warning('%s is at step %d of %d already; nothing to do', workdir, step, config.steps)
        saved.close()
        return state
    if first_process:
        record.write(workdir, experiment)

    # Data and the compiled step.
    if data is None:
        data = build.training_batches(config, workdir)
    example = data[step]
    faces = jax.tree.map(lambda leaf: leaf[:PANEL_ROWS], data[0])
    images = len(example.image) * jax.process_count()
    if len(example.image) % jax.local_device_count():
        raise UserError(
            f'config.batch_size: {len(example.image)} images a process cannot be shared out evenly to '
            f'{jax.local_device_count()} devices'
        )
    update = parallel.pmapped(parallel.gradient_step(method.loss, descent))
    update = _compiled(update.lower(state, parallel.share_out(example, mesh)))
    journal = Journal(workdir, step, config.steps) if first_process else Silence()

    speed, begun = 0.0, (step, time.monotonic())
    pending: deque[tuple[int, Mapping[str, jax.Array]]] = deque()
    batches = prefetched(lambda number: parallel.share_out(data[number], mesh), step, config.steps)
    try:
        with Stopping() as stopping:
            for batch in batches:
                state, metrics = update(state, batch)
                step += 1
                pending.append((step, metrics))

                last = step == config.steps
                stop = stopping.after(step)
                draw = last or _due(step, config.panels_every)
                save = saved.should_save(step)

                while len(pending) > (0 if last or stop or draw or save else LAG):
                    done, metrics = pending.popleft()
                    skipping = int(metrics['skipped_in_a_row'])
                    if skipping >= config.max_skipped_in_a_row:
                        good = saved.latest_step()
                        kept = 'there is no checkpoint yet' if good is None else f'the last good one is {good}'
                        raise Diverged(
                            f'{skipping} steps in a row up to {done} gave a loss or gradient that is not '
                            f'finite; {workdir}/checkpoints: {kept}; lower config.optimiser.learning_rate '
                            f'or look at the data'
                        )
                    journal.advance(done)
                    if done == 1 or done == config.steps or _due(done, config.log_every):
                        ready = sum(later['loss'].is_ready() for _, later in pending)  # type: ignore[attr-defined]
                        finished = done + ready
                        if finished > begun[0]:
                            now = time.monotonic()
                            speed = images * (finished - begun[0]) / max(now - begun[1], 1e-9)
                            begun = finished, now
                        journal.write(done, _numbers(metrics, rates, done) | {'images_per_second': speed})

                if draw and first_process:
                    pictures = method.panels(parallel.local(state.params), parallel.local(state.model_state), faces)
                    journal.panels(step, np.asarray(pictures))
                # parameters that stopped giving finite losses do not displace older ones
                if last or stop or (save and not skipping):
                    checkpoints.save(saved, state, experiment, force=last or stop)
                if draw or save:
                    begun = step, time.monotonic()
                if stop:
                    break
    finally:
        journal.close()
        batches.close()
        saved.wait_until_finished()
        saved.close()
    if stopping.signal is not None and step < config.steps:
        print(f'stopped after step {step}; the same command resumes', file=sys.stderr, flush=True)
        raise SystemExit(stopping.exit_code)
    return state


def _check(config: ConfigDict) -> None:
    for name in ('steps', 'checkpoint_every', 'max_skipped_in_a_row'):
        if config[name] < 1:
            raise UserError(f'config.{name} must be at least 1, got {config[name]}')


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _numbers(metrics: Mapping[str, jax.Array], rates: Mapping[str, optax.Schedule], step: int) -> dict[str, float]:
    """Metrics and learning rates of the step that was the ``step``-th, as Python numbers."""
    numbers = {name: value.item() for name, value in jax.device_get(dict(metrics)).items()}
    numbers = {'loss': numbers.pop('loss')} | numbers
    updates_before = max(step - 1 - int(numbers['skipped']), 0)
    return numbers | {name: float(rate(updates_before)) for name, rate in rates.items()}


def _replicated_shapes(abstract: Any, mesh: jax.sharding.Mesh) -> Any:
    everywhere = NamedSharding(mesh, parallel.EVERYWHERE)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), abstract)


def _compiled(lowered: Any) -> Any:
    """Compiles on a thread: it can take minutes, and Ctrl-C does not reach a main thread inside XLA."""
    pool = ThreadPoolExecutor(1)
    compiled = pool.submit(lowered.compile)
    pool.shutdown(wait=False)
    return compiled.result()
