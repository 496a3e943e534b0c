"""Train the network that finds the skin of a face, and compare its masks with those of three photographs.

    python -m experiments.parsing_network --out=runs/parsing_network

It learns from 3,000 synthetic faces with hair, glasses and blobs of colour in front of them, whose masks are known, or
from CelebAMask-HQ with `--celebamask=FOLDER`. The weights are left in OUT/parsing.safetensors; those in
jfrecon/pretrained are of such a run on synthetic faces.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from experiments import drawing, harness, photographs, small_network
from jfrecon import commands, pretrained
from jfrecon.data import cropping, pipeline
from jfrecon.data.celebamask import CelebAMaskHQ
from jfrecon.data.detection import skin
from jfrecon.data.detection.skin import SIZE, ParsingNet
from jfrecon.data.folder import Folder
from jfrecon.data.sample import Source
from jfrecon.data.synthetic.generate import FILL, FOCAL
from jfrecon.methods.method import AXIS, Metrics, ModelState, Params
from jfrecon.nets.weights import pack
from jfrecon.training import loop, parallel
from jfrecon.types import Batch

NAME = 'parsing_network'
PHOTOS = ('ffhq_00001.jpg', 'ffhq_00005.jpg', 'ffhq_00006.jpg')  # those with a mask
SHOWN = 16


@dataclasses.dataclass(frozen=True)
class Parsing:
    """As much of a `jfrecon.methods.method.Method` as the training loop asks for."""

    network: ParsingNet = dataclasses.field(default_factory=lambda: ParsingNet(AXIS))

    def init(self, key: jax.Array) -> tuple[Params, ModelState]:
        """The network's."""
        return small_network.fresh(ParsingNet(), key, jnp.zeros((1, SIZE, SIZE, 3)))

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[ModelState, Metrics]]:
        """Cross-entropy, mean over the pixels."""
        variables = {'params': params, **model_state}
        logits, model_state = self.network.apply(variables, batch.image, True, mutable=['batch_stats'])
        loss = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, batch.mask))
        return loss, (model_state, {'iou': jnp.mean(overlap(logits > 0, batch.mask > 0.5))})

    def panels(self, params: Params, model_state: ModelState, batch: Batch) -> np.ndarray:
        """Photograph, true and found skin."""
        found = self.network.apply({'params': params, **model_state}, batch.image, False)
        return _panel(np.asarray(batch.image), np.asarray(batch.mask), np.asarray(found > 0))


def overlap(found: jax.Array, true: jax.Array) -> jax.Array:
    """Intersection over union of masks [..., H, W]."""
    both, either = jnp.sum(found & true, (-2, -1)), jnp.sum(found | true, (-2, -1))
    return both / jnp.maximum(either, 1)


def main(arguments: list[str] | None = None) -> None:
    """Train, write the weights, measure masks."""
    parser = harness.parser(NAME, main.__doc__)
    photographs.add_arguments(parser)
    parser.add_argument('--celebamask', type=Path, help='folder of CelebAMask-HQ, in place of synthetic faces')
    options = parser.parse_args(arguments)
    photos = harness.need(options.data / 'photos', 'the photographs')
    run = harness.start(NAME, options.out, options.overwrite)
    config = settings(options.quick)
    parallel.share_cores(config.batch_size)

    others = small_network.faces(options.out / 'others', config.others, SIZE, 80_002)
    if options.celebamask is None:
        train = small_network.faces(options.out / 'train', config.faces, SIZE, 80_001)
        rule = pipeline.whole_box()
    else:
        train, rule = CelebAMaskHQ(options.celebamask), pipeline.prepared_box()
    data = pipeline.batches(
        train, size=SIZE, batch_size=config.batch_size, seed=config.seed, default_focal=FOCAL, rule=rule,
        jitter=cropping.Jitter(scale=0.15, shift=0.08, flip=0.5, colour=0.15),
    )  # fmt: skip
    state = loop.train(config, options.out, Parsing(), data)
    weights = options.out / pretrained.SKIN.name
    pack(weights, small_network.variables(state))

    results = {'synthetic': on_synthetic(others, weights, options.out), **on_photographs(photos, weights)}
    run.record(results, harness.table(results))


def settings(quick: bool) -> ConfigDict:
    """What is trained, and for how long."""
    config = small_network.settings(
        NAME, 20 if quick else 2_500, 16, learning_rate=2e-3, warmup_steps=50, clip_norm=1.0
    )
    config.faces, config.others = (32, 16) if quick else (3_000, 200)
    return config


def hulls(landmarks: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """What stands in for a mask where there is none."""
    return {'hull': cropping.hull_mask(landmarks, size), 'hull and forehead': cropping.hull_mask(landmarks, size, 0.2)}


def on_synthetic(source: Source, weights: Path, out: Path) -> dict[str, float]:
    """Mean intersection over union on faces that the network has not seen; leaves pictures of some."""
    cuts = [cut[0].crop for cut in pipeline.chunks(source, SIZE, 1, FOCAL, pipeline.whole_box())]
    images = np.stack([cut.image for cut in cuts]) / np.float32(255)
    true = np.stack([np.asarray(cut.mask) for cut in cuts]) > 127
    found = skin.probabilities(images, weights) > 0.5
    rows = _panel(images, true, found)[:SHOWN].reshape(-1, 4, SIZE, 3 * SIZE, 3)
    drawing.save(out / 'synthetic.jpg', rows.swapaxes(1, 2).reshape(-1, SIZE, 12 * SIZE, 3))
    score = lambda masks: float(np.mean(overlap(masks, true)))
    others = [hulls(cut.landmarks, SIZE) for cut in cuts]
    return {'network': score(found), **{name: score(np.stack([h[name] for h in others])) for name in others[0]}}


def on_photographs(folder: Path, weights: Path) -> dict[str, dict[str, float]]:
    """Intersection over union at full resolution, photograph by photograph.

    The masks that came with them end at a straight line across the forehead, so means are also taken of what is below.
    """
    source = Folder(
        folder, folder / 'landmarks.npz', 'lm68_auto2d', masks=folder, mask_suffix='_skinmask',
        keep=lambda name, group: name in PHOTOS,
    )  # fmt: skip
    results: dict[str, dict[str, float]] = {}
    below: list[dict[str, float]] = []
    for index, photo in enumerate(source):
        box = cropping.box_from_landmarks(photo.landmarks, 1 / FILL)
        true = np.asarray(photo.mask) > 127
        found = np.asarray(skin.with_mask(photo, box, weights).mask) > 127
        height, width = true.shape
        others = {name: hull[:height, :width] for name, hull in hulls(photo.landmarks, max(height, width)).items()}
        masks = {'network': found, **others}
        results[source.name(index)] = {name: float(overlap(mask, true)) for name, mask in masks.items()}
        line = np.nonzero(true.any(1))[0][0]
        below.append({name: float(overlap(mask[line:], true[line:])) for name, mask in masks.items()})
    mean = lambda rows: {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return results | {'three photographs': mean([*results.values()]), 'below the line': mean(below)}


def _panel(images: np.ndarray, true: np.ndarray, found: np.ndarray) -> np.ndarray:
    tiles = [images, *(images * (0.25 + 0.75 * mask[..., None]) for mask in (true, found))]
    return drawing.encoded(np.concatenate(tiles, 2).clip(0, 1))


if __name__ == '__main__':
    commands.run(main)
