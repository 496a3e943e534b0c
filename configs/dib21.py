"""dib21: Towards High Fidelity Monocular Face Reconstruction with Rich Reflectance (Dib et al., ICCV 2021).

    python -m jfrecon.main --config=configs/dib21.py --config.data.source=folder \
        --config.data.path=PHOTOS --config.data.landmarks=LANDMARKS.npz

Three stages, with the paper's network and weights as the default: `base` trains E, `albedo` the decoders of what its
albedo misses, `joint` all of it; each goes on from the one before. The paper trained them on 250,000 photographs
(CelebA and 40,000 from the web), batch 8, for ten, five and five epochs of 15 hours each on one RTX 2080 Ti.

Variants: `:cpu` trains to something worth seeing on two CPU cores in about an hour, in four stages; `:quicktest` takes
a minute. What the paper compares is added to one of the three with a plus, as in `:cpu+bands3+one_decoder`; see
`CHANGES`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

SIZES = ('paper', 'cpu', 'quicktest')
# The weights of eq. 3, which the paper gives for a photometric term of weight 1, and s2f2's of the relief.
MAP_TERMS = (
    'symmetry', 'consistency_diffuse', 'consistency_specular', 'smoothness', 'albedo_box',
    'smoothness_normal', 'symmetry_normal', 'consistency_normal',
)  # fmt: skip
CHANGES = {
    'base': 'stage I alone, without decoders',
    'bands3': 'three bands of spherical harmonics', 'bands7': 'seven', 'bands9': 'nine, as the paper',
    'one_decoder': 'for both increments',
    'unregularised': 'without symmetry and consistency',
    'solved_light': 'predictions with the light that explains the photograph best, by the vertex renderer',
    'not_joint': 'without the last stage',
    'vertex': 'the vertex renderer in every stage', 'raytrace': 'the ray tracer', 'both': 'the sum of both',
    'samples16': 'sixteen directions of light for each pixel', 'samples32': 'thirty-two',
}  # fmt: skip


def get_config(variant: str = 'paper') -> ConfigDict:
    size, changes = taken_apart(variant, 'configs/dib21.py', CHANGES)
    config = _sized(size)
    for change in changes:
        stages = [config, *config.stage.values()]
        later = [config.stage[name] for name in ('albedo', 'joint') if name in config.stages]
        if change == 'base':
            config.stages, config.network.texture = (), 0
            config.update(config.stage.base)
            with config.unlocked():
                config.stage = ConfigDict()
        elif change == 'solved_light':
            with config.unlocked():
                config.solve_light = True  # `jfrecon.fitting.lighting`
        elif change == 'one_decoder':
            config.network.decoders = 1
        elif change == 'not_joint':
            config.stages = config.stages[:-1]
        elif change == 'unregularised':
            for part in later:
                with part.unlocked():
                    nothing = {'symmetry': 0.0, 'consistency_diffuse': 0.0, 'consistency_specular': 0.0}
                    part.loss = ConfigDict({**part.get('loss', {}), **nothing})
        elif change.startswith('bands'):
            config.light_bands = int(change.removeprefix('bands'))
        elif change.startswith('samples'):
            config.samples = int(change.removeprefix('samples'))
        else:
            for part in stages:
                with part.unlocked():
                    part.renderer = change
    return config


def taken_apart(variant: str, file: str, known: Mapping[str, str]) -> tuple[str, list[str]]:
    """Size and changes of a variant of a config file that knows these changes; without a size it is the paper's."""
    named = variant.split('+')
    size, changes = (named[0], named[1:]) if named[0] in SIZES else ('paper', named)
    if not set(changes) <= known.keys():
        raise ValueError(
            f'{file} has the variants {", ".join(SIZES)}, each with any of +{", +".join(known)}; not {variant!r}'
        )
    return size, changes


def in_proportion(config: ConfigDict, factor: float) -> None:
    """Scales the weights of maps, in all stages, as the photometric term's is scaled."""
    for part in (config, *config.stage.values()):
        for name in MAP_TERMS:
            if name in part.get('loss', {}):
                part.loss[name] *= factor


def _sized(size: str) -> ConfigDict:
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
    config.network.texture = 256  # texels of the side of the decoders' maps, 0 without decoders
    config.network.decoders = 2  # 1: one for both increments
    # A group of outputs learns faster by its scale. Translation moves landmarks by tens of pixels, expression by few;
    # the light's coefficients are the largest.
    config.network.scales = ConfigDict({'expression': 0.5, 'albedo': 0.5, 'translation': 0.5, 'light': 4.0})

    config.energy = 'base'  # base: eq. 2, albedo: eq. 3 by the decoders alone, joint: the sum of both
    config.renderer = 'raytrace'  # vertex, raytrace or both: their sum
    config.domain = 'linear'  # [P] in which the photometric terms compare colours: linear or srgb
    config.samples = 8  # directions of light for each pixel of the ray tracer
    config.roughness = 0.4  # [P] the constant roughness's value is not given
    config.light_bands = 9

    # The paper writes E_ph and E_land as sums. Its weights make sense for means: E_ph is the mean over the counted
    # pixels or vertices of the L1 over linear RGB, E_land the mean distance of the landmarks in widths of the image;
    # the priors are sums over coefficients.
    config.loss = ConfigDict()
    config.loss.photo = 1.0  # over pixels, of the ray tracer
    config.loss.vertex = 1.0  # over vertices, of the vertex renderer
    config.loss.landmarks = 1.0  # alpha_1
    config.loss.identity = 0.002  # w_i
    config.loss.albedo = 0.01  # w_c
    config.loss.expression = 0.0
    config.loss.box = 1.0
    config.loss.light = 0.0
    config.loss.exposure = 0.0
    # Eq. 3, sums over texels in the paper, means here.
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
    config.data.forehead = 0.0  # see `jfrecon.data.cropping.hull_mask`
    config.data.focal = 4.5  # of a photo whose focal length is unknown, in widths of the crop
    config.data.jitter = ConfigDict({'scale': 0.1, 'shift': 0.05, 'flip': 0.5, 'colour': 0.1})
    config.data.faces = 100_000  # synthetic ones

    config.start_from = placeholder(str)  # working directory of a run whose network this one begins with
    config.batch_size = 8
    config.epoch = 31_250  # steps: 250,000 images
    config.steps = 312_500  # without stages
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
        'loss': {'consistency_diffuse': 0.5 / 2**5, 'relax': 1.0},  # as far as five epochs have relaxed it
        'optimiser': {'groups': {'decoder': 1e-7}},
    })  # fmt: skip
    config.log_every = 100
    config.panels_every = 5_000
    config.checkpoint_every = 2_000
    config.max_skipped_in_a_row = 20

    if size == 'paper':
        return config

    config.renderer = 'vertex'
    config.network.backbone = 'small'
    config.network.latent = 256
    config.light_bands = 5
    # With a small network and little time the landmarks have to lead. The weights of photo, identity, albedo and
    # light were compared on the validation split, the others are first guesses.
    config.loss.photo = config.loss.vertex = 3.0
    in_proportion(config, config.loss.photo)
    config.loss.landmarks = 30.0
    config.loss.identity = 5e-3
    config.loss.albedo = 3e-4
    config.loss.expression = 1e-3
    config.loss.light = 3e-5
    config.loss.exposure = 0.01
    config.optimiser.learning_rate = 1e-3
    config.optimiser.schedule = 'cosine'
    config.optimiser.warmup_steps = 100
    config.optimiser.clip_norm = 1.0
    config.data.size = 64
    config.data.faces = 5_000
    config.data.jitter.update(scale=0.0, shift=0.0, colour=0.0)  # made faces vary in all of this already
    config.batch_size = 16
    config.network.texture = 64
    config.epoch = 300
    config.steps = 5_600
    config.stage.base.steps = 5_600
    # E learns by the vertex renderer first, which takes about a quarter of the time, and then sees the shadows: light
    # without them is too dim for the later stages, where E is fixed or slow.
    config.stages = ('base', 'traced', 'albedo', 'joint')
    config.stage.traced = ConfigDict({'steps': 500, 'renderer': 'raytrace', 'optimiser': {'learning_rate': 3e-4}})
    config.stage.albedo.update(steps=1_500, renderer='raytrace')
    config.stage.albedo.optimiser.learning_rate = 1e-3
    config.stage.joint.update(steps=1_000, renderer='raytrace')
    config.stage.joint.optimiser.update(learning_rate=2e-4, groups={'decoder': 2e-4})
    config.log_every = 50
    config.panels_every = 1_000
    config.checkpoint_every = 250
    if size == 'quicktest':
        config.data.size = 32
        config.data.faces = 16
        config.batch_size = 4
        config.network.texture = 16
        config.epoch = 2
        config.steps = 8
        for stage in config.stage.values():
            stage.steps = 8
            stage.renderer = 'vertex'  # compiles in seconds
        config.log_every = 1
        config.panels_every = 4
        config.checkpoint_every = 4
    return config
