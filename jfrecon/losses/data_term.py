"""The data term: a face against its photograph, by the ray tracer, by the vertex renderer, or by both."""

from __future__ import annotations

import dataclasses

import jax

from jfrecon.losses import face as energies
from jfrecon.render import face as faces
from jfrecon.render import raytrace
from jfrecon.types import Array, Batch, Maps, MorphableModel

RENDERERS = ('vertex', 'raytrace', 'both')


@dataclasses.dataclass(frozen=True)
class DataTerm:
    """E_ph over pixels (dib21 eq. 2, s2f2 eq. 3) and over vertices (dib21 eq. 7, s2f2 eq. 4).

    Attributes:
      model: the morphable model.
      leaves: [L, K] order of the ray tracer's tree, see `jfrecon.render.tree`.
      places: [V, 2] texture coordinates of the vertices.
      renderer: one of `RENDERERS`.
      samples: directions of light that the ray tracer draws for each pixel.
      roughness: of the specular lobe.
      domain: in which colours are compared, see `jfrecon.losses.face.vertex_photometric`.
    """

    model: MorphableModel
    leaves: Array
    places: Array
    renderer: str
    samples: int
    roughness: float
    domain: str = 'linear'

    def __call__(
        self, face: faces.Surface, light: jax.Array, batch: Batch, key: jax.Array, maps: Maps | None = None
    ) -> dict[str, jax.Array]:
        """'photo' [B], over pixels, and 'vertex' [B], over vertices, as far as the renderer has them.

        The face has the albedo of its vertices, or that, and the normals, of maps.
        """
        size = batch.image.shape[1:3]
        terms = {}
        if self.renderer != 'vertex':
            albedo = face if maps is None else maps
            picture = raytrace.render(
                face.vertices, self.model.topology, self.leaves, albedo.diffuse, albedo.specular, light, batch.camera,
                size, key, samples=self.samples, roughness=self.roughness,
                normal_map=None if maps is None else maps.normal,
            )  # fmt: skip
            terms['photo'] = energies.pixel_photometric(picture.image, picture.coverage, batch, self.domain)
        if self.renderer != 'raytrace':
            drawn = face if maps is None else faces.textured(self.model, face, maps, self.places)
            visible = faces.visible(self.model, face, size)
            radiance = faces.colours(drawn, light, self.roughness)
            terms['vertex'] = energies.vertex_photometric(radiance, face.pixels, visible, batch, self.domain)
        return terms
