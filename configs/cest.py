"""cest: Self-Supervised 3D Face Reconstruction via Conditional Estimation (Wen et al., ICCV 2021).

    python -m jfrecon.main --config=configs/cest.py --config.data.source=shards --config.data.path=CLIPS

Four factors, each a network that sees what ``config.factors`` says: the paper's order, others as changes, and any that
has no cycle. CLIPS are what `python -m jfrecon.prepare VIDEOS --out=CLIPS` makes.

Hardware: not told. The paper trained on VoxCeleb1, 32 clips of 4 frames a step, for 50,000 steps; `:single` is its
second model, on the single images of 300W-LP, for 20,000. `:cpu` is for two CPU cores and synthetic clips; `:quicktest`
takes minutes, most of them to compile.
Expected: the paper reports an NME of 3.37% on AFLW2000-3D and of 3.14% on MICC, dense and after ICP. Of `:paper`
nothing has been measured here. `:cpu` after 600 steps: landmark NME 0.094, 4.67 mm on synthetic clips
(experiments/cest_ablations).

Changes are added to a size with a plus, as in `:cpu+iest`, or stand alone, as in `:iest`; see `CHANGES` and `ORDERS`.
"""

from __future__ import annotations

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import variants

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
# What a frame is rebuilt with, by the change that says so.
RECONSTRUCTIONS = {
    'single': ('own', 'mirrored'),
    'symmetry': ('own', 'mirrored'),
    'full': ('every',),
    'consistency': ('other',),
    'mirrored_other': ('other', 'mirrored_other'),
    'unconstrained': ('own',),
}


def get_config(variant: str = 'paper') -> ConfigDict:
    size, changes = variants.taken_apart(variant, 'configs/cest.py', CHANGES)
    config = {'paper': _paper, 'cpu': _cpu, 'quicktest': _quicktest}[size]()
    for change in changes:
        if change in ORDERS:
            config.factors = ConfigDict(ORDERS[change])
        elif change in RECONSTRUCTIONS:
            config.reconstructions = RECONSTRUCTIONS[change]
            if change in ('single', 'symmetry'):
                config.data.frames = 1
            if change == 'single' and size == 'paper':
                config.data.source, config.data.path, config.steps = 'tfds', 'the300w_lp', 20_000
        elif change.startswith('frames'):
            config.data.frames = int(change.removeprefix('frames'))
        elif change == 'rgb':
            config.light_colour = 'rgb'
        elif change == 'pinhole':
            config.perspective = True
        else:
            config.renderer = change
    return config


def _paper() -> ConfigDict:
    config = ConfigDict()
    config.method = 'cest'
    config.seed = 0

    config.model = ConfigDict()
    config.model.name = 'makehuman'  # gnm, ict, basel2009, basel2017, basel2019, flame: with a path
    config.model.path = placeholder(str)
    config.model.identity = 199  # at most; the Basel model has 199 and 29, MakeHuman 80 and 52
    config.model.expression = 75

    config.factors = ConfigDict(ORDERS['cest'])
    config.reconstructions = ('other', 'mirrored')  # R_j and the flip of R_i in eq. 8, as far as it can be read
    config.perspective = False  # whether the camera is the photograph's pinhole

    config.network = ConfigDict()
    config.network.backbone = 'resnet18'  # [P] the appendix that describes the networks is not in hand
    config.network.unet = 'vgg16'  # backbone of f_r; small
    config.network.latent = 512
    config.network.dtype = 'float32'  # of the arithmetic; bfloat16, float16
    config.network.fill = 0.55  # share of the crop's width that the face fills at the start
    config.network.texture = 256  # [P] texels of the side of the albedo; not given
    config.network.scales = ConfigDict({'expression': 0.5, 'light': 4.0})  # a group learns faster by its scale

    config.renderer = 'raster'  # vertex, raytrace, both: the sum of vertex and raytrace
    config.domain = 'linear'  # [P] in which the photometric terms compare colours: linear or srgb
    config.samples = 8  # directions of light for each pixel, where the ray tracer is asked for
    config.roughness = 0.4  # of the specular lobe, if a factor gives one, and of exported faces
    config.light_bands = 3
    config.light_colour = 'white'  # or rgb
    config.solve_light = False  # whether predictions have the light that explains the photograph best

    # [P] lambda_1 = 1 and lambda_2 = 0.1 go with sums or means that the text does not tell apart. Here E is a mean over
    # pixels of the L1 over RGB, L_kp the mean L1 of landmarks in widths of the crop, hence in pixels times 256, and
    # L_rg a sum over coefficients in standard deviations, hence a mean over 228 of them.
    config.loss = ConfigDict()
    config.loss.photo = 1.0  # over pixels, of the rasteriser or the ray tracer
    config.loss.vertex = 1.0  # over vertices, of the vertex renderer
    config.loss.landmarks = 256.0
    config.loss.identity = 0.1 / 228
    config.loss.expression = 0.1 / 228
    config.loss.box = 1.0  # of activations in 0..1, as MakeHuman's are; Gaussian bases have no such term
    config.loss.light = 0.0
    config.loss.exposure = 0.01  # [P] without it albedo and light are known up to a factor only

    config.optimiser = ConfigDict()
    config.optimiser.name = 'adam'
    config.optimiser.learning_rate = 1e-3
    config.optimiser.schedule = 'constant'
    config.optimiser.warmup_steps = 0
    config.optimiser.clip_norm = 0.0  # 0: not clipped
    config.optimiser.groups = ConfigDict()  # own learning rates, by factor; 0: fixed

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
    config.data.held_out = 0.0  # share of persons, or images, whose loss is logged as validation_loss
    config.data.focal = 4.5  # of a photo whose focal length is unknown, in widths of the crop
    # White light cannot explain frames whose white differs.
    config.data.jitter = ConfigDict({'scale': 0.1, 'shift': 0.05, 'flip': 0.5, 'colour': 0.0})
    config.data.faces = 100_000  # synthetic ones
    config.data.frames = 4  # of one person that stand together in a batch

    config.start_from = placeholder(str)  # working directory of a run whose network this one begins with
    config.batch_size = 128
    config.steps = 50_000
    config.stages = ()  # in one
    config.stage = ConfigDict()
    config.epochs = 0.0  # not 0: steps and epoch follow from the number of images
    config.log_every = 100
    config.panels_every = 5_000
    config.checkpoint_every = 2_000
    config.keep_checkpoints = 3  # the latest
    config.keep_checkpoints_every = 0  # those at its multiples stay for good; 0: none does
    config.max_skipped_in_a_row = 20
    return config


def _cpu() -> ConfigDict:
    """`_paper`, but for two CPU cores and synthetic clips of 64 pixels."""
    config = _paper()
    config.network.backbone = 'small'
    config.network.unet = 'small'
    config.network.latent = 256
    config.network.texture = 64
    # With small networks and little time the landmarks have to lead.
    config.loss.photo = 3.0
    config.loss.vertex = 3.0
    config.loss.landmarks = 30.0
    config.loss.identity = 5e-3
    config.loss.expression = 1e-3
    config.optimiser.schedule = 'cosine'
    config.optimiser.warmup_steps = 100
    config.optimiser.clip_norm = 1.0
    config.data.size = 64
    config.data.faces = 5_000
    config.data.jitter.update(scale=0.0, shift=0.0)  # made faces vary in this already
    config.batch_size = 16
    config.steps = 6_000
    config.log_every = 50
    config.panels_every = 1_000
    config.checkpoint_every = 250
    return config


def _quicktest() -> ConfigDict:
    """`_cpu`, but that it only shows that it runs: in eight steps."""
    config = _cpu()
    config.network.texture = 16
    config.data.size = 32
    config.data.faces = 16
    config.batch_size = 8
    config.steps = 8
    config.log_every = 1
    config.panels_every = 4
    config.checkpoint_every = 4
    return config
