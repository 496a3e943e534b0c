"""What is in front of a face: is it found, does it stay out of the albedo, and do plain faces keep all their skin?

    python -m experiments.occluders --out=runs/occluders

Synthetic faces are painted over with glasses, a microphone and a hand, whose pixels are known. Each is fitted three
times: bare, and painted with occluders looked for (`left out`) and not (`fitted to`). Where the photograph shows the
occluder, the albedo is compared with that of the bare face's fit; beside it stands what one colour for the whole face
gives. Photographs of people, with glasses, a hat, a fringe, and plain ones, are fitted both ways, too: how many pixels
are dropped within the face, and what that costs inside the hull of the landmarks. Panels and albedos are left for
looking; those of photographs show people.

Shares of skin (`jfrecon.reconstruction.residual.confidence`) are those of all photographs, and of squares beside the
faces in them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from tqdm import tqdm

from experiments import drawing, harness, photographs, uv_maps
from experiments.photo_to_assets.__main__ import likeness, people
from jfrecon import commands, morphable
from jfrecon.data.detection import Given
from jfrecon.data.sample import Sample
from jfrecon.data.synthetic import dataset
from jfrecon.fitting import occluders
from jfrecon.reconstruction import photograph, residual
from jfrecon.reconstruction.photograph import Face, Reconstructor
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.render import panel

NAME = 'occluders'
SIZE = photograph.SIZE
STEPS = (200, 150, 0, 300, 120)  # of a fit without the ray tracer's, which take most of its time
FACES = 1  # synthetic ones
KINDS = ('glasses', 'microphone', 'hand')
BESIDE = 30  # squares of each photograph that are tried
COVERED = ('ffhq_00005', 'tddfa2_JianzhuGuo', 'prnet_2', 'azface_detection1')
PLAIN = ('dlib_Tom_Cruise_avp_2014_4',)
PORTRAITS = 1  # of the people of photo_to_assets


def main(arguments: list[str] | None = None) -> None:
    """Measure on painted synthetic faces and on photographs."""
    parser = harness.parser(NAME, main.__doc__)
    photographs.add_arguments(parser)
    options = parser.parse_args(arguments)
    wild = {Path(photo.name).stem: photo for photo in photographs.wild(options.data)}
    portraits = photographs.portraits(options.data)
    run = harness.start(NAME, options.out, options.overwrite)
    make = photograph.reconstructor(None, True)
    assert make.fitter is not None
    make = dataclasses.replace(make, fitter=dataclasses.replace(make.fitter, steps=STEPS))
    quick = options.quick
    skin = shares([*wild.values(), *(portraits[k] for k in range(0, len(portraits), 6))])
    chosen = [*(wild[name] for name in (*COVERED, *PLAIN)), *people(portraits)[:PORTRAITS]]
    photos = on_photographs(make, chosen[:1] if quick else chosen, options.out / 'photographs')
    painted = on_painted(make, options.out / 'painted', 1 if quick else FACES, KINDS[:1] if quick else KINDS)
    run.record(
        {'painted': painted, 'photographs': photos, 'skin': skin},
        '\n'.join(harness.table(rows) for rows in (painted, photos, skin)),
    )


@contextmanager
def ignored() -> Iterator[None]:
    """Nobody looks for occluders within faces."""
    with mock.patch.object(occluders, 'within', lambda drawn, photo, face, *_: np.zeros_like(face)):
        yield


def on_painted(make: Reconstructor, out: Path, faces: int, kinds: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Kind -> how well it is found, and errors of the albedo behind it, means over faces."""
    head = morphable.load_head('makehuman', None)
    made = dataset.prepare(
        out / 'faces', head, faces, SIZE, 11, focal=photograph.FOCAL, fill=1 / photograph.SCALE, frames=1
    )
    rows: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    pictures = []
    for k in tqdm(range(faces), desc='painted', unit='face', disable=None):
        bare = made[k]
        true = albedo(make([located(bare)])[0])
        for kind in kinds:
            image, mask = paint(bare, kind)
            face = located(bare.replace(image=image))
            with ignored():
                before = make([face])[0]
            after = make([face])[0]
            hidden = behind(make, after, mask)
            mean = np.broadcast_to(true[~hidden & (true.max(-1) > 0)].mean(0), true.shape)
            error = lambda found, true=true, hidden=hidden: float(
                np.abs(drawing.srgb(found) - drawing.srgb(true))[hidden].mean()
            )
            found, shown = found_in(make, face, after)
            both, either = (found & mask & shown).sum(), ((found | mask) & shown).sum()
            rows[kind].append(
                {
                    'IoU': float(both / max(either, 1)),
                    'bare skin dropped': float((found & ~mask).sum() / (shown & ~mask).sum()),
                    'albedo error, fitted to': error(albedo(before)),
                    'left out': error(albedo(after)),
                    'one colour': error(mean),
                }
            )
            tqdm.write(f'{kind}: {rows[kind][-1]}')
            maps = [drawing.srgb(np.clip(values, 0, 1)) for values in (true, albedo(before), albedo(after))]
            pictures.append(np.concatenate([marked(face, found), *maps], 1))
    drawing.save(out.parent / 'painted.jpg', np.stack(pictures), 0.5)
    return {
        kind: {name: float(np.mean([row[name] for row in found])) for name in found[0]} for kind, found in rows.items()
    }


def paint(bare: Sample, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A photograph [H, W, 3] with something painted in front of the face, and [H, W] bool where."""
    points, shape = bare.landmarks, bare.image.shape[:2]
    eyes = points[36:42].mean(0), points[42:48].mean(0)
    unit = float(np.linalg.norm(eyes[1] - eyes[0]))
    canvas = Image.new('L', shape[::-1])
    pen = ImageDraw.Draw(canvas)
    by = lambda x, y: unit * np.array([x, y])
    box = lambda centre, half: (*(centre - half), *(centre + half))
    if kind == 'glasses':
        line = max(2, round(0.07 * unit))
        for centre in eyes:
            pen.rounded_rectangle(box(centre, by(0.4, 0.28)), 0.15 * unit, outline=255, width=line)
        away = by(0.4, 0)
        for start, end in ((eyes[0] + away, eyes[1] - away), (eyes[0] - away, points[0]), (eyes[1] + away, points[16])):
            pen.line([tuple(start), tuple(end)], fill=255, width=line)
        colour = np.array([20, 18, 22])
    elif kind == 'microphone':
        chin = points[57]
        pen.ellipse(box(chin, by(0.35, 0.4)), fill=255)
        pen.line([tuple(chin), tuple(chin + by(0.3, 2.5))], fill=255, width=round(0.35 * unit))
        colour = np.array([40, 40, 45])
    else:  # four fingers of its skin, a little darker, from one side across mouth and chin
        mouth = points[48:60].mean(0)
        for k in range(4):
            end = mouth + by(-0.55 + 0.08 * (k % 2), 0.3 * k - 0.15)
            pen.line([tuple(end), tuple(end + by(2.2, 0.35))], fill=255, width=round(0.26 * unit))
        colour = np.median(bare.image[tuple(np.round(points[27:31, ::-1]).astype(int).T)], 0) * 0.85
    mask = np.asarray(canvas) > 127
    share = ndimage.gaussian_filter(mask.astype(np.float64), 0.7)[..., None]
    noise = np.random.default_rng(0).normal(scale=4, size=bare.image.shape)
    image = bare.image * (1 - share) + (colour + noise) * share
    return np.clip(np.round(image), 0, 255).astype(np.uint8), mask


def located(photo: Sample) -> Face:
    """The face at its landmarks, without the mask that says what is in front of it."""
    return photograph.find(photo.replace(mask=None), Given(photo.landmarks[None]))[0]


def albedo(face: Reconstruction) -> np.ndarray:
    """Its diffuse map, linear [S, S, 3]."""
    assert face.parameters.maps is not None
    return np.asarray(face.parameters.maps.diffuse)


def behind(make: Reconstructor, face: Reconstruction, mask: np.ndarray) -> np.ndarray:
    """[S, S] bool: the texels of a face that pixels [H, W] of its photograph show."""
    chi, camera = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (face.parameters, face.camera))
    shown = jnp.asarray(mask, jnp.float32)[None, ..., None].repeat(3, -1)
    texture, seen = uv_maps.unwrapped(make.model, chi, camera, shown, make.atlas.texels)
    return np.asarray((texture[0, ..., 0] > 0.5) & (seen[0] > 0.99))


def found_in(make: Reconstructor, face: Face, made: Reconstruction) -> tuple[np.ndarray, np.ndarray]:
    """[H, W] bool, at the size of a synthetic photograph: what is found in front of the fitted face, and the face."""
    assert make.fitter is not None
    batch = face.cut(SIZE)
    chi = dataclasses.replace(made.parameters, maps=None)
    chi = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], chi)
    found, shown = make.fitter.hidden(chi, batch)
    return placed(face, found[0]), placed(face, shown[0])


def placed(face: Face, cut: np.ndarray) -> np.ndarray:
    """Pixels of a face's square [SIZE, SIZE] in its photograph [H, W], bool."""
    height, width = face.sample.image.shape[:2]
    rows, columns = np.indices((height, width)) + 0.5
    places = [(x - low) * SIZE / face.box.side for x, low in ((rows, face.box.y), (columns, face.box.x))]
    inside = np.logical_and.reduce([(place >= 0) & (place < SIZE) for place in places])
    row, column = (np.clip(place, 0, SIZE - 1).astype(int) for place in places)
    return cut[row, column] & inside


def marked(face: Face, found: np.ndarray) -> np.ndarray:
    """A photograph's picture, as large as a map, with what was found in green."""
    image = face.sample.image / 255
    return np.where(found[..., None], 0.4 * image + [0, 0.6, 0], image)


def on_photographs(make: Reconstructor, photos: list[Sample], out: Path) -> dict[str, dict[str, float]]:
    """Photograph -> share of the face that is dropped, and PSNR inside the hull, fitted both ways."""
    rows = {}
    out.mkdir(parents=True, exist_ok=True)
    for photo in tqdm(photos, desc='photographs', unit='photo', disable=None):
        face = located(photo)
        with ignored():
            before = make([face])[0]
        after = make([face])[0]
        found, shown = found_in(make, face, after)
        name = Path(photo.name).stem
        rows[name] = {
            'dropped': float((found & shown).sum() / shown.sum()),
            'PSNR, fitted to': likeness(make, before, photo)['psnr'],
            'left out': likeness(make, after, photo)['psnr'],
        }
        tqdm.write(f'{name}: {rows[name]}')
        batch = face.cut(SIZE)
        lines = []
        for made in (before, after):
            chi = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], made.parameters)
            lines.append(panel.rows(make.portrait, chi, batch.image, batch.camera, panel.LAYERS)[0])
            drawing.save(out / f'{name}_diffuse_{len(lines)}.png', drawing.srgb(np.clip(albedo(made), 0, 1))[None])
        Image.fromarray(np.concatenate(lines)).save(out / f'{name}.jpg')
    return rows


def shares(photos: list[Sample]) -> dict[str, dict[str, float]]:
    """Quantiles of the share of skin of faces, and of squares as large beside them."""
    rng = np.random.default_rng(0)
    faces, beside = [], []
    for photo in tqdm(photos, desc='skin', unit='photo', disable=None):
        face = located(photo)
        faces.append(residual.confidence(face).skin)
        points = face.sample.landmarks
        centre, width = points.mean(0), np.ptp(points, axis=0).max()
        size = np.array(photo.image.shape[1::-1])
        for there in rng.uniform([0, 0], size, (BESIDE, 2)):
            clear = np.abs(there - centre).max() > 1.2 * width
            if clear and (there > width / 2).all() and (there < size - width / 2).all():
                moved = face.sample.replace(landmarks=(points + there - centre).astype(np.float32))
                box = face.box._replace(x=face.box.x + there[0] - centre[0], y=face.box.y + there[1] - centre[1])
                beside.append(residual.confidence(Face(moved, box)).skin)
    quantiles = {'least': 0.0, '5%': 0.05, 'median': 0.5, '95%': 0.95, 'most': 1.0}
    return {
        name: {'count': len(values), **{of: float(np.quantile(values, at)) for of, at in quantiles.items()}}
        for name, values in (('faces', faces), ('beside', beside))
    }


if __name__ == '__main__':
    commands.run(main)
