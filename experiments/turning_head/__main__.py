"""The README's first picture: the astronaut's head turns under a light that moves.

    python -m experiments.turning_head --out=runs/turning_head

Reconstructs scikit-image's photograph of an astronaut (public domain) as `python -m jfrecon.reconstruct` does, puts the
parts of the head, with eyes and teeth, into one mesh with one texture, and draws it by the ray tracer while the head
turns from side to side and the sun goes around in front of it. Leaves `astronaut.webp`, some of its frames side by side
as `frames.png`, and what it cost.
"""

from __future__ import annotations

import functools
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import skimage
from PIL import Image
from tqdm import tqdm

from experiments import harness
from jfrecon import commands, files, reconstruct
from jfrecon.export import asset, head
from jfrecon.export.head import Dressed, Piece
from jfrecon.geometry import cameras, rotations
from jfrecon.morphable import linear
from jfrecon.render import raytrace, tree
from jfrecon.shading import colour, environment
from jfrecon.types import Pinhole, Topology

NAME = 'turning_head'
FRAMES, SECONDS = 40, 4.0
SIZE = 320  # pixels of the side
TEXTURE = 1024  # texels of the skin's side
PLAIN = 32  # of the square that a part without a texture gets
VIEWS, SAMPLES = 8, 24  # pictures that a frame is the mean of, and directions of light for each of their pixels
YAW, PITCH = 32.0, 5.0  # degrees that the head turns to each side, up and down
DISTANCE = 1100.0  # mm from the camera to the middle of the head
FILL = 0.86  # of the picture's height, by the head
ROWS = 64  # of the light's map
GROUND = 0.11  # sRGB, behind the head
QUALITY = 82  # of the film


class Whole(NamedTuple):
    """A head as one mesh with one texture.

    Attributes:
      vertices: [V, 3] mm, upright and in its middle.
      topology: of all parts.
      diffuse: [M, M, 3] linear, specular: [M, M, 1], normal: [M, M, 3] tangent space.
    """

    vertices: np.ndarray
    topology: Topology
    diffuse: np.ndarray
    specular: np.ndarray
    normal: np.ndarray


def main(arguments: list[str] | None = None) -> None:
    """Draw the astronaut's head, turning under a moving light."""
    options = harness.parser(NAME, main.__doc__ or '').parse_args(arguments)
    run = harness.start(NAME, options.out, options.overwrite)
    frames, size = (4, 64) if options.quick else (FRAMES, SIZE)
    photograph = Path(skimage.__file__).parent / 'data' / 'astronaut.png'
    began = time.monotonic()
    reconstruct.main([str(photograph), f'--out={options.out / "faces"}', '--skip-existing'])
    fitted = time.monotonic()
    whole, roughness = read(options.out / 'faces' / 'astronaut')
    pictures = list(tqdm(film(whole, roughness, frames, size), total=frames, unit='frame', disable=None))
    drawn = time.monotonic()
    content = webp(pictures, SECONDS / frames)
    files.write_bytes(options.out / 'astronaut.webp', content)
    shown = np.concatenate(pictures[:: max(frames // 8, 1)], 1)
    Image.fromarray(shown).save(options.out / 'frames.png')
    results = {
        'frames': frames,
        'pixels': size,
        'bytes': len(content),
        'seconds_reconstruction': fitted - began,
        'seconds_a_frame': (drawn - fitted) / frames,
    }
    run.record(results, harness.table({'turning head': results}, list(results)))


def read(folder: Path) -> tuple[Whole, float]:
    """The head in a folder of `reconstruct`, and the roughness of its skin."""
    face, about = asset.read(folder)
    portrait = asset.models(face, about, None)[1]
    maps = face.parameters.maps
    assert maps is not None
    dressed = head.dress(portrait.model, face.parameters, maps, TEXTURE)
    return joined(dressed, face.parameters.identity, face.parameters.expression), portrait.roughness


def joined(dressed: Dressed, identity: np.ndarray, expression: np.ndarray) -> Whole:
    """All parts of a head as one mesh, their textures side by side: the skin's, and a column of the others'.

    A part without a texture gets a square of its mean colour.
    """
    model = dressed.model
    vertices = np.asarray(linear.shape(model, jnp.asarray(identity), jnp.asarray(expression)))
    gloss = np.asarray(linear.albedo(model, jnp.zeros(len(model.diffuse_basis)))[1])
    sides = [len(piece.textures['diffuse']) if piece.textures else PLAIN for piece in dressed.pieces]
    whole = max(sides[0] + max(sides[1:]), sum(sides[1:]))
    diffuse, specular = np.zeros((whole, whole, 3), np.float32), np.zeros((whole, whole, 1), np.float32)
    normal = np.zeros_like(diffuse) + np.array([0, 0, 1], np.float32)
    triangles, places, corners, row, count = [], [], [], 0, 0
    for number, (piece, side) in enumerate(zip(dressed.pieces, sides)):
        top, left = (0, 0) if number == 0 else (row, sides[0])
        row += side if number else 0
        square = np.s_[top : top + side, left : left + side]
        its = np.asarray(piece.topology.triangles)
        diffuse[square] = _linear(piece.textures['diffuse']) if piece.textures else _mean(piece)
        own = 'specular' in piece.textures
        specular[square] = _linear(piece.textures['specular'])[..., :1] if own else gloss[np.unique(its)].mean(0)
        if 'normal' in piece.textures:
            bent = 2 * piece.textures['normal'].astype(np.float32) / 255 - 1
            normal[square] = bent / np.maximum(np.linalg.norm(bent, axis=-1, keepdims=True), 1e-6)
        uv, uv_triangles = _places(piece, vertices)
        at = np.stack([left + uv[:, 0] * side, whole - top - (1 - uv[:, 1]) * side], -1) / whole
        triangles.append(its)
        places.append(at)
        corners.append(uv_triangles + count)
        count += len(at)
    topology = Topology(
        np.concatenate(triangles), np.concatenate(places).astype(np.float32), np.concatenate(corners).astype(np.int32)
    )
    used = vertices[np.unique(topology.triangles)]
    return Whole(vertices - (used.min(0) + used.max(0)) / 2, topology, diffuse, specular, normal)


def film(whole: Whole, roughness: float, frames: int, size: int) -> Iterator[np.ndarray]:
    """Frames uint8 [S, S, 3] of one turn of head and light."""
    leaves = tree.order(whole.vertices, np.asarray(whole.topology.triangles))
    used = whole.vertices[np.unique(whole.topology.triangles)]
    focal = FILL * size * DISTANCE / np.ptp(used[:, 1])
    camera = Pinhole(jnp.float32(focal), jnp.full(2, size / 2))
    for number in range(frames):
        phase = 2 * np.pi * number / frames
        yaw, pitch = np.radians(YAW) * np.sin(phase), np.radians(PITCH) * np.sin(2 * phase)
        turn = rotations.euler(jnp.float32(pitch), jnp.float32(yaw), jnp.float32(0))
        posed = rotations.rotate(turn, jnp.asarray(whole.vertices)) - jnp.array([0, 0, DISTANCE])
        yield _frame(whole, posed, leaves, camera, sky(phase), roughness, size)


def sky(phase: float) -> np.ndarray:
    """The light [H, W, 3]: a sky, a soft lamp beside the camera, a cool one behind, a warm sun that swings in front."""
    towards = environment.directions(ROWS, 2 * ROWS)
    lobe = lambda where, sharp: np.exp(sharp * (towards @ (where / np.linalg.norm(where)) - 1))[..., None]
    side = np.radians(75) * np.cos(phase)
    sun = np.array([np.sin(side), 0.45 + 0.2 * np.sin(phase), np.cos(side)])
    radiance = 0.3 * (1 + 0.5 * towards[..., 1:2]) * np.array([0.92, 0.97, 1.1])
    radiance = radiance + 0.9 * lobe(np.array([0.0, 0.0, 1.0]), 4)
    radiance = radiance + 24.0 * lobe(sun, 45) * np.array([1.15, 1.0, 0.82])
    radiance = radiance + 5.0 * lobe(np.array([-0.6, 0.4, -0.8]), 14) * np.array([0.7, 0.9, 1.3])
    return radiance.astype(np.float32)


def _frame(
    whole: Whole, vertices: jax.Array, leaves: np.ndarray, camera: Pinhole, radiance: np.ndarray, roughness: float,
    size: int,
) -> np.ndarray:  # fmt: skip
    start, *keys = jax.random.split(jax.random.key(0), 1 + VIEWS)
    through = cameras.subpixel(camera, start, VIEWS)
    total = np.zeros((size, size, 4), np.float32)
    for number, key in enumerate(keys):
        view = jax.tree.map(lambda leaf, number=number: leaf[number][None], through)
        total += np.asarray(
            _shot(whole, vertices[None], leaves, view, jnp.asarray(radiance)[None], roughness, key, size)
        )
    total /= VIEWS
    ground = float(colour.srgb_to_linear(jnp.float32(GROUND)))
    picture = colour.linear_to_srgb(jnp.clip(total[..., :3] + ground * (1 - total[..., 3:]), 0, 1))
    return np.round(255 * np.asarray(picture)).astype(np.uint8)


@functools.partial(jax.jit, static_argnames='size')
def _shot(whole, vertices, leaves, camera, radiance, roughness, key, size) -> jax.Array:
    scene = raytrace.Scene(
        vertices=vertices, topology=whole.topology, leaves=leaves, diffuse=whole.diffuse[None],
        specular=whole.specular[None], light=radiance, camera=camera, roughness=roughness,
        normal_map=whole.normal[None],
    )  # fmt: skip
    drawn = raytrace.render(scene, (size, size), key, samples=SAMPLES)
    return jnp.concatenate([drawn.image, drawn.coverage[..., None]], -1)[0]


def _places(piece: Piece, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates of a part in its square, and ids [T, 3]; without a texture those of its front view."""
    if piece.textures:
        return np.asarray(piece.topology.uv), np.asarray(piece.topology.uv_triangles)
    ids, index = np.unique(piece.topology.triangles, return_inverse=True)
    flat = vertices[ids][:, :2]
    return 0.25 + 0.5 * (flat - flat.min(0)) / np.ptp(flat, 0).max(), index.reshape(-1, 3)


def _mean(piece: Piece) -> np.ndarray:
    assert piece.colours is not None
    return np.clip(piece.colours[np.unique(piece.topology.triangles)].mean(0), 0, 1)


def _linear(picture: np.ndarray) -> np.ndarray:
    return np.asarray(colour.srgb_to_linear(jnp.asarray(picture, jnp.float32) / 255))


def webp(pictures: list[np.ndarray], seconds: float) -> bytes:
    """An animated WebP of frames uint8 [H, W, 3], each shown so long, again and again."""
    first, *rest = map(Image.fromarray, pictures)
    written = io.BytesIO()
    shown = round(1000 * seconds)  # ms
    first.save(written, 'WEBP', save_all=True, append_images=rest, duration=shown, loop=0, quality=QUALITY, method=6)
    return written.getvalue()


if __name__ == '__main__':
    commands.run(main)
