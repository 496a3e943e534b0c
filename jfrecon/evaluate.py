"""python -m jfrecon.evaluate --checkpoint=DIR --benchmark=synthetic --out=FILE.json."""

from __future__ import annotations

import argparse
from pathlib import Path

from ml_collections import ConfigDict
from PIL import Image

from jfrecon import commands, files, methods
from jfrecon.data import build, pipeline
from jfrecon.evaluation import baseline, held_out
from jfrecon.export import report
from jfrecon.render import panel
from jfrecon.training import checkpoints
from jfrecon.training.step import share_cores
from jfrecon.types import FaceParameters, Pinhole

HELD_OUT = 200
BATCH = 16
SHOWN = 12


def main(arguments: list[str] | None = None) -> None:
    """Score a checkpoint on a benchmark; write the numbers, pictures and a report to look at."""
    parser = argparse.ArgumentParser(
        prog='python -m jfrecon.evaluate',
        description=main.__doc__,
        epilog='example: python -m jfrecon.evaluate --checkpoint=runs/quickstart --benchmark=synthetic '
        '--out=runs/quickstart/results.json',
    )
    parser.add_argument('--checkpoint', type=Path, required=True, help='working directory of a training')
    parser.add_argument('--benchmark', choices=['synthetic'], required=True)
    parser.add_argument('--out', type=Path, required=True, help='JSON file; report.html goes beside it')
    options = parser.parse_args(arguments)

    share_cores(BATCH)  # as in training, whose compiled programs then fit
    found, step, params, model_state = checkpoints.load(options.checkpoint)
    config = ConfigDict(found)
    method = methods.build(config)
    faces = build.synthetic_faces(config, options.checkpoint / 'synthetic', 'test', HELD_OUT)
    seen = build.source(config, options.checkpoint / 'synthetic')
    typical = build.mean_landmarks(config, seen)

    def floor(camera: Pinhole) -> FaceParameters:
        return baseline.mean_face(method.model, typical, camera, config.light_bands, config.data.size)

    examples = pipeline.with_truth(
        faces,
        size=config.data.size,
        batch_size=BATCH,
        default_focal=config.data.focal,
        rule=build.rule(config),
    )
    results, pictures = held_out.evaluate(
        method, params, model_state, examples, total=-(-len(faces) // BATCH), floor=floor
    )

    files.write_json(options.out, results)
    folder = options.out.parent / 'panels'
    folder.mkdir(exist_ok=True)
    Image.fromarray(report.montage(pictures[:SHOWN])).save(folder / 'held_out.png')
    report.write(
        options.out.parent / 'report.html',
        f'{options.checkpoint.name} after {step} steps',
        results,
        pictures[:SHOWN],
        panel.COLUMNS,
        options.checkpoint / 'metrics.jsonl',
        notes=[
            f'{len(faces)} synthetic faces that training never saw, the first {SHOWN} of them below. The baseline is '
            'the mean face at the training set\'s mean pose, with one fitted colour gain per image.',
            f'Truth and network share the basis of the {method.model.name} head, which flatters the vertex error.',
        ],
    )
    for name, values in results.items():
        print(f'{name}: {values["trained"]:.4f} (mean face {values["baseline"]:.4f})')
    print(f'report: {options.out.parent / "report.html"}')


if __name__ == '__main__':
    commands.run(main)
