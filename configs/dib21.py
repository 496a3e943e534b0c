"""dib21: Towards High Fidelity Monocular Face Reconstruction with Rich Reflectance (Dib et al., ICCV 2021).

    python -m jfrecon.main --config=configs/dib21.py --config.data.source=folder \
        --config.data.path=PHOTOS --config.data.landmarks=LANDMARKS.npz

Stage I, the base reconstruction, with the paper's network and weights as the default. The paper trained it on 250,000
photographs (CelebA and 40,000 from the web), batch 8, ten epochs of 15 hours each on one RTX 2080 Ti.

Variants: `:cpu` trains to something worth seeing on two CPU cores in minutes; `:quicktest` runs in seconds.
"""

from __future__ import annotations

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

VARIANTS = ('paper', 'cpu', 'quicktest')


def get_config(variant: str = 'paper') -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f'configs/dib21.py has the variants {", ".join(VARIANTS)}, not {variant!r}')
    config = ConfigDict()
    config.method = 'dib21'
    config.seed = 0

    config.model = ConfigDict()
    config.model.name = 'makehuman'  # ict, basel2009, basel2017, basel2019, flame: with a path
    config.model.path = placeholder(str)
    config.model.identity = 80
    config.model.expression = 75  # at most; MakeHuman has 52 face units
    config.model.albedo = 80

    config.network = ConfigDict()
    config.network.backbone = 'resnet152'
    config.network.weights = placeholder(str)  # published ImageNet weights, .pth or .safetensors
    config.network.latent = 1000
    config.network.dtype = 'float32'
    config.network.fill = 0.55  # share of the crop's width that the face fills at the start
    # A group of outputs learns faster by its scale. Translation moves landmarks by tens of pixels, expression by few;
    # the light's coefficients are the largest.
    config.network.scales = ConfigDict({'expression': 0.5, 'albedo': 0.5, 'translation': 0.5, 'light': 4.0})

    config.renderer = 'raytrace'  # vertex, raytrace or both: their sum
    config.samples = 8  # directions of light for each pixel of the ray tracer
    config.roughness = 0.4  # [P] the constant roughness's value is not given
    config.light_bands = 9

    # The paper writes E_ph and E_land as sums. Its weights make sense for means: E_ph is the mean over the counted
    # vertices of the L1 over linear RGB, E_land the mean distance of the landmarks in widths of the image; the priors
    # are sums over coefficients.
    config.loss = ConfigDict()
    config.loss.photo = 1.0
    config.loss.landmarks = 1.0  # alpha_1
    config.loss.identity = 0.002  # w_i
    config.loss.albedo = 0.01  # w_c
    config.loss.expression = 0.0
    config.loss.box = 1.0
    config.loss.light = 0.0

    config.optimiser = ConfigDict()
    config.optimiser.name = 'adam'
    config.optimiser.learning_rate = 1e-6
    config.optimiser.schedule = 'constant'
    config.optimiser.warmup_steps = 0
    config.optimiser.clip_norm = 0.0
    config.optimiser.groups = ConfigDict()

    config.data = ConfigDict()
    config.data.source = 'synthetic'  # synthetic, folder, shards, tfds
    config.data.path = placeholder(str)  # folder of images or shards; name of the TFDS data set
    config.data.landmarks = placeholder(str)  # npz with filename and landmarks, for a folder
    config.data.landmarks_key = 'landmarks'
    config.data.size = 256
    config.data.crop = 'whole'  # photos cropped to the face already (synthetic ones are), 'landmarks' or 'prepared'
    config.data.crop_scale = 1.8  # of 'landmarks': side of the crop over the longer side of the landmarks' box
    config.data.forehead = 0.0  # see `jfrecon.data.crop.hull_mask`
    config.data.focal = 4.5  # of a photo whose focal length is unknown, in widths of the crop
    config.data.jitter = ConfigDict({'scale': 0.1, 'shift': 0.05, 'flip': 0.5, 'colour': 0.1})
    config.data.faces = 100_000  # synthetic ones

    config.start_from = placeholder(str)  # working directory of a run whose network this one begins with
    config.batch_size = 8
    config.steps = 312_500  # ten epochs of 250,000 images
    config.log_every = 100
    config.panels_every = 5_000
    config.checkpoint_every = 2_000
    config.max_skipped_in_a_row = 20

    if variant == 'paper':
        return config

    config.renderer = 'vertex'
    config.network.backbone = 'small'
    config.network.latent = 256
    config.light_bands = 5
    # With a small network and little time the landmarks have to lead. The weights of photo, identity, albedo and
    # light were compared on the validation split, the others are first guesses.
    config.loss.photo = 3.0
    config.loss.landmarks = 30.0
    config.loss.identity = 5e-3
    config.loss.albedo = 3e-4
    config.loss.expression = 1e-3
    config.loss.light = 3e-4
    config.optimiser.learning_rate = 1e-3
    config.optimiser.schedule = 'cosine'
    config.optimiser.warmup_steps = 100
    config.optimiser.clip_norm = 1.0
    config.data.size = 64
    config.data.faces = 5_000
    config.data.jitter.update(scale=0.0, shift=0.0, colour=0.0)  # made faces vary in all of this already
    config.batch_size = 16
    config.steps = 5_600
    config.log_every = 50
    config.panels_every = 1_000
    config.checkpoint_every = 250
    if variant == 'quicktest':
        config.data.size = 32
        config.data.faces = 16
        config.batch_size = 4
        config.steps = 8
        config.log_every = 1
        config.panels_every = 4
        config.checkpoint_every = 4
    return config
