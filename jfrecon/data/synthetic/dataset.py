"""Synthetic photographs on disk: made once, in shards, and read like any other photographs."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from tqdm import tqdm

from jfrecon import files
from jfrecon.data import shards
from jfrecon.data.sample import Sample
from jfrecon.data.synthetic import generate, skins
from jfrecon.morphable.heads import Head

RECIPE = 'recipe.json'
VERSION = 4  # of what a seed and an index stand for: to be raised with every change to a face
SKINS = 512  # at most
CHUNK = 16  # faces between two reports of progress
THREADS = 2  # one program leaves half of a CPU idle


def prepare(
    folder: Path,
    head: Head,
    count: int,
    size: int,
    seed: int,
    *,
    focal: float,
    fill: float,
    truth: bool = False,
    frames: int = 1,
) -> shards.Shards:
    """``count`` photographs of synthetic people, made in ``folder`` unless they are there already.

    What is there is made anew when it was made by another recipe; an interrupted making starts over. A photograph
    depends on the recipe, the seed and its own index alone.

    Args:
      folder: of the shards.
      head: whose people are drawn.
      count: of the photographs.
      size: pixels of their sides.
      seed: of the set.
      focal: default focal length, and ``fill``: mean share of the larger side of the landmarks' box, in crop widths.
      truth: keep the ground truth, for evaluation; 10 times the space.
      frames: so many photographs in a row show the same person.
    """
    folder = Path(folder)
    recipe = {
        'version': VERSION,
        'head': head.model.name,
        'coefficients': [head.model.identity_basis.shape[0], head.model.expression_basis.shape[0]],
        'vertices': head.model.mean.shape[0],
        'count': count,
        'size': size,
        'seed': seed,
        'focal': focal,
        'fill': fill,
        'truth': truth,
        'frames': frames,
    }
    if (folder / shards.MANIFEST).is_file() and _recipe(folder) == recipe:
        return shards.Shards(folder)
    if folder.exists():
        shutil.rmtree(folder)
    files.write_json(folder / RECIPE, recipe)
    with tqdm(total=count, desc=f'making {folder.name} faces', unit='face', disable=None) as bar:
        made = _samples(head, count, size, seed, focal, fill, truth, frames)
        shards.write(made, folder, progress=lambda done: bar.update(done - bar.n))
    return shards.Shards(folder)


def _recipe(folder: Path) -> dict | None:
    try:
        return files.read_json(folder / RECIPE)
    except (OSError, ValueError):
        return None


def _samples(
    head: Head, count: int, size: int, seed: int, focal: float, fill: float, truth: bool, frames: int
) -> Iterator[Sample]:
    scenery = generate.prepare(head)
    people = -(-count // frames)

    def make(start: int, worn: skins.Skins) -> generate.Shot:
        indices = jnp.minimum(jnp.arange(start, start + CHUNK), count - 1)
        return jax.device_get(generate.take(scenery, worn, seed, indices, size, frames, focal, fill))

    starts = range(0, count, CHUNK)
    with ThreadPoolExecutor(THREADS) as pool:
        # The camera's program compiles, on one core, while the skins are painted.
        pool.submit(make, 0, skins.blank(scenery, generate.TEXTURE))
        painted = skins.paint(scenery, seed, min(people, max(64, people // 32), SKINS), generate.TEXTURE)
        for start, shots in zip(starts, pool.map(lambda start: make(start, painted), starts)):
            for k in range(min(CHUNK, count - start)):
                yield _sample(jax.tree.map(lambda leaf, k=k: leaf[k], shots), start + k, frames, truth)


def _sample(shot: generate.Shot, index: int, frames: int, truth: bool) -> Sample:
    kept: dict[str, np.ndarray] | None = None
    if truth:
        kept = {
            'vertices': np.asarray(shot.vertices, np.float32),
            'face': np.asarray(shot.face, np.uint8),
            'diffuse': np.asarray(shot.diffuse, np.float16),
            'normal': np.asarray(shot.normal, np.float16),
            'light': np.asarray(shot.light, np.float32),
        }
    return Sample(
        image=_jpeg(np.round(np.clip(shot.image, 0, 1) * 255).astype(np.uint8), int(shot.quality)),
        landmarks=np.asarray(shot.landmarks, np.float32),
        mask=np.uint8(255) * (np.asarray(shot.face) > 0.5).astype(np.uint8),
        focal=float(shot.camera.focal),
        principal=np.asarray(shot.camera.principal, np.float32),
        truth=kept,
        name=f'{index:07d}',
        group=f'{index // frames:07d}',
    )


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """What is left of an image [S, S, 3] uint8 after a JPEG file of that quality."""
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, 'JPEG', quality=quality)
    return np.asarray(Image.open(encoded).convert('RGB'))
