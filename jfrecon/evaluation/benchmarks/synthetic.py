"""The built-in benchmark: faces of the config's own head that training never saw. Nothing to download."""

from __future__ import annotations

from pathlib import Path

from jfrecon import files
from jfrecon.data import build, images, pipeline
from jfrecon.evaluation import baseline, held_out
from jfrecon.export import report
from jfrecon.reconstruction import prediction
from jfrecon.render import panel

HELD_OUT = 200
SHOWN = 12


def written(out: Path) -> list[Path]:
    """What `run` writes for results in a file ``out``."""
    return [out, out.parent / 'panels' / 'held_out.png', out.parent / 'report.html']


def run(checkpoint: Path, out: Path) -> dict[str, dict[str, float]]:
    """Score a checkpoint; write ``out``, pictures, and a report with the course of the training beside it.

    Returns metric -> {'baseline': the mean face's value, 'trained': the network's}.
    """
    network, config, step = prediction.load(checkpoint)
    kept = (checkpoint if checkpoint.is_dir() else out.parent) / 'synthetic'  # a packed network has no folder
    faces = build.synthetic_faces(config, kept, 'test', HELD_OUT)
    seen = build.source(config, kept)
    floor = baseline.predictor(network, build.mean_landmarks(config, seen), config.light_bands)
    examples = pipeline.with_truth(
        faces,
        size=config.data.size,
        batch_size=network.batch_size,
        default_focal=config.data.focal,
        rule=build.rule(config),
    )
    results, pictures = held_out.evaluate(network, floor, examples, total=-(-len(faces) // network.batch_size))

    files.write_json(out, results)
    files.write_bytes(out.parent / 'panels' / 'held_out.png', images.encode(report.montage(pictures[:SHOWN])))
    report.write(
        out.parent / 'report.html',
        f'{checkpoint.name} after {step} steps',
        results,
        pictures[:SHOWN],
        panel.COLUMNS,
        checkpoint / 'metrics.jsonl',
        notes=[
            f'{len(faces)} synthetic faces that training never saw, the first {SHOWN} of them below. The baseline is '
            "the mean face at the training set's mean pose, with one fitted colour gain per image.",
            f'Truth and network share the basis of the {network.model.name} head, which flatters the vertex error.',
        ],
    )
    return results
