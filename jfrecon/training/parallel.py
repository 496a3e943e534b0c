"""The data-parallel step: each device differentiates its share of the batch, then they take means."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jfrecon import commands
from jfrecon.methods.method import AXIS, Metrics
from jfrecon.training.train_state import TrainState
from jfrecon.types import Batch

Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]

EVERYWHERE, SHARED = PartitionSpec(), PartitionSpec(AXIS)


def gradient_step(method_loss: Callable[..., Any], optimiser: optax.GradientTransformation, axis: str = AXIS) -> Step:
    """One device's step, to be run under the named ``axis``.

    Loss, gradients, metrics and model state are means over the devices, so equal shares of a batch give the
    numbers of the whole batch on one device. The loss's key is folded from the state's, step and device: a
    resumed run draws the numbers of an uninterrupted one, and runs that differ in their seed alone share the
    compiled step.

    Where loss or gradient is not finite on any device, parameters, model state and optimiser stay bit for bit
    and the step counts as skipped; the next one sees other data.

    Args:
      method_loss: `jfrecon.methods.method.Method.loss`.
      optimiser: its update sees the mean gradient.
      axis: name of the device axis.

    Returns:
      step(state, batch) -> (state, metrics); to the method's terms the metrics add ``loss``,
      ``gradient_norm``, ``skipped`` and ``skipped_in_a_row``.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        key = jax.random.fold_in(key, lax.axis_index(axis))

        # Under check_vma the gradient for replicated parameters is already summed over the devices, and its
        # mean would be N times too large; parameters that count as each device's own mean the same with and
        # without.
        params = lax.pcast(state.params, axis, to='varying')
        value_and_grad = jax.value_and_grad(method_loss, has_aux=True)
        (loss, (model_state, terms)), gradient = value_and_grad(params, state.model_state, batch, key, state.step)
        loss, model_state, terms, gradient = _mean((loss, model_state, terms, gradient), axis)

        # One number speaks for the whole gradient: it is not finite where an entry is not, nor where its
        # square overflows, which would leave Adam's second moment infinite for ever.
        gradient_norm = optax.global_norm(gradient)
        finite = jnp.isfinite(loss) & jnp.isfinite(gradient_norm)

        updates, opt_state = optimiser.update(gradient, state.opt_state, state.params)
        new = (optax.apply_updates(state.params, updates), model_state, opt_state)
        old = (state.params, state.model_state, state.opt_state)
        params, model_state, opt_state = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)

        skip = (~finite).astype(jnp.int32)
        state = TrainState(
            step=state.step + 1,
            params=params,
            model_state=model_state,
            opt_state=opt_state,
            key=state.key,
            skipped=state.skipped + skip,
            skipped_in_a_row=(state.skipped_in_a_row + skip) * skip,
        )
        counts = {'skipped': state.skipped, 'skipped_in_a_row': state.skipped_in_a_row}
        return state, {'loss': loss, **terms, 'gradient_norm': gradient_norm, **counts}

    return step


def loss_step(method_loss: Callable[..., Any], axis: str = AXIS) -> Callable[[TrainState, Batch], jax.Array]:
    """One device's share of the loss of a batch, mean over the devices; by the same random numbers at every step.

    Args: as of `gradient_step`.
    """

    def step(state: TrainState, batch: Batch) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(0), lax.axis_index(axis))
        loss, _ = method_loss(state.params, state.model_state, batch, key, state.step)
        return lax.pmean(loss, axis)

    return step


def _mean(tree: Any, axis: str) -> Any:
    """Means over the axis; integers (counters in a model state) are equal everywhere and keep their type."""
    floating = lambda x: jnp.issubdtype(jnp.result_type(x), jnp.floating)
    return jax.tree.map(lambda x: lax.pmean(x, axis) if floating(x) else lax.pmax(x, axis), tree)


def share_cores(batch_size: int) -> None:
    """Without accelerator, makes each core a device, as far as they share the batch evenly.

    XLA leaves half of two cores idle in rasteriser and decoder, and data-parallel shares fill them. JAX looks at the
    setting only where it uses the CPU; JAX_NUM_CPU_DEVICES overrides it. Several processes are left as they are. To be
    called before JAX looks at its devices.
    """
    if 'JAX_NUM_CPU_DEVICES' not in os.environ and not jax.distributed.is_initialized():
        jax.config.update('jax_num_cpu_devices', math.gcd(batch_size, commands.cores()))


def device_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices (of all processes) along `AXIS`."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), (AxisType.Auto,), devices=devices)


def pmapped(step: Callable[..., Any], devices: Sequence[jax.Device] | None = None, donated: bool = True) -> Any:
    """``step`` with the semantics of `jax.pmap` on whole arrays: what pmap itself has become.

    The state is replicated and, if ``donated``, the caller's is gone after the call; the batch is split along its
    first axis. As in pmap, check_vma is off: with it, every loop inside a loss whose carry starts as a
    constant is rejected.
    """
    mesh = device_mesh(devices)
    mapped = jax.shard_map(step, mesh=mesh, in_specs=(EVERYWHERE, SHARED), out_specs=EVERYWHERE, check_vma=False)
    # The shardings are named so that the program can be lowered from shapes, before there is any array.
    everywhere, shared = NamedSharding(mesh, EVERYWHERE), NamedSharding(mesh, SHARED)
    given = (0,) if donated else ()
    return jax.jit(mapped, in_shardings=(everywhere, shared), out_shardings=everywhere, donate_argnums=given)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A fresh copy of ``tree``, which every process has, on every device of the mesh; safe to donate."""
    # A copy in host memory first: device_put may alias what it is given, and donation would then eat the
    # original.
    return jax.device_put(jax.tree.map(np.array, tree), NamedSharding(mesh, EVERYWHERE))


def share_out(batch: Batch, mesh: Mesh) -> Batch:
    """This process's part of a batch, numpy leaves [B / processes, ...], as arrays [B, ...] over the mesh."""
    sharding = NamedSharding(mesh, SHARED)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)


def local(tree: Any) -> Any:
    """Replicated arrays as plain arrays of this process's first device."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)
