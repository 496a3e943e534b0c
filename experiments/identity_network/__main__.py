"""Train a network that recognises people, and measure whether it knows them apart.

    python -m experiments.identity_network --network=scores --out=runs/identity_network
    python -m experiments.identity_network --network=losses --out=runs/identity_network_losses

There are two, of different architectures and taught by different people: one scores, and no loss touches it; the other
is ArcFace's (`jfrecon.nets.iresnet`), for perceptual losses, and scores nothing. Each learns to find the other pictures
of a person among those of a batch (supervised contrastive learning, Khosla et al., NeurIPS 2020, eq. 2), of 1,500
MakeHuman people with six pictures each, whatever their expression, pose and light, from skin alone: no hair, no
glasses, no background; or of the people in a folder of your own, with `--people=FOLDER`: a subfolder of aligned crops
for each. Then pairs of pictures are told apart: of 150 other synthetic people, and of the portraits in `--data`.
Nothing was chosen on either. The weights of `scores` that come with jfrecon are of such a run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict
from scipy.stats import mannwhitneyu
from skimage.draw import polygon

from experiments import drawing, harness, photographs, small_network
from jfrecon import commands, pretrained
from jfrecon.data import cropping, pipeline
from jfrecon.data.folder import Folder
from jfrecon.data.sample import Source
from jfrecon.data.synthetic.generate import FILL, FOCAL
from jfrecon.evaluation import identity
from jfrecon.methods.method import AXIS, Metrics, ModelState, Params
from jfrecon.nets import iresnet
from jfrecon.nets.iresnet import IdentityNetwork
from jfrecon.nets.weights import pack
from jfrecon.training import loop, parallel
from jfrecon.types import Batch

NAME = 'identity_network'
FRAMES = 6  # pictures of a person
BESIDE = 4  # of them in a batch
TEMPERATURE = 0.1  # tau of Khosla et al.
HOLES = (range(36, 42), range(42, 48), range(60, 68))  # iBUG: eyes and mouth


@dataclasses.dataclass(frozen=True)
class Kind:
    """One of the two networks.

    Attributes:
      make: axis name -> the network.
      size: pixels of the crops that it reads.
      file: name of its weights.
      write: saves variables; ``codes``: reads them again, for pictures and masks.
      seeds: of the people it learns from and of the others.
      steps: of training.
    """

    make: Callable[[str | None], nn.Module]
    size: int
    file: str
    write: Callable[[Path, dict], None]
    codes: Callable[[np.ndarray, np.ndarray, Path], np.ndarray]
    seeds: tuple[int, int]
    steps: int


def _arcface(axis_name: str | None) -> IdentityNetwork:
    """A small one of ArcFace's architecture, which reads what `iresnet.perceiver` shows it."""
    return IdentityNetwork(iresnet.IResNet((1, 1, 1, 1), width=16, code=128, axis_name=axis_name))


def _write_iresnet(path: Path, variables: dict) -> None:
    iresnet.write(path, {collection: values['body'] for collection, values in variables.items()})


def _iresnet_codes(images: np.ndarray, masks: np.ndarray, path: Path) -> np.ndarray:
    codes = jax.jit(iresnet.perceiver(path))
    return np.concatenate([codes(images[k : k + 1], masks[k : k + 1]) for k in range(len(images))])


KINDS = {
    'scores': Kind(
        identity.network, identity.SIZE, pretrained.IDENTITY.name, pack, identity.codes, (70_001, 70_002), 2_800
    ),
    'losses': Kind(_arcface, 48, 'iresnet.safetensors', _write_iresnet, _iresnet_codes, (90_001, 90_002), 2_000),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Recognition:
    """As much of a `jfrecon.methods.method.Method` as the training loop asks for.

    Attributes:
      kind: of network.
      people: [N] a number for each person, of every picture in the source.
    """

    kind: Kind
    people: np.ndarray

    def init(self, key: jax.Array) -> tuple[Params, ModelState]:
        """The network's."""
        size = self.kind.size
        example = jnp.zeros((1, size, size, 3)), jnp.zeros((1, size, size))
        return small_network.fresh(self.kind.make(None), key, *example)

    def loss(
        self, params: Params, model_state: ModelState, batch: Batch, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, tuple[ModelState, Metrics]]:
        """Cross-entropy of which other picture shows the same person, mean over those that do."""
        variables = {'params': params, **model_state}
        code, model_state = self.kind.make(AXIS).apply(
            variables, batch.image, batch.mask, True, mutable=['batch_stats']
        )
        itself, people = jnp.eye(len(code), dtype=bool), jnp.asarray(self.people)[batch.index]
        same = (people[:, None] == people) & ~itself
        cosine = jnp.where(itself, -jnp.inf, jnp.matmul(code, code.T, precision=jax.lax.Precision.HIGHEST))
        found = jnp.where(same, jax.nn.log_softmax(cosine / TEMPERATURE), 0.0)
        loss = -jnp.sum(found) / jnp.sum(same)
        right = jnp.mean(people[jnp.argmax(cosine, -1)] == people)
        return loss, (model_state, {'right': right})

    def panels(self, params: Params, model_state: ModelState, batch: Batch) -> np.ndarray:
        """What the network sees."""
        skin = 0.5 + (np.asarray(batch.image) - 0.5) * np.asarray(batch.mask)[..., None]
        return drawing.encoded(np.concatenate([batch.image, skin], 2))


def main(arguments: list[str] | None = None) -> None:
    """Train, write the weights, tell pairs of pictures apart."""
    parser = harness.parser(NAME, main.__doc__)
    parser.add_argument('--network', choices=KINDS, default='scores')
    parser.add_argument('--people', type=Path, help='folder of subfolders of crops, in place of synthetic people')
    photographs.add_arguments(parser)
    options = parser.parse_args(arguments)
    portraits = photographs.portraits(options.data)
    run = harness.start(NAME, options.out, options.overwrite)
    kind = KINDS[options.network]
    config = settings(options.quick, kind)
    parallel.share_cores(config.batch_size)

    made = lambda name, people, seed: small_network.faces(
        options.out / name, people * FRAMES, kind.size, seed, frames=FRAMES
    )
    others = made('others', config.others, kind.seeds[1])
    train = Folder(options.people) if options.people else made('train', config.people, kind.seeds[0])
    data = pipeline.batches(
        train,
        size=kind.size,
        batch_size=config.batch_size,
        seed=config.seed,
        default_focal=FOCAL,
        rule=pipeline.whole_box(),
        jitter=cropping.Jitter(scale=0.05, shift=0.03, flip=0.5, colour=0.1),
        anywhere=True,  # people's crops are folders of pictures, of which nothing is known
        frames=BESIDE,
    )
    people = np.unique(train.groups, return_inverse=True)[1]
    state = loop.train(config, options.out, Recognition(kind, people), data)
    weights = options.out / kind.file
    kind.write(weights, small_network.variables(state))

    results = {}
    for name, source, rule in (
        ('synthetic', others, pipeline.whole_box()),
        ('portraits', portraits, pipeline.landmark_box(1 / FILL)),
    ):
        images, masks, shown = pictures(source, kind.size, rule)
        results[name] = {
            'network': area(kind.codes(images, masks, weights), shown),
            'pixels': area(standardised(images, masks), shown),
        }
    run.record(results, harness.table(results))


def settings(quick: bool, kind: Kind) -> ConfigDict:
    """What is trained, and for how long."""
    steps, batch_size = (20, 16) if quick else (kind.steps, 64)
    config = small_network.settings(NAME, steps, batch_size, learning_rate=1e-3, warmup_steps=100, clip_norm=5.0)
    config.people, config.others = (16, 8) if quick else (1_500, 150)
    return config


def pictures(source: Source, size: int, rule: pipeline.BoxRule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crops [N, S, S, 3], masks of their skin [N, S, S], and whom they show [N]."""
    images, masks, people = [], [], []
    for cut in pipeline.chunks(source, size, 1, FOCAL, rule):
        face = cut[0].crop
        mask = np.float32(face.mask) / 255
        for hole in HOLES:
            x, y = face.landmarks[list(hole)].T
            mask[polygon(y - 0.5, x - 0.5, mask.shape)] = 0
        images.append(np.float32(face.image) / 255)
        masks.append(mask)
        people.append(face.group)
    return np.stack(images), np.stack(masks), np.array(people)


def standardised(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The pictures themselves as codes: masked pixels less their mean, of unit length."""
    count = masks.sum((1, 2))[:, None, None, None]
    mean = (images * masks[..., None]).sum((1, 2), keepdims=True) / count
    flat = ((images - mean) * masks[..., None]).reshape(len(images), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def area(codes: np.ndarray, people: np.ndarray) -> float:
    """Chance that two pictures of one person are more alike than two of different people: the area under the ROC."""
    first, second = np.triu_indices(len(codes), 1)
    cosine, same = (codes @ codes.T)[first, second], people[first] == people[second]
    return float(mannwhitneyu(cosine[same], cosine[~same]).statistic / (same.sum() * (~same).sum()))


if __name__ == '__main__':
    commands.run(main)
