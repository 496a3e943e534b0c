"""Checkpoints that survive a kill at any moment: written beside, renamed when complete, read newest first.

One checkpoint, ``DIR/checkpoints/<step>/``, has three items: ``network`` (params, model state) and
``config``, which are all that inference reads, and ``training`` (step, which is the position in the data,
optimiser, random key, counts of skipped steps).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging as python_logging
import os
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies
from safetensors import safe_open
from safetensors.numpy import save as save_tensors

from jfrecon import files
from jfrecon.errors import UserError
from jfrecon.methods.method import ModelState, Params
from jfrecon.nets import weights
from jfrecon.training import not_a_run, record
from jfrecon.training.train_state import TrainState

FOLDER = 'checkpoints'
PACKED = '.safetensors'


def manager(workdir: str | Path, every: int, keep: int, keep_every: int = 0) -> ocp.CheckpointManager:
    """Orbax's manager of ``workdir/checkpoints``; saves in the background.

    Args:
      workdir: of the run.
      every: steps between checkpoints.
      keep: how many of the latest stay.
      keep_every: checkpoints at its multiples stay for good; 0: none does.
    """
    kept: list[Any] = [policies.LatestN(keep)]
    if keep_every:
        kept.append(policies.EveryNSteps(keep_every))
    options = ocp.CheckpointManagerOptions(
        save_decision_policy=policies.FixedIntervalPolicy(every),
        preservation_policy=policies.AnyPreservationPolicy(kept),
        cleanup_tmp_directories=True,
    )
    return _open(Path(workdir).absolute() / FOLDER, options)


def save(checkpoints: ocp.CheckpointManager, state: TrainState, config: dict[str, Any], force: bool = False) -> None:
    """Starts to write the state unless its step is there; without ``force``, only when it is due.

    Raises:
      UserError: the disk has no room for it, or had none for the one before.
    """
    step = int(state.step)
    if step in checkpoints.all_steps() or not (force or checkpoints.should_save(step)):
        return
    network, training = _items(state)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((network, state.opt_state)))
    free = shutil.disk_usage(checkpoints.directory).free
    if free < size:  # before anything is written: what a full disk breaks off has to be found and removed
        raise _full(checkpoints, f'a checkpoint has {size / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free')
    items = ocp.args.Composite(
        network=ocp.args.StandardSave(network),
        training=ocp.args.StandardSave(training),
        config=ocp.args.JsonSave(config),
    )
    with _on_disk(checkpoints):
        checkpoints.save(step, args=items, force=force)


def close(checkpoints: ocp.CheckpointManager) -> None:
    """Wait for what is being written, and close.

    Raises:
      UserError: the disk has no room for it.
    """
    with _on_disk(checkpoints):
        checkpoints.wait_until_finished()
        checkpoints.close()


@contextlib.contextmanager
def _on_disk(checkpoints: ocp.CheckpointManager) -> Iterator[None]:
    """Names a full disk as such, of which Orbax and TensorStore speak each in their own way, and removes the half."""
    try:
        yield
    except Exception as error:
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        python_logging.getLogger('asyncio').setLevel(python_logging.CRITICAL)  # see `restore`
        for half in Path(checkpoints.directory).glob('*.orbax-checkpoint-tmp'):
            shutil.rmtree(half, ignore_errors=True)
        raise _full(checkpoints, os.strerror(errno.ENOSPC)) from error


def _full(checkpoints: ocp.CheckpointManager, what: str) -> UserError:
    checkpoints.reload()
    steps = checkpoints.all_steps()
    further = f'goes on from step {max(steps)}' if steps else 'begins anew'
    return UserError(
        f'{checkpoints.directory}: no room for a checkpoint ({what}); with room the same command {further}'
    )


def restore(checkpoints: ocp.CheckpointManager, abstract: TrainState) -> TrainState | None:
    """The newest state that can be read, None where there is no checkpoint at all.

    Damaged ones that are newer are named in a warning and set aside as ``damaged-<step>``.

    Args:
      checkpoints: see `manager`.
      abstract: the state as ShapeDtypeStructs with shardings.

    Raises:
      UserError: the checkpoint is of another network or optimiser, or none of them can be read.
    """
    network, training = _items(abstract)
    wanted = {'network': _shapes(network), 'training': _shapes(training)}
    items = ocp.args.Composite(network=ocp.args.StandardRestore(network), training=ocp.args.StandardRestore(training))
    damaged = []
    for step in sorted(checkpoints.all_steps(), reverse=True):
        path = Path(checkpoints.directory) / str(step)
        try:
            found = checkpoints.item_metadata(step)
            stored = {item: _shapes(found[item].tree) for item in wanted}
            restored = checkpoints.restore(step, args=items) if stored == wanted else None
        except Exception as error:  # whatever Orbax, TensorStore and JSON say of files that are torn
            logging.warning('%s is damaged (%s); trying the one before', path, _brief(error))
            # Orbax leaves the futures of the other reads behind, which would complain one by one
            python_logging.getLogger('asyncio').setLevel(python_logging.CRITICAL)
            damaged.append(path)
            continue
        if restored is None:
            _explain(path, stored, wanted)
        _set_aside(checkpoints, damaged)
        return TrainState(**restored['network'], **restored['training'])
    if damaged:
        raise UserError(f'{checkpoints.directory}: all are damaged; remove them, or use another --workdir')
    return None


def load(directory: str | Path) -> tuple[dict[str, Any], int, Params, ModelState]:
    """What inference needs of the newest checkpoint that can be read: config, step, params, model state.

    Args:
      directory: a run's working directory (of a run in stages: the last stage that has a checkpoint counts), its
        ``checkpoints``, one checkpoint in there, or a file that `pack` made.

    Raises:
      UserError: there is no checkpoint, or it cannot be read.
    """
    if Path(directory).suffix == PACKED:
        return _unpacked(Path(directory))
    path = _last_stage(Path(directory).absolute())
    single = path.name.isdigit() and (path / 'network').is_dir()
    folder = path.parent if single else path / FOLDER if (path / FOLDER).is_dir() else path
    if not folder.is_dir():
        raise UserError(not_a_run.explain(Path(directory), FOLDER))
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with _open(folder, ocp.CheckpointManagerOptions(create=False)) as checkpoints:
        steps = [int(path.name)] if single else sorted(checkpoints.all_steps(), reverse=True)
        for step in steps:
            try:
                tree = checkpoints.item_metadata(step)['network'].tree
                network = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), tree)
                items = ocp.args.Composite(network=ocp.args.StandardRestore(network), config=ocp.args.JsonRestore())
                found = checkpoints.restore(step, args=items)
            except Exception as error:
                logging.warning('%s cannot be read (%s)', folder / str(step), _brief(error))
                continue
            config = _current(found['config'], folder / str(step))
            return config, step, found['network']['params'], found['network']['model_state']
    if steps:
        raise UserError(f'{directory}: damaged, no checkpoint in it can be read')
    raise UserError(not_a_run.explain(Path(directory), FOLDER))


def pack(directory: str | Path, path: Path) -> None:
    """What `load` finds in a directory as one .safetensors file, half precision, to be given away.

    Raises:
      UserError: there is no checkpoint, or the file would have another suffix.
    """
    if path.suffix != PACKED:
        raise UserError(f'{path}: a packed network is called *{PACKED}')
    config, step, params, model_state = load(directory)
    flat = flatten_dict({'params': params, 'model_state': model_state}, sep='/')
    about = {'config': json.dumps(config), 'step': str(step)}
    files.write_bytes(path, save_tensors({name: np.asarray(x, np.float16) for name, x in flat.items()}, about))


def _unpacked(path: Path) -> tuple[dict[str, Any], int, Params, ModelState]:
    tensors = weights.read(path)
    try:
        with safe_open(path, 'numpy') as file:
            about = file.metadata() or {}
        config, step = files.parse_json(about['config']), int(about['step'])
        tree = unflatten_dict({tuple(name.split('/')): jnp.asarray(value) for name, value in tensors.items()})
        params, model_state = tree['params'], tree.get('model_state', {})  # a network may carry nothing besides
    except (KeyError, ValueError) as error:
        raise UserError(f'{path} is not a network that jfrecon.pack has packed') from error
    return _current(config, path), step, params, model_state


def _last_stage(workdir: Path) -> Path:
    """The folder of the last of a run's stages that has a checkpoint; ``workdir`` itself of a run without stages."""
    begun = {step.parents[1] for step in workdir.glob(f'[1-9]_*/{FOLDER}/*') if step.name.isdigit()}
    return max(begun, default=workdir)


def load_network(directory: str | Path, params: Params, model_state: ModelState) -> tuple[Params, ModelState]:
    """Another run's network in place of a fresh one.

    Its parts (encoder, head, decoders, ...) have the architecture of the fresh one's. Those that it lacks, as stage I's
    network lacks decoders, stay fresh, and a line in the log names them.

    Raises:
      UserError: there is no checkpoint in ``directory``, or its network has other names or shapes.
    """
    _, step, found_params, found_state = load(directory)
    if missing := params.keys() - found_params.keys():
        logging.warning('%s has no %s: fresh', directory, ', '.join(sorted(missing)))
        found_params = found_params | {part: params[part] for part in missing}
        found_state = {
            name: found_state.get(name, {}) | {part: parts[part] for part in missing & parts.keys()}
            for name, parts in model_state.items()
        }
    stored = {'network': _shapes({'params': found_params, 'model_state': found_state})}
    wanted = {'network': _shapes({'params': params, 'model_state': model_state})}
    if stored != wanted:
        _explain(Path(directory) / str(step), stored, wanted, 'name another --config.start_from')
    return found_params, found_state


def config_of(checkpoints: ocp.CheckpointManager) -> dict[str, Any] | None:
    """The config of the newest checkpoint whose config can be read."""
    for step in sorted(checkpoints.all_steps(), reverse=True):
        try:
            found = checkpoints.restore(step, args=ocp.args.Composite(config=ocp.args.JsonRestore()))['config']
        except Exception as error:
            logging.warning('%s: config cannot be read (%s)', checkpoints.directory / str(step), _brief(error))
            continue
        return _current(found, Path(checkpoints.directory) / str(step))
    return None


def _current(config: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        return record.current(config)
    except UserError as error:
        raise UserError(f'{path}: {error}') from None


def _open(folder: Path, options: ocp.CheckpointManagerOptions) -> ocp.CheckpointManager:
    handlers = {
        'network': ocp.StandardCheckpointHandler(),
        'training': ocp.StandardCheckpointHandler(),
        'config': ocp.JsonCheckpointHandler(),
    }
    return ocp.CheckpointManager(folder, options=options, item_handlers=handlers)


def _items(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
    network = {'params': state.params, 'model_state': state.model_state}
    training = {
        'step': state.step,
        'opt_state': state.opt_state,
        'key': state.key,
        'skipped': state.skipped,
        'skipped_in_a_row': state.skipped_in_a_row,
    }
    return network, training


def _shapes(tree: Any) -> dict[str, str]:
    """Name of each leaf -> 'float32[3, 4]'; the metadata's containers are plain, so names are normalised."""
    name = functools.partial(jax.tree_util.keystr, simple=True, separator='.')
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {name(path): f'{np.dtype(leaf.dtype)}{list(leaf.shape)}' for path, leaf in leaves}


def _explain(
    path: Path,
    stored: dict[str, dict[str, str]],
    wanted: dict[str, dict[str, str]],
    remedy: str = 'use another --workdir',
) -> NoReturn:
    """Raises UserError naming a leaf that differs, those of the network first."""
    for item in wanted:
        there, here = stored[item], wanted[item]
        names = [name for name in there | here if there.get(name) != here.get(name)]
        if names:
            name = names[0]
            more = f' (and {len(names) - 1} more)' if len(names) > 1 else ''
            raise UserError(
                f'{path} is of another network or optimiser: {name} is {there.get(name, "absent")} there and '
                f'{here.get(name, "absent")} in this config{more}; {remedy}'
            )
    raise AssertionError('nothing differs')


def _set_aside(checkpoints: ocp.CheckpointManager, damaged: list[Path]) -> None:
    """Renames them, so that their steps can be saved again."""
    if jax.process_index() == 0:
        for path in damaged:
            aside = path.with_name(f'damaged-{path.name}')
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
    if damaged:
        multihost_utils.sync_global_devices('damaged checkpoints are set aside')
        checkpoints.reload()


def _brief(error: Exception) -> str:
    """Its first line, of which TensorStore's can be a thousand characters long."""
    return textwrap.shorten((str(error).strip() or type(error).__name__).splitlines()[0], 160)
