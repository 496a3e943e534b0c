"""python -m jfrecon.morphable MODEL --out=DIR: a morphable model drawn, to look at before it is trusted."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from jfrecon import commands, files, morphable, outputs
from jfrecon.data import images
from jfrecon.geometry import cameras, mesh, rotations, vectors
from jfrecon.morphable import linear
from jfrecon.morphable.coat import HAIR, LASH
from jfrecon.morphable.heads import Head
from jfrecon.render import interpolation, raster, vertex
from jfrecon.shading import colour, sh
from jfrecon.types import MorphableModel, Topology, WeakPerspective

TILE = 320  # pixels
HEIGHT = 270.0  # mm that a tile shows
SHEETS = ('mean', 'landmarks', 'modes', 'people', 'expressions', 'skin')
TURNS = (0.0, -40.0, -80.0)  # degrees of yaw: the subject's left cheek comes into view


def main(arguments: list[str] | None = None) -> None:
    """Draw a morphable model: its mean, modes, random people, expressions, skins and landmarks.

    Writes mean.png (front, three quarters, profile), modes.png (the first eight identity modes at -2 and +2 standard
    deviations), people.png (random identities), expressions.png (each at 1, or at 2 standard deviations), skin.png
    (sixteen random albedos) and landmarks.png (the 68 landmarks, numbered).
    """
    parser = commands.Parser(
        prog='python -m jfrecon.morphable',
        description=main.__doc__,
        epilog='example: python -m jfrecon.morphable makehuman --out=runs/makehuman',
    )
    parser.add_argument('model', metavar='MODEL', help='as in --config.model.name')
    parser.add_argument('--out', type=Path, required=True, help='folder for the pictures')
    parser.add_argument('--path', help='file or folder of the model; all but makehuman need it')
    parser.add_argument('--subdivisions', type=int, default=0, help='1: four times the triangles, where the model can')
    parser.add_argument('--overwrite', action='store_true', help='replace pictures in the folder')
    options = parser.parse_args(arguments)
    outputs.require_free((options.out / f'{name}.png' for name in SHEETS), options.overwrite)
    model = morphable.load(options.model, options.path, options.subdivisions)
    for name, picture in sheets(model, options.model, options.path, options.subdivisions).items():
        files.write_bytes(options.out / f'{name}.png', images.encode(np.asarray(picture)))
        print(options.out / f'{name}.png')


def sheets(model: MorphableModel, name: str, path: str | None = None, subdivisions: int = 0) -> dict[str, Image.Image]:
    """All pictures of a model, by file name."""
    random = np.random.default_rng(0)
    whole = model
    if morphable.has_head(name):
        whole = _bare(morphable.load_head(name, path, subdivisions))
    identities = 2.0 * np.eye(len(model.identity_basis))
    strength = 1.0 if model.expression_prior == 'box' else 2.0
    expressions = strength * np.eye(len(model.expression_basis))
    skins = random.normal(size=(16, len(model.diffuse_basis)))
    people = random.normal(size=(16, len(model.identity_basis)))
    named = model.expression_names or [f'expression {i}' for i in range(len(expressions))]
    modes = [(f'mode {i} {sign:+d} sd', sign * identities[i] / 2) for i in range(8) for sign in (-2, 2)]
    pictures = [
        _sheet([(f'{turn:.0f}', render(whole, turn=turn)) for turn in TURNS], 3, TILE * 2),
        _sheet([('', _numbered(model, turn)) for turn in (0.0, -40.0)], 2, TILE * 3),
        _sheet([(text, render(model, identity=a, turn=-20)) for text, a in modes], 4),
        _sheet([('', render(whole, identity=a, turn=-20)) for a in people], 4),
        _sheet([(text, render(whole, expression=e)) for text, e in zip(named, expressions)], 9),
        _sheet([('', render(model, skin=a)) for a in skins], 4),
    ]
    return dict(zip(SHEETS, pictures, strict=True))


def render(
    model: MorphableModel,
    identity: np.ndarray | None = None,
    expression: np.ndarray | None = None,
    skin: np.ndarray | None = None,
    turn: float = 0.0,
    size: int = TILE,
) -> np.ndarray:
    """Picture [size, size, 3], sRGB, of a face turned by so many degrees, under one lamp and a grey sky."""
    zero = [np.zeros(len(b), np.float32) for b in (model.identity_basis, model.expression_basis, model.diffuse_basis)]
    chosen = [z if c is None else np.asarray(c, np.float32) for z, c in zip(zero, (identity, expression, skin))]
    return np.asarray(_render(size, model, *chosen, np.float32(turn)))


@functools.partial(jax.jit, static_argnums=0)
def _render(size, model, identity, expression, skin, turn):
    vertices = linear.shape(model, identity, expression)
    diffuse, specular = linear.albedo(model, skin)
    vertices = vertices @ rotations.euler(0.0, jnp.radians(turn), 0.0).T
    normals = mesh.vertex_normals(vertices, model.topology.triangles)
    light = 0.5 * sh.directional(vectors.normalise(jnp.array([0.4, 0.5, 0.8])), 3.0 * jnp.ones(3), 3)
    light = light.at[0].add(0.5 * sh.GREY)
    view = jnp.zeros_like(vertices).at[:, 2].set(1.0)
    shaded = vertex.shade(normals, view, jnp.clip(diffuse, 0, 1), jnp.clip(specular, 0, 1), light, 0.5)
    pixels, depth = cameras.project(_camera(size), vertices)
    # A close-up of a coarse mesh has larger triangles than the rasteriser expects: room for all of them.
    count = len(model.topology.triangles)
    lists = tuple(raster.Window(count, side, side) for side in (8, 32, 128))
    seen = raster.rasterise(pixels, depth, model.topology.triangles, (size, size), perspective=False, lists=lists)
    image = interpolation.interpolate(seen, model.topology.triangles, colour.linear_to_srgb(jnp.clip(shaded, 0, 1)))
    return jnp.where((seen.triangle >= 0)[..., None], image, 0.9)


def _camera(size: int) -> WeakPerspective:
    return WeakPerspective(jnp.float32(size / HEIGHT), jnp.array([size / 2, size / 2], jnp.float32))


def _numbered(model: MorphableModel, turn: float, size: int = TILE * 3) -> Image.Image:
    image = _to_image(render(model, turn=turn, size=size))
    draw = ImageDraw.Draw(image)
    points = (
        model.mean[np.asarray(model.landmark_ids)]
        @ np.asarray(rotations.euler(jnp.zeros(()), jnp.radians(turn), jnp.zeros(()))).T
    )
    pixels, _ = cameras.project(_camera(size), jnp.asarray(points, jnp.float32))
    for i, (x, y) in enumerate(np.asarray(pixels)):
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(255, 0, 0))
        draw.text((x + 3, y - 5), str(i), fill=(0, 0, 160))
    return image


def _bare(head: Head) -> MorphableModel:
    """A head without hair shell and lashes: both are sheets that want transparency."""
    shown = (head.part != HAIR) & (head.part != LASH)
    topology = head.model.topology
    bare = Topology(topology.triangles[shown], topology.uv, topology.uv_triangles[shown])
    return dataclasses.replace(head.model, topology=bare)


def _sheet(tiles: list[tuple[str, np.ndarray | Image.Image]], columns: int, size: int = TILE) -> Image.Image:
    rows = -(-len(tiles) // columns)
    sheet = Image.new('RGB', (columns * size, rows * size), 'white')
    for i, (text, tile) in enumerate(tiles):
        image = tile if isinstance(tile, Image.Image) else _to_image(tile)
        image = image.resize((size, size))
        ImageDraw.Draw(image).text((4, 4), text, fill=(0, 0, 0))
        sheet.paste(image, (i % columns * size, i // columns * size))
    return sheet


def _to_image(picture: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8))


if __name__ == '__main__':
    commands.run(main)
