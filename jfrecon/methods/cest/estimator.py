"""The factors in sequence: P(S, R, v, l | I) as any product of conditionals with an order (cest 3.1, eqs. 2 to 4)."""

from __future__ import annotations

import dataclasses
import graphlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jfrecon.errors import UserError
from jfrecon.geometry import rotations, uv
from jfrecon.methods.cest import factors
from jfrecon.methods.cest.factors import FACTORS, READ, SHAPE, VIEW, Groups, Settings
from jfrecon.render import surface
from jfrecon.types import Fragments

Order = tuple[tuple[str, tuple[str, ...]], ...]

WHOLE = {*VIEW, *SHAPE, 'diffuse', 'light'}

Posed = tuple[surface.Surface, Fragments]


class Scene(NamedTuple):
    """What the networks need to know of the world.

    Attributes:
      pose: groups of viewpoint and shape -> the face, and its fragments at the size of the photograph.
      unwrap: the photograph [B, H, W, 3] and that -> the photograph in UV, [B, S, S, 3], and [B, S, S] 1 where it shows
        the face.
    """

    pose: Callable[[Groups], Posed]
    unwrap: Callable[[jax.Array, Posed], tuple[jax.Array, jax.Array]]


def ordered(sees: Mapping[str, Sequence[str]]) -> Order:
    """Factors, each after all that it sees, from what each one sees.

    Raises:
      UserError: a factor that does not exist, a factor that would have to come before itself, a face that lacks
        something or has it twice, or a group that nothing reads.
    """
    for name, others in sees.items():
        for wanted in (name, *others):
            if wanted not in FACTORS:
                raise UserError(f'config.factors: there is no factor {wanted!r}, only {", ".join(FACTORS)}')
        if unknown := [other for other in others if other not in sees]:
            raise UserError(f'config.factors: {name} cannot see {unknown[0]}, which is not estimated')
    try:
        order = list(graphlib.TopologicalSorter(sees).static_order())
    except graphlib.CycleError as error:
        circle = ' -> '.join(error.args[1])
        raise UserError(f'config.factors: there is no order, each sees the one before it: {circle}') from None
    given = factors.given_by(order)
    if twice := sorted({group for group in given if given.count(group) > 1}):
        raise UserError(f'config.factors: more than one of {", ".join(order)} gives {twice[0]}')
    if lacking := sorted(WHOLE - set(given)):
        raise UserError(f'config.factors: none of {", ".join(order)} gives {lacking[0]}')
    for name in order:
        unread = [group for group in factors.given_by([name]) if group not in READ]
        if unread and not any(name in others for others in sees.values()):
            raise UserError(
                f'config.factors: {name} gives {unread[0]}, which nothing reads: a face is made of {", ".join(READ)}, '
                f'and no factor sees {name}'
            )
    return tuple((name, tuple(sorted(sees[name]))) for name in order)


class Estimator(nn.Module):
    """The networks, each of which sees the photograph and the factors that it may.

    Attributes:
      order: the factors and what each sees, see `ordered`.
      settings: of their networks.
    """

    order: Order
    settings: Settings

    @nn.compact
    def __call__(
        self, image: jax.Array, scene: Scene, train: bool, given: Groups | None = None
    ) -> tuple[Groups, Posed]:
        """image [B, H, W, 3] sRGB in 0..1 -> all groups [B, ...], and the posed face.

        Args:
          train: batch norms look at the batch; their collection must be mutable.
          given: groups that take the place of what the network says of them, for all that see them: an intervention.
        """
        groups, posed = Groups(), None
        for name, sees in self.order:
            seen = {group: groups[group] for group in factors.given_by(sees)}
            sight = factors.sight(image, seen)
            if seen.keys() >= set(VIEW):
                sight = dataclasses.replace(sight, aligned=aligned(image, seen['rotation'], seen['place']))
            if posed is not None and seen.keys() >= {*VIEW, *SHAPE}:
                texture, shown = scene.unwrap(image, posed)
                sight = dataclasses.replace(sight, texture=texture, shown=shown)
            said = FACTORS[name](self.settings, name=name)(sight, train)
            _check(name, said, self.settings)
            groups |= said
            groups |= {group: values for group, values in (given or {}).items() if group in groups}
            if posed is None and groups.keys() >= {*VIEW, *SHAPE}:
                posed = scene.pose(groups)
        assert posed is not None, 'an order is of a whole face'
        return groups, posed


def _check(name: str, said: Groups, settings: Settings) -> None:
    """A factor says what it ``gives``, in the shapes that a face takes: others would be broadcast without a word."""
    gives = FACTORS[name].gives
    if set(said) != set(gives):
        raise UserError(f'config.factors: {name} gives {", ".join(said)} in place of its {", ".join(gives)}')
    for group in set(said) & set(READ):
        found, wanted = said[group].shape[1:], settings.shape(group)
        if found != wanted:
            raise UserError(f'config.factors: {name} gives {group} of {found} in place of {wanted} for each image')


def aligned(image: jax.Array, rotation: jax.Array, place: jax.Array) -> jax.Array:
    """The photograph [B, H, H, 3] moved, scaled and turned so that the face stands upright in the middle (cest 3.2).

    A similarity in the plane, no frontalisation: the model's origin comes to the centre, a face of any size to that of
    `jfrecon.nets.head.place` at zero, and the model's y axis upright. rotation, place: [B, 3]; both get a gradient.
    """
    size = image.shape[2]
    up = rotations.matrix(rotation)[..., :2, 1]  # y axis of the head in the picture, y up
    sine, cosine = jnp.moveaxis(up / jnp.sqrt(jnp.sum(jnp.square(up), -1, keepdims=True) + 1e-8), -1, 0)
    x, y = jnp.meshgrid(*2 * [(jnp.arange(size) + 0.5 - size / 2).astype(image.dtype)])
    x, y = (values.ravel() * jnp.exp(-place[:, 2:]) for values in (x, y))
    sine, cosine = sine[:, None], cosine[:, None]
    centre = (place[:, None, :2] + 0.5) * size
    pixels = centre + jnp.stack([cosine * x - sine * y, sine * x + cosine * y], -1)
    return uv.sample_image(image, pixels).reshape(image.shape)
