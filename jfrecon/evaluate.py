"""python -m jfrecon.evaluate --checkpoint=DIR --benchmark=NAME [--data=DIR] --out=FILE.json."""

from __future__ import annotations

from pathlib import Path

from jfrecon import commands, outputs
from jfrecon.errors import UserError
from jfrecon.evaluation import baseline, benchmarks
from jfrecon.evaluation.benchmarks import run, synthetic
from jfrecon.reconstruction import prediction
from jfrecon.training.parallel import share_cores

BATCH = prediction.Predictor.batch_size


def main(arguments: list[str] | None = None) -> None:
    """Score a checkpoint and the mean face on a benchmark; write numbers, a table of images, pictures and a page."""
    parser = commands.Parser(
        prog='python -m jfrecon.evaluate',
        description=main.__doc__,
        epilog='example: python -m jfrecon.evaluate --checkpoint=runs/quickstart --benchmark=synthetic '
        '--out=runs/quickstart/results.json',
    )
    parser.add_argument('--checkpoint', type=Path, required=True, help='working directory of a training')
    parser.add_argument('--benchmark', choices=benchmarks.NAMES, required=True)
    parser.add_argument('--data', type=Path, help='folder of the benchmark (default: data/NAME); not of synthetic')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.json', help='the others go beside it')
    parser.add_argument('--overwrite', action='store_true', help='replace FILE and those beside it')
    options = parser.parse_args(arguments)
    if options.out.suffix != '.json':  # beside it lie others with its stem
        raise UserError(f'--out={options.out} is to end in .json')
    if options.benchmark == benchmarks.SYNTHETIC and options.data is not None:
        raise commands.no_effect('--data', 'with --benchmark=synthetic, whose faces are made')
    written = synthetic.written if options.benchmark == benchmarks.SYNTHETIC else run.written
    outputs.require_free(written(options.out), options.overwrite)

    share_cores(BATCH)  # as in training, whose compiled programs then fit
    if options.benchmark == benchmarks.SYNTHETIC:
        for name, values in synthetic.run(options.checkpoint, options.out).items():
            print(f'{name}: {values["trained"]:.4f} (mean face {values["baseline"]:.4f})')
        print(f'report: {options.out.parent / "report.html"}')
        return

    benchmark = benchmarks.load(options.benchmark, options.data)
    network, config, _ = prediction.load(options.checkpoint)
    typical = baseline.typical_landmarks(network, config, options.checkpoint)
    floor = baseline.predictor(network, typical, config.light_bands)
    results = run.run(benchmark, {run.FLOOR: floor, run.NETWORK: network}, options.out)
    for name, values in results.items():
        official = '' if values['official'] else ' [not official]'
        print(f'{name}: {values[run.NETWORK]:.4f} (mean face {values[run.FLOOR]:.4f}){official}')
    for name, reason in benchmark.source.unreadable:
        print(f'left out: {name}: {reason}')
    for note in run.notes(results):
        print(f'not official: {note}')
    print(f'report: {options.out.with_suffix(".html")}')


if __name__ == '__main__':
    commands.run(main)
