"""Light of the benchmark: rooms, streets and studios as maps, not the soft lamps of our training faces."""

from __future__ import annotations

import numpy as np

from jfrecon.shading import environment

SIZE = 64  # texels along both sides of the latitude-longitude map, as dib21's
KINDS = ('room', 'street', 'studio')


def draw(random: np.random.Generator, kind: str) -> np.ndarray:
    """A map [SIZE, SIZE, 3] of linear radiance, camera space, under which a frontal white surface sends back 1."""
    towards = np.asarray(environment.directions(SIZE, SIZE), np.float64)
    light = {'room': _room, 'street': _street, 'studio': _studio}[kind](random, towards)
    light = light * np.exp(0.15 * _blotches(random, towards))[..., None]
    cosine = np.maximum(towards[..., 2], 0) * np.asarray(environment.solid_angles(SIZE, SIZE))
    frontal = (light.mean(-1) * cosine).sum() / np.pi
    return (light / frontal).astype(np.float32)


def _room(random: np.random.Generator, towards: np.ndarray) -> np.ndarray:
    """Walls, a ceiling, one to three windows and perhaps a lamp."""
    height = towards[..., 1:2]
    wall, floor = 0.25 * _tint(random, 0.2), 0.12 * _tint(random, 0.2)
    light = np.where(height > -0.4, wall * (1 + 0.5 * height), floor)
    for _ in range(random.integers(1, 4)):
        centre = random.uniform(-110, 110), random.uniform(0, 30)
        window = _rectangle(towards, centre, random.uniform(12, 35), random.uniform(15, 30))
        bars = np.abs(_angles(towards)[0] - centre[0]) > 1.5
        light = light + (window * bars)[..., None] * random.uniform(3, 12) * _daylight(random)
    if random.random() < 0.6:
        lamp = _disc(towards, (random.uniform(-90, 90), random.uniform(35, 75)), random.uniform(6, 12))
        light = light + lamp[..., None] * random.uniform(8, 30) * np.array([1.0, 0.75, 0.45])
    return light


def _street(random: np.random.Generator, towards: np.ndarray) -> np.ndarray:
    """Sky over a ground, houses in between, and a sun on most days."""
    azimuth, height = _angles(towards)[0], towards[..., 1]
    up = np.clip(height, 0, 1)[..., None]
    sky = random.uniform(0.5, 1.2) * ((1 - up) * np.array([0.9, 0.95, 1.0]) + up * np.array([0.35, 0.6, 1.0]))
    light = np.where(height[..., None] > 0, sky, 0.3 * _tint(random, 0.12))
    for _ in range(random.integers(3, 8)):
        left, width, top = random.uniform(-180, 180), random.uniform(15, 60), random.uniform(0.1, 0.6)
        house = (np.abs((azimuth - left + 180) % 360 - 180) < width / 2) & (height > -0.05) & (height < top)
        light = np.where(house[..., None], random.uniform(0.1, 0.5) * _tint(random, 0.2), light)
    if random.random() < 0.75:
        sun = _disc(towards, (random.uniform(-100, 100), random.uniform(20, 65)), 5.0)
        light = light + sun[..., None] * random.uniform(30, 120) * np.array([1.0, 0.9, 0.72])
    return light


def _studio(random: np.random.Generator, towards: np.ndarray) -> np.ndarray:
    """A dark room with two to four soft boxes, one of them coloured at times."""
    light = np.full((*towards.shape[:2], 3), random.uniform(0.03, 0.15))
    for k in range(random.integers(2, 5)):
        centre = random.uniform(-80, 80) if k < 2 else random.uniform(-180, 180), random.uniform(-5, 60)
        box = _rectangle(towards, centre, random.uniform(10, 30), random.uniform(10, 30))
        gel = _tint(random, 0.8) if random.random() < 0.2 else _tint(random, 0.08)
        light = light + box[..., None] * random.uniform(3, 15) * gel
    return light


def _angles(towards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Azimuth, 0 behind the camera and 90 to its right, and elevation, degrees."""
    x, y, z = np.moveaxis(towards, -1, 0)
    return np.degrees(np.arctan2(x, z)), np.degrees(np.arcsin(np.clip(y, -1, 1)))


def _rectangle(towards: np.ndarray, centre: tuple[float, float], width: float, height: float) -> np.ndarray:
    """1 within half a width and half a height (degrees) of a centre."""
    azimuth, elevation = _angles(towards)
    aside = np.abs((azimuth - centre[0] + 180) % 360 - 180)
    return ((aside < width) & (np.abs(elevation - centre[1]) < height)).astype(float)


def _disc(towards: np.ndarray, centre: tuple[float, float], radius: float) -> np.ndarray:
    """1 within a radius (degrees) of a centre, soft over two texels."""
    a, e = np.radians(centre)
    middle = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    off = np.degrees(np.arccos(np.clip(towards @ middle, -1, 1)))
    return np.clip((radius - off) / 5.0 + 0.5, 0, 1)


def _daylight(random: np.random.Generator) -> np.ndarray:
    return np.exp(random.normal(0, 0.12) * np.array([1.0, 0.0, -1.0]))


def _tint(random: np.random.Generator, amount: float) -> np.ndarray:
    return np.exp(amount * random.normal(size=3))


def _blotches(random: np.random.Generator, towards: np.ndarray) -> np.ndarray:
    """A rough field of about unit variance: what furniture and trees do to a wall's brightness."""
    waves = random.normal(size=(3, 24)) * random.uniform(2, 12, 24)
    return np.sqrt(2 / 24) * np.cos(towards @ waves + random.uniform(0, 2 * np.pi, 24)).sum(-1)
