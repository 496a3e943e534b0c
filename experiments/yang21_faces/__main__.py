"""What yang21's albedo and light maps are good for (its figures 5, 7 and 8), on synthetic people whose skins are known.

    python -m experiments.yang21_faces --run=runs/yang21/2_refine --out=runs/yang21_faces

*Mended*: people in profile, and frontal ones with the pose of the prior module put wrong, give an albedo that is whole;
its error in the texels that nobody saw, beside the prior's. *Expressions*: one person under one light with eight
expressions; how far the light maps agree, beside how far those of the same person under eight lights do. *Relit*:
people under each other's light and under natural lights. *Speed*: images a second at 224 pixels, the paper's networks.
`--photos=FOLDER` with a `landmarks.npz` draws what the network makes of photographs; they show people and are for
looking.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from configs import yang21 as configs
from experiments import drawing, harness, photographs, uv_maps
from jfrecon import commands, methods, morphable
from jfrecon.data import build, pipeline
from jfrecon.data.synthetic import generate, lighting, people, scenes, skins
from jfrecon.data.synthetic.dice import Dice
from jfrecon.data.synthetic.stages import Stage
from jfrecon.geometry import uv
from jfrecon.methods.yang21 import Yang21, relit
from jfrecon.reconstruction import prediction
from jfrecon.render import panel, surface
from jfrecon.shading import colour
from jfrecon.training import checkpoints
from jfrecon.types import Batch, FaceParameters

NAME = 'yang21_faces'
SEED = 60_001  # of people that no run has seen
COUNT = 8
PEOPLE = list(range(COUNT))
PROFILE = np.radians(65.0)
OFF = np.array([0.1, 0.3, 0.1])  # radians by which a pose is put wrong


@dataclasses.dataclass(frozen=True)
class Studio:
    """Synthetic people, to be photographed without glasses and whatever else may hide a face.

    Attributes:
      stage, worn: head and skins.
      config: of the network, which says how photographs are cropped.
    """

    stage: Stage
    worn: skins.Skins
    config: ConfigDict

    def scene(self, person: int) -> scenes.Scene:
        """A person looking ahead, with nothing in front of the face."""
        data, k = self.config.data, jnp.int32(person)
        view = generate.draw(self.stage, SEED, k, k, 1, data.focal, 1 / data.crop_scale)
        return view.replace(
            glasses=view.glasses.replace(worn=jnp.zeros(())),
            strands=view.strands.replace(width=jnp.zeros_like(view.strands.width)),
            backdrop=view.backdrop.replace(occluder=view.backdrop.occluder.at[6].set(0.0)),
            framing=view.framing.replace(angles=jnp.zeros(3)),
        )

    def shoot(self, views: list[scenes.Scene], people: list[int]) -> Batch:
        """Photographs of scenes, in the skins of the people in them."""
        worn = jax.tree.map(lambda leaf: leaf[jnp.array(people)], self.worn)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *views)
        shots = _shoot(self.stage, worn, stacked, self.config.data.size)
        return Batch(
            image=shots.image,
            landmarks=shots.landmarks,
            landmark_weight=jnp.ones(shots.landmarks.shape[:2]),
            mask=shots.face,
            camera=shots.camera,
            index=jnp.arange(len(views)),
        )


@functools.partial(jax.jit, static_argnums=3)
def _shoot(stage, worn, views, size):
    return jax.lax.map(lambda one: generate.shoot(stage, one[0], one[1], size), (worn, views))


def main(arguments: list[str] | None = None) -> None:
    """Photograph synthetic people, reconstruct them, measure and draw."""
    parser = harness.parser(NAME, main.__doc__ or '')
    parser.add_argument('--run', type=Path, default=Path('runs/yang21/2_refine'), help='a trained second stage')
    parser.add_argument('--photos', type=Path, help='folder with photographs and a landmarks.npz')
    options = parser.parse_args(arguments)
    harness.need(options.run, 'a run of configs/yang21.py')
    run = harness.start(NAME, options.out, options.overwrite)
    found, _, params, state = checkpoints.load(options.run)
    config = ConfigDict(found)
    method = methods.build(config)
    assert isinstance(method, Yang21)
    stage = generate.prepare(morphable.load_head(config.model.name, config.model.path))
    studio = Studio(stage, skins.paint(stage, SEED, COUNT, generate.TEXTURE), config)
    ask = jax.jit(lambda image, camera: method.predict(params, state, image, camera))
    mend = jax.jit(lambda chi, image, camera: method.refine(params, chi, image, camera))

    results = {
        **mended(method, ask, mend, studio, options.out),
        **expressions(method, ask, studio, options.out),
    }
    relighting(method, ask, studio, options.out)
    results['images a second'] = speed(options.quick)
    if options.photos:
        draw_photographs(options.run, options.photos, options.out)
    run.record(results, harness.table(results))


def mended(method: Yang21, ask, mend, studio: Studio, out: Path) -> dict[str, dict[str, float]]:
    """Albedo of profiles and of wrongly posed faces: errors after one gain, in texels seen and not."""
    side = studio.config.network.texture
    texels = uv.texel_map(method.model.topology, side)
    truth = uv_maps.painted(studio.worn, side)
    chart = np.asarray(texels.coverage) > 0
    frontal, turned_away = [studio.scene(k) for k in PEOPLE], []
    for k, view in enumerate(frontal):
        angles = jnp.array([0.0, (-1) ** k * PROFILE, 0.0])
        turned_away.append(view.replace(framing=view.framing.replace(angles=angles)))
    ahead, profiles = (studio.shoot(views, PEOPLE) for views in (frontal, turned_away))
    right = ask(ahead.image, ahead.camera)
    wrong = dataclasses.replace(right, rotation=right.rotation + OFF, maps=None)
    cases = {
        'frontal': (ahead, right),
        'profile': (profiles, ask(profiles.image, profiles.camera)),
        'wrongly posed': (ahead, mend(wrong, ahead.image, ahead.camera)),
    }
    rows, results = [], {}
    for name, (batch, chi) in cases.items():
        texture, shown = map(np.asarray, uv_maps.unwrapped(method.model, chi, batch.camera, batch.image, texels))
        prior = np.asarray(surface.prior_maps(method.model, texels, chi.albedo).diffuse)
        albedo = np.asarray(chi.maps.diffuse)
        linear = np.asarray(colour.srgb_to_linear(jnp.asarray(texture)))
        scores = []
        for k in range(COUNT):
            skin = chart & (truth[k].sum(-1) > 0)
            errors = {'seen': skin * shown[k], 'unseen': skin * (1 - shown[k])}
            row = {f'albedo, {where}': uv_maps.apart(albedo[k], truth[k], weight) for where, weight in errors.items()}
            row |= {f'prior, {where}': uv_maps.apart(prior[k], truth[k], weight) for where, weight in errors.items()}
            row['texture, seen'] = uv_maps.apart(linear[k], truth[k], errors['seen'])
            row['share unseen'] = float(errors['unseen'].sum() / skin.sum())
            scores.append(row)
        results[name] = {score: float(np.nanmean([row[score] for row in scores])) for score in scores[0]}
        maps = [texture * shown[..., None], *(drawing.srgb(x) * chart[..., None] for x in (prior, albedo, truth))]
        tiles = [enlarged(np.asarray(batch.image)), *map(enlarged, maps)]
        rows.append(np.concatenate(tiles, 2)[:3])
    drawing.save(out / 'mended.jpg', np.concatenate(rows))
    return results


def expressions(method: Yang21, ask, studio: Studio, out: Path) -> dict[str, dict[str, float]]:
    """How far light maps of one person agree: under one light with many expressions, and under many lights."""
    first, model = studio.scene(0), studio.stage.model
    talking, lit = [], []
    for k in PEOPLE:
        other = people.sample(model, Dice(jax.random.key(SEED)), Dice(jax.random.key(k)))
        talking.append(first.replace(person=first.person.replace(expression=other.expression)))
        lit.append(first.replace(lamps=studio.scene(k).lamps))
    chart = np.asarray(method.atlas.texels.coverage) > 0
    results, rows = {}, []
    for name, views in (('expressions', talking), ('lights', lit)):
        batch = studio.shoot(views, [0] * COUNT)
        chi = ask(batch.image, batch.camera)
        results[f'one person, eight {name}'] = {
            'light maps apart': spread(np.asarray(chi.maps.light)[:, chart]),
            'coarse lights apart': spread(np.asarray(chi.light)[:, None]),
        }
        grey = dataclasses.replace(chi.maps, diffuse=jnp.full_like(chi.maps.diffuse, panel.CLAY))
        shading = dataclasses.replace(chi, maps=grey)
        rows += [np.asarray(batch.image), *(rendered(method, face, batch) for face in (chi, shading))]
    drawing.save(out / 'expressions.jpg', np.stack([np.concatenate(enlarged(row), 1) for row in rows]))
    return results


def spread(lights: np.ndarray) -> float:
    """Mean difference of lights [N, T, L², 3] from one another, over their mean length."""
    first, second = np.triu_indices(len(lights), 1)
    length = lambda values: np.sqrt(np.square(values).sum((-2, -1))).mean()
    return float(length(lights[first] - lights[second]) / length(lights))


def relighting(method: Yang21, ask, studio: Studio, out: Path) -> None:
    """Photograph, own rendering, under the light map of another, under six natural lights that no photograph has."""
    batch = studio.shoot([studio.scene(k) for k in PEOPLE], PEOPLE)
    chi = ask(batch.image, batch.camera)
    columns = [np.asarray(batch.image), *(rendered(method, face, batch) for face in (chi, drawing.crossed(chi)))]
    for k in range(6):
        light = lighting.harmonics(studio.scene(COUNT + k).lamps)[: chi.light.shape[1]]
        light = jnp.broadcast_to(light, chi.light.shape)
        columns.append(rendered(method, under(chi, light), batch))
    drawing.save(out / 'relit.jpg', np.concatenate([enlarged(column) for column in columns], 2))


def rendered(method: Yang21, chi: FaceParameters, batch: Batch) -> np.ndarray:
    """sRGB in 0..1 [B, H, W, 3]."""
    return drawing.rendered(method.model, chi, batch.camera, batch.image.shape[1:3])[0]


def under(chi: FaceParameters, light: jax.Array) -> FaceParameters:
    """A face under light [B, L², 3], the same everywhere."""
    return dataclasses.replace(chi, light=light, maps=relit(chi.maps, None))


def speed(quick: bool) -> dict[str, float]:
    """Images a second of the paper's networks at the paper's size, by batch; medians of five."""
    config = configs.get_config('quicktest' if quick else 'paper')
    config.loss.perceptual = config.loss.cross = 0.0
    config.energy = 'refine'
    method = methods.build(config)
    params, state = method.init(jax.random.key(0))
    found = {}
    for count in (1, 8):
        size = config.data.size
        image = np.random.default_rng(0).random((count, size, size, 3), np.float32)
        camera = jax.tree.map(lambda leaf: np.stack([leaf] * count), build.default_camera(config))  # noqa: B023
        run = jax.jit(method.predict)
        jax.block_until_ready(run(params, state, image, camera))
        taken = []
        for _ in range(5):
            started = time.perf_counter()
            jax.block_until_ready(run(params, state, image, camera))
            taken.append(time.perf_counter() - started)
        found[f'batch {count}'] = count / float(np.median(taken))
    return found


def draw_photographs(workdir: Path, folder: Path, out: Path) -> None:
    """Rows of pictures of photographs: input, overlay, re-rendering, shading, normals, albedo, light."""
    predictor = prediction.load(workdir)[0]
    source = photographs.in_folder(folder)
    batches = photographs.crops(predictor, source, pipeline.landmark_box(predictor.crop_scale))
    _, pictures = photographs.look(predictor, batches, 'photographs', panel.MATTE)
    drawing.save(out / 'photographs.png', pictures)


def enlarged(pictures: np.ndarray) -> np.ndarray:
    """Pictures [N, S, S, 3] at 96 pixels."""
    return np.asarray(jax.image.resize(jnp.asarray(pictures), (len(pictures), 96, 96, 3), 'linear')).clip(0, 1)


if __name__ == '__main__':
    commands.run(main)
