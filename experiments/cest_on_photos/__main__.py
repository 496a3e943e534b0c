"""cest on synthetic clips, then on the portraits of 90 people: what that does to 20 others.

    python -m experiments.cest_on_photos --out=runs/cest_on_photos

Clips of four frames come first (`clips`); then single images (`portraits`): the photographs of the training people
and, for all of these look straight ahead, as many synthetic faces that do not. Both networks, with the ICT head, are
judged on the other people beside the mean face. Pictures: what each makes of them, light carried from one face to
another, and faces relit in the canonical view (figure 8); of photographs, which are for looking and not for
committing, and of synthetic faces.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from configs import cest
from experiments import drawing, harness, photographs
from jfrecon import commands
from jfrecon.data import build
from jfrecon.data.sample import Joined, Source
from jfrecon.reconstruction import prediction
from jfrecon.reconstruction.prediction import Predictor
from jfrecon.render import portraits
from jfrecon.training import loop
from jfrecon.training.parallel import share_cores
from jfrecon.types import Pinhole

NAME = 'cest_on_photos'
SYNTHETIC = 160  # single faces beside 157 portraits
SHOWN = 6


def main(arguments: list[str] | None = None) -> None:
    """Train on clips, then on photographs; score and draw both."""
    parser = harness.parser(NAME, main.__doc__ or '')
    photographs.add_arguments(parser)
    harness.add_ict(parser)
    options = parser.parse_args(arguments)
    train, validation = photographs.split(options.data)
    harness.need(options.ict, 'ICT-FaceKit')
    run = harness.start(NAME, options.out, options.overwrite)

    networks = {name: options.out / name for name in ('clips', 'portraits')}
    clips = clips_config(options.ict, options.quick)
    photos = photos_config(clips, networks['clips'], options.quick)
    share_cores(clips.batch_size // clips.data.frames)
    loop.train(clips, networks['clips'])
    others = build.synthetic_faces(photos, networks['portraits'] / 'synthetic', 'train', SYNTHETIC)
    loop.train(photos, networks['portraits'], data=build.batches(photos, Joined(train, others)))
    results = photographs.compare(networks, train, validation, options.out)
    predictor, config, _ = prediction.load(networks['portraits'])
    for name, source in (('photographs', validation), ('synthetic', others)):
        _relit(predictor, config, source, options.out, name)
    run.record(results, harness.table(results))


def clips_config(ict: Path, quick: bool) -> ConfigDict:
    """Synthetic clips with the ICT head."""
    config = cest.get_config('quicktest' if quick else 'cpu')
    config.model.name, config.model.path = 'ict', str(ict)
    if not quick:
        config.data.faces = 4_000
        config.steps = 3_000
    return config


def photos_config(clips: ConfigDict, start: Path, quick: bool) -> ConfigDict:
    """Single images, from where the clips led; weights in the proportions of `experiments.coarse_on_photos`."""
    config = clips.copy_and_resolve_references()
    config.start_from = str(start)
    config.data.source = 'folder'
    config.data.frames = 1
    config.data.forehead = 0.2
    config.data.jitter.update(scale=0.1, shift=0.06)
    config.reconstructions = ('own', 'mirrored')
    config.loss.landmarks = 60.0
    if not quick:
        config.steps = 1_500
    return config


def _relit(predictor: Predictor, config: ConfigDict, source: Source, out: Path, name: str) -> None:
    """Leaves two pictures of the first faces of a source.

    ``NAME_transfer.png``: in each row a face under the lights of all; the first row and column are photographs.
    ``NAME_canonical.png``: photograph, then from ahead, without light, under its own light and under those of others.
    """
    batch, _ = photographs.crops(predictor, source, build.rule(config))[0]
    chi = predictor.infer(batch.image, batch.camera)
    chi, camera = jax.tree.map(lambda leaf: leaf[:SHOWN], (chi, batch.camera))
    image = np.asarray(batch.image)[:SHOWN]
    size = image.shape[1:3]
    draw = lambda face: np.asarray(portraits.photo(predictor.portrait, face, camera, size)[0])
    under = lambda face, k: dataclasses.replace(face, light=jnp.broadcast_to(face.light[k], face.light.shape))
    own = np.concatenate([np.zeros_like(image[:1]), image])
    columns = [np.concatenate([image[k : k + 1], draw(under(chi, k))]) for k in range(SHOWN)]
    save = lambda kind, tiles: drawing.save(out / f'{name}_{kind}.png', np.concatenate(tiles, 2), scale=2)
    save('transfer', [own, *columns])

    distance = -chi.translation[:, 2:]
    ahead = dataclasses.replace(
        chi, rotation=jnp.zeros_like(chi.rotation),
        translation=jnp.concatenate([jnp.zeros_like(chi.translation[:, :2]), -distance], -1),
    )  # fmt: skip
    centred = Pinhole(camera.focal, jnp.full_like(jnp.asarray(camera.principal), config.data.size / 2))
    view = lambda face: np.asarray(portraits.photo(predictor.portrait, face, centred, size)[0])
    _, layers = portraits.draw(predictor.portrait, ahead, centred, size)
    albedo = drawing.srgb(layers.diffuse) * np.asarray(layers.coverage)[..., None]
    save('canonical', [image, albedo, view(ahead), *(view(under(ahead, k)) for k in range(4))])


if __name__ == '__main__':
    commands.run(main)
