"""Rotations as axis-angle vectors, matrices and Euler angles; values and gradients are finite everywhere.

All angles are radians and all rotations are right-handed. Leading axes ``...`` broadcast.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

HIGHEST = jax.lax.Precision.HIGHEST

# Below this squared angle the series to the fourth order is exact to rounding, in float32 and in float64.
_SMALL = 1e-4


def matrix(rotvec: jax.Array) -> jax.Array:
    """Rotation matrix of an axis-angle vector (Rodrigues): I + a K + b K², a = sin t / t, b = (1 - cos t) /
    t².

    Near zero the factors come from their series, so that first and second derivatives are right there too.

    Args:
      rotvec: [..., 3] axis times angle, radians.

    Returns:
      [..., 3, 3].
    """
    square = jnp.sum(rotvec**2, -1)
    small = square < _SMALL
    angle = jnp.sqrt(jnp.where(small, 1.0, square))
    # (1 - cos t) / t² cancels in float32; half the square of sin(t/2) / (t/2) does not.
    half = jnp.sin(0.5 * angle) / (0.5 * angle)
    a = jnp.where(small, 1 - square / 6 + square**2 / 120, jnp.sin(angle) / angle)
    b = jnp.where(small, 0.5 - square / 24 + square**2 / 720, 0.5 * half**2)
    x, y, z = rotvec[..., 0], rotvec[..., 1], rotvec[..., 2]
    # K² = r rᵀ - |r|² I, written out: no matrix product, hence no reduced precision on an accelerator.
    rows = [
        [1 - b * (y * y + z * z), b * x * y - a * z, b * x * z + a * y],
        [b * x * y + a * z, 1 - b * (x * x + z * z), b * y * z - a * x],
        [b * x * z - a * y, b * y * z + a * x, 1 - b * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def rotvec(matrix: jax.Array) -> jax.Array:
    """Axis-angle vector of a rotation matrix, of length in [0, pi]; the inverse of ``matrix``.

    Goes through the unit quaternion q: the entries of the matrix give 4 q qᵀ, and the row of its largest
    diagonal entry, normalised, is q without a cancellation or a square root at zero (Shepperd 1978). At
    exactly pi the sign of the axis is arbitrary.

    Args:
      matrix: [..., 3, 3] a proper rotation.

    Returns:
      [..., 3] radians.
    """
    m = matrix
    d0, d1, d2 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    diagonal = [1 + d0 + d1 + d2, 1 + d0 - d1 - d2, 1 - d0 + d1 - d2, 1 - d0 - d1 + d2]
    outer = jnp.stack(
        [
            jnp.stack([diagonal[0], wx, wy, wz], -1),
            jnp.stack([wx, diagonal[1], xy, xz], -1),
            jnp.stack([wy, xy, diagonal[2], yz], -1),
            jnp.stack([wz, xz, yz, diagonal[3]], -1),
        ],
        -2,
    )
    best = jnp.argmax(jnp.stack(diagonal, -1), -1)
    q = jnp.take_along_axis(outer, best[..., None, None], -2)[..., 0, :]
    q = q / jnp.sqrt(jnp.sum(q**2, -1, keepdims=True))
    q = jnp.where(q[..., :1] < 0, -q, q)
    w, v = q[..., :1], q[..., 1:]
    square = jnp.sum(v**2, -1, keepdims=True)
    small = square < _SMALL
    sine = jnp.sqrt(jnp.where(small, 1.0, square))
    # 2 asin(s) / s by its series; |w| is close to one there.
    series = 2 + square / 3 + 3 * square**2 / 20
    return v * jnp.where(small, series, 2 * jnp.arctan2(sine, w) / sine)


def euler(pitch: jax.Array, yaw: jax.Array, roll: jax.Array) -> jax.Array:
    """Rotation matrix R_z(roll) R_y(yaw) R_x(pitch) of a head, model to camera space.

    Seen in the image: positive pitch nods the face down, positive yaw turns it to the image's right, positive
    roll tilts it counter-clockwise.

    Args:
      pitch: [...] radians about x.
      yaw: [...] radians about y.
      roll: [...] radians about z.

    Returns:
      [..., 3, 3].
    """
    pitch, yaw, roll = jnp.broadcast_arrays(pitch, yaw, roll)
    cx, cy, cz = jnp.cos(pitch), jnp.cos(yaw), jnp.cos(roll)
    sx, sy, sz = jnp.sin(pitch), jnp.sin(yaw), jnp.sin(roll)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def rotate(matrix: jax.Array, vectors: jax.Array) -> jax.Array:
    """R v for every vector: matrix [..., 3, 3] and vectors [..., N, 3] give [..., N, 3]."""
    return jnp.einsum('...ij,...nj->...ni', matrix, vectors, precision=HIGHEST)


def transform(rotvec: jax.Array, translation: jax.Array, points: jax.Array) -> jax.Array:
    """Rigid motion R p + t, model to camera space.

    Args:
      rotvec: [..., 3] axis-angle, radians.
      translation: [..., 3] mm.
      points: [..., N, 3] mm.

    Returns:
      [..., N, 3] mm.
    """
    return rotate(matrix(rotvec), points) + translation[..., None, :]
