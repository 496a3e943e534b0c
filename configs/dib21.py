"""dib21: Towards High Fidelity Monocular Face Reconstruction with Rich Reflectance (Dib et al., ICCV 2021).

    python -m jfrecon.main --config=configs/dib21.py --config.data.source=folder \
        --config.data.path=PHOTOS --config.data.landmarks=LANDMARKS.npz

Three stages, with the paper's network and weights as the default: `base` trains E, `albedo` the decoders of what its
albedo misses, `joint` all of it; each goes on from the one before.

Hardware: the paper trained on 250,000 photographs (CelebA and 40,000 from the web), batch 8, for ten, five and five
epochs of 15 hours each on one RTX 2080 Ti. `:cpu` takes about an hour on two CPU cores and goes through four stages,
`:quicktest` takes a minute.
Expected: the paper reports 1.81 mm and 0.148 rad on 23 images, NoW 1.26 mm (median). Of `:paper` nothing has been
measured here. `:cpu` on maps of 32 texels, in fewer steps: 1.96 mm, final SSIM 0.55 on synthetic faces
(experiments/dib21_ablations).

What the paper compares is added to a size with a plus, as in `:cpu+bands3+one_decoder`; see `CHANGES`.
"""

from __future__ import annotations

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import variants

CHANGES = {
    'base': 'stage I alone, without decoders',
    'bands3': 'three bands of spherical harmonics', 'bands7': 'seven', 'bands9': 'nine, as the paper',
    'one_decoder': 'for both increments',
    'unregularised': 'without symmetry and consistency',
    'solved_light': 'predictions with the light that explains the photograph best; needs the vertex renderer',
    'not_joint': 'without the last stage',
    'vertex': 'the vertex renderer in every stage', 'raytrace': 'the ray tracer', 'both': 'the sum of both',
    'samples16': 'sixteen directions of light for each pixel', 'samples32': 'thirty-two',
}  # fmt: skip


def get_config(variant: str = 'paper') -> ConfigDict:
    size, changes = variants.taken_apart(variant, 'configs/dib21.py', CHANGES)
    config = {'paper': _paper, 'cpu': _cpu, 'quicktest': _quicktest}[size]()
    for change in changes:
        if change == 'base':
            config.steps = config.stage.base.steps
            config.network.texture = 0
            config.stages, config.stage = (), ConfigDict()
        elif change == 'one_decoder':
            config.network.decoders = 1
        elif change == 'solved_light':
            config.solve_light = True
        elif change == 'not_joint':
            config.stages = config.stages[:-1]
        elif change == 'unregularised':
            nothing = ConfigDict({'loss': {'symmetry': 0.0, 'consistency_diffuse': 0.0, 'consistency_specular': 0.0}})
            for name in {'albedo', 'joint'} & set(config.stages):
                config.stage[name].update(nothing)
        elif change.startswith('bands'):
            config.light_bands = int(change.removeprefix('bands'))
        elif change.startswith('samples'):
            config.samples = int(change.removeprefix('samples'))
        else:
            for part in (config, *config.stage.values()):
                part.renderer = change
    return config


def _paper() -> ConfigDict:
    config = ConfigDict()
    config.method = 'dib21'
    config.seed = 0

    config.model = ConfigDict()
    config.model.name = 'makehuman'  # gnm, ict, basel2009, basel2017, basel2019, flame: with a path
    config.model.path = placeholder(str)
    config.model.identity = 80
    config.model.expression = 75  # at most; MakeHuman has 52 face units
    config.model.albedo = 80

    config.network = ConfigDict()
    config.network.backbone = 'resnet152'  # resnet18, resnet50, small
    config.network.weights = placeholder(str)  # of a ResNet: published ImageNet weights, .pth or .safetensors
    config.network.latent = 1000
    config.network.dtype = 'float32'  # of the arithmetic; bfloat16, float16
    config.network.fill = 0.55  # share of the crop's width that the face fills at the start
    config.network.texture = 256  # texels of the side of the decoders' maps, 0 without decoders
    config.network.decoders = 2  # 1: one for both increments
    # A group of outputs learns faster by its scale. Translation moves landmarks by tens of pixels, expression by few;
    # the light's coefficients are the largest.
    config.network.scales = ConfigDict({'expression': 0.5, 'albedo': 0.5, 'translation': 0.5, 'light': 4.0})

    config.energy = 'base'  # base: eq. 2, albedo: eq. 3 by the decoders alone, joint: the sum of both
    config.renderer = 'raytrace'  # vertex, raster, raytrace, both: the sum of vertex and raytrace
    config.domain = 'linear'  # [P] in which the photometric terms compare colours: linear or srgb
    config.samples = 8  # directions of light for each pixel of the ray tracer
    config.roughness = 0.4  # [P] the constant roughness's value is not given
    config.light_bands = 9
    config.solve_light = False  # whether predictions have the light that explains the photograph best

    # The paper writes E_ph and E_land as sums. Its weights make sense for means: E_ph is the mean over the counted
    # pixels or vertices of the L1 over linear RGB, E_land the mean distance of the landmarks in widths of the image;
    # the priors are sums over coefficients.
    config.loss = ConfigDict()
    config.loss.photo = 1.0  # over pixels, of the ray tracer or the rasteriser
    config.loss.vertex = 1.0  # over vertices, of the vertex renderer
    config.loss.landmarks = 1.0  # alpha_1
    config.loss.identity = 0.002  # w_i
    config.loss.albedo = 0.01  # w_c
    config.loss.expression = 0.0
    config.loss.box = 1.0  # of activations in 0..1, as MakeHuman's are; Gaussian bases have no such term
    config.loss.light = 0.0
    config.loss.exposure = 0.0
    # Eq. 3, whose weights the paper gives for a photometric term of weight 1; sums over texels there, means here.
    config.loss.symmetry = 20.0  # w1
    config.loss.consistency_diffuse = 0.5  # w2D, at the start
    config.loss.relax = 0.5  # of w2D, by each epoch
    config.loss.consistency_specular = 0.01  # w2S
    config.loss.smoothness = 0.0001  # w3
    config.loss.albedo_box = 1.0  # [P] w4 is not given

    config.optimiser = ConfigDict()
    config.optimiser.name = 'adam'
    config.optimiser.learning_rate = 1e-6
    config.optimiser.schedule = 'constant'
    config.optimiser.warmup_steps = 0
    config.optimiser.clip_norm = 0.0  # 0: not clipped
    config.optimiser.groups = ConfigDict()  # own learning rates of encoder, head, decoder; 0: fixed

    config.data = ConfigDict()
    config.data.source = 'synthetic'  # synthetic, folder, shards, tfds
    config.data.path = placeholder(str)  # folder of images or shards; name of the TFDS data set
    config.data.landmarks = placeholder(str)  # npz with filename and landmarks, for a folder
    config.data.landmarks_key = 'landmarks'
    config.data.size = 256  # pixels of a crop
    config.data.crop = 'whole'  # photos cropped to the face already (synthetic ones are), 'landmarks' or 'prepared'
    config.data.crop_scale = 1.8  # side of the crop over the longer side of the landmarks' box
    config.data.forehead = 0.2  # how far the landmarks' hull grows where there is no mask; 0: no mask has a forehead
    config.data.masks = placeholder(str)  # folder of masks of a folder's images, or parser: the embedded network
    config.data.split = 'train'  # of a TFDS data set
    config.data.held_out = 0.008  # 2,000 of 252,000: share of persons, or images, behind validation_loss
    config.data.focal = 4.5  # of a photo whose focal length is unknown, in widths of the crop
    config.data.jitter = ConfigDict({'scale': 0.1, 'shift': 0.05, 'flip': 0.5, 'colour': 0.1})
    config.data.faces = 100_000  # synthetic ones
    config.data.frames = 1  # of one person that stand together in a batch

    config.start_from = placeholder(str)  # working directory of a run whose network the first stage begins with
    config.batch_size = 8
    config.epoch = 31_250  # steps: 250,000 images
    config.steps = 312_500
    # One after the other, each with its own changes to all of the above.
    config.stages = ('base', 'albedo', 'joint')
    config.stage = ConfigDict()
    config.stage.base = ConfigDict({'steps': 312_500})
    config.stage.albedo = ConfigDict({
        'energy': 'albedo',
        'steps': 156_250,
        'optimiser': {'learning_rate': 1e-7, 'groups': {'encoder': 0.0, 'head': 0.0}},
    })  # fmt: skip
    config.stage.joint = ConfigDict({
        'energy': 'joint',
        'steps': 156_250,
        'loss': {'consistency_diffuse': 0.015625, 'relax': 1.0},  # 0.5 / 2^5: as far as five epochs have relaxed it
        'optimiser': {'groups': {'decoder': 1e-7}},
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
    """`_paper`, but for two CPU cores and synthetic faces of 64 pixels."""
    config = _paper()
    config.network.backbone = 'small'
    config.network.latent = 256
    config.network.texture = 64
    config.renderer = 'vertex'
    config.light_bands = 5
    # With a small network and little time the landmarks have to lead. The weights of photo, identity, albedo and
    # light were compared on the validation split, the others are first guesses.
    config.loss.photo = 3.0
    config.loss.vertex = 3.0
    config.loss.landmarks = 30.0
    config.loss.identity = 5e-3
    config.loss.albedo = 3e-4
    config.loss.expression = 1e-3
    config.loss.light = 3e-5
    config.loss.exposure = 0.01
    # Eq. 3 in the paper's proportion to the photometric term.
    config.loss.symmetry = 60.0
    config.loss.consistency_diffuse = 1.5
    config.loss.consistency_specular = 0.03
    config.loss.smoothness = 3 * 0.0001
    config.loss.albedo_box = 3.0
    config.optimiser.learning_rate = 1e-3
    config.optimiser.schedule = 'cosine'
    config.optimiser.warmup_steps = 100
    config.optimiser.clip_norm = 1.0
    config.data.size = 64
    config.data.faces = 5_000
    config.data.held_out = 0.0
    config.data.jitter.update(scale=0.0, shift=0.0, colour=0.0)  # made faces vary in all of this already
    config.batch_size = 16
    config.epoch = 300
    config.steps = 5_600
    # E learns by the vertex renderer first, which takes about a quarter of the time, and then sees the shadows: light
    # without them is too dim for the later stages, where E is fixed or slow.
    config.stages = ('base', 'traced', 'albedo', 'joint')
    config.stage.base = ConfigDict({'steps': 5_600})
    config.stage.traced = ConfigDict({'steps': 500, 'renderer': 'raytrace', 'optimiser': {'learning_rate': 3e-4}})
    config.stage.albedo = ConfigDict({
        'energy': 'albedo',
        'steps': 1_500,
        'renderer': 'raytrace',
        'optimiser': {'learning_rate': 1e-3, 'groups': {'encoder': 0.0, 'head': 0.0}},
    })  # fmt: skip
    config.stage.joint = ConfigDict({
        'energy': 'joint',
        'steps': 1_000,
        'renderer': 'raytrace',
        'loss': {'consistency_diffuse': 3 * 0.015625, 'relax': 1.0},
        'optimiser': {'learning_rate': 2e-4, 'groups': {'decoder': 2e-4}},
    })  # fmt: skip
    config.log_every = 50
    config.panels_every = 1_000
    config.checkpoint_every = 250
    return config


def _quicktest() -> ConfigDict:
    """`_cpu`, but that it only shows that it runs: in eight steps a stage, by the renderer that compiles in seconds."""
    config = _cpu()
    config.network.texture = 16
    config.data.size = 32
    config.data.faces = 16
    config.batch_size = 4
    config.epoch = 2
    config.steps = 8
    for stage in config.stage.values():
        stage.steps = 8
        stage.renderer = 'vertex'
    config.log_every = 1
    config.panels_every = 4
    config.checkpoint_every = 4
    return config
