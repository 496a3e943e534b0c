"""A page to look at: pictures, numbers and the course of the training in one self-contained HTML file."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jfrecon import files

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .25rem .9rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } tr + tr { border-top: 1px solid #ddd; }
img { width: 100%; image-rendering: auto; } svg { width: 100%; height: 12rem; background: #f6f6f6; }
figcaption { display: flex; } figcaption span { flex: 1; text-align: center; } figure { margin: 1rem 0; }
code { background: #f2f2f2; padding: .1rem .3rem; }
@media (max-width: 40rem) {
  body { margin: .5rem auto; padding: 0 .6rem; } h1 { font-size: 1.2rem; margin: .4rem 0; overflow-wrap: anywhere; }
  .panels { overflow-x: auto; } .panels > * { min-width: var(--width); }
}
"""


def write(
    path: Path,
    title: str,
    results: Mapping[str, Mapping[str, float]],
    pictures: np.ndarray,
    columns: Sequence[str],
    metrics: Path | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write the report.

    results: metric -> method -> value. pictures: uint8 [N, H, W, 3], one row of panels per face, whose parts are named
    by ``columns``. metrics: a `metrics.jsonl` whose loss is drawn. notes: paragraphs of plain text.
    """
    parts = [_table(results) if results else '', figure(pictures, columns)]
    if metrics is not None and metrics.is_file():
        parts += ['<h2>Loss</h2>', _curve(metrics)]
    page(path, title, notes, parts)


def page(path: Path, title: str, notes: Sequence[str], parts: Sequence[str]) -> None:
    """Write a page in the style of all: a title, paragraphs of plain text, parts of HTML."""
    head = [
        f'<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style>',
        f'<h1>{html.escape(title)}</h1>',
        *map(paragraph, notes),
    ]
    files.write_text(path, '\n'.join([*head, *parts]))


def paragraph(text: str) -> str:
    """HTML of plain text."""
    return f'<p>{html.escape(text)}</p>'


def montage(pictures: np.ndarray) -> np.ndarray:
    """Stack rows [N, H, W, 3] into one image [N H, W, 3]."""
    return pictures.reshape(-1, *pictures.shape[2:])


def _table(results: Mapping[str, Mapping[str, float]]) -> str:
    methods = list(next(iter(results.values())))
    head = ''.join(f'<th>{html.escape(name)}</th>' for name in ['', *methods])
    rows = [
        f'<tr><td>{html.escape(metric)}</td>' + ''.join(f'<td>{values[name]:.4g}</td>' for name in methods) + '</tr>'
        for metric, values in results.items()
    ]
    return f'<table><tr>{head}</tr>{"".join(rows)}</table>'


def figure(pictures: np.ndarray, columns: Sequence[str]) -> str:
    """HTML of pictures [N, H, W, 3] below each other, whose columns have names."""
    encoded = io.BytesIO()
    Image.fromarray(montage(pictures)).save(encoded, 'PNG')
    caption = ''.join(f'<span>{html.escape(name)}</span>' for name in columns)
    data = base64.b64encode(encoded.getvalue()).decode()
    return (
        f'<figure class="panels" style="--width: {6 * len(columns)}rem"><figcaption>{caption}</figcaption>'
        f'<img alt="reconstructions" src="data:image/png;base64,{data}"></figure>'
    )


def _curve(metrics: Path) -> str:
    lines = [json.loads(line) for line in metrics.read_text(encoding='utf-8').splitlines()]
    points = [(line['step'], line['loss']) for line in lines if line.get('loss') is not None]
    if len(points) < 2:
        return '<p>Too short a training to draw.</p>'
    steps, losses = np.array(points, float).T
    x = 1000 * (steps - steps[0]) / max(steps[-1] - steps[0], 1)
    logs = np.log10(np.maximum(losses, 1e-12))
    y = 190 - 180 * (logs - logs.min()) / max(np.ptp(logs), 1e-12)
    path = ' '.join(f'{a:.1f},{b:.1f}' for a, b in zip(x, y))
    return (
        '<svg viewBox="0 0 1000 200" preserveAspectRatio="none">'
        f'<polyline fill="none" stroke="#06c" stroke-width="2" points="{path}"/></svg>'
        f'<p>Logarithmic, {losses.max():.3g} to {losses.min():.3g} over {int(steps[-1])} steps.</p>'
    )
