"""How true reconstructions of real heads are, which were scanned, not made of the model that is fitted to them.

    python -m experiments.real_heads --out=runs/real_heads

`jfrecon.reconstruct` turns 45 renderings of five scans, and three photographs of one of the people, into faces: as a
user has it, who gives nothing but photographs (`automatic`), and with the true landmarks (`given`). The data's own
score.py measures them; this file only groups its numbers. Beside them are what takes no reconstruction: the mean faces
of the embedded head and of ICT-FaceKit, put on the true landmarks where a pose is needed, and one colour for all skin.
`--quick` takes the eight photographs that are frontal under an even light, or real.

What is written below the folder shows people: it is for looking, not for committing.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import harness
from jfrecon import commands, morphable, reconstruct

NAME = 'real_heads'
QUICK = ('frontal__overcast', 'photo')  # words in the names of the photographs that `--quick` takes
OURS, ICT, COLOUR = 'mean MakeHuman', 'mean ICT', 'one colour'
TRUE_POSE = ', true pose'  # as baselines.json calls a mean face that is put on the true landmarks
GROUPS = 'head', 'light', 'pose'
COLUMNS = (
    'mean_mm', 'normal_rad', 'scale', 'normal_image_deg', 'coverage', 'nme', 'photo_psnr', 'albedo_psnr_one_scale',
    'albedo_ssim_one_scale',
)  # fmt: skip

Scores = dict[str, float]


def main(arguments: list[str] | None = None) -> None:
    """Reconstruct photographs of scanned heads, and compare them with the scans."""
    parser = harness.parser(NAME, main.__doc__ or '')
    parser.add_argument('--data', type=Path, default=harness.SHARED / NAME, help='folder of the real heads')
    options = parser.parse_args(arguments)
    folder = harness.need(options.data, 'the real heads')
    run = harness.start(NAME, options.out, options.overwrite)
    score, baselines = (imported(folder, name) for name in ('score', 'baselines'))
    views = [view for view in score.load_views() if not options.quick or any(word in view['id'] for word in QUICK)]
    photos = [str(folder / 'photos' / f'{view["id"]}.png') for view in views]
    known = f'--landmarks={folder / "landmarks.npz"}'
    groups = grouping(views)
    known_rows = {label: grouped(views, rows, groups) for label, rows in rivals(baselines, views)}
    ours: dict[str, Any] = {}
    for name, more in (('automatic', []), ('given', [known])):
        out = options.out / name
        reconstruct.main([*photos, f'--out={out}', '--skip-existing', *more])
        rows = [scored(score, out, view) for view in tqdm(views, desc=f'{name}: scores', unit='photo', disable=None)]
        ours[name] = {
            'answered': sum(bool(row) for row in rows), 'photos': len(rows), **grouped(views, rows, groups)
        }  # fmt: skip
        results = ours | known_rows
        in_all = {label: groups['all'] for label, groups in results.items()}
        in_part = {
            f'{label}, {group}': scores
            for label in ours
            for group, scores in ours[label].items()
            if group.startswith(GROUPS)
        }
        # what is complete is kept while the rest, hours of it, is made
        run.record(results, harness.table(in_all, COLUMNS) + '\n' + harness.table(in_part, COLUMNS))


def imported(folder: Path, name: str) -> ModuleType:
    """A module that comes with the data, and reads it there."""
    os.environ['REAL_HEADS'] = str(folder.resolve())
    if str(folder.resolve()) not in sys.path:
        sys.path.insert(0, str(folder.resolve()))
    return importlib.import_module(name)


def scored(score: ModuleType, out: Path, view: Mapping[str, Any]) -> Scores:
    """score.py's numbers of one photograph; empty where there is no reconstruction."""
    found = score.load(out, view)
    return score.score_view(view, found) if found else {}


def grouping(views: Iterable[Mapping[str, Any]]) -> dict[str, Callable[[Mapping[str, Any]], bool]]:
    """Which views belong to 'all', and to each head, light and pose; a photograph's light and pose are 'photo'."""
    groups: dict[str, Callable[[Mapping[str, Any]], bool]] = {'all': lambda view: True}
    for kind in GROUPS:
        for value in dict.fromkeys(view[kind] for view in views):
            groups[f'{kind} {value}'] = lambda view, kind=kind, value=value: view[kind] == value
    return groups


def grouped(
    views: list[dict[str, Any]], rows: list[Scores], groups: Mapping[str, Callable[[Mapping[str, Any]], bool]]
) -> dict[str, Scores]:
    """The mean of each score over each group's photographs that have it."""
    found = {}
    for group, belongs in groups.items():
        chosen = [row for view, row in zip(views, rows, strict=True) if belongs(view)]
        names = dict.fromkeys(name for row in chosen for name in row)
        found[group] = {name: float(np.mean([row[name] for row in chosen if name in row])) for name in names}
    return found


def rivals(baselines: ModuleType, views: list[dict[str, Any]]) -> Iterable[tuple[str, list[Scores]]]:
    """Scores of every photograph by mean faces and one colour; ICT's and the colour's as the data has them."""
    model = morphable.load('makehuman')
    mean, triangles = np.asarray(model.mean, np.float64), np.asarray(model.topology.triangles)
    marks = mean[np.asarray(model.landmark_ids)]
    shapes = {
        head: baselines.score_shape(head, mean, triangles, marks)
        for head in tqdm(dict.fromkeys(view['head'] for view in views), desc=OURS, unit='head', disable=None)
    }
    posed: dict[tuple[str, str], Scores] = {}
    for view in views:
        if (key := (view['head'], view['pose'])) not in posed:
            posed[key] = at_true_pose(baselines, view, mean, triangles, marks)
    yield OURS, [shapes[view['head']] | posed[view['head'], view['pose']] for view in views]
    table = baselines.json.loads((baselines.HERE / 'baselines.json').read_text())
    known = table['views'][ICT + TRUE_POSE]
    yield ICT, [table['shape'][ICT][view['head']] | known.get(view['id'], {}) for view in views]
    yield COLOUR, [table['views'][COLOUR].get(view['id'], {}) for view in views]


def at_true_pose(
    baselines: ModuleType, view: Mapping[str, Any], mean: np.ndarray, triangles: np.ndarray, marks: np.ndarray
) -> Scores:
    """Image normals and NME of a face whose landmarks a similarity puts on a head's, as baselines.py does it."""
    rotation, translation = (np.array(view['head_to_camera'][name]) for name in 'Rt')
    true = baselines.apply((1, rotation, translation), baselines.head_of(view['head']).landmarks)
    shared = [k for k in baselines.ALIGN if np.isfinite(true[k]).all()]
    move = baselines.similarity(marks[shared], true[shared])
    drawn = baselines.drawn_normals(baselines.apply(move, mean), triangles, view['camera'])
    pixels = baselines.project(baselines.apply(move, marks), view['camera'])
    nme = baselines.nme(pixels, np.array(view['landmarks68'], float))
    return {**baselines.score_normals(view, drawn), 'nme': nme}


if __name__ == '__main__':
    commands.run(main)
