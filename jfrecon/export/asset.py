"""A reconstructed face as a folder of files that other programs open.

face.glb          the whole head as glTF 2.0, see `jfrecon.export.gltf`
head.obj, .mtl    the same with the expression that it has, and its textures head_diffuse.png and so on
face.obj, .mtl    the fitted face alone, whose maps are
diffuse.png       albedo, sRGB; specular.png: weight of the specular lobe, sRGB; normal.png: tangent space, y up
light.exr, .hdr   see `jfrecon.export.hdri`
parameters.npz    vertices, faces, landmarks, camera, coefficients; layers.npz: pictures as large as the photo
photograph.png    the square of the photograph that the face is in
panel.png         it and layers side by side
report.html       the same, the head to be turned and relit beside the photograph, and all files to be saved
frames.npz        of a video: when each frame is shown, and the face's pose, expression and light in it
video.mp4         of a video: it, and the face over it
metadata.json     what they are of, in which units, and whose morphable model it is
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from jfrecon import files, morphable, outputs
from jfrecon.data import images
from jfrecon.data.cropping import Box
from jfrecon.data.sample import Unreadable
from jfrecon.errors import UserError
from jfrecon.export import film, gltf, hdri, head, report, viewer, wavefront
from jfrecon.geometry import cameras, mesh, rotations, uv
from jfrecon.morphable import linear
from jfrecon.reconstruction import plan, result
from jfrecon.reconstruction.plan import Existing
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.reconstruction.video import MOVING
from jfrecon.render import panel, surface, tree
from jfrecon.render.portraits import Portrait
from jfrecon.shading import colour
from jfrecon.types import FaceParameters, Maps, MorphableModel, Pinhole

PHOTOGRAPH = 512  # pixels of its side
PANEL = 256  # of a picture in the panel
ROUGHNESS = 0.4  # of a face that does not say
COEFFICIENTS = ('identity', 'expression', 'albedo', 'rotation', 'translation', 'light')
PLACED = ('vertices', 'landmarks2d', 'focal', 'principal', 'size', 'box')
EXACT = {'focal': (), 'principal': (2,), 'size': (2,), 'box': (3,)}  # shapes of what is read
# Of the others, beyond the first axis.
SHAPES: dict[str, tuple[int, ...]] = {
    **{name: () for name in ('identity', 'expression', 'albedo', 'rotation', 'translation')},
    **{'light': (3,), 'vertices': (3,), 'landmarks2d': (2,), 'behind': (3,)},
}


@dataclasses.dataclass(frozen=True)
class Video:
    """A face in the frames of a video.

    Attributes:
      motion: its parameters, leaves [F, ...].
      numbers: [F] of the frames.
      times: [F] seconds, when each is shown; increasing.
      pictures: [F, H, W, 3] uint8, to be looked at, or None.
    """

    motion: FaceParameters
    numbers: np.ndarray
    times: np.ndarray
    pictures: np.ndarray | None = None


def write(
    folder: Path,
    model: MorphableModel,
    portrait: Portrait,
    face: Reconstruction,
    atlas: uv.Atlas,
    photograph: np.ndarray,
    facts: Mapping[str, Any],
    video: Video | None = None,
    layers: Mapping[str, np.ndarray] | None = None,
    existing: Existing = Existing.REFUSE,
    texture: int | None = None,
) -> list[str]:
    """Write a face's folder: whole, or not at all, `metadata.json` with the hashes of all files last.

    Args:
      folder: to be made.
      model: of the face; ``portrait``: the same with eyes and teeth.
      face: with or without maps.
      atlas: of the maps.
      photograph: [S, S, 3] uint8, the face's square of it.
      facts: to stand in metadata.json.
      video: where the photograph is a frame of one.
      layers: `jfrecon.reconstruction.result.layers` of the face, where they are there already.
      existing: what becomes of a face in that folder.
      texture: texels of the side of the head's texture; None: `jfrecon.export.head.TEXTURE`.

    Returns:
      Names of the user's files that were kept aside, see `jfrecon.outputs.publish`.

    Raises:
      UserError: there is a face of that name and ``existing`` says no more, or something else.
    """
    plan.require_free(folder, existing)
    texture = head.TEXTURE if texture is None else texture
    layers = result.layers(portrait, face) if layers is None else layers
    with outputs.unfinished(folder) as made:
        _fill(made, folder.name, model, portrait, face, atlas, photograph, facts, video, layers, texture)
        return outputs.publish(made, folder, outputs.FACE, existing is not Existing.REFUSE)


def _fill(folder, name, model, portrait, face, atlas, photograph, facts, video, layers, texture) -> None:
    chi = face.parameters
    chi = chi.replace(maps=_maps(model, atlas, chi))
    # a network's maps need not have the atlas's size
    size = len(chi.maps.diffuse)
    texels = atlas.texels if size == len(atlas.mirror) else uv.texel_map(model.topology, size)
    pictures = encoded(chi.maps, texels)
    for kind, content in pictures.items():
        files.write_bytes(folder / f'{kind}.png', content)
    moving = {} if video is None else {'motion': video.motion, 'times': video.times}
    dressed = head.dress(portrait.model, chi, chi.maps, texture)
    glb = gltf.binary(dressed, chi, face.camera, face.size, roughness=portrait.roughness, **moving)
    files.write_bytes(folder / 'face.glb', glb)
    if video is not None:
        each = {name: getattr(video.motion, name) for name in MOVING}
        np.savez_compressed(folder / 'frames.npz', numbers=video.numbers, times=video.times, **each)
        if video.pictures is not None:
            files.write_bytes(folder / 'video.mp4', film.mp4(video.pictures, video.times))
    normals = np.asarray(mesh.vertex_normals(jnp.asarray(face.vertices), model.topology.triangles))
    geometry = wavefront.geometry({'face': model.topology}, face.vertices, normals, 'face.mtl')
    files.write_text(folder / 'face.obj', geometry)
    material = wavefront.material('face', portrait.roughness, {name: f'{name}.png' for name in pictures})
    files.write_text(folder / 'face.mtl', material)
    _write_head(folder, dressed, chi, portrait.roughness)

    radiance = hdri.picture(chi.light)
    for suffix in hdri.SUFFIXES:
        hdri.write(folder / f'light{suffix}', radiance)
    np.savez_compressed(
        folder / 'parameters.npz',
        vertices=face.vertices,
        faces=np.asarray(model.topology.triangles),
        landmark_ids=np.asarray(model.landmark_ids),
        landmarks2d=face.landmarks2d,
        focal=face.camera.focal,
        principal=face.camera.principal,
        size=np.array(face.size),
        box=np.array(face.box),
        **{name: getattr(chi, name) for name in COEFFICIENTS},
        **({} if chi.maps.behind is None else {'behind': chi.maps.behind}),
        **({} if chi.perspective else {'weak_perspective': True}),
    )
    np.savez_compressed(folder / 'layers.npz', allow_pickle=False, **layers)
    files.write_bytes(folder / 'photograph.png', images.encode(photograph))
    one, camera = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (chi, square(face, PANEL)))
    small = np.asarray(Image.fromarray(photograph).resize((PANEL, PANEL), Image.Resampling.LANCZOS))
    row = panel.rows(portrait, one, jnp.asarray(small[None] / np.float32(255)), camera, panel.LAYERS)
    Image.fromarray(row[0]).save(folder / 'panel.png')
    about = _metadata(portrait, face, facts) | {'texture': texture}
    files.write_json(folder / 'metadata.json', about)
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    parts = [viewer.part(contents, name, radiance, np.asarray(chi.expression)), report.figure(row, panel.LAYERS)]
    about_it = [*_fit(facts), *facts.get('notes', []), f'Morphable model: {model.name}. {model.licence}']
    parts += map(report.paragraph, about_it)
    report.page(folder / 'report.html', str(facts.get('photograph', name)), _doubts(facts), parts)


def _write_head(folder: Path, dressed: head.Dressed, chi: FaceParameters, roughness: float) -> None:
    """Write head.obj, head.mtl and the textures that they name."""
    shape = linear.shape(dressed.model, jnp.asarray(chi.identity), jnp.asarray(chi.expression))
    vertices = rotations.transform(jnp.asarray(chi.rotation), jnp.asarray(chi.translation), shape)
    normals = np.asarray(mesh.vertex_normals(vertices, dressed.model.topology.triangles))
    parts, materials = {}, []
    for piece in dressed.pieces:
        parts[piece.name] = piece.topology
        names = {name: f'{piece.name}_{name}.png' for name in piece.textures}
        for name, values in piece.textures.items():
            files.write_bytes(folder / names[name], images.encode(values))
        plain = None if piece.colours is None else piece.colours[np.unique(piece.topology.triangles)].mean(0)
        wet = roughness if 'normal' in names else gltf.WET if names else gltf.MATTE
        materials.append(wavefront.material(piece.name, wet, names, plain))
    files.write_text(folder / 'head.obj', wavefront.geometry(parts, np.asarray(vertices), normals, 'head.mtl'))
    files.write_text(folder / 'head.mtl', '\n'.join(materials))


def read(folder: Path) -> tuple[Reconstruction, dict[str, Any]]:
    """The face in a folder that `write` made, and its metadata. Its maps are those of the PNG files, edited or not.

    Raises:
      UserError: a file is missing or is not what it was.
    """
    try:
        about = files.read_json(folder / 'metadata.json')
        archive = files.read_npz(folder / 'parameters.npz')
        found = {name: archive[name] for name in (*COEFFICIENTS, *PLACED)}
        behind = {'behind': archive['behind']} if 'behind' in archive else {}
        perspective = 'weak_perspective' not in archive
    except OSError as error:
        raise UserError(f'{error.filename or folder}: {error.strerror}; {folder} is no reconstructed face') from error
    except (ValueError, KeyError) as error:
        raise UserError(f'{folder} is no reconstructed face, or a broken one ({error})') from error
    whole = found | behind
    wrong = [name for name, shape in EXACT.items() if whole[name].shape != shape]
    wrong += [name for name, shape in SHAPES.items() if name in whole and whole[name].shape[1:] != shape]
    wrong += [name for name, values in whole.items() if values.dtype.kind not in 'fiu' or not np.isfinite(values).all()]
    if isinstance(about, dict) and outputs.REPLACING in about:
        raise UserError(f'{folder} is half replaced by another face: the command that did it ends it with --overwrite')
    if wrong or not isinstance(about, dict):
        raise UserError(f'{folder}: {wrong[0] if wrong else "metadata.json"} is not what a reconstruction leaves')
    diffuse, specular = (_picture(folder / f'{name}.png') for name in ('diffuse', 'specular'))
    normal = _picture(folder / 'normal.png', colours=False)
    linear = lambda values: np.asarray(colour.srgb_to_linear(jnp.asarray(values)))
    normal = 2 * normal - 1
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    maps = Maps(linear(diffuse), linear(specular)[..., :1], normal.astype(np.float32), **behind)
    face = Reconstruction(
        FaceParameters(**{name: found[name] for name in COEFFICIENTS}, maps=maps, perspective=perspective),
        found['vertices'],
        found['landmarks2d'],
        Pinhole(found['focal'], found['principal']),
        Box(*(float(x) for x in found['box'])),
        (int(found['size'][0]), int(found['size'][1])),
    )
    return face, about


def read_video(folder: Path, face: Reconstruction) -> Video | None:
    """How a face that was read moves, without pictures; None where it is of a photograph.

    Raises:
      UserError: `frames.npz` is not what it was.
    """
    path = folder / 'frames.npz'
    if not path.exists():
        return None
    names = ('numbers', 'times', *MOVING)
    try:
        archive = files.read_npz(path, names)
        found = {name: archive[name] for name in names}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f'{path} is not what a reconstruction leaves ({error}): reconstruct its video again') from error
    chi, times = face.parameters, found['times']
    shapes = {'numbers': (), 'times': (), **{name: np.shape(getattr(chi, name)) for name in MOVING}}
    wrong = [name for name, values in found.items() if values.shape != (times.size, *shapes[name])]
    wrong += [name for name, values in found.items() if values.dtype.kind not in 'fiu' or not np.isfinite(values).all()]
    if wrong or not times.size or times[0] < 0 or (np.diff(times) <= 0).any():
        raise UserError(f'{path}: {(wrong or ["times"])[0]} is not what a reconstruction leaves')
    every = lambda leaf: np.broadcast_to(leaf, (len(times), *np.shape(leaf)))
    moving: Any = {name: found[name] for name in MOVING}
    motion = dataclasses.replace(chi, identity=every(chi.identity), albedo=every(chi.albedo), maps=None, **moving)
    return Video(motion, found['numbers'], times)


def _picture(path: Path, colours: bool = True) -> np.ndarray:
    """[S, S, 3] in 0..1 of a map's PNG file. colours: whether it holds colours, which an editor may have profiled."""
    try:
        values = images.read(path, convert=colours).image
    except Unreadable as error:
        raise UserError(f'{path}: {error}') from error
    if values.shape[0] != values.shape[1]:
        raise UserError(f'{path} has {values.shape[1]} x {values.shape[0]} pixels; a map is square')
    return values.astype(np.float32) / 255


def models(face: Reconstruction, about: Mapping[str, Any], path: Path | None) -> tuple[MorphableModel, Portrait]:
    """The morphable model of a face that was read, with as many modes as it has, and how pictures of it are made.

    path: of a model that is not embedded.

    Raises:
      UserError: the model is not there, or is another.
    """
    name, roughness = about.get('model', {}).get('name'), about.get('roughness', ROUGHNESS)
    chi = face.parameters
    modes = tuple(len(coefficients) for coefficients in (chi.identity, chi.expression, chi.albedo))
    model, filled = (linear.truncate(load(name, path), *modes) for load in (morphable.load, morphable.load_portrait))
    have = tuple(len(basis) for basis in (model.identity_basis, model.expression_basis, model.diffuse_basis))
    if have != modes or len(model.mean) != len(face.vertices):
        raise UserError(f'the face has {modes} coefficients and {len(face.vertices)} vertices, {name} has others')
    inner = len(filled.mean) - len(model.mean)
    if chi.maps is not None and chi.maps.behind is not None and len(chi.maps.behind) != inner:
        raise UserError(
            f"the face's eyes and teeth have {len(chi.maps.behind)} vertices, those of {name} now have {inner}: "
            "reconstruct its photograph again, or take everybody's by `zip -d parameters.npz behind.npy` in its folder"
        )
    leaves = tree.order(np.asarray(filled.mean), np.asarray(filled.topology.triangles))
    return model, Portrait(filled, leaves, float(roughness))


def square(face: Reconstruction, size: int) -> Pinhole:
    """The camera of the square of the photograph that the face is in, at so many pixels; unbatched."""
    origin, scale = jnp.asarray(face.box[:2], jnp.float32), jnp.float32(size / face.box.side)
    return cast(Pinhole, cameras.crop(face.camera, origin, scale))


def encoded(maps: Maps, texels: uv.TexelMap) -> dict[str, bytes]:
    """PNG files of unbatched maps: diffuse, specular, normal. Around the charts the nearest texel is repeated."""
    nearest = distance_transform_edt(np.asarray(texels.triangle) < 0, return_distances=False, return_indices=True)
    spread = lambda values: np.asarray(values)[tuple(nearest)]
    srgb = lambda values: np.asarray(colour.linear_to_srgb(jnp.clip(jnp.asarray(values), 0, 1)))
    specular = np.repeat(srgb(spread(maps.specular)), 3, -1)
    pictures = {
        'diffuse': srgb(spread(maps.diffuse)),
        'specular': specular,
        'normal': 0.5 + 0.5 * spread(maps.normal),
    }
    return {name: images.encode(head.eight_bits(values)) for name, values in pictures.items()}


def _maps(model: MorphableModel, atlas: uv.Atlas, chi: FaceParameters) -> Maps:
    """The face's maps, or the morphable model's albedo on a smooth skin; leaves [S, S, C]."""
    maps = chi.maps
    if maps is None:
        maps = surface.prior_maps(model, atlas.texels, jnp.asarray(chi.albedo))
    if maps.normal is None:
        maps = dataclasses.replace(maps, normal=jnp.zeros_like(maps.diffuse) + jnp.array([0.0, 0.0, 1.0]))
    return maps


def _doubts(facts: Mapping[str, Any]) -> list[str]:
    return [f'Doubtful: {"; ".join(facts["doubts"])}.'] if facts.get('doubts') else []


def _fit(facts: Mapping[str, Any]) -> list[str]:
    """Of which face the page is, and how well it fits, in words."""
    notes = []
    if facts.get('faces', 1) > 1:
        notes.append(f'Face {facts["face"]} of {facts["faces"]} in the photograph, from 0 on.')
    left = facts.get('residual', {})
    if left.get('landmarks') is not None:
        notes.append(f'Landmarks: {left["landmarks"]:.3f} of the distance of the eyes away, on average.')
    if left.get('photograph') is not None:
        notes.append(f'Picture: {left["photograph"]:.3f} of white away from the photograph, on average (sRGB).')
    sure = facts.get('confidence', {})
    if sure.get('presence') is not None:
        notes.append(f'Detector: {sure["presence"]:.2f} sure that it is a face.')
    if sure.get('skin') is not None:
        notes.append(f'Skin: {sure["skin"]:.2f} of the face; the rest is hidden, or no face.')
    return notes


def _metadata(portrait: Portrait, face: Reconstruction, facts: Mapping[str, Any]) -> dict[str, Any]:
    model = portrait.model
    return {
        **facts,
        'model': {'name': model.name, 'licence': model.licence},
        'camera': _camera(face),
        'roughness': portrait.roughness,
        'units': 'parameters.npz: millimetres, camera space, x right, y up, z towards the camera; pixels from the top '
        'left corner, the centre of the first at 0.5. face.glb, face.obj and head.obj: metres, the same axes',
        'colour': 'diffuse.png and specular.png are encoded in sRGB, normal.png is (n + 1) / 2; light.exr, light.hdr '
        "and layers.npz's albedo and specular are linear, its photo is sRGB",
    }


def _camera(face: Reconstruction) -> dict[str, Any]:
    """Where the photograph shows a point: focal length and so on, and how they are meant."""
    camera = surface.seen_by(face.parameters, face.camera)
    weak = {} if isinstance(camera, Pinhole) else {'scale': float(camera.scale)}
    return {
        'weak_perspective': bool(weak),
        'focal': float(face.camera.focal),
        **weak,
        'principal': [float(x) for x in face.camera.principal],
        'height': int(face.size[0]),
        'width': int(face.size[1]),
        'frame': 'pixels of the photograph from its upper left corner, x right, y down; a point (X, Y, Z) of '
        f'parameters.npz, mm, is at principal + {"scale" if weak else "focal / -Z"} * (X, -Y)',
    }
