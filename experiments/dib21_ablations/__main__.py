"""What dib21 compares in its figure 4 and supplement, against ground truth.

    python -m experiments.dib21_ablations --out=runs/dib21_ablations

Nine variants on MakeHuman, three seeds each, in the stages of `configs/dib21.py`. `--size=cpu`, the default, is for
two CPU cores, `--size=paper` the paper's run, for GPUs (with `--data=SHARDS` of photographs and `--weights=FILE`),
`--quick` shows that it runs. A run that was stopped goes on.
"""

from __future__ import annotations

from configs import dib21
from experiments import ablations
from jfrecon import commands

NAME = 'dib21_ablations'
METRICS = (
    'vertex_error_mm', 'normal_error_rad', 'final_ssim', 'final_psnr', 'diffuse_ssim', 'diffuse_psnr', 'specular_psnr',
    'light_error',
)  # fmt: skip
# What the paper reports of each.
VARIANTS = {
    'reference': '1.81 mm, 0.148 rad on 23 images; Emily: final 0.933 / 35.9, diffuse 0.653 / 29.5, specular 29.3',
    'bands3': 'figure 4, I: loses shadows and highlights',
    'bands7': 'between the two',
    'one_decoder': 'figure 4, II: mixes diffuse and specular',
    'unregularised': 'figure 4, III: bakes shadows into the albedo',
    'not_joint': 'figure 4, IV: worse geometry',
    'vertex': 'figure 4, V: bakes shadows, for it has none',
    'both': '',
    'samples16': 'as good as 8',
    'samples32': 'as good as 8',
}
# On cores the vertex renderer begins for all, which takes a quarter of the time. Before there are decoders, what these
# are does not matter, nor how many samples a renderer takes that has none: so set, all variants with the same light
# share that beginning.
ENCODER = {'network': {'texture': 0, 'decoders': 2}}
VERTEX = {'renderer': 'vertex', 'samples': 8, **ENCODER}
STAGE = {
    'quick': {
        'base': {'steps': 50, **VERTEX},
        'albedo': {'steps': 25},
        'joint': {'steps': 25},
    },
    'cpu': {
        'base': {'steps': 1_200, **VERTEX},
        'traced': {'steps': 100, **ENCODER},
        'albedo': {'steps': 120},
        'joint': {'steps': 60},
    },
}
ABLATION = ablations.Ablation(
    name=NAME,
    method=dib21.get_config,
    always=('bands9', 'raytrace'),  # the paper's light and renderer in all stages
    variants=VARIANTS,
    metrics=METRICS,
    stage=STAGE,
    relaxed='albedo',
)


def main(arguments: list[str] | None = None) -> None:
    """Train and score the variants of dib21."""
    ABLATION.run(ablations.parser(NAME, main.__doc__ or '').parse_args(arguments))


if __name__ == '__main__':
    commands.run(main)
