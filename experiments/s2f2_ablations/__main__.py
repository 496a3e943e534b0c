"""What s2f2 compares in its section 5, against ground truth.

    python -m experiments.s2f2_ablations --out=runs/s2f2_ablations

Variants on MakeHuman, three seeds each, in up to three stages (`configs/s2f2.py`); those that begin alike share their
first stages. `--size=cpu`, the default, is for two CPU cores, `--size=paper` the paper's run, for GPUs (with
`--data=SHARDS` of photographs, `--weights=FILE` and `--detail-weights=FILE`), `--quick` shows that it runs. A run
that was stopped goes on.
"""

from __future__ import annotations

from configs import s2f2
from experiments import ablations
from jfrecon import commands

NAME = 's2f2_ablations'
METRICS = (
    'vertex_error_mm', 'normal_error_rad', 'final_ssim', 'final_psnr', 'diffuse_ssim', 'diffuse_psnr', 'specular_psnr',
    'normal_map_mean', 'normal_map_under_20', 'light_error',
)  # fmt: skip
# What the paper reports of each; most of its numerals are lost in the text in hand.
VARIANTS = {
    'reference': '2.288 / 1.671 mm (mean, deviation) on 100 FaceScape subjects; SSIM highest of the three stages',
    'coarse': 'SSIM lowest',
    'medium': 'SSIM between the two',
    'raytrace': '2.831 / 1.782 mm: worse geometry at the mouth',
    'unregularised': 'figure 4 b: geometric detail baked into the albedo',
    'regularised_normals': 'section 7: fewer shadows in the relief, less detail',
    'specular_detail': '3.4: no substantial improvement',
}
ABLATION = ablations.Ablation(
    name=NAME,
    method=s2f2.get_config,
    always=(),  # the paper's pair of renderers in all stages
    variants=VARIANTS,
    metrics=METRICS,
    stage={
        'quick': {'coarse': {'steps': 50}, 'medium': {'steps': 25}, 'fine': {'steps': 25}},
        'cpu': {'coarse': {'steps': 1_000}, 'medium': {'steps': 200}, 'fine': {'steps': 200}},
    },
    relaxed='fine',
)


def main(arguments: list[str] | None = None) -> None:
    """Train and score the variants of s2f2."""
    ABLATION.run(ablations.parser(NAME, main.__doc__ or '').parse_args(arguments))


if __name__ == '__main__':
    commands.run(main)
