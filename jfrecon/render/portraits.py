"""Pictures of a method's faces: shaded in closed form, with the shadows that its image formation has."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax

from jfrecon.render import raytrace, surface, trace, tree
from jfrecon.shading import colour, sh, sphere
from jfrecon.types import Array, Camera, FaceParameters, Fragments, MorphableModel

DIRECTIONS = 256  # all around, to which a vertex looks for its shadows


@struct.dataclass
class Portrait:
    """What pictures are made with.

    Attributes:
      model: with eyes and teeth, see `jfrecon.morphable.load_portrait`.
      leaves: [L, K] order of its tree (`jfrecon.render.tree`), for a method that traces rays; None: no shadows, as the
        vertex renderer has none.
      roughness: of the specular lobe.
    """

    model: MorphableModel
    leaves: Array | None
    roughness: float = struct.field(pytree_node=False)


@functools.partial(jax.jit, static_argnames='size')
def draw(
    portrait: Portrait, chi: FaceParameters, camera: Camera, size: tuple[int, int]
) -> tuple[surface.Surface, surface.Layers]:
    """The posed face and what an [H, W] image shows of it, without noise; the shadows have no gradient.

    What is seen is shaded in closed form. That times the share of its irradiance that the face does not keep from a
    vertex is what the ray tracer would see, but for gloss, whose shadows are those of matte skin, and for shadows that
    are sharper than the mesh, which light of a few bands hardly throws. (One ratio for all light: Heitz, Hill and
    McGuire, Combining Analytic Direct Illumination and Stochastic Shadows, 2018.)
    """
    model = portrait.model
    face = surface.posed(model, chi, camera)
    fragments = surface.rasterise(model, face, size)
    drawn = surface.layers(model, face, chi.light, chi.maps, fragments, portrait.roughness)
    if portrait.leaves is None:
        return face, drawn
    arriving, _ = surface.picture(model, fragments, _arriving(portrait, face, chi.light, fragments))
    return face, dataclasses.replace(drawn, radiance=drawn.radiance * arriving, arriving=arriving)


def photo(
    portrait: Portrait, chi: FaceParameters, camera: Camera, size: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
    """The re-rendered photograph, sRGB [B, H, W, 3] in 0..1 and black where no face is, and coverage [B, H, W]."""
    drawn = draw(portrait, chi, camera, size)[1]
    return jnp.clip(colour.linear_to_srgb(drawn.radiance), 0, 1) * drawn.coverage[..., None], drawn.coverage


def transfer(
    portrait: Portrait, face: surface.Surface, fragments: Fragments, bands: int
) -> tuple[jax.Array, jax.Array]:
    """Return each vertex's response to spherical harmonics of light, with the shadows of the face on itself.

    This is the precomputed radiance transfer of a matte surface (Sloan, Kautz and Snyder, SIGGRAPH 2002). Rays are
    traced for visible skin; all other vertices are unshadowed. The result has no gradient.

    Args:
      portrait: with a tree.
      face: posed surface of the portrait's model, leaves [B, V, ...], mm in camera space.
      fragments: what each pixel sees of it, leaves [B, H, W, ...].
      bands: L, the number of bands of the light.

    Returns:
      [B, V, L²] irradiance over pi under each harmonic of unit amplitude, as `render.vertex.irradiance` has it without
      shadows, and [B, V] the share of even light that arrives.
    """
    directions = jnp.asarray(sphere.fibonacci(DIRECTIONS), jnp.float32)
    harmonics = sh.basis(directions, bands)

    def one(image):
        cosine, blocked = _looked(portrait, directions, *image)
        kept = cosine * (1 - blocked)
        share = kept.sum(-1) / jnp.maximum(cosine.sum(-1), 1e-6)
        return 4 / DIRECTIONS * jnp.dot(kept, harmonics, precision=lax.Precision.HIGHEST), share

    return lax.stop_gradient(lax.map(one, (face.vertices, face.normals, fragments.triangle)))


def _arriving(portrait: Portrait, face: surface.Surface, light: jax.Array, fragments: Fragments) -> jax.Array:
    """Share of the irradiance that reaches the vertices of visible skin, [B, V, 3] in 0..1; 1 at all others.

    What is behind lids and lips has its shade in its colours (`jfrecon.morphable.heads.SHADE`). Both irradiances are
    sums over the same even directions, each of which every vertex sees or does not.
    """
    directions = jnp.asarray(sphere.fibonacci(DIRECTIONS), jnp.float32)

    def one(image):
        *seen, light = image
        cosine, blocked = _looked(portrait, directions, *seen)
        radiance = sh.evaluate(light, directions)
        whole, kept = cosine @ radiance, (cosine * blocked) @ radiance
        # Radiance of spherical harmonics is signed: where there is no light on the whole none can be kept away.
        return jnp.clip(1 - jnp.where(whole > 0, kept / jnp.where(whole > 0, whole, 1), 0), 0, 1)

    return lax.map(one, (face.vertices, face.normals, fragments.triangle, light))


def _looked(
    portrait: Portrait, directions: jax.Array, vertices: jax.Array, normals: jax.Array, triangle: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """[V, N] cosines of directions to the normals, 0 below the horizon, and whether the face is in the way, bool.

    vertices, normals: [V, 3] of one face; triangle: [H, W] that a pixel sees: only the skin of these is traced.
    """
    topology = portrait.model.topology
    triangles = jnp.asarray(topology.triangles)
    skin = jnp.zeros(len(portrait.model.mean), bool).at[triangles].max(surface.mapped(topology)[:, None])
    shown = jnp.zeros(len(vertices), bool).at[triangles[triangle]].max((triangle >= 0)[..., None])
    cosine = normals @ directions.T
    assert portrait.leaves is not None
    bvh = tree.refit(portrait.leaves, triangles, vertices[None])
    start = vertices + raytrace.LIFT * jnp.ptp(vertices, axis=0).max() * normals
    every = (*cosine.shape, 3)
    flat = lambda x: jnp.broadcast_to(x, every).reshape(1, -1, 3)
    tried = (cosine > raytrace.HORIZON) & (shown & skin)[:, None]
    blocked = trace.occluded(bvh, flat(start[:, None]), flat(directions), tried.reshape(1, -1))
    return jnp.maximum(cosine, 0), blocked.reshape(cosine.shape)
