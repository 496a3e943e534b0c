"""s2f2: S2F2: Self-Supervised High Fidelity Face Reconstruction from Monocular Image (Dib et al., 2022).

    python -m jfrecon.main --config=configs/s2f2.py --config.data.source=folder \
        --config.data.path=PHOTOS --config.data.landmarks=LANDMARKS.npz

Three stages, each going on from the one before: `coarse` trains E, `medium` E and the decoders D1 and D2, `fine` the
U-nets of normal map and diffuse increment. The paper trained on CelebA without 3,000 photographs, batch 8, for 30, 10
and 5 epochs of ten hours each, on two GPUs with 24 GB in all.

Variants: `:cpu` trains to something worth seeing on two CPU cores in about an hour; `:quicktest` takes a minute. What
the paper compares is added to one of the three with a plus, as in `:cpu+raytrace+unregularised`; see `CHANGES`. The
text in hand has lost most of its weights; where dib21, whose method it builds on, has a value, it is dib21's.
"""

from __future__ import annotations

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import dib21

CHANGES = {
    'coarse': 'the first stage alone', 'medium': 'the first two stages',
    'raytrace': 'without the vertex term', 'vertex': 'without the ray tracer',
    'unregularised': 'no symmetry and consistency in the fine stage',
    'regularised_normals': 'symmetry and consistency for the normal map, too',
    'specular_detail': 'a third U-net for the specular albedo',
    'samples16': 'sixteen directions of light for each pixel', 'samples32': 'thirty-two',
}  # fmt: skip


def get_config(variant: str = 'paper') -> ConfigDict:
    size, changes = dib21.taken_apart(variant, 'configs/s2f2.py', CHANGES)
    config = _sized(size)
    for change in changes:
        fine = config.stage.fine
        if change in ('coarse', 'medium'):
            config.stages = config.stages[: config.stages.index(change) + 1]
        elif change in ('raytrace', 'vertex'):
            config.renderer = change
        elif change == 'unregularised':
            with fine.unlocked():
                fine.loss.update(symmetry=0.0, consistency_diffuse=0.0, consistency_specular=0.0)
        elif change == 'regularised_normals':
            with fine.unlocked():
                fine.loss.update(symmetry_normal=0.2 * config.loss.photo, consistency_normal=0.05 * config.loss.photo)
        elif change == 'specular_detail':
            config.network.specular_detail = True
        else:
            config.samples = int(change.removeprefix('samples'))
    return config


def _sized(size: str) -> ConfigDict:
    config = dib21.get_config(size)
    config.method = 's2f2'
    config.energy = 'coarse'
    config.renderer = 'both'
    config.epoch = 24_950  # steps: 199,599 images
    with config.unlocked():
        config.network.detail = 'vgg16'  # backbone of the U-nets
        config.network.detail_weights = placeholder(str)  # torchvision's vgg16_bn, .pth or .safetensors
        config.network.specular_detail = False
        # [P] not given; as in `jfrecon.fitting.fitter`, where it was looked at on a photograph. The fewer texels, the
        # more the same relief changes from one to the next.
        config.loss.smoothness_normal = config.loss.photo * (config.network.texture / 256) ** 2
        config.loss.symmetry_normal = 0.0
        config.loss.consistency_normal = 0.0
        del config.stage
    config.optimiser.learning_rate = 1e-3  # "Adam optimizer with default parameters"
    fixed = {'encoder': 0.0, 'head': 0.0, 'decoder': 0.0}
    config.stages = ('coarse', 'medium', 'fine')
    with config.unlocked():
        config.stage = ConfigDict()
    config.stage.coarse = ConfigDict({'steps': 30 * config.epoch})
    config.stage.medium = ConfigDict({'steps': 10 * config.epoch, 'energy': 'medium'})
    config.stage.fine = ConfigDict({
        'steps': 5 * config.epoch,
        'energy': 'fine',
        'optimiser': {'groups': fixed},
        'loss': {},
    })  # fmt: skip
    if size == 'paper':
        return config

    config.network.detail = 'small'
    config.epoch = 300
    config.stage.coarse.update(steps=2_500)
    config.stage.medium.update(steps=1_000, optimiser={'learning_rate': 3e-4})
    config.stage.fine.update(steps=1_000)
    if size == 'quicktest':
        config.renderer = 'vertex'  # compiles in seconds
        config.epoch = 2
        for stage in config.stage.values():
            stage.steps = 8
    return config
