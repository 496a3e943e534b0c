"""Painted skins: a texture of the face region and the colours of the other vertices, painted once and worn by many.

Painting costs as much as taking a picture, so a set of pictures shares its skins: person i wears skin i mod P, under
the light and on the skull of the picture.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon.data.synthetic.stages import Stage
from jfrecon.geometry import mesh, uv
from jfrecon.morphable import skin_canvas, skin_paint, skin_person
from jfrecon.types import Array, Topology

_TOGETHER = 8  # people painted at once share the noise's cosines


@struct.dataclass
class Skins:
    """Albedo of P people: the square root of red, green, blue and specular weight, float16.

    Attributes:
      texture: [P, S, S, 4] of the face region.
      vertices: [P, V, 4] of the whole head.
    """

    texture: jax.Array
    vertices: jax.Array


def key(seed: int, index: int | jax.Array) -> jax.Array:
    """The key of skin `index`: its first half draws the skin, its second its detail."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 0x5C1), index)


def blank(stage: Stage, size: int) -> Skins:
    """One skin without colour, of the same shapes as a painted one."""
    vertices = stage.model.mean.shape[0]
    return Skins(jnp.zeros((1, size, size, 4), jnp.float16), jnp.zeros((1, vertices, 4), jnp.float16))


@struct.dataclass
class Sheet:
    """Where a head is painted: the N texels of the face region that lie on a triangle, then the V vertices.

    Attributes:
      surface: canvas of the N + V points.
      rows, columns: [N] of the texels.
    """

    surface: skin_canvas.Canvas
    rows: Array
    columns: Array


def sheet(stage: Stage, size: int) -> Sheet:
    """What to paint for textures of size x size texels."""
    model, mean = stage.model, np.asarray(stage.model.mean)
    inside = np.asarray(stage.face) > 0
    corners = np.asarray(stage.corner_uv)[inside]
    charts = Topology(
        triangles=np.asarray(stage.opaque)[inside],
        uv=corners.reshape(-1, 2),
        uv_triangles=np.arange(3 * len(corners)).reshape(-1, 3),
    )
    texels = uv.texel_map(charts, size, margin=2)
    hit = texels.triangle >= 0
    normals = np.asarray(mesh.vertex_normals(jnp.asarray(mean), stage.opaque))
    at = lambda values: np.einsum('nk,nkc->nc', texels.barycentric[hit], values[texels.vertices[hit]])
    points, facing = np.concatenate([at(mean), mean]), np.concatenate([at(normals), normals])
    surface = skin_canvas.canvas(points, mean[np.asarray(model.landmark_ids)], facing)
    return Sheet(jax.tree.map(jnp.asarray, surface), *np.nonzero(hit))


def paint(stage: Stage, seed: int, count: int, size: int) -> Skins:
    """The first `count` skins, with textures of size x size texels."""
    where = sheet(stage, size)

    @jax.jit
    def batch(surface, keys):
        def one(key):
            tone, detail = jax.random.split(key)
            parameters = skin_person.sample(tone).replace(scalp=jnp.zeros(()))
            return jnp.concatenate(skin_paint.paint(surface, parameters, detail), -1)

        return jnp.sqrt(jax.vmap(one)(keys)).astype(jnp.float16)

    texels = len(where.rows)
    textures, vertices = [], []
    for start in range(0, count, _TOGETHER):
        keys = jax.vmap(lambda i: key(seed, i))(jnp.arange(start, start + _TOGETHER))
        painted = np.asarray(batch(where.surface, keys))
        sheets = np.zeros((_TOGETHER, size, size, 4), np.float16)
        sheets[:, where.rows, where.columns] = painted[:, :texels]
        textures.append(sheets)
        vertices.append(painted[:, texels:])
    return Skins(jnp.asarray(np.concatenate(textures)[:count]), jnp.asarray(np.concatenate(vertices)[:count]))
