"""yang21: Self-supervised High-fidelity and Re-renderable 3D Facial Reconstruction from a Single Image (Yang et al.).

    python -m jfrecon.main --config=configs/yang21.py --config.data.source=folder \
        --config.data.path=PHOTOS --config.data.landmarks=LANDMARKS.npz --config.identity=ARCFACE.pth

Two stages: `prior` trains the regressor of a morphable model's 257 numbers, `refine` the detail refinement module and
its adversary while the regressor stays as it is. config.identity is a network of ArcFace's architecture
(`jfrecon.nets.iresnet`), for the perceptual terms: a file of published weights, or of one that
`experiments/identity_network --network=losses` trained. Without one give these terms a weight of 0, as `:cpu` does.

Hardware: the paper trained the first stage on 300W-LP, the second on 85% of CelebA at 224 pixels, batch 16, for ten
epochs, which took two days on one RTX 2080 Ti. `:cpu` is for two CPU cores; `:quicktest` takes minutes, most of them to
compile.
Expected: the paper reports for its renderings OD / OC: L1 0.01 / 0.02, PSNR 28.90 / 24.88, SSIM 0.93 / 0.89. Of
`:paper` nothing has been measured here. `:cpu` in fewer steps and with an identity network: L1 0.077 / 0.083, PSNR
18.14 / 17.86, SSIM 0.63 / 0.62 on synthetic faces (experiments/yang21_ablations).

What the paper compares is added to a size with a plus, as in `:cpu+no_gradient`, or stands alone; see `CHANGES`.
"""

from __future__ import annotations

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import variants

CHANGES = {
    'coarse_light': 'pictures with the detailed albedo under the coarse light (OC), for the image loss too',
    'no_gradient': 'without the gradient loss (figure 10)',
    'unregularised': 'without the albedo regularisation (figure 10)',
    'no_cross': 'without the cross perceptual loss (figure 11)',
    'white_prior': 'white in place of the prior albedo',
    'end_to_end': 'the regressor goes on to learn in the second stage (4.3)',
    'prior300wlp': 'the prior module learns from 300W-LP (4.1), as TFDS has it',
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
    size, changes = variants.taken_apart(variant, 'configs/yang21.py', CHANGES)
    config = {'paper': _paper, 'cpu': _cpu, 'quicktest': _quicktest}[size]()
    for change in changes:
        if change in REFINEMENTS:
            config.stage.refine.update(ConfigDict(REFINEMENTS[change]))
        elif change == 'end_to_end':
            config.stage.refine.end_to_end = True
            config.stage.refine.optimiser.groups = ConfigDict()
        elif change == 'prior300wlp':
            config.stage.prior.data = ConfigDict({
                'source': 'tfds', 'path': 'the300w_lp', 'crop': 'landmarks', 'held_out': 0.0,
            })  # fmt: skip
        else:
            config.light_bands = int(change.removeprefix('bands'))
    return config


def _paper() -> ConfigDict:
    config = ConfigDict()
    config.method = 'yang21'
    config.seed = 0

    config.model = ConfigDict()
    config.model.name = 'makehuman'  # gnm, ict, basel2009, basel2017, basel2019, flame: with a path
    config.model.path = placeholder(str)
    config.model.identity = 80
    config.model.expression = 64  # at most; MakeHuman has 52 face units
    config.model.albedo = 80

    config.network = ConfigDict()
    config.network.backbone = 'resnet50'  # resnet18, resnet152, small
    config.network.weights = placeholder(str)  # of a ResNet: published ImageNet weights, .pth or .safetensors
    config.network.latent = 1000
    config.network.dtype = 'float32'  # of the arithmetic; bfloat16, float16
    config.network.fill = 0.55  # share of the crop's width that the face fills at the start
    config.network.texture = 256  # texels of the side of all maps
    config.network.refinement = 64  # channels of its first layer
    config.network.discriminator = 64  # likewise
    # A group of outputs learns faster by its scale.
    config.network.scales = ConfigDict({'expression': 0.5, 'albedo': 0.5, 'translation': 0.5, 'light': 4.0})
    config.identity = placeholder(str)  # the identity network of the perceptual terms, .pth, .safetensors or .onnx
    # aligned by five points, as published networks want it; crop: as those of experiments/identity_network do
    config.identity_input = 'aligned'

    config.energy = 'prior'  # prior: the regressor, refine: eq. 18
    config.renderer = 'raster'  # of the stage prior also raytrace
    config.domain = 'linear'  # [P] in which the photometric terms compare colours: linear or srgb
    config.samples = 8  # directions of light for each pixel, where the ray tracer is asked for
    config.roughness = 0.4  # of exported faces: the method's own surfaces are matte
    config.light_bands = 3
    config.light = 'detailed'  # of the pictures: OD, or coarse: OC
    config.end_to_end = (
        False  # whether the regressor goes on to learn in the stage refine, its own energy beside eq. 18
    )
    config.white_prior = False  # whether the refinement module sees white in place of the prior albedo
    config.solve_light = False  # whether predictions have the light that explains the photograph best

    # [P] The prior module's are Deng et al. 2019's, whose method the paper follows, as far as their units are ours:
    # pixels 1.9, landmarks 1.6e-3 of squared pixels, perceptual 0.2, coefficients 3e-4, of which 0.8 for expression and
    # 1.7e-2 / 1e-1 for texture.
    config.loss = ConfigDict()
    config.loss.photo = 1.9
    config.loss.landmarks = 10.0
    config.loss.perceptual = 0.2
    config.loss.identity = 3e-4
    config.loss.expression = 3e-4 * 0.8
    config.loss.albedo = 5.1e-5
    config.loss.box = 1.0  # of activations in 0..1, as MakeHuman's are; Gaussian bases have no such term
    config.loss.light = 0.0
    config.loss.exposure = 0.0
    # Section 4.3 lists nine coefficients, 1.0, 0.5, 5.0, 5.0, 1, 1.0, 0.001, 1.0, 5.0, for eight names. Without the
    # fifth, "1", which repeats the sixth, they are lambda_id1, id2, ar1, ar2, ar3, ar4, dp1 and dp2, and the small one
    # is the adversarial loss's, as in pix2pix.
    config.loss.light_map = 1.0
    config.loss.cross = 0.5
    config.loss.symmetry = 5.0
    config.loss.smoothness = 5.0
    config.loss.prior = 1.0
    config.loss.adversary = 0.001
    config.loss.gradient = 1.0
    config.loss.image = 5.0
    config.loss.discriminator = 1.0  # the adversary's own

    config.optimiser = ConfigDict()
    config.optimiser.name = 'adam'
    config.optimiser.learning_rate = 1e-4
    config.optimiser.schedule = 'exponential'
    config.optimiser.rate = 0.98
    config.optimiser.every = 10_764
    config.optimiser.floor = 1e-5
    config.optimiser.warmup_steps = 0
    config.optimiser.clip_norm = 0.0  # 0: not clipped
    config.optimiser.groups = ConfigDict()  # own rates of encoder, head, refinement, discriminator; 0: fixed

    config.data = ConfigDict()
    config.data.source = 'synthetic'  # synthetic, folder, shards, tfds
    config.data.path = placeholder(str)  # folder of images or shards; name of the TFDS data set
    config.data.landmarks = placeholder(str)  # npz with filename and landmarks, for a folder
    config.data.landmarks_key = 'landmarks'
    config.data.size = 224  # pixels of a crop
    config.data.crop = 'whole'  # photos cropped to the face already (synthetic ones are), 'landmarks' or 'prepared'
    config.data.crop_scale = 1.8  # side of the crop over the longer side of the landmarks' box
    config.data.forehead = 0.2  # how far the landmarks' hull grows where there is no mask; 0: no mask has a forehead
    config.data.masks = placeholder(str)  # folder of masks of a folder's images, or parser: the embedded network
    config.data.split = 'train'  # of a TFDS data set
    config.data.held_out = 0.15  # the paper trains on 85 %: share of persons, or images, behind validation_loss
    config.data.focal = 4.5  # of a photo whose focal length is unknown, in widths of the crop
    config.data.jitter = ConfigDict({'scale': 0.1, 'shift': 0.05, 'flip': 0.5, 'colour': 0.1})
    config.data.faces = 100_000  # synthetic ones
    config.data.frames = 1  # of one person that stand together in a batch

    config.start_from = placeholder(str)  # working directory of a run whose network the first stage begins with
    config.batch_size = 16
    config.epoch = 10_764  # steps: 172,209 images
    config.steps = 107_640
    # One after the other, each with its own changes to all of the above.
    config.stages = ('prior', 'refine')
    config.stage = ConfigDict()
    config.stage.prior = ConfigDict({'steps': 107_640})  # 10 epochs
    config.stage.refine = ConfigDict({
        'steps': 107_640,
        'energy': 'refine',
        'optimiser': {'groups': {'encoder': 0.0, 'head': 0.0}},
    })  # fmt: skip
    config.epochs = 0.0  # not 0: steps and epoch follow from the number of images
    config.log_every = 100
    config.panels_every = 5_000
    config.checkpoint_every = 2_000
    config.keep_checkpoints = 3  # the latest
    config.keep_checkpoints_every = 0  # those at its multiples stay for good; 0: none does
    config.max_skipped_in_a_row = 20
    return config


def _cpu() -> ConfigDict:
    """`_paper`, but for two CPU cores, synthetic faces of 64 pixels and no identity network."""
    config = _paper()
    config.network.backbone = 'small'
    config.network.latent = 256
    config.network.texture = 64
    config.network.refinement = 16
    config.network.discriminator = 16
    # With a small network and little time the landmarks have to lead. The weights are those of dib21's `:cpu`.
    config.loss.photo = 3.0
    config.loss.landmarks = 30.0
    config.loss.perceptual = 0.0
    config.loss.identity = 5e-3
    config.loss.expression = 1e-3
    config.loss.albedo = 3e-4
    config.loss.light = 3e-5
    config.loss.exposure = 0.01
    config.loss.cross = 0.0
    config.optimiser.learning_rate = 1e-3
    config.optimiser.rate = 0.5
    config.optimiser.every = 1_500
    config.optimiser.warmup_steps = 100
    config.optimiser.clip_norm = 1.0
    config.data.size = 64
    config.data.faces = 5_000
    config.data.held_out = 0.0
    config.data.jitter.update(scale=0.0, shift=0.0, colour=0.0)  # made faces vary in all of this already
    config.epoch = 300
    config.steps = 5_600
    config.stage.prior.steps = 5_600
    config.stage.refine = ConfigDict({
        'steps': 3_000,
        'energy': 'refine',
        'optimiser': {'learning_rate': 5e-4, 'groups': {'encoder': 0.0, 'head': 0.0}},
    })  # fmt: skip
    config.log_every = 50
    config.panels_every = 1_000
    config.checkpoint_every = 250
    return config


def _quicktest() -> ConfigDict:
    """`_cpu`, but that it only shows that it runs: in eight steps a stage."""
    config = _cpu()
    config.network.texture = 32
    config.data.size = 32
    config.data.faces = 16
    config.batch_size = 4
    config.epoch = 2
    config.steps = 8
    for stage in config.stage.values():
        stage.steps = 8
    config.log_every = 1
    config.panels_every = 4
    config.checkpoint_every = 4
    return config
