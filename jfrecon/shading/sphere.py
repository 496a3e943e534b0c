"""Points and weights on the unit sphere, as NumPy constants in double precision.

Latitude-longitude maps, in camera space (x right, y up, z towards the camera): row i has its centre at the
polar angle theta = pi (i + 1/2) / H from +y (row 0 is up), column j at phi = 2 pi (j + 1/2) / W with

    d = (sin theta sin phi, cos theta, -sin theta cos phi),

so the map's centre is +z and its left half holds +x: the panorama that the face sees when it looks at the
camera.
"""

from __future__ import annotations

import functools

import numpy as np


@functools.lru_cache(maxsize=16)
def latlong_directions(height: int, width: int) -> np.ndarray:
    """Unit directions [H, W, 3] of the texel centres of a latitude-longitude map."""
    theta = np.pi * (np.arange(height) + 0.5)[:, None] / height
    phi = 2.0 * np.pi * (np.arange(width) + 0.5)[None] / width
    parts = (np.sin(theta) * np.sin(phi), np.cos(theta) + 0.0 * phi, -np.sin(theta) * np.cos(phi))
    return _constant(np.stack(parts, axis=-1))


@functools.lru_cache(maxsize=16)
def latlong_solid_angles(height: int, width: int) -> np.ndarray:
    """Solid angles [H, W] of the texels, steradians; they sum to 4 pi.

    The exact area (2 pi / W) 2 sin(pi / 2H) sin theta. dib21's (2 pi / W)(pi / H) sin theta is the same times
    1 + pi² / 24H² (1.0001 at H = 64), and does not sum to 4 pi.
    """
    theta = np.pi * (np.arange(height) + 0.5) / height
    ring = 2.0 * np.sin(np.pi / (2 * height)) * np.sin(theta) * (2.0 * np.pi / width)
    return _constant(np.repeat(ring[:, None], width, axis=1))


@functools.lru_cache(maxsize=16)
def latlong_weights(height: int, width: int) -> np.ndarray:
    """Quadrature weights [H, W] for functions sampled at the texel centres; they sum to 4 pi.

    Fejér's first rule in theta (the cosines of the rows are Chebyshev nodes): exact for polynomials on the
    sphere of degree below H and below W, where the texels' areas are only second-order. They differ near the
    poles.
    """
    theta = np.pi * (np.arange(height) + 0.5) / height
    j = np.arange(1, height // 2 + 1)
    series = np.cos(2.0 * theta[:, None] * j) / (4.0 * j**2 - 1.0)
    ring = (2.0 / height) * (1.0 - 2.0 * series.sum(axis=1)) * (2.0 * np.pi / width)
    return _constant(np.repeat(ring[:, None], width, axis=1))


def fibonacci(count: int) -> np.ndarray:
    """Unit directions [N, 3], spread evenly: a spiral about +y, turned by golden angles (González 2010)."""
    k = np.arange(count) + 0.5
    y, turn = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - y * y)
    return np.stack([r * np.cos(turn), y, r * np.sin(turn)], -1)


def _constant(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)  # cached and shared: a caller's in-place edit would reach everybody
    return array
