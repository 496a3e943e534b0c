"""The data term: a face against its photograph, by one of the renderers or by two."""

from __future__ import annotations

import dataclasses

import jax

from jfrecon.geometry import cameras
from jfrecon.losses import energies
from jfrecon.render import raytrace, sampling, surface
from jfrecon.render.sampling import Sampler
from jfrecon.types import Array, Batch, Fragments, Maps, MorphableModel

#: The photometric terms of each renderer; 'both' are ray tracer and vertex renderer.
RENDERERS = {'vertex': ('vertex',), 'raster': ('photo',), 'raytrace': ('photo',), 'both': ('vertex', 'photo')}
TRACED = ('raytrace', 'both')


@dataclasses.dataclass(frozen=True)
class DataTerm:
    """E_ph over pixels (dib21 eq. 2, s2f2 eq. 3, cest eq. 6) and over vertices (dib21 eq. 7, s2f2 eq. 4).

    Over pixels it is that of the ray tracer or, without shadows, that of the rasteriser: each pixel's surface point,
    shaded by itself, against the photograph where the point lies. That is the pixel's centre, but the point moves with
    the face, so the shape has a gradient, if none at the silhouette.

    Attributes:
      model: the morphable model.
      leaves: [L, K] order of the ray tracer's tree, see `jfrecon.render.tree`.
      places: [V, 2] texture coordinates of the vertices.
      renderer: one of `RENDERERS`.
      samples: directions of light that the ray tracer draws for each pixel.
      roughness: of the specular lobe.
      domain: in which colours are compared, see `jfrecon.losses.energies.vertex_photometric`.
      sampler: draws the directions, see `jfrecon.render.sampling`.
    """

    model: MorphableModel
    leaves: Array
    places: Array
    renderer: str
    samples: int
    roughness: float
    domain: str = 'linear'
    sampler: Sampler = sampling.by_radiance

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the terms that it gives."""
        return RENDERERS[self.renderer]

    def __call__(
        self,
        face: surface.Surface,
        light: jax.Array,
        batch: Batch,
        key: jax.Array,
        maps: Maps | None = None,
        fragments: Fragments | None = None,
    ) -> dict[str, jax.Array]:
        """'photo' [B], over pixels, and 'vertex' [B], over vertices, as far as the renderer has them.

        The face has the albedo of its vertices, or that, and the normals, of maps. fragments: the face's at the
        size of the photograph, where somebody has them already.
        """
        size = batch.image.shape[1:3]
        if self.renderer == 'raytrace':
            return {'photo': self._ray_traced(face, light, batch, key, maps)}
        fragments = surface.rasterise(self.model, face, size) if fragments is None else fragments
        if self.renderer == 'raster':
            return {'photo': self._rasterised(face, light, batch, maps, fragments)}
        seen_at_vertices = face if maps is None else surface.textured(self.model, face, maps, self.places)
        visible = surface.visible(self.model, face, fragments)
        radiance = surface.colours(seen_at_vertices, light, self.roughness)
        terms = {'vertex': energies.vertex_photometric(radiance, face.pixels, visible, batch, self.domain)}
        if self.renderer == 'both':
            terms['photo'] = self._ray_traced(face, light, batch, key, maps)
        return terms

    def _ray_traced(
        self, face: surface.Surface, light: jax.Array, batch: Batch, key: jax.Array, maps: Maps | None
    ) -> jax.Array:
        albedo = face if maps is None else maps
        scene = raytrace.Scene(
            vertices=face.vertices,
            topology=self.model.topology,
            leaves=self.leaves,
            diffuse=albedo.diffuse,
            specular=albedo.specular,
            light=light,
            camera=face.camera,
            roughness=self.roughness,
            normal_map=None if maps is None else maps.normal,
        )
        picture = raytrace.render(scene, batch.image.shape[1:3], key, samples=self.samples, sampler=self.sampler)
        return energies.pixel_photometric(picture.image, picture.coverage, batch, self.domain)

    def _rasterised(
        self, face: surface.Surface, light: jax.Array, batch: Batch, maps: Maps | None, fragments: Fragments
    ) -> jax.Array:
        drawn = surface.layers(self.model, face, light, maps, fragments, self.roughness)
        points, _ = surface.picture(self.model, fragments, face.vertices)
        pixels, _ = cameras.project(face.camera, points.reshape(len(points), -1, 3))
        pixels = pixels.reshape(*points.shape[:-1], 2)
        return energies.pixel_photometric(drawn.radiance, drawn.coverage, batch, self.domain, pixels)
