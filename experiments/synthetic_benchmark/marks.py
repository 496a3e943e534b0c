"""What no linear albedo basis holds: tattoos, scars, moles and make-up, drawn on the painted skin of one person.

A beard is a mark too; `skin_paint.paint` draws it, see `people`.
"""

from __future__ import annotations

import numpy as np

from jfrecon.morphable.skin_canvas import Canvas

KINDS = ('none', 'tattoo', 'scar', 'mole', 'make-up', 'beard')
FAR = 10.0  # eye distances, beyond every mark
AXIS = -1.2  # eye distances behind the eyes: about where the vertical axis of a head is


def draw(
    random: np.random.Generator, kind: str, canvas: Canvas, diffuse: np.ndarray, specular: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Diffuse albedo [N, 3] and specular weight [N, 1] with a mark of a kind in them."""
    if kind == 'tattoo':
        return _tattoo(random, canvas, diffuse), specular
    if kind == 'scar':
        return _scar(random, canvas, diffuse, specular)
    if kind == 'mole':
        return _moles(random, canvas, diffuse), specular
    if kind == 'make-up':
        return _make_up(random, canvas, diffuse, specular)
    return diffuse, specular


def _tattoo(random: np.random.Generator, canvas: Canvas, diffuse: np.ndarray) -> np.ndarray:
    """A star, rings or a row of waves in blue-black or coloured ink, on a cheek or the forehead."""
    x, y = _around(random, canvas, canvas.cheek + canvas.forehead)
    size = random.uniform(0.22, 0.38)
    radius, turn = np.hypot(x, y) / size, np.arctan2(y, x)
    line = 0.09
    motif = random.integers(3)
    if motif == 0:
        points = random.integers(4, 8)
        outline = 0.55 + 0.4 * np.abs((turn * points / np.pi) % 2 - 1)
        ink = _soft(line - np.abs(radius - outline), 0.06) + _soft(0.25 - radius, 0.06)
    elif motif == 1:
        ink = _soft(2 * line - np.abs((radius * 3) % 1 - 0.5), 0.15) * _soft(1 - radius, 0.06)
    else:
        wave = np.abs(((y / size + 0.2 * np.sin(9 * x / size)) * 2.5) % 1 - 0.5)
        ink = _soft(0.18 - wave, 0.15) * _soft(1 - np.abs(x) / size, 0.06) * _soft(0.8 - np.abs(y) / size, 0.06)
    colours = np.array([[0.02, 0.03, 0.05], [0.02, 0.06, 0.05], [0.3, 0.03, 0.03]])
    colour = colours[random.choice(3, p=[0.6, 0.2, 0.2])]
    return diffuse + (0.85 * np.clip(ink, 0, 1))[:, None] * (colour - diffuse)


def _scar(
    random: np.random.Generator, canvas: Canvas, diffuse: np.ndarray, specular: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A bent line of pale, shiny skin with the dots of its stitches."""
    x, y = _around(random, canvas, canvas.cheek + canvas.forehead + canvas.chin)
    turn = random.uniform(0, np.pi)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    half, bend = random.uniform(0.2, 0.4), random.uniform(-0.8, 0.8)
    across = across - bend * (along**2 - half**2 / 3)
    width = 0.03 * np.clip(1 - (along / half) ** 2, 0, 1)
    line = _soft(width - np.abs(across), 0.02)
    stitches = np.abs((along / 0.09) % 1 - 0.5) > 0.42
    dots = _soft(0.016 - np.abs(np.abs(across) - 0.055), 0.01) * stitches * (np.abs(along) < half)
    pale = np.clip(1.25 * diffuse + [0.08, 0.03, 0.03], 0, 0.95)
    marked = diffuse + line[:, None] * (pale - diffuse)
    marked = marked * (1 - 0.45 * dots[:, None] * np.array([0.6, 1.0, 1.0]))
    return marked, np.clip(specular * (1 + 0.8 * line[:, None]), 0, 1)


def _moles(random: np.random.Generator, canvas: Canvas, diffuse: np.ndarray) -> np.ndarray:
    """Two to five brown discs."""
    for _ in range(random.integers(2, 6)):
        x, y = _around(random, canvas, canvas.cheek + canvas.forehead + canvas.chin + 0.05)
        radius = random.uniform(0.02, 0.05)
        mole = 0.85 * _soft(radius - np.hypot(x, y), 0.012)
        diffuse = diffuse + mole[:, None] * (np.array([0.09, 0.04, 0.025]) * random.uniform(0.4, 1.5) - diffuse)
    return diffuse


def _make_up(
    random: np.random.Generator, canvas: Canvas, diffuse: np.ndarray, specular: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lipstick, eye shadow, eye liner and rouge."""
    lips = np.array([[0.45, 0.02, 0.04], [0.25, 0.02, 0.08], [0.5, 0.12, 0.12], [0.08, 0.02, 0.06]])
    shadows = np.array([[0.05, 0.1, 0.3], [0.25, 0.08, 0.25], [0.05, 0.2, 0.15], [0.12, 0.06, 0.04]])
    lip = _soft(np.asarray(canvas.lip) + 0.01, 0.02)
    lid = np.asarray(canvas.lid)
    above = np.asarray(canvas.eyelid) * np.clip((np.asarray(canvas.brow)[:, 1] + 0.4) / 0.2, 0, 1) * (lid < 0.01)
    liner = _soft(0.035 - np.abs(lid + 0.015), 0.015)
    layers = (
        (random.uniform(0.1, 0.5) * np.asarray(canvas.cheek), np.array([0.55, 0.12, 0.12])),
        (random.uniform(0.3, 0.9) * above, shadows[random.integers(4)]),
        (random.uniform(0.5, 0.9) * liner, np.array([0.01, 0.01, 0.01])),
        (random.uniform(0.7, 0.95) * lip, lips[random.integers(4)]),
    )
    for amount, colour in layers:
        diffuse = diffuse + np.clip(amount, 0, 1)[:, None] * (colour - diffuse)
    gloss = random.uniform(0.0, 0.8)
    return diffuse, np.clip(specular * (1 + gloss * lip[:, None]), 0, 1)


def _around(random: np.random.Generator, canvas: Canvas, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (right, up) [N] in the tangent plane of a random point of a region, eye distances; FAR behind it."""
    position, chance = np.asarray(canvas.position, np.float64), np.clip(np.asarray(region, np.float64), 0, 1)
    chance = chance * (chance > 0.3) * (np.asarray(canvas.scalp) < -0.2)  # not on its rim, nor under hair
    centre = position[random.choice(len(position), p=chance / chance.sum())]
    out = centre - [0, centre[1], AXIS]
    out /= np.linalg.norm(out)
    right = np.cross([0.0, 1.0, 0.0], out)
    right /= np.linalg.norm(right)
    offset = position - centre
    near = np.abs(offset @ out) < 0.5
    return np.where(near, offset @ right, FAR), np.where(near, offset @ np.cross(out, right), FAR)


def _soft(distance: np.ndarray, edge: float) -> np.ndarray:
    """1 where the distance inwards is positive, 0 where it is negative, smooth over the width of an edge."""
    x = np.clip(distance / edge + 0.5, 0, 1)
    return x * x * (3 - 2 * x)
