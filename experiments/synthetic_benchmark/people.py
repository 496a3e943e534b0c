"""Who stands before the benchmark's camera: face `index` of a version, a pure function of these two numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.synthetic_benchmark import lights, marks
from jfrecon import morphable
from jfrecon.data.synthetic import scenes, skins, stages
from jfrecon.data.synthetic.generate import FILL, FOCAL
from jfrecon.data.synthetic.pose import TORSO_TRIANGLES, Posed, pose
from jfrecon.data.synthetic.stages import Stage
from jfrecon.morphable import skin_canvas, skin_paint, skin_person
from jfrecon.morphable.models import makehuman

SEEDS = {'makehuman': 90_001, 'ict': 90_002}
SIZE = 256  # pixels of a photograph
TEXTURE = 512
EXPOSURE = 0.3  # linear luminance of skin that the camera aims at, and goes half of the way to (in its logarithm)


@dataclasses.dataclass(frozen=True)
class Version:
    """A head to draw people of, made ready: see `prepare`."""

    name: str
    stage: Stage
    sheet: skins.Sheet
    targets: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Face:
    """One face ready to be photographed; camera space, mm, linear RGB.

    Attributes:
      drawn: what was drawn at random, by name; the same in every regeneration.
      scene: clothes and eyes among it.
      vertices, normals: [V, 3] of head and torso, whose triangles [T, 3] are opaque ones of the head, then the torso.
      part: [T] part of the head (`morphable.heads`), -1 for the torso; face: [T] 1 in the skin of the face region.
      texture: [S, S, 4] diffuse albedo and specular weight of the face region; colours: [V, 4] of all vertices.
      eyes, eye_radius, gaze: see `data.synthetic.pose.Posed`.
      landmarks: [68, 3]; focal: pixels; roughness: of all skin.
      light: [64, 64, 3] radiance, exposure included.
    """

    drawn: dict[str, np.ndarray]
    scene: scenes.Scene
    vertices: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray
    part: np.ndarray
    face: np.ndarray
    texture: np.ndarray
    colours: np.ndarray
    eyes: np.ndarray
    eye_radius: float
    gaze: np.ndarray
    landmarks: np.ndarray
    focal: float
    roughness: float
    light: np.ndarray


def prepare(name: str, path: Path | None) -> Version:
    """The head of a version, from its file where it needs one; takes some seconds."""
    built = stages.build(morphable.load_head(name, path))
    return Version(name, built, skins.sheet(built, TEXTURE), makehuman.targets() if name == 'makehuman' else {})


def cast(version: Version, index: int) -> Face:
    """Face `index` of a version."""
    random = np.random.default_rng([SEEDS[version.name], index])
    key = jax.random.fold_in(jax.random.key(SEEDS[version.name]), index)
    key, place = jax.random.split(key)
    view = _view(version, key)
    drawn = {'mark': np.array(index % len(marks.KINDS)), 'light_kind': np.array(random.integers(len(lights.KINDS)))}

    weights = _unseen(random, tuple(version.targets))
    drawn |= {'target_weights': weights}
    delta = np.zeros_like(np.asarray(version.stage.model.mean))
    for weight, displacement in zip(weights, version.targets.values(), strict=True):
        if weight:
            delta += np.float32(weight) * displacement
    posed = _pose(version.stage, view, jnp.asarray(delta))

    kind = marks.KINDS[int(drawn['mark'])]
    parameters = view.skin
    if kind == 'beard':
        grown = jnp.float32(random.uniform(0.85, 1.0))
        parameters = parameters.replace(beard=grown, moustache=grown, stubble=jnp.ones(()))
    else:
        parameters = parameters.replace(beard=jnp.zeros(()), moustache=jnp.zeros(()))
    diffuse, specular = map(np.asarray, _paint(version.sheet.surface, parameters, place))
    diffuse, specular = marks.draw(random, kind, version.sheet.surface, diffuse, specular)
    painted = np.concatenate([diffuse, specular], -1).astype(np.float32).clip(0.002, 0.98)
    texture = np.zeros((TEXTURE, TEXTURE, 4), np.float32)
    texels = len(version.sheet.rows)
    texture[version.sheet.rows, version.sheet.columns] = painted[:texels]

    light = lights.draw(random, lights.KINDS[int(drawn['light_kind'])])
    tone_level = float(np.median(painted[:texels, :3] @ [0.2126, 0.7152, 0.0722]))
    exposure = (EXPOSURE / tone_level) ** 0.5 * np.exp(0.2 * random.normal())
    drawn |= {
        'identity': view.person.identity,
        'expression': view.person.expression,
        'rotation': posed.rotation,
        'translation': posed.translation,
        'focal': posed.camera.focal,
        'roughness': np.array(random.uniform(0.3, 0.5)),
        'light': light * np.float32(exposure * 0.9),
    }
    drawn = {name: np.asarray(value) for name, value in drawn.items()}
    torso = np.asarray(TORSO_TRIANGLES)
    return Face(
        drawn=drawn,
        scene=view,
        vertices=np.asarray(posed.solid.vertices),
        normals=np.asarray(posed.solid.normals),
        triangles=np.concatenate([version.stage.opaque, torso + len(painted) - texels]),
        part=np.concatenate([version.stage.part, np.full(len(torso), -1)]),
        face=np.concatenate([np.asarray(version.stage.face) > 0, np.zeros(len(torso), bool)]),
        texture=texture,
        colours=painted[texels:],
        eyes=np.asarray(posed.eyes),
        eye_radius=float(posed.eye_radius),
        gaze=np.asarray(posed.gaze),
        landmarks=np.asarray(posed.landmarks),
        focal=float(posed.camera.focal),
        roughness=float(drawn['roughness']),
        light=drawn['light'],
    )


def _view(version: Version, key: jax.Array) -> scenes.Scene:
    """Person, clothes and pose; what the scene says of light, hair and camera faults is not used."""
    view = scenes.sample(version.stage.model, *jax.random.split(key, 3), FOCAL, FILL)
    return view.replace(framing=view.framing.replace(principal=jnp.full(2, 0.5)))


def _unseen(random: np.random.Generator, names: tuple[str, ...]) -> np.ndarray:
    """Weights [K] of targets that the identity basis hardly holds: some childhood, and a face that is not symmetric."""
    weights = np.zeros(len(names))
    # the teeth do not follow a jaw that is moved to one side, and come out of its skin
    lopsided = [k for k, name in enumerate(names) if name.startswith('asym-') and not name.startswith('asym-jaw-')]
    children = [k for k, name in enumerate(names) if name.endswith('-child')]
    if not names:
        return weights
    weights[random.choice(lopsided, 4, replace=False)] = random.uniform(0.4, 1.0, 4)
    weights[random.choice(children)] = random.uniform(0, 0.7) * (random.random() < 0.5)
    return weights


@jax.jit
def _pose(built: Stage, view: scenes.Scene, delta: jax.Array) -> Posed:
    moved = built.replace(model=built.model.replace(mean=built.model.mean + delta))
    return pose(moved, view, SIZE)


@jax.jit
def _paint(
    surface: skin_canvas.Canvas, parameters: skin_person.SkinParameters, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return skin_paint.paint(surface, parameters, key)


def typical_landmarks(version: Version, count: int = 100) -> np.ndarray:
    """[68, 2] pixels: the mean over faces that are none of the benchmark's."""
    total = np.zeros((68, 2))
    for index in range(count):
        key = jax.random.fold_in(jax.random.key(SEEDS[version.name] + 7), index)
        posed = _pose(version.stage, _view(version, key), jnp.zeros_like(version.stage.model.mean))
        total += project(np.asarray(posed.landmarks), float(posed.camera.focal))
    return total / count


def project(points: np.ndarray, focal: float) -> np.ndarray:
    """Pixels [N, 2] of points [N, 3] of camera space; the camera looks through the middle of the picture."""
    return np.stack([points[:, 0], -points[:, 1]], -1) * (focal / -points[:, 2:]) + SIZE / 2
