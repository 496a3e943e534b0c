"""yang21: Self-supervised High-fidelity and Re-renderable 3D Facial Reconstruction from a Single Image (Yang et al.).

    python -m jfrecon.main --config=configs/yang21.py --config.data.source=folder \
        --config.data.path=PHOTOS --config.data.landmarks=LANDMARKS.npz --config.identity=ARCFACE.pth

Two stages: `prior` trains the regressor of a morphable model's 257 numbers, `refine` the detail refinement module and
its adversary while the regressor stays as it is. The paper trained the first on 300W-LP, the second on 85% of CelebA at
224 pixels, batch 16, for ten epochs, which took two days on one RTX 2080 Ti, and reports for its renderings OD / OC: L1
0.01 / 0.02, PSNR 28.90 / 24.88, SSIM 0.93 / 0.89. config.identity is a network of ArcFace's architecture
(`jfrecon.nets.iresnet`), for the perceptual terms: a file of published weights, or of one that
`experiments/identity_network --network=losses` trained. Without one give these terms a weight of 0, as `:cpu` does.

Variants: `:cpu` is for two CPU cores; `:quicktest` takes minutes, most of them to compile. What the paper compares is
added with a plus, as in `:cpu+no_gradient`, or stands alone; see `CHANGES`.
"""

from __future__ import annotations

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import dib21

CHANGES = {
    'coarse_light': 'pictures with the detailed albedo under the coarse light (OC), for the image loss too',
    'no_gradient': 'without the gradient loss (figure 10)',
    'unregularised': 'without the albedo regularisation (figure 10)',
    'no_cross': 'without the cross perceptual loss (figure 11)',
    'white_prior': 'white in place of the prior albedo',
    'bands5': 'five bands in the light map', 'bands9': 'nine',
}  # fmt: skip


# What they change in the second stage. The first is the same for all, but for the number of bands.
REFINEMENTS = {
    'coarse_light': {'light': 'coarse'},
    'no_gradient': {'loss': {'gradient': 0.0}},
    'unregularised': {'loss': {'symmetry': 0.0, 'smoothness': 0.0, 'prior': 0.0, 'adversary': 0.0}},
    'no_cross': {'loss': {'cross': 0.0}},
    'white_prior': {'white_prior': True},
}


def get_config(variant: str = 'paper') -> ConfigDict:
    size, changes = dib21.taken_apart(variant, 'configs/yang21.py', CHANGES)
    config = _sized(size)
    for change in changes:
        if change in REFINEMENTS:
            with config.stage.refine.unlocked():
                config.stage.refine.update(ConfigDict(REFINEMENTS[change]))
        else:
            config.light_bands = int(change.removeprefix('bands'))
    return config


def _sized(size: str) -> ConfigDict:
    config = dib21.get_config(size)
    config.method = 'yang21'
    config.energy = 'prior'
    config.renderer = 'raster'
    config.light_bands = 3
    config.model.expression = 64
    config.data.size = 224
    config.network.backbone = 'resnet50'
    config.batch_size = 16
    with config.unlocked():
        config.network.refinement = 64  # channels of its first layer
        config.network.discriminator = 64
        config.identity = placeholder(str)
        config.light = 'detailed'  # OD; coarse: OC
        config.white_prior = False
        for name in (*dib21.MAP_TERMS, 'relax', 'vertex'):
            if name in config.loss:
                del config.loss[name]
        del config.stage
    # [P] The prior module's are Deng et al. 2019's, whose method the paper follows, as far as their units are ours:
    # pixels 1.9, landmarks 1.6e-3 of squared pixels, perceptual 0.2, coefficients 3e-4.
    config.loss.photo = 1.9
    config.loss.landmarks = 10.0
    config.loss.identity = 3e-4
    config.loss.albedo = 3e-4 * 1.7e-2 / 1e-1
    config.loss.expression = 3e-4 * 0.8
    config.loss.update(perceptual=0.2, box=1.0, light=0.0, exposure=0.0)
    # Section 4.3 lists nine coefficients, 1.0, 0.5, 5.0, 5.0, 1, 1.0, 0.001, 1.0, 5.0, for eight names. Without the
    # fifth, "1", which repeats the sixth, they are lambda_id1, id2, ar1, ar2, ar3, ar4, dp1 and dp2, and the small one
    # is the adversarial loss's, as in pix2pix.
    config.loss.update(
        light_map=1.0, cross=0.5, symmetry=5.0, smoothness=5.0, prior=1.0, adversary=0.001, gradient=1.0, image=5.0,
        discriminator=1.0,
    )  # fmt: skip
    config.optimiser.update(learning_rate=1e-4, schedule='exponential')
    with config.unlocked():
        config.optimiser.update(rate=0.98, every=10_764, floor=1e-5)
    config.epoch = 10_764  # steps: 172,209 images
    config.stages = ('prior', 'refine')
    with config.unlocked():
        config.stage = ConfigDict()
    config.stage.prior = ConfigDict({'steps': 10 * config.epoch})
    still = {'encoder': 0.0, 'head': 0.0}
    config.stage.refine = ConfigDict({
        'steps': 10 * config.epoch,
        'energy': 'refine',
        'optimiser': {'groups': still},
    })  # fmt: skip
    if size == 'paper':
        return config

    config.data.size = 64
    config.network.backbone = 'small'
    config.network.refinement = config.network.discriminator = 16
    config.loss.photo = 3.0
    config.loss.update(
        landmarks=30.0, identity=5e-3, albedo=3e-4, expression=1e-3, light=3e-5, exposure=0.01, perceptual=0.0,
        cross=0.0,
    )  # fmt: skip
    config.optimiser.learning_rate = 1e-3
    config.optimiser.update(rate=0.5, every=1_500, floor=1e-5)
    config.epoch = 300
    config.stage.prior.update(steps=5_600)
    config.stage.refine.update(steps=3_000)
    config.stage.refine.optimiser.update(learning_rate=5e-4)
    if size == 'quicktest':
        config.data.size = 32
        config.epoch = 2
        config.batch_size = 4
        for stage in config.stage.values():
            stage.steps = 8
    return config
