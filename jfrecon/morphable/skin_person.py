"""One person's skin as a handful of numbers, and a population to draw them from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class SkinParameters:
    """What makes one person's skin; scalars [...] without units unless said.

    Attributes:
      melanin, pheomelanin, haemoglobin: pigments of `skin_tone.reflectance`.
      forehead, periorbital, perioral: log gain of melanin there.
      under_eye: darkness below the eyes, 0..1.
      blush, nose_red, ear_red: log gain of blood on the cheeks, on the nose and on the ears.
      mottle: log gain of melanin and blood by one standard deviation of slow noise.
      freckles: share of the upper face under freckles, 0..1; spots: the same for age spots, anywhere.
      lip_blood, lip_melanin: factors on blood and melanin in the lips; lip_edge: softness of their outline,
        in eye distances.
      hair_melanin, hair_pheomelanin, grey: of `skin_tone.hair_colour`.
      brow_density: 0..1; brow_thickness, brow_length: factors; brow_height: in eye distances.
      lash: darkness along the lids, 0..1.
      stubble: shadow of shaved hair, 0..1; beard, moustache: cover by grown hair, 0..1; beard_line: how far
        the edge moves outwards, in eye distances.
      scalp: cover by short hair where a hairline is, 0..1.
      specular: the lobe's weight s on the cheek; oil: log gain in the T zone.
    """

    melanin: jax.Array
    pheomelanin: jax.Array
    haemoglobin: jax.Array
    forehead: jax.Array
    periorbital: jax.Array
    perioral: jax.Array
    under_eye: jax.Array
    blush: jax.Array
    nose_red: jax.Array
    ear_red: jax.Array
    mottle: jax.Array
    freckles: jax.Array
    spots: jax.Array
    lip_blood: jax.Array
    lip_melanin: jax.Array
    lip_edge: jax.Array
    hair_melanin: jax.Array
    hair_pheomelanin: jax.Array
    grey: jax.Array
    brow_density: jax.Array
    brow_thickness: jax.Array
    brow_length: jax.Array
    brow_height: jax.Array
    lash: jax.Array
    stubble: jax.Array
    beard: jax.Array
    moustache: jax.Array
    beard_line: jax.Array
    scalp: jax.Array
    specular: jax.Array
    oil: jax.Array


def sample(key: jax.Array) -> SkinParameters:
    """One plausible adult; `jax.vmap` over keys for a crowd.

    Skin tone is spread evenly over the whole human range rather than after any census, so that no tone is
    rare. Hair is dark for dark skin and anything for light skin; half the people grow beards. The ranges are
    this project's choice, made by looking at studio portraits.
    """
    flat, bell = jax.random.split(key)
    # Two draws for all: one call for each number would take ten seconds to compile.
    uniforms = iter(jax.random.uniform(flat, (32,)))
    normals = iter(jax.random.truncated_normal(bell, -2.5, 2.5, (32,)))

    def uniform(low, high):
        return low + (high - low) * next(uniforms)

    def normal(mean, deviation):
        return mean + deviation * next(normals)

    def chance(probability):
        return (next(uniforms) < probability).astype(jnp.float32)

    tone = (uniform(0.0, 1.0) + uniform(0.0, 1.0) * 0.35) / 1.35
    melanin = 0.003 * 230.0**tone
    light = jnp.clip((0.62 - tone) / 0.3, 0.0, 1.0)

    fair_haired = light * chance(0.75)
    hair_melanin = jnp.exp(fair_haired * uniform(-1.0, 1.5) + (1 - fair_haired) * uniform(1.3, 2.2))
    red_haired = chance(0.08) * fair_haired
    old = uniform(0.0, 1.0) ** 3
    grows = chance(0.5)
    bearded = grows * chance(0.35)
    beard = bearded * uniform(0.25, 0.95)

    return SkinParameters(
        melanin=melanin,
        pheomelanin=uniform(0.0, 0.25),
        haemoglobin=jnp.exp(normal(-4.0, 0.35) - 0.5 * tone),
        forehead=normal(0.06, 0.12),
        periorbital=normal(0.12, 0.12) * (0.6 + tone),
        perioral=normal(0.08, 0.10) * (0.4 + tone),
        under_eye=uniform(0.0, 1.0) ** 1.5,
        blush=normal(0.38, 0.25),
        nose_red=normal(0.35, 0.22),
        ear_red=normal(0.35, 0.25),
        mottle=uniform(0.05, 0.2),
        freckles=light * chance(0.35) * uniform(0.05, 0.5),
        spots=0.06 * old * uniform(0.0, 1.0),
        lip_blood=jnp.exp(normal(1.3, 0.3)),
        lip_melanin=jnp.exp(normal(-0.35, 0.3)),
        lip_edge=uniform(0.02, 0.05),
        hair_melanin=hair_melanin,
        hair_pheomelanin=0.7 * red_haired + (1 - red_haired) * uniform(0.0, 0.25),
        grey=jnp.clip(1.8 * old - 1.0, 0.0, 0.7),
        brow_density=uniform(0.6, 1.0),
        brow_thickness=jnp.exp(normal(0.05, 0.2) + 0.12 * grows),
        brow_length=normal(1.0, 0.05),
        brow_height=normal(0.0, 0.015),
        lash=uniform(0.2, 0.8),
        stubble=grows * uniform(0.0, 0.8),
        beard=beard,
        moustache=jnp.clip(beard * uniform(0.5, 1.3), 0.0, 0.95),
        beard_line=normal(0.0, 0.05),
        scalp=chance(0.9) * uniform(0.6, 0.97),
        specular=uniform(0.026, 0.055),
        oil=uniform(0.0, 0.7),
    )
