"""What surfaces are made of, pixel by pixel: painted skin, eyes, teeth, mouth, cloth, and the things in front."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from jfrecon.data.synthetic import lighting
from jfrecon.data.synthetic.pose import Posed
from jfrecon.data.synthetic.scenes import Scene
from jfrecon.data.synthetic.stages import Stage
from jfrecon.geometry import uv, vectors
from jfrecon.morphable.coat import EYE, MOUTH, SKIN, TEETH
from jfrecon.types import Fragments

IRIS = 0.39  # radians seen from the eyeball's centre: 5.8 of the 15.4 mm of MakeHuman's, 4.8 of 12.3


@struct.dataclass
class Albedo:
    """The painted skin of one person, see `skins.Skins`: texture [S, S, 4], vertices [V, 4]."""

    texture: jax.Array
    vertices: jax.Array


@struct.dataclass
class Surface:
    """Reflectance at N points.

    Attributes:
      diffuse: [N, 3] linear albedo.
      specular: [N] weight of the lobe, and lobe: [N] its variance in radians².
      normal: [N, 3] unit, of shading.
      scatter: [N] 1 on skin, whose shadows bleed.
      face: [N] 1 on the face region's skin.
    """

    diffuse: jax.Array
    specular: jax.Array
    lobe: jax.Array
    normal: jax.Array
    scatter: jax.Array
    face: jax.Array


def solid(
    stage: Stage,
    scene: Scene,
    posed: Posed,
    albedo: Albedo,
    fragments: Fragments,
    point: jax.Array,
    normal: jax.Array,
    values: jax.Array,
) -> Surface:
    """Head and torso: `values` are the attributes of `Posed.solid`."""
    triangle = fragments.triangle.reshape(-1)
    weights = fragments.barycentric.reshape(-1, 3)
    head = jnp.clip(triangle, 0, len(stage.opaque) - 1)
    on_torso = triangle >= len(stage.opaque)
    part = jnp.where(on_torso, -1, stage.part[head])
    face = jnp.where(on_torso, 0.0, stage.face[head])

    coordinates = jnp.einsum('nk,nkc->nc', weights, stage.corner_uv[head])
    painted = uv.sample(albedo.texture, coordinates)
    elsewhere = jnp.einsum('nk,nkc->nc', weights, albedo.vertices[stage.opaque[head]])
    skin = jnp.square(jnp.where(face[:, None] > 0, painted, elsewhere))

    eye = _eye(scene, posed, point)
    mouth = (part == TEETH) | (part == MOUTH)
    teeth = jnp.array([0.66, 0.61, 0.52]) * (0.8 + 0.4 * scene.person.pupil)
    wet = jnp.where((part == TEETH)[:, None], teeth, jnp.array([0.28, 0.07, 0.06]))
    cloth, bare = _clothes(scene, values[:, 4:])
    neck = jnp.square(jnp.mean(albedo.vertices[stage.neck_ids[:, 0]], 0))
    torso = jnp.where(bare[:, None], neck[:3], cloth)

    choose = lambda skin, eye, wet, torso: jnp.where(
        _as(part == SKIN, skin), skin, jnp.where(_as(part == EYE, skin), eye, jnp.where(_as(mouth, skin), wet, torso))
    )
    ones = jnp.ones(len(part))
    return Surface(
        diffuse=choose(skin[:, :3], eye.diffuse, wet, torso),
        specular=choose(0.85 * skin[:, 3], eye.specular, 0.03 * ones, jnp.where(bare, neck[3], 0.005)),
        lobe=choose((0.17 - 0.12 * scene.skin.oil) * ones, eye.lobe, 0.03 * ones, 0.2 * ones),
        normal=jnp.where((part == EYE)[:, None], eye.normal, normal),
        scatter=choose(ones, 0 * ones, 0.5 * ones, 1.0 * bare),
        face=face,
    )


def _as(mask: jax.Array, like: jax.Array) -> jax.Array:
    return mask if like.ndim == 1 else mask[:, None]


def _eye(scene: Scene, posed: Posed, point: jax.Array) -> Surface:
    """Sclera, iris and pupil by the angle to the gaze; a cornea that bulges for its highlight."""
    offset = point[:, None] - posed.eyes
    nearest = jnp.argmin(jnp.sum(jnp.square(offset), -1), -1)
    offset = jnp.take_along_axis(offset, nearest[:, None, None], 1)[:, 0]
    outward = vectors.normalise(offset)
    angle = jnp.arccos(jnp.clip(outward @ posed.gaze, -0.9999, 0.9999))
    r = angle / IRIS
    side = vectors.normalise(jnp.cross(posed.gaze, jnp.array([0.0, 1.0, 0.0])))
    turn = jnp.arctan2(outward @ jnp.cross(side, posed.gaze), outward @ side)
    fibres = 0.12 * jnp.sin(17.0 * turn + 3.0 * jnp.sin(5.0 * turn)) + 0.08 * jnp.sin(41.0 * turn)
    ring = 1.15 - 0.3 * r + fibres - 0.75 * jax.nn.sigmoid((r - 0.86) / 0.05)
    iris = scene.person.iris * jnp.maximum(ring, 0.1)[:, None]
    dark = jax.nn.sigmoid((scene.person.pupil - r) / 0.03)[:, None]
    iris = iris * (1 - dark) + 0.004 * dark
    # The white reddens towards the corners.
    white = scene.person.sclera * jnp.array([1.0, 0.86, 0.84]) ** jnp.clip(r - 1.3, 0.0, 1.5)[:, None]
    inside = jax.nn.sigmoid((1.0 - r) / 0.04)[:, None]
    diffuse = iris * inside + white * (1 - inside)
    cornea = vectors.normalise(offset - 0.45 * posed.eye_radius * posed.gaze)
    normal = vectors.normalise(outward * (1 - inside) + cornea * inside)
    ones = jnp.ones(len(point))
    return Surface(diffuse, 0.035 * ones, 0.012 * ones, normal, 0 * ones, 0 * ones)


def _clothes(scene: Scene, about: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Colour [N, 3] of the cloth, and where [N] there is skin instead."""
    clothes = scene.clothes
    down, angle = about.T
    front = 0.5 + 0.5 * jnp.cos(angle)
    bare = down < clothes.neckline[0] + clothes.neckline[1] * front**6
    wave = jnp.sin(clothes.stripes[0] * angle) + jnp.sin(clothes.stripes[1] * down / 40.0)
    mix = jax.nn.sigmoid(clothes.stripes[2] * 3.0 * wave)[:, None]
    folds = 1.0 + 0.1 * jnp.sin(7.0 * angle + down / 23.0) * jnp.sin(3.0 * angle - down / 35.0)
    return (clothes.colours[0] * mix + clothes.colours[1] * (1 - mix)) * folds[:, None], bare


def reflected(
    lamps: lighting.Lamps, direction: jax.Array, lobe: jax.Array, key: jax.Array, rest: jax.Array
) -> jax.Array:
    """Radiance [N, 3] of the lamps through a Gaussian lobe of variance [N] about directions [N, 3].

    Two Gaussians on the sphere convolve to one whose variances add; `key` and `rest` [N] are the shares of the
    lamps that are not in shadow. Irradiances are over pi, hence the pi.
    """
    variance = lobe[:, None] + jnp.square(lamps.softness)
    off = 1.0 - direction @ lamps.direction.T
    # Normalised over the sphere: 1 / (2 pi v (1 - exp(-2 / v))).
    density = jnp.exp(-off / variance) / (2.0 * jnp.pi * variance * (1.0 - jnp.exp(-2.0 / variance)))
    share = jnp.concatenate([key[:, None], jnp.broadcast_to(rest[:, None], (len(rest), lighting.LAMPS - 1))], 1)
    return jnp.pi * (density * share) @ lamps.irradiance


def front(
    scene: Scene, seen: jax.Array, point: jax.Array, normal: jax.Array, kind: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Frames, lenses, strands, lashes: what they let through [N, 3] and the radiance they add [N, 3].

    seen: [N] the share of the key lamp that arrives.
    """
    glasses, lamps = scene.glasses, scene.lamps
    white = lighting.received(normal @ lamps.direction.T, lamps.softness)
    white = white.at[:, 0].multiply(seen) @ lamps.irradiance
    view = vectors.normalise(-point)
    mirrored = 2.0 * jnp.sum(view * normal, -1, keepdims=True) * normal - view
    shine = reflected(lamps, mirrored, jnp.full(len(kind), 0.03), seen, jnp.ones(len(kind)))
    frame = glasses.colour * (white + glasses.metal * shine * 2.0) + 0.05 * shine
    lens = glasses.mirror * shine
    strand = scene.hair.colour * (0.6 * white + 0.25)
    lash = jnp.minimum(scene.hair.colour * 0.3, 0.02) * white
    k = jnp.round(kind)[:, None]
    through = jnp.where(k == 1, glasses.tint, jnp.where(k == 3, 0.55, jnp.where(k == 2, 0.08, 0.0)))
    added = jnp.where(k == 0, frame, jnp.where(k == 1, lens, jnp.where(k == 2, 0.92 * strand, 0.45 * lash)))
    return through, added
