"""python -m jfrecon.evaluate --checkpoint=DIR --benchmark=synthetic --out=FILE.json."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from jfrecon import commands, files
from jfrecon.data import build, pipeline
from jfrecon.evaluation import held_out, predict
from jfrecon.export import report
from jfrecon.render import panel
from jfrecon.training.step import share_cores

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
    network, config, step = predict.load(options.checkpoint)
    faces = build.synthetic_faces(config, options.checkpoint / 'synthetic', 'test', HELD_OUT)
    seen = build.source(config, options.checkpoint / 'synthetic')
    typical = build.mean_landmarks(config, seen)
    floor = predict.mean_face(network, typical, config.light_bands)
    examples = pipeline.with_truth(
        faces,
        size=config.data.size,
        batch_size=BATCH,
        default_focal=config.data.focal,
        rule=build.rule(config),
    )
    results, pictures = held_out.evaluate(network, floor, examples, total=-(-len(faces) // BATCH))

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
            f'Truth and network share the basis of the {network.model.name} head, which flatters the vertex error.',
        ],
    )
    for name, values in results.items():
        print(f'{name}: {values["trained"]:.4f} (mean face {values["baseline"]:.4f})')
    print(f'report: {options.out.parent / "report.html"}')


if __name__ == '__main__':
    commands.run(main)
