"""How fast and how faithfully photographs of people become faces that can be relit.

    python -m experiments.photo_to_assets --out=runs/photo_to_assets

20 photographs in the wild and portraits of ten people, four times: as a network predicts them (`prediction`), fitted
from the mean face (`optimised`), fitted from the prediction (`refined`), all with the landmarks that came with them,
and once more fitted from the mean face with what is found in the photograph alone (`found`). The network is the one
that comes with jfrecon. Pictures are compared at 256 x 256 pixels inside the hull of the given landmarks.

Whether light is baked into the albedo is measured on pairs of synthetic photographs, one person in two poses under two
lights, each fitted by itself from its landmarks: how far the two albedos are apart where both have seen the skin, and
how far a face's two halves are; each beside the same for the photograph, unwrapped and taken as albedo.

Assets and panels show people: they are written for looking, not for committing.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments import drawing, harness, photographs, uv_maps
from jfrecon import commands, morphable, pretrained
from jfrecon.data import cropping, detection
from jfrecon.data.detection import Given
from jfrecon.data.folder import Folder
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.data.synthetic import dataset
from jfrecon.evaluation import metrics
from jfrecon.export import asset
from jfrecon.geometry import uv
from jfrecon.reconstruction import photograph, prediction, result
from jfrecon.reconstruction.photograph import Face, Reconstructor
from jfrecon.reconstruction.plan import Existing
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.shading import colour

NAME = 'photo_to_assets'
PEOPLE = 10
PAIRS = 8
SIZE = photograph.SIZE
METRICS = ('seconds', 'psnr', 'ssim', 'l1', 'landmark_nme')


class Way(NamedTuple):
    """How faces are made: whether with the network, with a fit, and with the landmarks that are given."""

    network: bool
    fit: bool
    landmarks: bool


WAYS = {
    'prediction': Way(True, False, True),
    'optimised': Way(False, True, True),
    'refined': Way(True, True, True),
    'found': Way(False, True, False),
}


def main(arguments: list[str] | None = None) -> None:
    """Turn photographs into faces in four ways; measure time, likeness, and light in the albedo."""
    parser = harness.parser(NAME, main.__doc__ or '')
    photographs.add_arguments(parser)
    options = parser.parse_args(arguments)
    chosen = [*photographs.wild(options.data), *people(photographs.portraits(options.data))]
    run = harness.start(NAME, options.out, options.overwrite)
    if options.quick:
        chosen = [chosen[0], chosen[-1]]
    network = prediction.load(pretrained.NETWORK)[0]
    plain, whole = (photograph.reconstructor(network, refine) for refine in (False, True))
    rows = {}
    for name, way in WAYS.items():
        make = dataclasses.replace(whole, network=network if way.network else None) if way.fit else plain
        rows[name] = [
            attempt(make, way, photo, options.out / name)
            for photo in tqdm(chosen, desc=name, unit='photo', disable=None)
        ]
    results = {name: medians(found) for name, found in rows.items()}
    pairs = 1 if options.quick else PAIRS
    light = light_in_albedo(dataclasses.replace(whole, network=None), options.out / 'synthetic', pairs)
    table = harness.table(results, [*METRICS, 'failures']) + '\n' + harness.table(light, ['albedo', 'photograph'])
    run.record({**results, 'baked_light': light}, table)


def people(source: Folder) -> list[Sample]:
    """The first portrait of `PEOPLE` people, evenly spread over all."""
    first = {group: index for index, group in reversed(list(enumerate(source.groups)))}
    subjects = sorted(first)
    return [source[first[subjects[k * len(subjects) // PEOPLE]]] for k in range(PEOPLE)]


def attempt(make: Reconstructor, way: Way, photo: Sample, out: Path) -> dict[str, float] | None:
    """The metrics of one photograph, and its asset in a folder of ``out``; None where it fails."""
    began = time.monotonic()
    try:
        face = found(make, way, photo)
        result = make([face])[0]
    except Unreadable as error:
        tqdm.write(f'{photo.name}: {error}')
        return None
    square = np.round(face.cut(asset.PHOTOGRAPH).image[0] * 255).astype(np.uint8)
    facts = {'photograph': photo.name}
    folder = out / Path(photo.name).stem
    asset.write(folder, make.model, make.portrait, result, make.atlas, square, facts, existing=Existing.OVERWRITE)
    return {'seconds': time.monotonic() - began, **likeness(make, result, photo)}


def found(make: Reconstructor, way: Way, photo: Sample) -> Face:
    """The face to be reconstructed: the given one, or the detected one that lies over it."""
    given = cropping.box_from_landmarks(photo.landmarks, photograph.SCALE)
    scale = photograph.SCALE if make.network is None else make.network.crop_scale
    if way.landmarks:
        return photograph.find(photo, Given(photo.landmarks[None]), '', make.network, scale)[0]
    nothing = photo.replace(landmarks=np.full((68, 2), np.nan, np.float32))
    near = [
        face for face in photograph.find(nothing, Given(), detection.DEFAULT, make.network, scale)
        if np.hypot(face.box.x + face.box.side / 2 - given.x - given.side / 2,
                    face.box.y + face.box.side / 2 - given.y - given.side / 2) < given.side / 4
    ]  # fmt: skip
    if not near:
        raise Unreadable('the face is not found')
    return near[0]


def likeness(make: Reconstructor, made: Reconstruction, photo: Sample) -> dict[str, float]:
    """Metrics in the square around the given landmarks, inside their hull."""
    box = cropping.box_from_landmarks(photo.landmarks, photograph.SCALE)
    square = cropping.crop(photo, box, SIZE, photograph.FOCAL)
    mask = cropping.hull_mask(square.landmarks, SIZE)
    drawn = result.layers(make.portrait, dataclasses.replace(made, box=box), SIZE)['photo']
    image = square.image.astype(np.float32) / 255
    return {
        'psnr': metrics.psnr(drawn, image, mask),
        'ssim': metrics.ssim(drawn, image, mask),
        'l1': metrics.photometric_l1(drawn, image, mask),
        'landmark_nme': metrics.landmark_nme(made.landmarks2d, photo.landmarks),
    }


def medians(rows: list[dict[str, float] | None]) -> dict[str, float]:
    """Of each metric over the photographs that did not fail, and how many did."""
    done = [row for row in rows if row is not None]
    middle = {name: float(np.median([row[name] for row in done])) if done else float('nan') for name in METRICS}
    return {**middle, 'failures': len(rows) - len(done)}


def light_in_albedo(make: Reconstructor, folder: Path, pairs: int) -> dict[str, dict[str, float]]:
    """Mean absolute differences, sRGB, between one person's albedos under two lights and between a face's halves.

    Pairs may differ by one factor for each colour, as how bright a light is and of which colour one photograph does not
    say.
    """
    head = morphable.load_head('makehuman', None)
    made = dataset.prepare(
        folder, head, 2 * pairs, SIZE, 7, focal=photograph.FOCAL, fill=1 / photograph.SCALE, frames=2
    )
    rows: dict[str, dict[str, list[float]]] = {
        name: {'albedo': [], 'photograph': []} for name in ('two lights', 'two halves')
    }
    pictures = []
    for pair in tqdm(range(pairs), desc='pairs', unit='pair', disable=None):
        maps = []
        for photo in (made[2 * pair], made[2 * pair + 1]):
            face = photograph.find(photo, Given(photo.landmarks[None]))[0]
            result = make([face])[0]
            assert result.parameters.maps is not None
            texture, seen = unwrapped(make, result, photo)
            maps.append((np.asarray(result.parameters.maps.diffuse), texture, seen))
        mirror = jnp.asarray(make.atlas.mirror)
        for (albedo, texture, seen), (other, its_texture, also) in (maps, maps[::-1]):
            both = (seen > 0.99) & (also > 0.99)
            rows['two lights']['albedo'].append(apart(albedo, other, both, gain=True))
            rows['two lights']['photograph'].append(apart(texture, its_texture, both, gain=True))
            turned = [np.asarray(uv.flip(jnp.asarray(x)[None], mirror)[0]) for x in (albedo, texture, seen[..., None])]
            halves = (seen > 0.99) & (turned[2][..., 0] > 0.99)
            rows['two halves']['albedo'].append(apart(albedo, turned[0], halves))
            rows['two halves']['photograph'].append(apart(texture, turned[1], halves))
        tiles = [x * (m[2] > 0.99)[..., None] for m in maps for x in m[:2]]
        pictures.append(np.concatenate([drawing.srgb(x) for x in tiles], 1))
    drawing.save(folder.parent / 'albedo_pairs.jpg', np.stack(pictures), 0.5)
    return {name: {kind: float(np.mean(values)) for kind, values in row.items()} for name, row in rows.items()}


def unwrapped(make: Reconstructor, result: Reconstruction, photo: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The photograph [S, S, 3] in UV, linear, as the face lies in it, and [S, S] 1 where the face is seen, else 0."""
    chi, camera = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (result.parameters, result.camera))
    image = colour.srgb_to_linear(jnp.asarray(photo.image)[None] / 255)
    texture, seen = uv_maps.unwrapped(make.model, chi, camera, image, make.atlas.texels)
    return np.asarray(texture[0]), np.asarray(seen[0])


def apart(a: np.ndarray, b: np.ndarray, where: np.ndarray, gain: bool = False) -> float:
    """Mean absolute difference of linear maps [S, S, 3], encoded in sRGB, after each colour's mean was made equal."""
    a, b = a[where], b[where]
    if gain:
        a = a * (b.mean(0) / np.maximum(a.mean(0), 1e-6))
    return float(np.abs(drawing.srgb(np.clip(a, 0, 1)) - drawing.srgb(np.clip(b, 0, 1))).mean())


if __name__ == '__main__':
    commands.run(main)
