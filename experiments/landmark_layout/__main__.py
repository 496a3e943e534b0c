"""How far the landmarks of photographs lie from what is refused as no face's, or as a mirrored face's.

    python -m experiments.landmark_layout --out=runs/landmark_layout

The landmarks of four sets, those that are there: 188 studio portraits (`faces_cc_by`), 20 photographs in the wild
(`photos`), `aflw2000`, renderings and photographs of scanned heads (`real_heads`). For each face the two numbers that
`jfrecon.data.landmark_layout.require` goes by, and whether it refuses the points; then the same for the points in other
orders and of mirrored faces, which are to be refused. One shuffled order is drawn for each face.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments import harness, photographs
from jfrecon import commands
from jfrecon.data import cropping, landmark_files, landmark_layout
from jfrecon.data.sample import Unreadable

NAME = 'landmark_layout'
SETS = {'faces_cc_by': photographs.KEY, 'photos': photographs.KEY, 'aflw2000': 'pts68_3d', 'real_heads': 'landmarks'}


def main(arguments: list[str] | None = None) -> None:
    """Measure how landmarks lie, as they are and spoilt, and count what is refused."""
    parser = harness.parser(NAME, main.__doc__ or '')
    photographs.add_arguments(parser)
    options = parser.parse_args(arguments)
    found = {name: path for name in SETS if (path := options.data / name / 'landmarks.npz').exists()}
    harness.need(options.data / 'photos', 'the photographs')
    run = harness.start(NAME, options.out, options.overwrite)
    faces = np.concatenate([points(path, SETS[name]) for name, path in found.items()])
    if options.quick:
        faces = faces[::8]
    random = np.random.default_rng(0)
    ways = {
        'as they are': faces,
        'shuffled': np.stack([random.permutation(face) for face in faces]),
        'in reversed order': faces[:, ::-1],
        'from another one on': np.roll(faces, 1, axis=1),
        'x and y exchanged': faces[..., ::-1],
        'left and right exchanged': faces[:, list(cropping.MIRROR)],
        'y from below': faces * [1, -1],
    }
    results = {name: measured(spoilt) for name, spoilt in ways.items()}
    run.record({'faces': len(faces), 'sets': sorted(found), **results}, harness.table(results))


def points(path: Path, key: str) -> np.ndarray:
    """[N, 68, 2] pixels."""
    return landmark_files.read(path, key).landmarks.astype(np.float64)


def measured(faces: np.ndarray) -> dict[str, float]:
    """The extremes of both numbers, and the share of the faces that is refused for how the points lie."""
    fits = [landmark_layout.fitted(face) for face in faces]
    apart, facing = (np.array([getattr(fit, name) for fit in fits]) for name in ('apart', 'facing'))
    return {
        'apart, least': float(apart.min()),
        'apart, most': float(apart.max()),
        'facing, least': float(facing.min()),
        'facing, most': float(facing.max()),
        'refused': float(np.mean([refused(face) for face in faces])),
    }


def refused(face: np.ndarray) -> bool:
    """Whether the points are refused in a photograph that holds them all."""
    moved = face - np.nanmin(face, 0)
    width, height = np.ceil(np.nanmax(moved, 0)).astype(int)
    try:
        landmark_layout.require(moved, int(height), int(width))
    except Unreadable:
        return True
    return False


if __name__ == '__main__':
    commands.run(main)
