"""Any benchmark of photographs, for a network and for the mean face: numbers, a table of images, pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jfrecon import files
from jfrecon.data.cropping import crop
from jfrecon.data.images import encode
from jfrecon.evaluation import curves
from jfrecon.evaluation.benchmarks.photographs import Benchmark, Row
from jfrecon.export import report
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.render import panel
from jfrecon.types import Pinhole

SHOWN = 12
PANEL = 160  # pixels of the pictures in a row of panels
FLOOR, NETWORK = 'mean_face', 'trained'
Results = dict[str, dict[str, Any]]


def written(out: Path) -> list[Path]:
    """What `run` may write for results in a file ``out``."""
    beside = [out.with_suffix(suffix) for suffix in ('.csv', '.html')]
    return [out, *beside, *(out.with_name(f'{out.stem}_{name}') for name in ('export', 'ced.png', 'panels.png'))]


def run(benchmark: Benchmark, predictors: Mapping[str, Predictor], out: Path) -> Results:
    """Score everybody on every readable photograph.

    Beside the results, ``out``: a CSV with a row per image and method, a picture of the cumulative errors, panels of
    the first faces and a page with all of them, and a folder ``<stem>_export`` where the benchmark wants one. The last
    of the predictors is the one that is shown and exported.

    Returns:
      metric -> {method: value, 'images': scored, 'of': so many, 'official': bool, 'note': why it is not}.
    """
    rows: dict[str, dict[int, Row]] = {}
    pictures: list[np.ndarray] = []
    for method, predictor in predictors.items():
        rows[method] = {}
        found = predictor.faces(benchmark.source, benchmark.source.rule(predictor.crop_scale))
        for index, face in tqdm(found, total=len(benchmark.source), desc=method, unit='image', disable=None):
            rows[method][index] = benchmark.score(index, predictor, face)
            if method == list(predictors)[-1]:
                benchmark.export(out.with_name(f'{out.stem}_export'), index, predictor, face)
                if len(pictures) < SHOWN:
                    pictures.append(_panels(benchmark, index, predictor, face))
    results = _results(benchmark, rows)
    files.write_json(out, results)
    _write_table(out.with_suffix('.csv'), benchmark, rows)
    if benchmark.curve is not None:
        metric, limit = benchmark.curve
        errors = {method: np.array([row[metric] for row in scored.values()]) for method, scored in rows.items()}
        curves.draw(out.with_name(f'{out.stem}_ced.png'), errors, limit)
    _show(out, results, np.concatenate(pictures))
    return results


def _results(benchmark: Benchmark, rows: Mapping[str, Mapping[int, Row]]) -> Results:
    scored = {method: benchmark.summary(list(found.values())) for method, found in rows.items()}
    images = {'images': len(next(iter(rows.values()))), 'of': len(benchmark.source)}
    # a score over some of the images is nobody's official one
    whole = images['images'] == images['of']
    return {
        name: {method: scored[method][name] for method in rows}
        | images
        | {'official': whole and not benchmark.unofficial(name), 'note': benchmark.unofficial(name)}
        for name in next(iter(scored.values()))
    }


def notes(results: Results) -> list[str]:
    """Return what keeps scores from being official ones, each reason once."""
    return [*dict.fromkeys(str(values['note']) for values in results.values() if values['note'])]


def _write_table(path: Path, benchmark: Benchmark, rows: Mapping[str, Mapping[int, Row]]) -> None:
    text = io.StringIO()
    first = next(iter(next(iter(rows.values())).values()))
    columns = [name for name, value in first.items() if not isinstance(value, np.ndarray)]
    writer = csv.DictWriter(text, ['image', 'method', *columns], extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    for method, found in rows.items():
        for index, row in found.items():
            writer.writerow({'image': benchmark.source.name(index), 'method': method, **row})
    files.write_text(path, text.getvalue())


def _panels(benchmark: Benchmark, index: int, predictor: Predictor, face: Reconstruction) -> np.ndarray:
    cut = crop(benchmark.source.read(index), face.box, PANEL, predictor.focal)
    camera = Pinhole(np.array([cut.focal], np.float32), cut.principal[None])
    chi = jax.tree.map(lambda leaf: leaf[None], face.parameters)
    image = jnp.asarray(cut.image[None], jnp.float32) / 255
    return panel.rows(predictor.portrait, chi, image, camera)


def _show(out: Path, results: Results, pictures: np.ndarray) -> None:
    files.write_bytes(out.with_name(f'{out.stem}_panels.png'), encode(report.montage(pictures)))
    numbers = {name: {method: values[method] for method in (FLOOR, NETWORK)} for name, values in results.items()}
    report.write(out.with_suffix('.html'), out.stem, numbers, pictures, panel.COLUMNS, notes=notes(results))
