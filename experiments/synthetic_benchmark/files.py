"""The benchmark on disk: photographs as PNG, what is true about them as npz, one line for each in `faces.csv`."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image
from tqdm import tqdm

from experiments.synthetic_benchmark import lights, marks, people, render
from experiments.synthetic_benchmark.people import SIZE, Face, Version
from jfrecon import files
from jfrecon.data.sample import InMemory, Sample
from jfrecon.morphable.coat import SKIN
from jfrecon.shading import sh

BANDS = 9
INDEX = 'faces.csv'


def make(mi: ModuleType, version: Version, folder: Path, count: int) -> None:
    """Render the first `count` faces of a version, but those that are there; takes about five seconds a face."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_row(index, _read(folder, index)) for index in range(count) if _paths(folder, index)[1].exists()]
    missing = [index for index in range(count) if not _paths(folder, index)[1].exists()]
    for index in tqdm(missing, desc=f'rendering {version.name}', unit='face', disable=None):
        image, known = shoot(mi, version, people.cast(version, index))
        _write(folder, index, image, known)
        rows.append(_row(index, known))
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator='\n')
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: row['face']))
    files.write_text(folder / INDEX, text.getvalue())


def shoot(mi: ModuleType, version: Version, face: Face, extra: dict | None = None) -> tuple[np.ndarray, dict]:
    """The photograph, uint8 sRGB, and the truth by the names of `truth`. extra: see `render.photograph`."""
    corner_uv = np.asarray(version.stage.corner_uv)
    image = render.develop(render.photograph(mi, face, corner_uv, extra=extra))
    skin = face.triangles[face.part == SKIN]
    used, corners = np.unique(skin, return_inverse=True)
    known = {
        'vertices': face.vertices[used],
        'triangles': corners.reshape(-1, 3).astype(np.int32),
        'landmarks': face.landmarks,
        'landmarks2d': np.float32(people.project(face.landmarks, face.focal)),
        'light': np.asarray(sh.project(face.light, BANDS)),
        **render.truth(face, corner_uv),
    }
    return image, known | {f'drawn_{name}': value for name, value in face.drawn.items()}


def truth(folder: Path, index: int) -> dict[str, np.ndarray]:
    """What is true of a face.

    'vertices' [V, 3] mm and 'triangles' of the whole head's skin, 'landmarks' [68, 3], all in camera space;
    'landmarks2d' [68, 2] pixels; 'light' [81, 3]; the maps of `render.truth`; and what was drawn, as 'drawn_...'.
    """
    known = _read(folder, index)
    return {name: np.float32(v) if v.dtype == np.float16 else v for name, v in known.items()}


def photographs(folder: Path, count: int) -> InMemory:
    """All that a method is told: the pictures."""
    return InMemory([Sample(image=image(folder, k), name=f'{k:03d}') for k in range(count)])


def image(folder: Path, index: int) -> np.ndarray:
    """uint8 [SIZE, SIZE, 3]."""
    return np.asarray(Image.open(_paths(folder, index)[0]).convert('RGB'))


def regenerated(mi: ModuleType, version: Version, folder: Path, indices: list[int]) -> dict[str, float]:
    """Makes some faces again: how many have the same parameters, and the largest difference of a pixel (of 255)."""
    same, difference = 0, 0
    for index in indices:
        again, known = shoot(mi, version, people.cast(version, index))
        same += digest(known) == digest(_read(folder, index))
        difference = max(difference, int(np.abs(again.astype(int) - image(folder, index)).max()))
    return {'faces': len(indices), 'same_parameters': same, 'largest_pixel_difference': difference}


def digest(known: dict[str, np.ndarray]) -> str:
    """Of what was drawn, to four decimals: the last bits of a float differ between processors."""
    drawn = [np.round(np.float64(known[name]), 4) + 0.0 for name in sorted(known) if name.startswith('drawn_')]
    return hashlib.sha256(b''.join(values.tobytes() for values in drawn)).hexdigest()[:16]


def _row(index: int, known: dict[str, np.ndarray]) -> dict[str, str]:
    return {
        'face': f'{index:03d}',
        'mark': marks.KINDS[int(known['drawn_mark'])],
        'light': lights.KINDS[int(known['drawn_light_kind'])],
        'parameters': digest(known),
    }


def _paths(folder: Path, index: int) -> tuple[Path, Path]:
    return folder / f'{index:03d}.png', folder / f'{index:03d}.npz'


def _write(folder: Path, index: int, image: np.ndarray, known: dict[str, np.ndarray]) -> None:
    """The truth is written last: where it is, the photograph is complete."""
    half = lambda v: v.astype(np.float16) if v.dtype == np.float32 and v.shape[:2] == (SIZE, SIZE) else v
    for path, save in (
        (_paths(folder, index)[0], lambda file: Image.fromarray(image).save(file, 'png')),
        (_paths(folder, index)[1], lambda file: np.savez(file, **{name: half(v) for name, v in known.items()})),
    ):
        content = io.BytesIO()
        save(content)
        files.write_bytes(path, content.getvalue())


def _read(folder: Path, index: int) -> dict[str, np.ndarray]:
    with np.load(_paths(folder, index)[1], allow_pickle=False) as stored:
        return dict(stored)
