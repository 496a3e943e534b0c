"""A public synthetic benchmark: faces that Mitsuba 3 renders, with everything about them known.

    python -m experiments.synthetic_benchmark --out=runs/synthetic_benchmark --method dib21=runs/quickstart

200 faces of each of two versions, from fixed seeds: `makehuman`, whose heads also have shape that the embedded basis
hardly holds, and `ict`, whose heads no MakeHuman basis has seen. Rooms, streets and studios light them; five of six
wear a tattoo, a scar, moles, make-up or a beard. Each method is told the photographs alone and adds a row to both
tables; the mean face is the floor. With `--fit` so does the fit of `jfrecon.reconstruct`, at most of a minute a face:
half an hour for the first 20 of each version, which `--quick` takes. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from experiments import drawing, harness, peers
from experiments.synthetic_benchmark import files, limits, people
from experiments.synthetic_benchmark.score import panel, score
from jfrecon import commands, morphable
from jfrecon.data import detection, pipeline
from jfrecon.data.detection import Given
from jfrecon.data.sample import InMemory, Sample, Source, Unreadable
from jfrecon.data.synthetic.generate import FILL, FOCAL
from jfrecon.files import write_json
from jfrecon.fitting import start
from jfrecon.reconstruction import photograph, prediction, result
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.reconstruction.result import Reconstruction
from jfrecon.render.portraits import Portrait
from jfrecon.training.parallel import share_cores

NAME = 'synthetic_benchmark'
FACES, QUICK = 200, 20
SHOWN = 12
AGAIN = (3, 17)  # faces that are made twice
MEAN_FACE, FIT = 'mean_face', 'fit'
ROUGHNESS = 0.4


def main(arguments: list[str] | None = None) -> None:
    """Render the faces, reconstruct them with every method, score and draw."""
    parser = harness.parser(NAME, main.__doc__)
    harness.add_ict(parser)
    parser.add_argument(
        '--method', action='append', default=[], type=_named, metavar='NAME=DIR', help='a trained network, any number'
    )
    parser.add_argument('--fit', action='store_true', help='and the fit of jfrecon.reconstruct')
    options = parser.parse_args(arguments)
    harness.need(options.ict, 'ICT-FaceKit')
    count = QUICK if options.quick else FACES
    run = harness.start(NAME, options.out, options.overwrite)
    mi = peers.mitsuba()
    mi.set_log_level(mi.LogLevel.Error)
    share_cores(16)
    networks = {name: prediction.load(folder)[0] for name, folder in options.method}
    results, checks = {}, {}
    for name, path in (('makehuman', None), ('ict', options.ict)):
        version = people.prepare(name, path)
        folder = options.out / name
        files.make(mi, version, folder, count)
        checks[name] = files.regenerated(mi, version, folder, list(AGAIN))
        typical = people.typical_landmarks(version)
        told = {**networks, **({FIT: Fit(typical)} if options.fit else {})}
        methods = {MEAN_FACE: _mean_face(version, path, typical), **told}
        results[name] = {}
        for method, predictor in methods.items():
            results[name][method], pictures = _evaluate(predictor, folder, count, f'{method} on {name}')
            drawing.save(options.out / f'panels_{name}_{method}.png', pictures)
        cases = limits.cases(mi, version)
        for method, predictor in told.items():
            drawing.save(options.out / f'limits_{name}_{method}.png', _limits(predictor, cases))
    tables = '\n'.join(f'## {name}\n\n{_table(rows)}' for name, rows in results.items())
    write_json(options.out / 'regenerated.json', checks)
    run.record(results, tables)
    for name, found in checks.items():
        print(f'{name}: made again {found}')


class Fit:
    """What `jfrecon.reconstruct` makes of a photograph: a fit from the mean face to the landmarks that it finds.

    typical: [68, 2] pixels, taken for the landmarks where no face is found.
    """

    def __init__(self, typical: np.ndarray):
        self._typical = typical
        self._make = photograph.reconstructor(None, refine=True)
        self.model = self._make.model

    def faces(self, source: Source, rule: pipeline.BoxRule) -> Iterator[tuple[int, Reconstruction]]:
        """(index, face) of every photograph, see `jfrecon.reconstruction.prediction.Predictor.faces`."""
        del rule  # a fit has crops of its own
        for index in range(len(source)):
            try:
                found = photograph.find(source[index], Given(), detection.DEFAULT)
            except Unreadable:
                found = photograph.find(source[index], Given(self._typical[None]))
            yield index, self._make(found[:1])[0]

    def layers(self, face: Reconstruction) -> dict[str, np.ndarray]:
        """See `jfrecon.reconstruction.result.layers`."""
        return result.layers(self._make.portrait, face)


def _named(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition('=')
    if not name or not folder or name in (MEAN_FACE, FIT):
        raise argparse.ArgumentTypeError(f'{text!r} is not NAME=DIR')
    return name, Path(folder)


def _mean_face(version: people.Version, path: Path | None, typical: np.ndarray) -> Predictor:
    """The version's own mean face where faces of other seeds stand on average."""
    model = morphable.load(version.name, path)
    return Predictor(
        model=model,
        portrait=Portrait(morphable.load_portrait(version.name, path), None, ROUGHNESS),
        infer=lambda image, camera: start.mean_face(model, typical, camera, files.BANDS, people.SIZE),
        size=people.SIZE,
        focal=FOCAL,
        crop_scale=1 / FILL,
    )


def _evaluate(predictor: Predictor | Fit, folder: Path, count: int, title: str) -> tuple[dict[str, float], np.ndarray]:
    """Mean metrics, and panels of the first faces."""
    rows, pictures = [], []
    found = predictor.faces(files.photographs(folder, count), pipeline.whole_box())
    for index, face in tqdm(found, total=count, desc=title, unit='face', disable=None):
        truth, image = files.truth(folder, index), files.image(folder, index)
        row, layers = score(predictor, face, truth, image)
        rows.append(row)
        if index < SHOWN:
            pictures.append(panel(image, layers, truth))
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}, np.stack(pictures)


def _limits(predictor: Predictor | Fit, cases: dict[str, tuple[np.ndarray, dict]]) -> np.ndarray:
    source = InMemory([Sample(image=image, name=name) for name, (image, _) in cases.items()])
    found = predictor.faces(source, pipeline.whole_box())
    return np.stack([
        panel(image, predictor.layers(face), truth)
        for (_, face), (image, truth) in zip(found, cases.values(), strict=True)
    ])  # fmt: skip


def _table(rows: dict[str, dict[str, float]]) -> str:
    """Metrics down, methods across."""
    metrics = next(iter(rows.values()))
    return harness.table({name: {m: rows[m][name] for m in rows} for name in metrics}, list(rows))


if __name__ == '__main__':
    commands.run(main)
