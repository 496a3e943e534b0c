"""dib21's energies, term by term (eqs. 2 and 3): what a reconstruction costs, one number a face.

A further term is a function of an `Estimate` and a line in `BASE` or `MAPS` here, and a weight of its name in the
config (`docs/adding.md`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence

import jax

from jfrecon.geometry import uv
from jfrecon.losses import energies
from jfrecon.losses.data_term import RENDERERS
from jfrecon.morphable import linear
from jfrecon.render import surface
from jfrecon.types import Batch, FaceParameters, Maps, MorphableModel

ENERGIES = ('base', 'albedo', 'joint')


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a term may look at.

    Attributes:
      model: the morphable model.
      batch: the photographs, leaves [B, ...].
      chi: the code of each face, leaves [B, ...].
      face: the faces of the morphable model, posed.
      final: D^ and S^, the reflectance with the increments, leaves [B, S, S, C]; None in eq. 2.
      prior: D and S, the morphable model's; None in eq. 2.
      atlas: of both; None in eq. 2.
    """

    model: MorphableModel
    batch: Batch
    chi: FaceParameters
    face: surface.Surface
    final: Maps | None = None
    prior: Maps | None = None
    atlas: uv.Atlas | None = None

    @functools.cached_property
    def landmark_distance(self) -> jax.Array:
        """E_land, [B]."""
        projected = linear.landmarks(self.model, self.face.pixels)
        return energies.landmark_distance(projected, self.batch)

    @functools.cached_property
    def priors(self) -> dict[str, jax.Array]:
        """E_p and E_b of eq. 2, each [B]."""
        return energies.priors(self.chi, self.model)

    @functools.cached_property
    def albedo_terms(self) -> dict[str, jax.Array]:
        """E_s, E_c, E_m and E_b of eq. 3, each [B]."""
        assert self.final is not None and self.prior is not None and self.atlas is not None
        return energies.albedo_terms(self.final, self.prior, self.atlas.texels, self.atlas.mirror)


Term = Callable[[Estimate], jax.Array]

#: The terms of eq. 2 beside the data term, by the names of their weights; each gives [B].
BASE: dict[str, Term] = {
    'landmarks': lambda estimate: estimate.landmark_distance,
    'identity': lambda estimate: estimate.priors['identity'],
    'albedo': lambda estimate: estimate.priors['albedo'],
    'expression': lambda estimate: estimate.priors['expression'],
    'box': lambda estimate: estimate.priors['box'],
    'light': lambda estimate: estimate.priors['light'],
    'exposure': lambda estimate: estimate.priors['exposure'],
}

#: The terms of eq. 3 beside the data term.
MAPS: dict[str, Term] = {
    'landmarks': lambda estimate: estimate.landmark_distance,
    'symmetry': lambda estimate: estimate.albedo_terms['symmetry'],
    'consistency_diffuse': lambda estimate: estimate.albedo_terms['consistency_diffuse'],
    'consistency_specular': lambda estimate: estimate.albedo_terms['consistency_specular'],
    'smoothness': lambda estimate: estimate.albedo_terms['smoothness'],
    'albedo_box': lambda estimate: estimate.albedo_terms['albedo_box'],
}


def known() -> list[str]:
    """Return the names that a config has weights for: all terms, whatever the energy and the renderer, and 'relax'."""
    photometric = [name for terms in RENDERERS.values() for name in terms]
    return [*dict.fromkeys([*photometric, *BASE, *MAPS, energies.RELAX])]


def used(energy: str, photometric: Sequence[str]) -> list[str]:
    """Return those of `known` that an energy of `ENERGIES` has, whose renderers give these photometric terms."""
    base = list(BASE) if energy != 'albedo' else []
    maps = [*MAPS, energies.RELAX] if energy != 'base' else []
    return [*dict.fromkeys([*photometric, *base, *maps])]


def costs(table: Mapping[str, Term], estimate: Estimate, names: Collection[str]) -> dict[str, jax.Array]:
    """Return those terms of a table that have one of the names, for an estimate; each [B]."""
    return {name: term(estimate) for name, term in table.items() if name in names}
