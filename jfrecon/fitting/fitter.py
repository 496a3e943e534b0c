"""A face fitted to one photograph, or to several of the same person.

    landmarks     pose, shape and expression from the landmarks, then from landmarks and the outline (`outline`)
    coefficients  dib21's eq. 2, from the light that explains the photograph best (`lighting`): skin, light and pose by
                  the vertex renderer, then, where shades may say more of the identity, all of chi by the ray tracer
    skin          skin and light once more, by vertices with the shadows that the face throws on itself
    maps          what the morphable model does not span: albedo and relief in UV, and the light, under the regularisers
                  of dib21's eq. 3 and s2f2's eq. 6

In the last two stages shape and pose are fixed, and with them what each pixel sees and which share of the light reaches
it (`render.portraits`): their steps need neither rays nor a rasteriser.

Pixels that show something in front of the face (`occluders`) do not count: where there are many, the coefficients are
fitted once more without them, and no map is fitted to them. What they hide is symmetry's and smoothness' to fill.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jfrecon import morphable
from jfrecon.data.detection import skin
from jfrecon.fitting import black_and_white, gaze, identity, lighting, occluders, outline, start
from jfrecon.fitting.descent import Descent, Energy
from jfrecon.fitting.gaze import Gaze
from jfrecon.fitting.identity import Expected
from jfrecon.fitting.outline import Outline
from jfrecon.geometry import cameras, mesh, uv
from jfrecon.losses import energies, terms
from jfrecon.losses.data_term import DataTerm
from jfrecon.morphable import heads, linear
from jfrecon.render import portraits, surface, tree, vertex
from jfrecon.render.portraits import Portrait
from jfrecon.shading import brdf, colour, sh
from jfrecon.types import Batch, FaceParameters, Fragments, Maps, MorphableModel

Progress = Callable[[], None]

TEXTURE = 256  # texels of the side of a map
SAMPLES = 8  # directions of light for each pixel of the ray tracer
ROUGHNESS = 0.4  # of skin, as in `configs/dib21.py`
OUTLINES = 2  # how often the outline is looked for
AGAIN = 0.02  # of a face that is hidden by something within it, from which on coefficients are fitted again
ROW, ROWS = 128, 32  # pixels that count come in multiples of so many

# The image counts as in dib21's eq. 2, a mean over pixels. The regularisers of maps are as strong as they may be before
# skin, rather than eyes and the rim, is what the picture lacks most; looked at on three training portraits. The
# relief is so smooth that a low sun does not break up on it; looked at on scikit-image's astronaut.
WEIGHTS: Mapping[str, float] = {
    'photo': 1.0, 'vertex': 1.0, 'landmarks': 5.0, 'outline': 2.5, 'gaze': 2.0,
    'identity': 5e-4, 'albedo': 3e-4, 'expression': 1.5e-2, 'box': 1.0, 'light': 1e-5, 'hue': 1e-3, 'exposure': 0.05,
    'symmetry': 2.0, 'consistency_diffuse': 0.5, 'consistency_specular': 0.5, 'smoothness': 0.1, 'albedo_box': 1.0,
    'smoothness_normal': 1.0, 'symmetry_normal': 0.0, 'consistency_normal': 0.05, 'behind': 0.01,
}  # fmt: skip

LANDMARK_RATES = FaceParameters(identity=0.05, expression=0.02, albedo=0.0, rotation=0.01, translation=2.0, light=0.0)
# By vertices, without shadows, shape explains shades: of the heads in `experiments.real_heads` it came out worse.
VERTEX_RATES = FaceParameters(identity=0.0, expression=0.0, albedo=0.05, rotation=0.003, translation=0.5, light=0.02)
RATES = FaceParameters(identity=0.03, expression=0.01, albedo=0.05, rotation=0.003, translation=0.5, light=0.02)
SKIN_RATES = (0.1, 0.1)  # of albedo and light
MAP_RATES = (Maps(diffuse=0.01, specular=0.005, normal=0.02, behind=0.01), 0.01)
MAPS = ('diffuse', 'specular', 'normal', 'behind')
FREEZABLE = ('diffuse', 'specular', 'normal', 'light')


@struct.dataclass
class Sight:
    """What does not change while maps are fitted: the K pixels of each image that count, as a picture [B, h, w, ...].

    Attributes:
      face: the portrait's posed surface.
      fragments: what a pixel sees of it.
      arriving: [B, h, w, 3] share of the irradiance that arrives there.
      wanted: [B, h, w, 3] the photograph, linear.
      weight: [B, h, w] 1; 0 where there are more places than pixels.
    """

    face: surface.Surface
    fragments: Fragments
    arriving: jax.Array
    wanted: jax.Array
    weight: jax.Array


@struct.dataclass
class Transfer:
    """How the V vertices of faces answer to light, and what photographs show of them.

    Attributes:
      irradiance: [B, V, L²] over pi, under each harmonic of unit amplitude, with shadows.
      gloss: [B, V, L²] of the specular lobe.
      wanted: [B, V, 3] the photograph, linear.
      weight: [B, V] 1 where a vertex is visible and counts.
      grey: [B] bool: the photograph is black and white.
    """

    irradiance: jax.Array
    gloss: jax.Array
    wanted: jax.Array
    weight: jax.Array
    grey: jax.Array


class Known(NamedTuple):
    """What the stages of landmarks and coefficients know of B photographs of one person; leaves [B, ...].

    Attributes:
      batch: crops, landmarks, masks and cameras.
      expected: distribution of the identity, not batched.
      outline: edges of the face.
      gaze: directions of the eyes.
    """

    batch: Batch
    expected: Expected
    outline: Outline
    gaze: Gaze


@dataclasses.dataclass(frozen=True)
class Fitter:
    """A morphable model, ready to be fitted to crops of photographs.

    Attributes:
      model: the morphable model; ``portrait``: the same with eyes and teeth, for pictures.
      vertex, traced: its two renderers.
      atlas: of the maps.
      bands: of the light.
      steps: of the stages.
      weights: of the terms.
      frozen: what the last stage leaves as it is, of `FREEZABLE`.
    """

    model: MorphableModel
    portrait: Portrait
    vertex: DataTerm
    traced: DataTerm
    atlas: uv.Atlas
    bands: int
    steps: tuple[int, int, int, int, int] = (200, 150, 40, 300, 120)
    weights: Mapping[str, float] = dataclasses.field(default_factory=lambda: WEIGHTS)
    frozen: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: MorphableModel, filled: MorphableModel, bands: int = 9, texture: int = TEXTURE) -> Fitter:
        """For a morphable model, and the same with eyes and teeth. texture: texels of the side of a map."""
        leaves = [tree.order(np.asarray(m.mean), np.asarray(m.topology.triangles)) for m in (model, filled)]
        places = uv.of_vertices(model.topology, len(model.mean))
        term = lambda renderer: DataTerm(model, leaves[0], places, renderer, SAMPLES, ROUGHNESS)
        atlas = uv.atlas(model.topology, np.asarray(model.mean), texture)
        portrait = Portrait(filled, leaves[1], ROUGHNESS)
        return cls(model, portrait, term('vertex'), term('raytrace'), atlas, bands)

    def upright(self, batch: Batch) -> FaceParameters:
        """The mean face at the pose that fits the landmarks best, under grey light; identity and albedo [1, ...]."""
        rows = []
        known = np.asarray(batch.landmark_weight)[..., None] > 0
        for k, points in enumerate(np.where(known, batch.landmarks, np.nan)):
            camera = jax.tree.map(lambda leaf, k=k: leaf[k : k + 1], batch.camera)
            rows.append(start.mean_face(self.model, points, camera, self.bands, batch.image.shape[-2]))
        chi = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *rows)
        return dataclasses.replace(chi, identity=chi.identity[:1], albedo=chi.albedo[:1])

    def __call__(
        self,
        batch: Batch,
        start: FaceParameters,
        progress: Progress | None = None,
        expected: Expected | None = None,
        looks: Gaze | None = None,
    ) -> FaceParameters:
        """Fit one person to all images of a batch.

        Args:
          batch: B crops with landmarks in pixels.
          start: where the fit begins; identity and albedo have leaves [1, ...], all others [B, ...].
          progress: called after each step.
          expected: prior distribution of the identity; None for the morphable model's own.
          looks: direction of the eyes in each image; None if unknown.

        Returns:
          The fitted parameters and maps, leaves [B, ...].
        """
        key = jax.random.key(0)
        start = _greyed(start, batch)
        if expected is None:
            expected = identity.anybody(start.identity.shape[-1])
        else:
            start = dataclasses.replace(start, identity=jnp.asarray(expected.mean)[None])
        count = len(batch.image)
        known = Known(batch, expected, outline.nothing(count), gaze.nothing(count) if looks is None else looks)
        placed = self._landmarks(start, known, key, progress)
        for _ in range(OUTLINES):
            known = known._replace(outline=self.outline(_each(placed, batch), batch))
            placed = self._landmarks(placed, known, key, progress)
        placed = self._lit(placed, batch)
        chi = self._coefficients(placed, known, key, progress)
        hidden, shown = self.hidden(_each(chi, batch), batch)
        if hidden.sum() > AGAIN * shown.sum():
            known = known._replace(batch=dataclasses.replace(batch, mask=np.asarray(batch.mask) * ~hidden))
            chi = self._coefficients(placed, known, key)
        if expected.shading:
            chi = self._ray_traced(chi, known, key, progress)
        elif progress is not None:
            for _ in range(self.steps[2]):
                progress()
        chi = self._reflecting(chi, known.batch, key, progress)
        return self._detailed(chi, batch, self._nothing(), key, progress)

    def go_on(self, batch: Batch, start: FaceParameters, progress: Progress | None = None) -> FaceParameters:
        """The last stage again, from a face with maps of the atlas' size; what is `frozen` stays as it is.

        start: identity, albedo and maps have leaves [1, ...], what differs from image to image [B, ...].
        """
        maps = start.maps
        assert maps is not None
        prior, nothing = surface.prior_maps(self.model, self.atlas.texels, jnp.asarray(start.albedo)), self._nothing()
        everybody = self._everybody(start)
        increments = Maps(
            maps.diffuse - prior.diffuse,
            maps.specular - prior.specular,
            nothing.normal if maps.normal is None else mesh.raw_relief(jnp.asarray(maps.normal)),
            nothing.behind if maps.behind is None else maps.behind - everybody,
        )
        return self._detailed(start, batch, increments, jax.random.key(0), progress)

    def _detailed(
        self, chi: FaceParameters, batch: Batch, increments: Maps, key: jax.Array, progress: Progress | None
    ) -> FaceParameters:
        chi = _greyed(dataclasses.replace(chi, maps=None), batch)
        maps = self._with(chi, increments, chi.light).maps
        assert maps is not None
        before = increments, maps
        known = chi, batch, self._sight(_each(chi, batch), batch), before
        increments, light = self._maps((increments, chi.light), known, key, progress)
        return _greyed(_each(self._with(chi, _hued(increments, batch, *before), light), batch), batch)

    def _nothing(self) -> Maps:
        size, behind = len(self.atlas.texels.triangle), len(self.portrait.model.mean) - len(self.model.mean)
        diffuse, specular, normal = (jnp.zeros((1, size, size, channels)) for channels in (3, 1, 3))
        return Maps(diffuse, specular, normal, jnp.zeros((1, behind, 3)))

    @property
    def total(self) -> int:
        """How often ``progress`` is called."""
        return sum(self.steps) + OUTLINES * self.steps[0]

    @functools.cached_property
    def _landmarks(self) -> Descent:
        def energy(chi: FaceParameters, known: Known, _: jax.Array) -> jax.Array:
            chi = _each(chi, known.batch)
            face = surface.posed(self.model, chi, known.batch.camera)
            return self._weighed({**self._placed(chi, face, known), **self._priors(chi, known.expected)})

        return Descent(energy, LANDMARK_RATES, self.steps[0])

    @functools.cached_property
    def _lit(self):
        """chi, but under the light that explains the photographs best by its shape and its skin."""

        @jax.jit
        def lit(chi: FaceParameters, batch: Batch) -> FaceParameters:
            every = _each(chi, batch)
            face = surface.posed(self.model, every, batch.camera)
            light = lighting.solved(self.model, face, every.light, batch.image, self.weights, ROUGHNESS)
            return _greyed(dataclasses.replace(chi, light=light), batch)

        return lit

    def _photographed(self, data: DataTerm) -> Energy:
        def energy(chi: FaceParameters, known: Known, key: jax.Array) -> jax.Array:
            batch, expected, *_ = known
            chi = _each(dataclasses.replace(chi, identity=expected.kept(chi.identity)), batch)
            face = surface.posed(self.model, chi, batch.camera)
            grey = black_and_white.found(batch.image)
            light, diffuse = (black_and_white.shown(values, grey) for values in (chi.light, face.diffuse))
            costs = data(dataclasses.replace(face, diffuse=diffuse), light, batch, key)
            return self._weighed({**costs, **self._placed(chi, face, known), **self._priors(chi, expected)})

        return energy

    @functools.cached_property
    def _coefficients(self) -> Descent:
        return Descent(self._photographed(self.vertex), VERTEX_RATES, self.steps[1])

    @functools.cached_property
    def _ray_traced(self) -> Descent:
        return Descent(self._photographed(self.traced), jax.tree.map(lambda rate: rate / 2, RATES), self.steps[2])

    @functools.cached_property
    def _skin(self) -> Descent:
        """Fit albedo coefficients [1, A] and light [B, L², 3] to visible vertices by their known transfer."""

        def energy(unknowns: tuple[jax.Array, jax.Array], known: Transfer, _: jax.Array) -> jax.Array:
            albedo, light = unknowns
            light = black_and_white.shown(light, known.grey)
            diffuse, specular = linear.albedo(self.model, jnp.broadcast_to(albedo, (len(light), albedo.shape[-1])))
            body = black_and_white.shown(diffuse, known.grey) * (known.irradiance @ light)
            radiance = brdf.blend(specular, body, known.gloss @ light)
            away = terms.photometric(radiance, known.wanted)
            costs = {
                'vertex': terms.masked_mean(away, known.weight, axis=-1),
                'albedo': jnp.sum(terms.prior(albedo), -1),
                'light': jnp.sum(jnp.square(light[:, 1:]), (-2, -1)),
                'hue': jnp.sum(jnp.square(light - jnp.mean(light, -1, keepdims=True)), (-2, -1)),
                'exposure': jnp.sum(jnp.square(light[:, 0] / sh.GREY - 1.0), -1),
            }
            return self._weighed(costs)

        return Descent(energy, SKIN_RATES, self.steps[3])

    def _reflecting(
        self, chi: FaceParameters, batch: Batch, key: jax.Array, progress: Progress | None = None
    ) -> FaceParameters:
        """Return chi with albedo and light fitted anew, from the mean albedo and white light, with self-shadowing."""
        known = self._transfer(_each(chi, batch), batch)
        white = jnp.zeros_like(chi.light).at[:, 0].set(sh.GREY)
        albedo, light = self._skin((jnp.zeros_like(chi.albedo), white), known, key, progress)
        return _greyed(dataclasses.replace(chi, albedo=albedo, light=light), batch)

    @functools.cached_property
    def _transfer(self):
        @jax.jit
        def transfer(chi: FaceParameters, batch: Batch) -> Transfer:
            count, bands = len(self.model.mean), sh.bands_of(chi.light)
            whole = surface.posed(self.portrait.model, chi, batch.camera)
            size = batch.image.shape[1:3]
            fragments = surface.rasterise(self.portrait.model, whole, size)
            irradiance, share = portraits.transfer(self.portrait, whole, fragments, bands)
            face = surface.posed(self.model, chi, batch.camera)
            visible = surface.visible(self.model, face, surface.rasterise(self.model, face, size))
            pixels = jnp.where(visible[..., None], face.pixels, 0.5)
            view = cameras.towards(face.camera, face.vertices)
            lobe = lambda harmonic: vertex.gloss(face.normals, view, harmonic[:, None], ROUGHNESS)[..., 0]
            gloss = jax.vmap(lobe, out_axes=-1)(jnp.eye(bands**2)) * share[:, :count, None]
            mask = uv.sample_image(jnp.asarray(batch.mask)[..., None], pixels)[..., 0]
            wanted = uv.sample_image(colour.srgb_to_linear(jnp.asarray(batch.image)), pixels)
            grey = black_and_white.found(batch.image)
            return Transfer(irradiance[:, :count], gloss, wanted, mask * visible, grey)

        return transfer

    def outline(self, chi: FaceParameters, batch: Batch) -> Outline:
        """Where the edges of faces are in their photographs, leaves [B, K, ...]; chi has leaves [B, ...]."""
        fragments, normals, view = (jax.tree.map(np.asarray, x) for x in self._rim(chi, batch))
        triangles, images = np.asarray(self.model.topology.triangles), np.asarray(batch.image)
        pictures = zip(images, fragments.triangle, fragments.barycentric, normals, view)
        edges = [outline.found(*picture, triangles, self._inner) for picture in pictures]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *edges)

    @functools.cached_property
    def _inner(self) -> np.ndarray:
        """[F] bool: triangles that are far enough from the border of the mesh."""
        away = outline.from_border(self.model.topology, np.asarray(self.model.mean))
        return (away[np.asarray(self.model.topology.triangles)] > outline.MARGIN).all(-1)

    @functools.cached_property
    def _rim(self):
        @jax.jit
        def rim(chi: FaceParameters, batch: Batch) -> tuple[Fragments, jax.Array, jax.Array]:
            face = surface.posed(self.model, chi, batch.camera)
            fragments = surface.rasterise(self.model, face, batch.image.shape[1:3])
            normals, _ = surface.picture(self.model, fragments, face.normals)
            view, _ = surface.picture(self.model, fragments, cameras.towards(face.camera, face.vertices))
            return fragments, normals, view

        return rim

    @functools.cached_property
    def _maps(self) -> Descent:
        def energy(unknowns: tuple[Maps, jax.Array], known, _: jax.Array) -> jax.Array:
            chi, batch, sight, before = known
            increments = _hued(unknowns[0], batch, *before)
            chi = _each(self._with(chi, increments, unknowns[1]), batch)
            grey = black_and_white.found(batch.image)
            light = black_and_white.shown(chi.light, grey)
            drawn = surface.layers(
                self.portrait.model, sight.face, light, chi.maps, sight.fragments, self.portrait.roughness
            )
            radiance = black_and_white.shown(drawn.radiance * sight.arriving, grey)
            prior = surface.prior_maps(self.model, self.atlas.texels, chi.albedo[:1])
            own = jax.tree.map(lambda leaf: leaf[:1], chi.maps)
            priors = energies.priors(chi, self.model)
            costs = {
                'photo': terms.masked_mean(terms.photometric(radiance, sight.wanted), sight.weight, axis=(-2, -1)),
                **energies.albedo_terms(own, prior, self.atlas.texels, self.atlas.mirror),
                **energies.relief_terms(own.normal, self.atlas.texels, self.atlas.mirror),
                **{name: priors[name] for name in ('light', 'exposure')},
                'behind': jnp.mean(jnp.sum(jnp.square(jnp.asarray(increments.behind)), -1), -1),
            }
            return self._weighed(costs)

        still = lambda name, rate: 0.0 if name in self.frozen else rate
        increments, light = MAP_RATES
        rates = Maps(**{name: still(name, getattr(increments, name)) for name in MAPS}), still('light', light)
        return Descent(energy, rates, self.steps[4])

    def hidden(self, chi: FaceParameters, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """The pixels in front of which something is, within faces without maps, and all pixels of the faces.

        Both are [B, H, W] bool; chi has leaves [B, ...].
        """
        _, fragments, _, drawn, _, landmarks = self._seen(chi, batch)
        shown = np.asarray((fragments.triangle >= 0) & (batch.mask > 0))
        return _within(drawn, batch, shown, landmarks), shown

    def _sight(self, chi: FaceParameters, batch: Batch) -> Sight:
        face, fragments, arriving, drawn, forehead, landmarks = self._seen(chi, batch)
        shown = np.asarray((fragments.triangle >= 0) & (batch.mask > 0))
        pictures = (np.asarray(x) for x in (drawn, batch.image, shown, forehead))
        at_rim = np.stack([occluders.at_rim(*picture) for picture in zip(*pictures)])
        counted = shown & ~at_rim & ~_within(drawn, batch, shown, landmarks)
        counted = counted.reshape(len(batch.image), -1)
        # as many rows as hold the fullest image: few shapes to compile for
        room = ROW * ROWS * max(1, -(-int(counted.sum(-1).max()) // (ROW * ROWS)))
        places = np.argsort(~counted, axis=-1, kind='stable')[:, :room]

        def kept(leaf):
            leaf = jnp.asarray(leaf)
            flat = leaf.reshape(*counted.shape, *leaf.shape[3:])
            index = places.reshape(*places.shape, *[1] * (flat.ndim - 2))
            return jnp.take_along_axis(flat, index, axis=1).reshape(len(flat), -1, ROW, *flat.shape[2:])

        overflow, fragments = fragments.overflow, dataclasses.replace(fragments, overflow=None)
        fragments = dataclasses.replace(jax.tree.map(kept, fragments), overflow=overflow)
        wanted = kept(colour.srgb_to_linear(jnp.asarray(batch.image)))
        weight = kept(counted.reshape(batch.mask.shape).astype(np.float32))
        return Sight(face, fragments, kept(arriving), wanted, weight)

    @functools.cached_property
    def _seen(self):
        model = self.portrait.model
        brows = linear.landmarks(self.model, jnp.asarray(self.model.mean))[17:27, 1]
        above = jnp.asarray(model.mean)[:, 1] > brows.mean()

        def seen(
            chi: FaceParameters, batch: Batch
        ) -> tuple[surface.Surface, Fragments, jax.Array, jax.Array, jax.Array, jax.Array]:
            size = batch.image.shape[1:3]
            face, drawn = portraits.draw(self.portrait, chi, batch.camera, size)
            fragments = surface.rasterise(model, face, size)
            forehead = above[jnp.asarray(model.topology.triangles)].all(-1)[fragments.triangle]
            radiance = black_and_white.shown(drawn.radiance, black_and_white.found(batch.image))
            known = jnp.asarray(batch.landmark_weight)[..., None] > 0
            landmarks = jnp.where(known, batch.landmarks, linear.landmarks(self.model, face.pixels))
            return face, fragments, drawn.arriving, colour.linear_to_srgb(radiance), forehead, landmarks

        return jax.jit(seen)

    def _everybody(self, chi: FaceParameters) -> jax.Array:
        """The albedo of eyes and teeth as the morphable model has it, [1, W, 3]."""
        return linear.albedo(self.portrait.model, jnp.asarray(chi.albedo))[0][:, len(self.model.mean) :]

    def _with(self, chi: FaceParameters, increments: Maps, light: jax.Array) -> FaceParameters:
        """chi with maps, leaves [1, ...]: the morphable model's albedo and the increments, and the relief."""
        prior = surface.prior_maps(self.model, self.atlas.texels, chi.albedo)
        assert increments.normal is not None and increments.behind is not None
        everybody = self._everybody(chi)
        maps = Maps(
            prior.diffuse + increments.diffuse,
            prior.specular + increments.specular,
            mesh.relief(increments.normal),
            everybody + increments.behind,
        )
        return dataclasses.replace(chi, maps=maps, light=light)

    @functools.cached_property
    def _irises(self) -> gaze.Bases | None:
        """None where no head is known around the portrait's face."""
        head = morphable.head_around(self.portrait.model)
        return None if head is None else heads.irises(head)

    def _placed(self, chi: FaceParameters, face: surface.Surface, known: Known) -> dict[str, jax.Array]:
        """How far landmarks, outlines and irises of faces are from where they should be, [B]."""
        batch, expected, edges, looks = known
        width = batch.image.shape[-2]
        landmarks = energies.landmark_distance(linear.landmarks(self.model, face.pixels), batch)
        found = {'landmarks': expected.landmarks * landmarks, 'outline': outline.distance(face.pixels, edges, width)}
        if self._irises is not None:
            found['gaze'] = gaze.distance(self.model, self._irises, chi, face, looks, width)
        return found

    def _priors(self, chi: FaceParameters, expected: Expected) -> dict[str, jax.Array]:
        """Those of `energies.priors`, of which identity's is about the expected one."""
        return {**energies.priors(chi, self.model), 'identity': expected.distance(chi.identity)}

    def _weighed(self, costs: Mapping[str, jax.Array]) -> jax.Array:
        return energies.weighed(costs, self.weights)[0]


def _within(drawn: jax.Array, batch: Batch, face: np.ndarray, landmarks: jax.Array) -> np.ndarray:
    """[B, H, W] what `occluders.within` finds in crops of a batch."""
    image = jnp.asarray(batch.image)
    count, height, width, _ = image.shape
    small = jax.image.resize(image, (count, skin.SIZE, skin.SIZE, 3), 'linear')
    shares = jax.image.resize(jnp.asarray(skin.probabilities(np.asarray(small))), (count, height, width), 'linear')
    pictures = (np.asarray(x) for x in (drawn, image, face, shares, landmarks))
    return np.stack([occluders.within(*picture) for picture in zip(*pictures)])


def _greyed(chi: FaceParameters, batch: Batch) -> FaceParameters:
    """The same face, under grey light where its photograph is black and white."""
    return dataclasses.replace(chi, light=black_and_white.shown(chi.light, black_and_white.found(batch.image)))


def _hued(increments: Maps, batch: Batch, before: Maps, maps: Maps) -> Maps:
    """Increments whose changes have the hue of the maps where all photographs of the person are black and white."""
    grey = jnp.all(black_and_white.found(batch.image))
    changed = {
        name: getattr(before, name)
        + black_and_white.hued(getattr(increments, name) - getattr(before, name), getattr(maps, name), grey)
        for name in ('diffuse', 'behind')
    }
    return dataclasses.replace(increments, **changed)


def _each(chi: FaceParameters, batch: Batch) -> FaceParameters:
    """What the images share, for each of them."""
    count = len(batch.image)
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape[1:])), chi)
