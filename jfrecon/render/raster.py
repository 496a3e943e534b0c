"""Primary visibility by a scatter-min rasteriser, and what is read from its fragments.

Triangles are sorted into lists by the size of their bounding box. Each list is worked through in chunks; a chunk tests
one small window of pixels per triangle, scatters the minimum depth into the depth buffer, and the triangle's id where
it holds the minimum. A face of 18,000 triangles is then a few large array operations instead of a loop over triangles
or over pixels, and chunks that would be empty are never run.

Images here are unbatched; `rasterise_batch` maps over a batch, everything else goes under `jax.vmap`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jfrecon.types import Array, Fragments

# A pixel centre on an edge belongs to both triangles, so that rounding opens no cracks between them.
EDGE = 1e-5
# px². The rounding of coordinates near 256 px is 3e-5 px: a smaller triangle has no meaningful orientation.
SMALLEST_AREA = 1e-6


class Window(NamedTuple):
    """One list: ``capacity`` triangles whose bounding box holds at most ``height`` x ``width`` pixel centres."""

    capacity: int
    height: int
    width: int


def windows(triangles: int, size: tuple[int, int]) -> tuple[Window, ...]:
    """The lists for a mesh of so many triangles at this size; the last one takes triangles as large as the image.

    Small windows hold every triangle there is. The two large ones are bounded, because a mesh that a network has put
    in front of the lens must not take minutes: 4,096 triangles up to 48x48, and 256 (64 on large images) beyond.
    """
    height, width = size
    lists = [
        Window(min(triangles, capacity), min(side, height), min(side, width))
        for side, capacity in ((4, triangles), (12, triangles), (48, 4096))
        if side < max(size)
    ]
    largest = 256 if height * width <= 256**2 else 64
    return (*lists, Window(min(triangles, largest), height, width))
