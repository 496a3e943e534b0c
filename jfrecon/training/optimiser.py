"""The optimiser and its learning rates, as a config's ``optimiser`` section names them.

    optimiser = dict(
        name='adam', b1=0.9, b2=0.999, eps=1e-8,         # or name='sgd'
        learning_rate=1e-4,
        schedule='exponential', rate=0.98, every=12_000, floor=1e-5,
        warmup_steps=0,
        clip_norm=0.0,                                   # of the whole gradient; 0: not clipped
        groups=dict(decoder=1e-5, encoder=0.0),          # own learning rate; 0: frozen
    )

Schedules: ``constant``; ``cosine`` down to ``floor`` at the end of the training (or of ``decay_steps``);
``exponential``, times ``rate`` after each ``every`` steps (those of an epoch), never under ``floor``. A
schedule counts the updates, so a skipped step does not move it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import optax

from jfrecon.errors import UserError

LEARNING_RATE = 'learning_rate'


def constant(learning_rate: float) -> optax.Schedule:
    """The same at every step."""
    return optax.constant_schedule(learning_rate)


def cosine(learning_rate: float, decay_steps: int, floor: float = 0.0) -> optax.Schedule:
    """floor + (learning_rate - floor) (1 + cos(pi t / decay_steps)) / 2, and floor from there on."""
    return optax.cosine_decay_schedule(learning_rate, decay_steps, floor / learning_rate)


def exponential(learning_rate: float, rate: float, every: int, floor: float = 0.0) -> optax.Schedule:
    """max(floor, learning_rate * rate^floor(t / every))."""
    return lambda step: jnp.maximum(floor, learning_rate * rate ** (step // every))


def warmed_up(schedule: optax.Schedule, warmup_steps: int) -> optax.Schedule:
    """``schedule`` times a ramp that starts above 0 and reaches 1 with the update number ``warmup_steps``."""
    if not warmup_steps:
        return schedule
    return lambda step: schedule(step) * jnp.minimum(1.0, (step + 1) / warmup_steps)


def adam(
    schedule: optax.Schedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015, algorithm 1)."""
    return optax.adam(schedule, b1, b2, eps)


def sgd(schedule: optax.Schedule) -> optax.GradientTransformation:
    """Plain gradient descent: linear in the gradient, which the tests of the data-parallel step need."""
    return optax.sgd(schedule)


SCHEDULES: Mapping[str, Callable[..., optax.Schedule]] = {
    'constant': constant,
    'cosine': cosine,
    'exponential': exponential,
}
OPTIMISERS: Mapping[str, Callable[..., optax.GradientTransformation]] = {'adam': adam, 'sgd': sgd}


def build(
    steps: int,
    name: str,
    learning_rate: float,
    schedule: str = 'constant',
    warmup_steps: int = 0,
    clip_norm: float = 0.0,
    groups: Mapping[str, float] | None = None,
    **options: float,
) -> tuple[optax.GradientTransformation, dict[str, optax.Schedule]]:
    """The optimiser, and its learning rates by the name to log them under.

    A group is all parameters whose top-level name starts with the group's (the longest that fits); its
    learning rate follows the schedule's shape. A group at rate 0 keeps its parameters and has no part in the
    clipped norm.

    Args:
      steps: of the whole training; where a cosine ends unless ``decay_steps`` says otherwise.
      options: those of the schedule and of the optimiser, see there.

    Raises:
      UserError: a name or an option that does not exist; when the state is made, a group without parameters.
    """
    if not learning_rate > 0:
        raise UserError(f'config.optimiser.learning_rate must be positive, got {learning_rate}')
    make_schedule, make_optimiser = _named('schedule', SCHEDULES, schedule), _named('name', OPTIMISERS, name)
    if schedule == 'cosine':
        options = {'decay_steps': steps} | options
    of_schedule = inspect.signature(make_schedule).parameters
    of_optimiser = inspect.signature(make_optimiser).parameters
    for option in options:
        if option not in of_schedule and option not in of_optimiser:
            raise UserError(f'config.optimiser: neither {schedule} nor {name} has an option {option!r}')
    needed = [key for key, p in of_schedule.items() if p.default is p.empty and key != LEARNING_RATE]
    for option in set(needed) - set(options):
        raise UserError(f'config.optimiser: the {schedule} schedule needs {option!r}')

    shape = make_schedule(learning_rate, **{key: options[key] for key in of_schedule if key in options})
    shape = warmed_up(shape, warmup_steps)
    groups = dict(groups or {})
    rates = {LEARNING_RATE: shape}
    for group, rate in groups.items():
        rates[f'{LEARNING_RATE}/{group}'] = _times(shape, rate / learning_rate)
    frozen = {f'{LEARNING_RATE}/{group}' for group, rate in groups.items() if not rate}

    still = {group: optax.set_to_zero() if group in frozen else optax.identity() for group in rates}
    constants = {key: options[key] for key in of_optimiser if key in options}
    moves = {
        group: optax.set_to_zero() if group in frozen else make_optimiser(rate, **constants)
        for group, rate in rates.items()
    }
    labels = _labels(tuple(groups))
    clip = [optax.partition(still, labels), optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    return optax.chain(*clip, optax.partition(moves, labels)), rates


def _named(field: str, table: Mapping[str, Callable], name: str) -> Callable:
    if name not in table:
        raise UserError(f'config.optimiser.{field}: there is no {name!r}, only {", ".join(table)}')
    return table[name]


def _times(schedule: optax.Schedule, factor: float) -> optax.Schedule:
    return lambda step: schedule(step) * factor


def _labels(groups: tuple[str, ...]) -> Callable[[Mapping[str, Any]], dict[str, str]]:
    """Parameters -> for each top-level name, the name of its learning rate."""

    def labels(params: Mapping[str, Any]) -> dict[str, str]:
        found = {name: LEARNING_RATE for name in params}
        for group in sorted(groups, key=len):
            members = [name for name in params if name.startswith(group)]
            if not members:
                raise UserError(
                    f'config.optimiser.groups: no parameters start with {group!r}, only {", ".join(params)}'
                )
            found |= {name: f'{LEARNING_RATE}/{group}' for name in members}
        return found

    return labels
