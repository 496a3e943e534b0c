"""cest: Self-Supervised 3D Face Reconstruction via Conditional Estimation (Wen et al., ICCV 2021).

    python -m jfrecon.main --config=configs/cest.py --config.data.source=shards --config.data.path=CLIPS

Four factors, each a network that sees what ``config.factors`` says: the paper's order, others as changes, and any that
has no cycle. The paper trained on VoxCeleb1, 32 clips of 4 frames a step, for 50,000 steps; `:single` is its second
model, on the single images of 300W-LP, for 20,000. CLIPS are what `python -m jfrecon.prepare VIDEOS --out=CLIPS` makes.

Variants: `:cpu` is for two CPU cores and synthetic clips; `:quicktest` takes minutes, most of them to compile. Changes
are added with a plus, as in `:cpu+iest`, or stand alone, as in `:iest`; see `CHANGES` and `ORDERS`.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import dib21

FACTORS = ('viewpoint', 'shape', 'reflectance', 'light')
#: What each factor sees: the paper's, and others.
ORDERS = {
    'cest': {'viewpoint': (), 'shape': ('viewpoint',), 'reflectance': ('viewpoint', 'shape'),
             'light': ('viewpoint', 'shape', 'reflectance')},
    'iest': {name: () for name in FACTORS},
    'light_first': {'light': (), 'viewpoint': ('light',), 'shape': ('light', 'viewpoint'),
                    'reflectance': ('light', 'viewpoint', 'shape')},
    'light_before_reflectance': {'viewpoint': (), 'shape': ('viewpoint',), 'light': ('viewpoint', 'shape'),
                                 'reflectance': ('viewpoint', 'shape', 'light')},
    'shape_first': {'shape': (), 'viewpoint': ('shape',), 'reflectance': ('viewpoint', 'shape'),
                    'light': ('viewpoint', 'shape', 'reflectance')},
    'light_alone': {'viewpoint': (), 'shape': ('viewpoint',), 'reflectance': ('viewpoint', 'shape'), 'light': ()},
    'appearance_first': {'reflectance': (), 'light': ('reflectance',), 'viewpoint': ('reflectance', 'light'),
                         'shape': ('reflectance', 'light', 'viewpoint')},
    'expression_last': {'viewpoint': (), 'identity': ('viewpoint',), 'expression': ('viewpoint', 'identity'),
                        'reflectance': ('viewpoint', 'identity', 'expression'),
                        'light': ('viewpoint', 'identity', 'expression', 'reflectance')},
}  # fmt: skip
CHANGES = {
    **{name: f'the order {name}' for name in ORDERS},
    'single': 'single images in place of clips: 300W-LP at the size of the paper',
    'frames2': 'clips of two frames', 'frames8': 'clips of eight',
    'full': 'all pairs of frames (eq. 7) in place of random ones (eq. 8)',
    'consistency': 'without the mirrored albedo', 'symmetry': 'with the mirrored albedo of single images alone',
    'mirrored_other': 'the mirrored albedo is the other frame\'s',
    'unconstrained': 'each frame by its own albedo only',
    'vertex': 'the vertex renderer', 'raytrace': 'the ray tracer',
    'rgb': 'light of any colour in place of white',
    'pinhole': "the photograph's camera in place of weak perspective",
}  # fmt: skip


def get_config(variant: str = 'paper') -> ConfigDict:
    size, changes = dib21.taken_apart(variant, 'configs/cest.py', CHANGES)
    config = _sized(size)
    for change in changes:
        if change in ORDERS:
            config.factors = ConfigDict(ORDERS[change])
        elif change in ('single', 'symmetry'):
            config.data.frames = 1
            config.reconstructions = ('own', 'mirrored')
            if size == 'paper' and change == 'single':
                config.data.source, config.data.path, config.steps = 'tfds', 'the300w_lp', 20_000
        elif change.startswith('frames'):
            config.data.frames = int(change.removeprefix('frames'))
        elif change == 'full':
            config.reconstructions = ('every',)
        elif change == 'consistency':
            config.reconstructions = ('other',)
        elif change == 'mirrored_other':
            config.reconstructions = ('other', 'mirrored_other')
        elif change == 'unconstrained':
            config.reconstructions = ('own',)
        elif change == 'rgb':
            config.light_colour = 'rgb'
        elif change == 'pinhole':
            config.perspective = True
        else:
            config.renderer = change
    return config


def _sized(size: str) -> ConfigDict:
    config = dib21.get_config(f'{size}+base')
    config.method = 'cest'
    with config.unlocked():
        del config.energy, config.network.weights, config.network.decoders, config.epoch
        for name in (*dib21.MAP_TERMS, 'relax', 'albedo'):
            if name in config.loss:
                del config.loss[name]
        config.factors = ConfigDict(ORDERS['cest'])
        config.reconstructions = ('other', 'mirrored')  # R_j and the flip of R_i in eq. 8, as far as it can be read
        config.perspective = False
        config.data.frames = 4
        config.network.unet = 'vgg16'  # backbone of f_r
    config.model.identity = 199
    config.model.expression = 75  # the Basel model has 199 and 29, MakeHuman 80 and 52
    config.model.albedo = 0
    config.renderer = 'raster'
    config.light_bands = 3
    with config.unlocked():
        config.light_colour = 'white'  # or rgb
    config.network.backbone = 'resnet18'  # [P] the appendix that describes the networks is not in hand
    config.network.latent = 512
    config.network.texture = 256  # [P] not given
    # [P] lambda_1 = 1 and lambda_2 = 0.1 go with sums or means that the text does not tell apart. Here E is a mean over
    # pixels of the L1 over RGB, L_kp the mean L1 of landmarks in widths of the crop, hence in pixels times 256, and
    # L_rg a sum over coefficients in standard deviations, hence a mean over 228 of them.
    config.loss.photo = config.loss.vertex = 1.0
    config.loss.landmarks = 256.0
    config.loss.identity = config.loss.expression = 0.1 / 228
    config.loss.box = 1.0  # of activations that live in 0..1, as MakeHuman's do
    config.loss.light = 0.0
    config.loss.exposure = 0.01  # [P] without it albedo and light are known up to a factor only
    config.optimiser.learning_rate = 1e-3
    config.data.jitter.update(colour=0.0)  # white light cannot explain frames whose white differs
    config.batch_size = 128
    config.steps = 50_000
    if size == 'paper':
        return config

    config.network.backbone = 'small'
    config.network.unet = 'small'
    config.network.latent = 256
    config.network.texture = 64
    config.loss.photo = config.loss.vertex = 3.0
    config.loss.landmarks = 30.0
    config.loss.identity = 5e-3
    config.loss.expression = 1e-3
    config.batch_size = 16
    config.steps = 6_000
    if size == 'quicktest':
        config.data.faces = 16
        config.network.texture = 16
        config.batch_size = 8
        config.steps = 8
    return config
