"""The limits that the papers state, on a known face: a foreign shadow, an occluder, coloured light."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import numpy as np

from experiments.synthetic_benchmark import files, people
from experiments.synthetic_benchmark.people import Face, Version
from jfrecon.shading import environment

FACES = {'makehuman': 636, 'ict': 618}  # beyond the benchmark's 200, without a mark, nearly frontal
SUN = np.array([-0.55, 0.6, 0.6])
AIM = SUN / np.linalg.norm(SUN)  # towards the sun, camera space


def cases(mi: ModuleType, version: Version) -> dict[str, tuple[np.ndarray, dict]]:
    """Name -> (photograph, truth): the same face plain, in a foreign shadow, behind something, in orange light."""
    plain = people.cast(version, FACES[version.name])
    plain = dataclasses.replace(plain, light=_sunny(plain))
    orange = dataclasses.replace(plain, light=plain.light * np.float32([1.35, 0.95, 0.45]))
    middle = plain.landmarks.mean(0)
    return {
        'plain': files.shoot(mi, version, plain),
        'foreign shadow': files.shoot(mi, version, plain, _board(mi, middle)),
        'occluder': files.shoot(mi, version, plain, _microphone(plain)),
        'light colour': files.shoot(mi, version, orange),
    }


def _sunny(face: Face) -> np.ndarray:
    """A low sun and a weak grey sky, as strong as the face's own light."""
    towards = np.asarray(environment.directions(*face.light.shape[:2]), np.float64)
    glow = np.exp(400 * (towards @ AIM - 1))[..., None]
    light = 0.15 * (1 + 0.6 * towards[..., 1:2]) + 130 * glow
    cosine = np.maximum(towards[..., 2:], 0) * environment.solid_angles(*face.light.shape[:2])[..., None]
    return (light * (face.light.mean(-1, keepdims=True) * cosine).sum() / (light * cosine).sum()).astype(np.float32)


def _board(mi: ModuleType, middle: np.ndarray) -> dict:
    """A board out of sight, whose edge cuts the sun's light across the face."""
    matte = {'type': 'diffuse', 'reflectance': {'type': 'rgb', 'value': [0.05, 0.05, 0.05]}}
    centre = middle + 320 * AIM
    frame = mi.ScalarTransform4f().look_at(centre, centre - AIM, [0.5, 1, 0])
    half = mi.ScalarTransform4f().translate([0, 110, 0]) @ mi.ScalarTransform4f().scale([150, 110, 1])
    return {'board': {'type': 'rectangle', 'to_world': frame @ half, 'bsdf': {'type': 'twosided', 'b': matte}}}


def _microphone(face: Face) -> dict:
    """A ball on a stick in front of the chin."""
    mouth = face.landmarks[57] + [0.0, -12.0, 45.0]
    foam = {'type': 'diffuse', 'reflectance': {'type': 'rgb', 'value': [0.02, 0.02, 0.02]}}
    metal = {'type': 'roughconductor', 'material': 'none', 'alpha': 0.2}
    end = mouth + np.array([30.0, -160.0, 60.0])
    return {
        'foam': {'type': 'sphere', 'center': mouth.tolist(), 'radius': 24.0, 'bsdf': foam},
        'stick': {'type': 'cylinder', 'p0': mouth.tolist(), 'p1': end.tolist(), 'radius': 9.0, 'bsdf': metal},
    }
