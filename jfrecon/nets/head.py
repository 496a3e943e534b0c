"""From a latent vector to the semantic code of a face (dib21 3.2: one fully connected layer to chi)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jfrecon.shading import sh
from jfrecon.types import Pinhole

#: What the head gives, by the names of `jfrecon.types.FaceParameters`.
GROUPS = ('identity', 'expression', 'albedo', 'rotation', 'translation', 'light')


class FaceHead(nn.Module):
    """One fully connected layer whose outputs are the raw groups of `jfrecon.types.FaceParameters`.

    At the start every group is nearly 0 and the light nearly ``radiance`` from everywhere: the mean face,
    frontal, in the middle of the crop, under grey light, whatever the picture. A group's scale multiplies its
    outputs, which sets how fast it learns under Adam compared to the others.

    Attributes:
      identity, expression, albedo: numbers of coefficients.
      bands: spherical-harmonics bands L; L² coefficients per colour channel.
      radiance: of the grey light at the start.
      scales: (group, scale) pairs; a group that is not named has scale 1.
    """

    identity: int
    expression: int
    albedo: int
    bands: int = 9
    radiance: float = 1.0
    scales: tuple[tuple[str, float], ...] = ()

    @nn.compact
    def __call__(self, latent: jax.Array) -> dict[str, jax.Array]:
        """[..., F] -> the groups by name.

        'identity' [..., I], 'expression' [..., E], 'albedo' [..., A], 'rotation' [..., 3] (axis-angle),
        'translation' [..., 3] (raw, see `place`), 'light' [..., L², 3].
        """
        k = self.bands**2
        sizes = dict(zip(GROUPS, (self.identity, self.expression, self.albedo, 3, 3, 3 * k)))
        scales = dict(self.scales)
        if unknown := scales.keys() - sizes.keys():
            raise ValueError(f'FaceHead has no group named {", ".join(sorted(unknown))}; it has {", ".join(sizes)}')
        small = nn.initializers.variance_scaling(1e-4, 'fan_in', 'normal')
        flat = nn.Dense(sum(sizes.values()), kernel_init=small, name='fc')(latent)
        parts = jnp.split(flat, np.cumsum(list(sizes.values()))[:-1], axis=-1)
        raw = {name: scales.get(name, 1.0) * part for name, part in zip(sizes, parts)}
        light = raw['light'].reshape(*flat.shape[:-1], k, 3)
        return raw | {'light': light.at[..., 0, :].add(self.radiance * sh.GREY)}


def place(raw: jax.Array, camera: Pinhole, size: int, face_width_mm: float = 150.0, fill: float = 0.6) -> jax.Array:
    """Translation [..., 3] mm, camera space, from raw offsets (u, v, s) [..., 3].

    The model's origin lands (u, v) crop sizes right of and below the centre of the crop; its depth is the one
    at which ``face_width_mm`` covers the fraction ``fill`` of the crop, times exp(s):

        d = focal · face_width / (fill · size) · exp(s),   t = ((x - x0) d / focal, -(y - y0) d / focal, -d).

    Offsets in units of the crop mean the same at every focal length and crop size, which millimetres do not:
    zero raw output is a centred face whatever the camera.

    Args:
      raw: [..., 3].
      camera: of the crop, leaves [...] and [..., 2], pixels of the crop.
      size: side of the square crop in pixels.
      face_width_mm: width of the mean face.
      fill: fraction of the crop's width that the face covers at s = 0.
    """
    x, y = jnp.moveaxis((raw[..., :2] + 0.5) * size - camera.principal, -1, 0)
    per_pixel = face_width_mm / (fill * size) * jnp.exp(raw[..., 2])  # mm at the depth of the face
    return jnp.stack(jnp.broadcast_arrays(x * per_pixel, -y * per_pixel, -camera.focal * per_pixel), -1)
