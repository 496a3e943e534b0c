"""python -m jfrecon.relight FACE --out=DIR: a reconstructed face in other light, edited, or with parts of another."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from tqdm import tqdm

from jfrecon import commands, files, outputs
from jfrecon.data import images, listing
from jfrecon.data.sample import Unreadable
from jfrecon.errors import UserError
from jfrecon.export import film, hdri, report, requirements
from jfrecon.files import shown
from jfrecon.geometry import cameras, uv, vectors
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.render import portraits, raytrace, surface
from jfrecon.render.portraits import Portrait
from jfrecon.shading import colour, environment, sh
from jfrecon.types import FaceParameters, Pinhole

KEPT = ('photograph', 'photograph_scale', 'person', 'notes')  # of metadata.json
PARTS = ('normal', 'diffuse', 'specular', 'light', 'expression')
OWN = 'own'  # name of the photograph's light
RELIT = 'relit'  # kind of the folder
FIXED = ('face', 'unshadowed.png', 'report.html')  # what is written beside the pictures under lights
ROWS = 64  # of the environment map of a light in spherical harmonics
BANDS = 9  # of a map's light for what is shaded in closed form
SAMPLES = 16  # directions of light for each pixel of a picture
STILL, MOVING = 16, 4  # pictures, each through another point of the pixels, that a still and a frame are the mean of
DARKEST = 0.15  # share of the light that a shadow leaves, at least, where shadows are removed
FRAMES, SECONDS = 36, 3.0  # of a turn of the light
BACKGROUND = 0.13  # of a film, sRGB


def main(arguments: list[str] | None = None) -> None:
    """Show a reconstructed face under other lights, without its shadows, or with another's skin, light or expression.

    FACE is a folder that jfrecon.reconstruct left; its textures may have been edited since. DIR gets the face again as
    such a folder, moving if it is of a video; a picture under its own light and under each --light; films in which the
    light turns once around the face; and the photograph without the shadows that the face throws on itself.
    """
    options = _parse(arguments)
    requirements.check()
    from jfrecon.export import asset

    face, about = asset.read(options.face)
    video = asset.read_video(options.face, face)
    model, portrait = asset.models(face, about, options.model_path)
    photo = _photograph(options.face)
    lights = named(options.light)
    _require_free(options, list(lights))
    known = {OWN: _map(face.parameters.light)}
    for name, path in lights.items():
        known[name] = _map(asset.read(path)[0].parameters.light) if path.is_dir() else hdri.read(path)
    if options.transfer:
        other, its = asset.read(options.source)
        if its.get('model') != about.get('model'):
            raise UserError(f'{options.source} and {options.face} are not faces of the same morphable model')
        face = transferred(face, other, options.transfer)
        if video is not None:  # what comes from another face does not move
            every = lambda leaf: np.broadcast_to(leaf, (len(video.times), *np.shape(leaf)))
            parts = {'expression', 'light'} & set(options.transfer)
            taken: Any = {part: every(getattr(face.parameters, part)) for part in parts}
            video = dataclasses.replace(video, motion=dataclasses.replace(video.motion, **taken))
        known[OWN] = _map(face.parameters.light)
        vertices, points = _shaped(portrait, face, len(model.mean))
        face = dataclasses.replace(face, vertices=vertices, landmarks2d=points)

    maps = face.parameters.maps
    assert maps is not None
    atlas = uv.atlas(model.topology, np.asarray(model.mean), len(maps.diffuse))
    facts: dict[str, Any] = {key: about[key] for key in KEPT if key in about}
    with outputs.unfinished(options.out) as made:
        said = {name: shown(path) for name, path in lights.items()}
        files.write_json(made / outputs.RECORD, {'face': shown(options.face), 'lights': said})
        asset.write(made / 'face', model, portrait, face, atlas, photo, facts, video, texture=about.get('texture'))
        studio = Studio(portrait, face.parameters, asset.square(face, options.size), options.size)
        shadowless = unshadowed(portrait, face.parameters, asset.square(face, len(photo)), photo)
        try:
            _draw(made, studio, photo, shadowless, known, options)
        except KeyboardInterrupt:  # what is drawn is whole
            outputs.publish(made, options.out, RELIT, options.overwrite)
            raise
        kept = outputs.publish(made, options.out, RELIT, options.overwrite)
    for name in kept:
        print(f'{shown(options.out)}: what you had put there is kept as {name}', file=sys.stderr)
    print(f'{len(known)} lights: {shown(options.out)}')


def named(lights: Sequence[Path]) -> dict[str, Path]:
    """A name for each light, under which nothing else is written: its own, with its folder's or a number if need be."""
    key = lambda name: unicodedata.normalize('NFC', name).casefold()
    taken = {key(name) for name in (OWN, *(Path(fixed).stem for fixed in FIXED))}
    names: dict[str, Path] = {}
    for path in dict.fromkeys(map(listing.absolute, lights)):
        stem = shown(path.name if path.is_dir() else path.stem)
        numbered = (f'{stem}-{number}' for number in itertools.count(2))
        choices = itertools.chain([stem, f'{shown(path.parent.name)}_{stem}'], numbered)
        name = next(name for name in choices if key(name) not in taken)
        taken.add(key(name))
        names[name] = path
    return names


def _require_free(options: argparse.Namespace, lights: list[str]) -> None:
    """Refuse to write over files, before the work begins."""
    suffixes = ('.png', '.gif', '.mp4') if options.frames else ('.png',)
    pictures = [f'{name}{suffix}' for name in (OWN, *lights) for suffix in suffixes]
    outputs.require_kind(options.out, RELIT)
    outputs.require_free((options.out / name for name in (*FIXED, *pictures)), options.overwrite)


def _draw(
    made: Path,
    studio: Studio,
    photo: np.ndarray,
    shadowless: np.ndarray,
    known: Mapping[str, np.ndarray],
    options: argparse.Namespace,
) -> None:
    """Draw the face under all lights, into a folder; ``shadowless``: the photograph without its shadows."""
    row, names = [Image.fromarray(photo).resize((options.size, options.size), Image.Resampling.LANCZOS)], ['photograph']
    files.write_bytes(made / 'unshadowed.png', images.encode(shadowless))
    row.append(Image.fromarray(shadowless).resize((options.size, options.size), Image.Resampling.LANCZOS))
    names.append('without shadows')
    for name, radiance in tqdm(known.items(), desc='lights', unit='light', disable=None):
        picture = studio.still(radiance)
        files.write_bytes(made / f'{name}.png', images.encode(picture))
        row.append(Image.fromarray(_on_dark(picture)))
        names.append(name)
        if options.frames:
            turn = list(studio.turn(radiance, options.frames, name))
            times = np.arange(options.frames) * SECONDS / options.frames
            for suffix, encode in (('.gif', film.gif), ('.mp4', film.mp4)):
                files.write_bytes(made / f'{name}{suffix}', encode(turn, times))
    pictures = np.concatenate([np.asarray(picture) for picture in row], 1)
    report.page(made / 'report.html', shown(options.face.resolve().name), [], [report.figure(pictures[None], names)])


@dataclasses.dataclass(frozen=True)
class Studio:
    """A face in front of a camera, to be lit.

    Attributes:
      portrait: how pictures are made.
      chi: the face, unbatched, with maps.
      camera: unbatched; ``size``: pixels of the side of its pictures.
    """

    portrait: Portrait
    chi: FaceParameters
    camera: Pinhole
    size: int

    def still(self, radiance: np.ndarray) -> np.ndarray:
        """uint8 [S, S, 4], sRGB, transparent where no face is, under an environment map [H, W, 3]."""
        return _encoded(self._mean(radiance, STILL))

    def turn(self, radiance: np.ndarray, frames: int, name: str) -> Iterator[np.ndarray]:
        """The face while the light turns once around it, frame by frame; uint8 [S, S, 3] on a dark ground."""
        for number in tqdm(range(frames), desc=f'{name} turning', unit='frame', leave=False, disable=None):
            turned = np.roll(radiance, round(number / frames * radiance.shape[1]), axis=1)
            yield _on_dark(_encoded(self._mean(turned, MOVING)))

    def _mean(self, radiance: np.ndarray, count: int) -> np.ndarray:
        """[S, S, 4] linear, premultiplied by the share of the pixel that the face covers, which comes last."""
        chi, light = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (self.chi, radiance))
        start, *keys = jax.random.split(jax.random.key(0), 1 + count)
        through = cameras.subpixel(self.camera, start, count)
        total = np.zeros((self.size, self.size, 4), np.float32)
        for number, key in enumerate(keys):
            camera = jax.tree.map(lambda leaf, number=number: leaf[number][None], through)
            total += np.asarray(_shot(self.portrait, chi, camera, light, key, self.size))
        return total / count


@functools.partial(jax.jit, static_argnames='size')
def _shot(
    portrait: Portrait, chi: FaceParameters, camera: Pinhole, radiance: jax.Array, key: jax.Array, size: int
) -> jax.Array:
    """Skin by the ray tracer; eyes and teeth, which have no place in the maps, in closed form."""
    shape, maps, model = (size, size), chi.maps, portrait.model
    assert maps is not None and portrait.leaves is not None
    face = surface.posed(model, chi, camera)
    fragments = surface.rasterise(model, face, shape)
    drawn = surface.layers(model, face, sh.project(radiance, BANDS), maps, fragments, portrait.roughness)
    scene = raytrace.Scene(
        vertices=face.vertices,
        topology=model.topology,
        leaves=portrait.leaves,
        diffuse=maps.diffuse,
        specular=maps.specular,
        light=radiance,
        camera=face.camera,
        roughness=portrait.roughness,
        normal_map=maps.normal,
    )
    skin = raytrace.render(scene, shape, key, samples=SAMPLES)
    mapped = surface.mapped(model.topology)[fragments.triangle]
    image = jnp.where(mapped[..., None], skin.image, drawn.radiance)
    return jnp.concatenate([image, skin.coverage[..., None]], -1)[0]


def unshadowed(portrait: Portrait, chi: FaceParameters, camera: Pinhole, photo: np.ndarray) -> np.ndarray:
    """A photograph [S, S, 3] divided by the share of the light that its face keeps from itself; uint8, sRGB."""
    chi, camera = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (chi, camera))
    drawn = portraits.draw(portrait, chi, camera, photo.shape[:2])[1]
    arriving = jnp.where(drawn.coverage[..., None] > 0, jnp.maximum(drawn.arriving, DARKEST), 1)[0]
    lit = colour.srgb_to_linear(jnp.asarray(photo) / 255) / arriving
    return np.asarray(jnp.round(255 * jnp.clip(colour.linear_to_srgb(lit), 0, 1)).astype(jnp.uint8))


def transferred(face: Reconstruction, other: Reconstruction, parts: list[str]) -> Reconstruction:
    """The face with parts (`PARTS`) of another of the same morphable model; its vertices are as they were."""
    mine, its = face.parameters.maps, other.parameters.maps
    assert mine is not None and its is not None
    size = len(mine.diffuse)

    def fitting(values):
        return np.asarray(jax.image.resize(jnp.asarray(values), (size, size, values.shape[-1]), 'linear'))

    given = {name: fitting(getattr(its, name)) for name in ('diffuse', 'specular', 'normal') if name in parts}
    if 'normal' in given:
        given['normal'] = np.asarray(vectors.normalise(jnp.asarray(given['normal'])))
    chi = dataclasses.replace(face.parameters, maps=dataclasses.replace(mine, **given))
    if 'light' in parts:
        chi = dataclasses.replace(chi, light=other.parameters.light)
    if 'expression' in parts:
        chi = dataclasses.replace(chi, expression=other.parameters.expression)
    return dataclasses.replace(face, parameters=chi)


def _shaped(portrait: Portrait, face: Reconstruction, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [count, 3] and landmarks [68, 2] of a face whose parameters have changed."""
    chi, camera = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (face.parameters, face.camera))
    posed = surface.posed(portrait.model, chi, camera)
    vertices, pixels = np.asarray(posed.vertices[0]), np.asarray(posed.pixels[0])
    return vertices[:count], pixels[np.asarray(portrait.model.landmark_ids)]


def _map(light: np.ndarray) -> np.ndarray:
    """Coefficients [L², 3] as an environment map; what is negative is black."""
    return np.maximum(np.asarray(environment.from_sh(jnp.asarray(light), ROWS, 2 * ROWS)), 0)


def _photograph(folder: Path) -> np.ndarray:
    path = folder / 'photograph.png'
    try:
        photo = images.read(path).image
    except Unreadable as error:
        raise UserError(f'{path}: {error}') from error
    if photo.shape[0] != photo.shape[1]:
        raise UserError(f'{path} is not square')
    return photo


def _encoded(picture: np.ndarray) -> np.ndarray:
    """Premultiplied linear [S, S, 4] as straight uint8 sRGB."""
    cover = np.clip(picture[..., 3:], 0, 1)
    straight = np.asarray(colour.linear_to_srgb(jnp.asarray(picture[..., :3] / np.maximum(cover, 1e-3))))
    return np.round(255 * np.concatenate([np.clip(straight, 0, 1) * (cover > 0), cover], -1)).astype(np.uint8)


def _on_dark(picture: np.ndarray) -> np.ndarray:
    """uint8 [S, S, 4] over a dark ground."""
    cover = picture[..., 3:] / 255
    return np.round(picture[..., :3] * cover + 255 * BACKGROUND * (1 - cover)).astype(np.uint8)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = commands.Parser(
        prog='python -m jfrecon.relight',
        description=main.__doc__,
        epilog='example: python -m jfrecon.relight faces/ME --out=relit --light sunset.hdr faces/YOU',
    )
    parser.add_argument('face', type=Path, metavar='FACE', help='a folder that jfrecon.reconstruct left')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder for everything')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace the files in DIR that relight wrote; edited ones are kept'
    )
    parser.add_argument(
        '--light', type=Path, nargs='+', default=[], metavar='LIGHT', help='.exr, .hdr, or a face whose light it is'
    )
    parser.add_argument(
        '--transfer', type=lambda text: text.split(','), default=[], metavar='PARTS',
        help=f'what the face gets from another, with commas between: {", ".join(PARTS)}',
    )  # fmt: skip
    parser.add_argument('--from', dest='source', type=Path, metavar='FACE', help='the other face of --transfer')
    parser.add_argument('--size', type=int, default=512, help='pixels of the side of a picture')
    parser.add_argument('--frames', type=int, default=FRAMES, help='of a turn of the light; 0: no films')
    parser.add_argument('--model-path', type=Path, help='of a morphable model that is not embedded')
    options = parser.parse_args(arguments)
    if unknown := set(options.transfer) - set(PARTS):
        raise UserError(f'--transfer={",".join(sorted(unknown))}: there are {", ".join(PARTS)}')
    if bool(options.transfer) != (options.source is not None):
        raise UserError('--transfer=PARTS and --from=FACE go together')
    if options.size < 16 or options.size % 2 or options.frames < 0:
        raise UserError('--size is even and at least 16, --frames at least 0')
    for path in options.light:
        if not path.exists():
            raise UserError(f'no such file or folder: {path}')
    return options


if __name__ == '__main__':
    commands.run(main)
