"""The photographs that experiments share, and what networks make of people that they have not seen."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from experiments import drawing, harness
from jfrecon.data import build, pipeline
from jfrecon.data.folder import Folder, Keep
from jfrecon.data.sample import Source
from jfrecon.evaluation import baseline, held_out, metrics
from jfrecon.reconstruction import prediction
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.render import panel
from jfrecon.types import Batch

KEY = 'lm68_auto3d'
VALIDATION_PEOPLE = 20
BATCH = 20

Crops = Sequence[tuple[Batch, int]]
"""Batches, of which the first so many faces count."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--data`, the folder of both sets."""
    parser.add_argument('--data', type=Path, default=harness.SHARED, help='holds faces_cc_by and photos')


def portraits(data: Path, keep: Keep | None = None) -> Folder:
    """188 studio portraits of 110 people, all or some, who are the groups of the samples."""
    folder = harness.need(data / 'faces_cc_by', 'the portraits')
    return Folder(folder / 'images', folder / 'landmarks.npz', KEY, keep=keep)


def wild(data: Path) -> Folder:
    """20 photographs from elsewhere."""
    return in_folder(harness.need(data / 'photos', 'the photographs'))


def in_folder(folder: Path) -> Folder:
    """Photographs that lie beside their `landmarks.npz`."""
    return Folder(folder, folder / 'landmarks.npz', KEY)


def split(data: Path, seed: int = 0) -> tuple[Folder, Folder]:
    """Portraits of 90 people to train on and of 20 others to judge by; the split depends on the seed alone."""
    groups = portraits(data).groups
    held = set(np.asarray(groups)[of_validation(groups, seed)])
    return (
        portraits(data, lambda _, person: person not in held),
        portraits(data, lambda _, person: person in held),
    )


def of_validation(people: Sequence[str], seed: int = 0) -> np.ndarray:
    """[N] bool, from whom each of N portraits is: whether it is of one of the 20 people who judge."""
    held = np.random.default_rng(seed).permutation(sorted(set(people)))[:VALIDATION_PEOPLE]
    return np.isin(np.asarray(people), held)


def crops(network: Predictor, source: Source, rule: pipeline.BoxRule) -> list[tuple[Batch, int]]:
    """A source as a network wants to see it."""
    return list(pipeline.examples(source, size=network.size, batch_size=BATCH, default_focal=network.focal, rule=rule))


def look(
    network: Predictor, batches: Crops, title: str, columns: tuple[str, ...] = panel.COLUMNS, fit_gain: bool = False
) -> tuple[dict[str, float], np.ndarray]:
    """Mean metrics (`jfrecon.evaluation.held_out.score`), and a row of pictures of each face."""
    rows, pictures = [], []
    for batch, count in tqdm(batches, desc=title, unit='batch', disable=None):
        chi = network.infer(batch.image, batch.camera)
        rows += held_out.score(network, chi, batch, None, count, fit_gain)
        pictures.append(panel.rows(network.portrait, chi, batch.image, batch.camera, columns)[:count])
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}, np.concatenate(pictures)


def compare(networks: Mapping[str, Path], train: Source, validation: Source, out: Path) -> dict[str, dict[str, float]]:
    """Metric -> network -> mean over the validation photographs, networks by their name and working directory.

    Beside them are `baseline`, the mean face where the faces of ``train`` are on average, with one fitted colour gain
    for each picture, and `aligned_mean`, the mean face posed to fit the true landmarks. Leaves `panels_NETWORK.png`.
    """
    found: dict[str, dict[str, float]] = {}
    for name, workdir in networks.items():
        network, config, _ = prediction.load(workdir)
        batches = crops(network, validation, build.rule(config))
        if not found:
            floor = baseline.predictor(network, build.mean_landmarks(config, train), config.light_bands)
            found['baseline'], _ = look(floor, batches, 'baseline', fit_gain=True)
        found[name], pictures = look(network, batches, name)
        drawing.save(out / f'panels_{name}.png', pictures)
    camera = build.default_camera(config)
    pose_alone = lambda landmarks: baseline.aligned_mean_landmarks(network.model, landmarks, camera, network.size)
    errors = [
        metrics.landmark_nme(pose_alone(landmarks), landmarks)
        for batch, count in batches
        for landmarks in batch.landmarks[:count]
    ]
    found['aligned_mean'] = {'landmark_nme': float(np.mean(errors))}
    return {metric: {name: row[metric] for name, row in found.items() if metric in row} for metric in found['baseline']}
