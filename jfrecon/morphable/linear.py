"""The linear model itself: coefficients to vertices, albedo, landmarks and posed vertices.

Everything here takes any number of leading batch axes, works in model space and millimetres, and multiplies
at the
highest precision: the accelerators' default (TF32 or bfloat16) costs tenths of a millimetre.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jfrecon.geometry.rotations import matrix
from jfrecon.types import MorphableModel

HIGHEST = jax.lax.Precision.HIGHEST


def shape(model: MorphableModel, identity: jax.Array, expression: jax.Array) -> jax.Array:
    """Vertices [..., V, 3], mm, of ``mean + sum_i a_i B_i + sum_j e_j E_j`` (dib21 eq. 1).

    Args:
      identity: [..., I] in standard deviations.
      expression: [..., E] activations.
    """
    offset = jnp.einsum('...i,ivc->...vc', identity, model.identity_basis, precision=HIGHEST)
    offset = offset + jnp.einsum('...e,evc->...vc', expression, model.expression_basis, precision=HIGHEST)
    return jnp.asarray(model.mean) + offset


def albedo(model: MorphableModel, coefficients: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Diffuse [..., V, 3] (linear RGB) and specular [..., V, 1] albedo of the same coefficients [..., A].

    Linear, so far-out coefficients leave 0..1; no clamp here, which would stop the gradient where it is
    needed most.
    """
    diffuse = jnp.einsum('...a,avc->...vc', coefficients, model.diffuse_basis, precision=HIGHEST)
    specular = jnp.einsum('...a,avc->...vc', coefficients, model.specular_basis, precision=HIGHEST)
    return jnp.asarray(model.diffuse_mean) + diffuse, jnp.asarray(model.specular_mean) + specular


def landmarks(model: MorphableModel, vertices: jax.Array) -> jax.Array:
    """The 68 iBUG landmarks [..., 68, 3] of vertices [..., V, 3], in whatever space these are."""
    return jnp.take(vertices, jnp.asarray(model.landmark_ids), axis=-2)


def pose(model: MorphableModel, vertices: jax.Array, joint_rotations: jax.Array) -> jax.Array:
    """Vertices [..., V, 3] bent at the joints by linear blend skinning (Li et al. 2017, FLAME, eqs. 1-4).

    ``v' = sum_j w_vj (R_j v + t_j)`` with v the vertices plus pose correctives, linear in ``R_j - I`` without
    the root. Joints are averages of the unposed vertices; a joint turns about its own place, then follows its
    parent.

    Args:
      vertices: [..., V, 3] mm, model space, as `shape` returns them.
      joint_rotations: [..., J, 3] axis-angle, radians, each relative to the joint's parent.

    Raises:
      ValueError: the model has no skeleton.
    """
    skeleton = model.skeleton
    if skeleton is None:
        raise ValueError(f'the model {model.name!r} has no skeleton to pose')
    rotation = matrix(joint_rotations)
    joints = jnp.einsum('jv,...vc->...jc', skeleton.joint_regressor, vertices, precision=HIGHEST)
    bend = (rotation[..., 1:, :, :] - jnp.eye(3)).reshape(*rotation.shape[:-3], -1)
    vertices = vertices + jnp.einsum('...p,pvc->...vc', bend, skeleton.pose_basis, precision=HIGHEST)

    # (R, t) of each joint: x -> R x + t in model space, after its own turn and all its parents'.
    chain: list[tuple[jax.Array, jax.Array]] = []
    for j, parent in enumerate(skeleton.parents):
        turn, place = rotation[..., j, :, :], joints[..., j, :]
        shift = place - jnp.einsum('...ab,...b->...a', turn, place, precision=HIGHEST)
        if parent >= 0:
            outer, moved = chain[parent]
            shift = jnp.einsum('...ab,...b->...a', outer, shift, precision=HIGHEST) + moved
            turn = jnp.einsum('...ab,...bc->...ac', outer, turn, precision=HIGHEST)
        chain.append((turn, shift))
    turns = jnp.stack([r for r, _ in chain], axis=-3)
    shifts = jnp.stack([t for _, t in chain], axis=-2)
    blended = jnp.einsum('vj,...jab->...vab', skeleton.weights, turns, precision=HIGHEST)
    posed = jnp.einsum('...vab,...vb->...va', blended, vertices, precision=HIGHEST)
    return posed + jnp.einsum('vj,...ja->...va', skeleton.weights, shifts, precision=HIGHEST)


def truncate(model: MorphableModel, identity: int, expression: int, albedo: int) -> MorphableModel:
    """The model with at most so many leading identity modes, expressions and albedo modes."""
    return dataclasses.replace(
        model,
        identity_basis=model.identity_basis[:identity],
        expression_basis=model.expression_basis[:expression],
        expression_names=model.expression_names[:expression],
        diffuse_basis=model.diffuse_basis[:albedo],
        specular_basis=model.specular_basis[:albedo],
    )
