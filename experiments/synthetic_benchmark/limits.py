"""The limits that the papers state, on a known face: a foreign shadow, an occluder, coloured light."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import numpy as np

from experiments.synthetic_benchmark import files, people
from experiments.synthetic_benchmark.people import Face, Version
from jfrecon.shading import environment

FACE = 1006  # beyond the benchmark's 200; its mark is 'scar'
SUN = np.array([-0.62, 0.5, 0.6])  # towards it, camera space


def cases(mi: ModuleType, version: Version) -> dict[str, tuple[np.ndarray, dict]]:
    """Name -> (photograph, truth): the same face plain, in a foreign shadow, behind something, in orange light."""
    plain = people.cast(version, FACE)
    plain = dataclasses.replace(plain, light=_sunny(plain))
    orange = dataclasses.replace(plain, light=plain.light * np.float32([1.35, 0.95, 0.45]))
    middle = plain.landmarks.mean(0)
    return {
        'plain': files.shoot(mi, version, plain),
        'foreign shadow': files.shoot(mi, version, plain, _bars(mi, middle)),
        'occluder': files.shoot(mi, version, plain, _microphone(mi, plain)),
        'light colour': files.shoot(mi, version, orange),
    }


def _sunny(face: Face) -> np.ndarray:
    """A low sun and a grey sky, as strong as the face's own light."""
    towards = np.asarray(environment.directions(*face.light.shape[:2]), np.float64)
    glow = np.exp(300 * (towards @ (SUN / np.linalg.norm(SUN)) - 1))[..., None]
    light = 0.3 * (1 + 0.6 * towards[..., 1:2]) + 110 * glow
    return (light * face.light.mean() / light.mean()).astype(np.float32)


def _bars(mi: ModuleType, middle: np.ndarray) -> dict:
    """Slats out of sight, between the sun and the face."""
    matte = {'type': 'diffuse', 'reflectance': {'type': 'rgb', 'value': [0.05, 0.05, 0.05]}}
    aim = SUN / np.linalg.norm(SUN)
    shapes = {}
    for k, offset in enumerate((-55.0, -10.0, 35.0)):
        centre = middle + 260 * aim + [0.0, offset, 0.0]
        frame = mi.ScalarTransform4f().look_at(centre, centre - aim, [0, 1, 0])
        shapes[f'slat{k}'] = {
            'type': 'rectangle',
            'to_world': frame @ mi.ScalarTransform4f().scale([140, 9, 1]),
            'bsdf': {'type': 'twosided', 'b': matte},
        }
    return shapes


def _microphone(mi: ModuleType, face: Face) -> dict:
    """A ball on a stick in front of the chin."""
    mouth = face.landmarks[57] + [0.0, -12.0, 45.0]
    foam = {'type': 'diffuse', 'reflectance': {'type': 'rgb', 'value': [0.02, 0.02, 0.02]}}
    metal = {'type': 'roughconductor', 'material': 'none', 'alpha': 0.2}
    end = mouth + np.array([30.0, -160.0, 60.0])
    return {
        'foam': {'type': 'sphere', 'center': mouth.tolist(), 'radius': 24.0, 'bsdf': foam},
        'stick': {'type': 'cylinder', 'p0': mouth.tolist(), 'p1': end.tolist(), 'radius': 9.0, 'bsdf': metal},
    }
