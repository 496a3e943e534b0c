"""python -m jfrecon.pack RUN --out=FILE.safetensors: a trained network as one file, to be given away."""

from __future__ import annotations

from pathlib import Path

from jfrecon import commands, outputs
from jfrecon.training import checkpoints


def main(arguments: list[str] | None = None) -> None:
    """Pack the newest checkpoint of a run, its config with it, into one file of half the size.

    Wherever a --checkpoint is asked for, the file serves as well as the run.
    """
    parser = commands.Parser(
        prog='python -m jfrecon.pack',
        description=main.__doc__,
        epilog='example: python -m jfrecon.pack runs/mine --out=mine.safetensors',
    )
    parser.add_argument('run', type=Path, metavar='RUN', help='working directory of a training')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='*.safetensors')
    parser.add_argument('--overwrite', action='store_true', help='replace FILE where it is there')
    options = parser.parse_args(arguments)
    outputs.require_free([options.out], options.overwrite)
    checkpoints.pack(options.run, options.out)
    print(f'{options.out}: {options.out.stat().st_size / 2**20:.1f} MiB')


if __name__ == '__main__':
    commands.run(main)
