"""Contact sheets of prepared faces: every picture small, with its crop, landmarks and name.

They show people.
"""

from __future__ import annotations

import html
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from jfrecon import files
from jfrecon.data.sample import Sample, Source
from jfrecon.export import report

TILE, CAPTION = 160, 14  # pixels
COLUMNS, ROWS = 8, 5
SHOWN = 1000  # faces at most, evenly spread
BOX, POINT, MASK = (255, 210, 0), (60, 255, 60), (255, 0, 0)


def write(folder: Path, faces: Source, title: str, notes: Sequence[str], rejected: Mapping[str, int]) -> None:
    """Leaves ``contact.html`` and the sheets ``contact-000.png``, ... that it shows in a folder.

    rejected: how many files or faces were rejected, by reason.
    """
    count = min(len(faces), SHOWN)
    shown = [round(k * (len(faces) - 1) / max(count - 1, 1)) for k in range(count)]
    if count < len(faces):
        notes = [*notes, f'{count} of {len(faces)} faces are shown, evenly spread.']
    parts = [
        f'<table>{"".join(_row(reason, times) for reason, times in rejected.items())}</table>' if rejected else '',
    ]
    with tqdm(total=count, desc='contact sheets', unit='face', disable=None) as bar:
        for number, start in enumerate(range(0, count, COLUMNS * ROWS)):
            samples = (faces.attempt(index) for index in shown[start : start + COLUMNS * ROWS])
            name = f'contact-{number:03d}.png'
            files.write_bytes(folder / name, _png(_sheet(samples, bar)))
            parts.append(f'<img alt="faces" src="{name}">')
    report.page(folder / 'contact.html', title, notes, parts)


def tile(sample: Sample) -> Image.Image:
    """A face, TILE pixels wide and a caption higher: crop a square, landmarks dots, red beyond the mask."""
    height, width = sample.image.shape[:2]
    scale = TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(sample.image).resize(size)
    if sample.mask is not None:
        red = Image.blend(small, Image.new('RGB', size, MASK), 0.35)
        small = Image.composite(small, red, Image.fromarray(sample.mask).resize(size))
    whole = Image.new('RGB', (TILE, TILE + CAPTION))
    left, top = (TILE - size[0]) // 2, (TILE - size[1]) // 2
    whole.paste(small, (left, top))
    pen = ImageDraw.Draw(whole)
    if sample.box is not None:
        x, y, side = (value * scale for value in sample.box)
        corners = np.array([left + x, top + y, left + x + side, top + y + side])
        pen.rectangle(tuple(corners.clip(0, TILE - 1)), outline=BOX)  # an edge beyond the photo is seen at its edge
    for x, y in sample.landmarks[np.isfinite(sample.landmarks).all(axis=1)] * scale + [left, top]:
        pen.ellipse((x - 1, y - 1, x + 1, y + 1), fill=POINT)
    pen.rectangle((0, TILE, TILE, TILE + CAPTION), fill=(0, 0, 0))
    pen.text((2, TILE + 1), sample.name[-26:].encode('ascii', 'replace').decode(), fill=(255, 255, 255))
    return whole


def _sheet(samples: Iterator[Sample | None], bar: tqdm) -> Image.Image:
    tiles = []
    for sample in samples:
        tiles += [] if sample is None else [tile(sample)]
        bar.update()
    rows = max(1, -(-len(tiles) // COLUMNS))
    sheet = Image.new('RGB', (COLUMNS * TILE, rows * (TILE + CAPTION)))
    for k, picture in enumerate(tiles):
        sheet.paste(picture, (k % COLUMNS * TILE, k // COLUMNS * (TILE + CAPTION)))
    return sheet


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, 'PNG')
    return buffer.getvalue()


def _row(reason: str, times: int) -> str:
    return f'<tr><td>{html.escape(reason)}</td><td>{times}</td></tr>'
