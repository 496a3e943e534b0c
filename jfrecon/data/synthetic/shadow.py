"""The key lamp's shadow: an exponential shadow map (Annen et al. 2008), blurred by the lamp's softness."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from jfrecon.data.synthetic import lighting
from jfrecon.data.synthetic.pose import Posed
from jfrecon.data.synthetic.stage import Stage, orthographic
from jfrecon.geometry import uv
from jfrecon.render import raster

SIZE = 88
REACH = 170.0  # mm around the head's middle that cast a shadow
STEEP = 0.22  # 1/mm: a gap of 1 / STEEP leaves exp(-1) of the light


@struct.dataclass
class Shadow:
    """A filtered map of exp(STEEP x depth).

    Attributes:
      map: [SIZE, SIZE, 1].
      centre: [3] mm, camera space.
      direction: [3] towards the lamp.
    """

    map: jax.Array
    centre: jax.Array
    direction: jax.Array

    def visible(self, points: jax.Array) -> jax.Array:
        """The share [N] of the lamp that reaches points [N, 3]."""
        pixels, depth = orthographic(points - self.centre, self.direction, REACH, SIZE)
        occluder = uv.sample_image(self.map, pixels)[:, 0]
        behind = jnp.exp(-STEEP * jnp.clip(depth - 2.0 * REACH - 3.0, -REACH, REACH)) * occluder
        inside = jnp.all((pixels > 1.0) & (pixels < SIZE - 1.0), -1)
        return jnp.where(inside, jnp.clip(1.15 * behind - 0.1, 0.0, 1.0), 1.0)


def small_first(triangles: int, lists: tuple[raster.Window, ...]) -> tuple[raster.Window, ...]:
    """The rasteriser's lists with one more: most triangles of a head in a small picture cover four pixels at most."""
    return (raster.Window(triangles, 2, 2), *lists)


def cast(posed: Posed, lamps: lighting.Lamps, stage: Stage) -> Shadow:
    """Rasterise head, torso and hair from the key lamp."""
    centre = jnp.mean(posed.landmarks, 0) + jnp.array([0.0, 0.0, -50.0])
    direction = lamps.direction[0]
    vertices = jnp.concatenate([posed.solid.vertices, posed.hair.vertices])
    triangles = jnp.concatenate([posed.solid.triangles, posed.hair.triangles + len(posed.solid.vertices)])
    pixels, depth = orthographic(vertices - centre, direction, REACH, SIZE)
    lists = small_first(len(triangles), raster.windows(len(triangles), (SIZE, SIZE)))
    nearest = raster.rasterise(pixels, depth, triangles, (SIZE, SIZE), perspective=False, lists=lists).depth
    height = jnp.exp(STEEP * jnp.clip(nearest - 2.0 * REACH, -REACH, REACH))
    deviation = 0.4 + 60.0 * jnp.square(jnp.minimum(lamps.softness[0], 0.5)) * SIZE / (2.0 * REACH)
    at = jnp.arange(SIZE)
    kernel = jnp.exp(-0.5 * jnp.square((at[:, None] - at[None, :]) / deviation))
    kernel = kernel / jnp.sum(kernel, -1, keepdims=True)
    # In high precision: the exponentials span many orders of magnitude.
    blurred = jnp.einsum('yi,ij,xj->yx', kernel, height, kernel, precision=jax.lax.Precision.HIGHEST)
    return Shadow(blurred[..., None], centre, direction)
