"""python -m jfrecon.data.synthetic --out=DIR: contact sheets of synthetic faces, to look at before trusting them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jfrecon import commands, files, morphable, outputs
from jfrecon.data import images
from jfrecon.data.synthetic import generate
from jfrecon.errors import UserError

DOT = np.array([0.1, 1.0, 0.1])


def main(arguments: list[str] | None = None) -> None:
    """Draw random faces: faces.png, and overlay.png with their landmarks, masks and normals."""
    parser = commands.Parser(
        prog='python -m jfrecon.data.synthetic',
        description=main.__doc__,
        epilog='example: python -m jfrecon.data.synthetic --out=runs/faces --count=64',
    )
    parser.add_argument('--out', type=Path, required=True, help='folder for the pictures')
    parser.add_argument('--count', type=int, default=64, help='of the faces')
    parser.add_argument('--size', type=int, default=128, help='pixels of their sides')
    parser.add_argument('--columns', type=int, default=8, help='of the sheets')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--model', default='makehuman', help='a morphable model that has a whole head')
    parser.add_argument('--path', type=Path, help='file or folder of the model')
    parser.add_argument('--overwrite', action='store_true', help='replace pictures in the folder')
    options = parser.parse_args(arguments)
    outputs.require_free((options.out / f'{name}.png' for name in ('faces', 'overlay')), options.overwrite)
    if min(options.count, options.size, options.columns) < 1:
        raise UserError('--count, --size and --columns must be positive')

    head = morphable.load_head(options.model, options.path)
    batch, truth = generate.generate(head, options.seed, options.count, options.size)
    photographs = np.asarray(batch.image)
    marked = photographs * (0.55 + 0.45 * np.asarray(batch.mask)[..., None])
    normals = (np.asarray(truth.normal) * 0.5 + 0.5) * np.asarray(truth.face)[..., None]
    for k, points in enumerate(np.floor(np.asarray(batch.landmarks)).astype(int)):
        x, y = points[((points >= 0) & (points < options.size)).all(-1)].T
        marked[k, y, x] = DOT
    for name, tiles in (('faces', photographs), ('overlay', np.concatenate([marked, normals], 2))):
        files.write_bytes(options.out / f'{name}.png', images.encode(sheet(tiles, options.columns)))


def sheet(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Tiles [N, H, W, 3] in 0..1 side by side, row after row, black where there are none left; uint8 [H', W', 3]."""
    count, height, width, _ = tiles.shape
    rows = -(-count // columns)
    padded = np.zeros((rows * columns, height, width, 3), np.float32)
    padded[:count] = tiles
    whole = padded.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    whole = whole.reshape(rows * height, columns * width, 3)
    return (np.clip(whole, 0, 1) * 255 + 0.5).astype(np.uint8)


if __name__ == '__main__':
    commands.run(main)
