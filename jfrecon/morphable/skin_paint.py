"""Paint diffuse and specular albedo of one person on a canvas. JAX; one person, `vmap` for more."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jfrecon.morphable.skin_canvas import Canvas
from jfrecon.morphable.skin_noise import FEATURES, lattice, spots, waves
from jfrecon.morphable.skin_person import SkinParameters
from jfrecon.morphable.skin_tone import hair_colour, reflectance
from jfrecon.types import Array


def paint(
    canvas: Canvas, skin: SkinParameters, key: jax.Array | None = None, finest: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Diffuse albedo [N, 3], linear RGB, and specular weight [N, 1], both in 0..1.

    Marks below the canvas' own resolution become their mean, so the same person keeps one colour on a coarse
    mesh and on a fine texture.

    Args:
      canvas: the points.
      skin: scalars.
      key: seed of all that is random in place (mottling, freckles, hairs); None for the symmetric mean.
      finest: leave out noise of wavelengths below this, in eye distances; static.
    """
    noise = _Noise(canvas, key, finest)

    log_melanin, log_blood = _pigments(canvas, skin, noise)
    lip, log_melanin, log_blood = _lips(canvas, skin, log_melanin, log_blood)
    diffuse = reflectance(jnp.exp(log_melanin), jnp.exp(jnp.minimum(log_blood, -2.0)), skin.pheomelanin)
    diffuse = diffuse * (1 - 0.75 * canvas.nostril[:, None])

    hair = hair_colour(skin.hair_melanin, skin.hair_pheomelanin, skin.grey)
    shadow, cover = _facial_hair(canvas, skin, noise)
    # Cut hair under the skin absorbs red most: the blue of a shaved chin.
    diffuse = diffuse * jnp.exp(-shadow[:, None] * jnp.array([1.0, 0.93, 0.86]))
    brow_hair = hair_colour(skin.hair_melanin, skin.hair_pheomelanin, 0.5 * skin.grey)
    brow = _brow(canvas, skin, noise)
    lash = skin.lash * _bump(canvas.lid, -0.012, 0.022 + canvas.spacing / 2) * (0.45 + 0.55 * canvas.eyelid)
    diffuse = diffuse + cover[:, None] * (hair - diffuse)
    diffuse = diffuse + (1 - (1 - brow) * (1 - 0.75 * lash))[:, None] * (brow_hair - diffuse)

    specular = _specular(canvas, skin, noise, lip, jnp.maximum(cover, brow))
    return jnp.clip(diffuse, 0.0, 1.0), jnp.clip(specular, 0.0, 1.0)[:, None]


class _Noise:
    """Random fields on the canvas: zero without a key, faded out where points are too sparse for them."""

    def __init__(self, canvas: Canvas, key: jax.Array | None, finest: float):
        self.canvas, self.finest, self.known = canvas, finest, key is not None
        if key is not None:
            slow, fine = jax.random.split(key)
            self.weights = iter(jax.random.normal(slow, (7, FEATURES)))
            self.seeds = iter(jax.random.bits(fine, (11, 3), jnp.uint32))

    def _resolved(self, wavelength: float) -> jax.Array:
        """[N] 0 below two samples a wavelength, 1 above four."""
        return jnp.clip(wavelength / (2 * self.canvas.spacing + 1e-6) - 1, 0.0, 1.0)

    def slow(self, wavelength: float) -> jax.Array:
        """[N] of unit variance, so slow that every mesh resolves it."""
        if not self.known:
            return jnp.zeros(self.canvas.spacing.shape)
        return waves(self.canvas.position, wavelength, next(self.weights))

    def fine(self, wavelength: float, points: Array | None = None) -> jax.Array:
        """[N] of about unit variance, over ``points`` [N, 3] if given."""
        if not self.known or wavelength < self.finest:
            return jnp.zeros(self.canvas.spacing.shape)
        points = self.canvas.position if points is None else points
        return lattice(points, wavelength, next(self.seeds)) * self._resolved(wavelength)

    def spots(self, share: jax.Array, spacing: float) -> jax.Array:
        """[N] in 0..1: scattered spots, or their mean where they are too small to be seen."""
        mean = 0.085 * share  # measured for `skin_noise.spots`
        if not self.known or spacing < self.finest:
            return mean
        found = spots(self.canvas.position, spacing, share, next(self.seeds))
        return mean + self._resolved(0.6 * spacing) * (found - mean)


def _pigments(canvas: Canvas, skin: SkinParameters, noise: _Noise) -> tuple[jax.Array, jax.Array]:
    """Logarithms of melanin and blood [N]: facial colour zones, freckles and mottling."""
    slow = 0.7 * noise.slow(0.8) + 0.5 * noise.slow(0.3)
    fine = 0.7 * noise.fine(0.15) + 0.5 * noise.fine(0.07) + 0.3 * noise.fine(0.035)
    melanin = (
        skin.forehead * canvas.forehead
        + skin.periorbital * canvas.eyelid
        + skin.perioral * canvas.perioral
        + 0.55 * skin.under_eye * canvas.under_eye
        - 0.15 * canvas.neck
        - 0.08 * canvas.cheek
        + skin.mottle * (0.7 * slow + 0.3 * fine)
    )
    upper_face = canvas.nose + canvas.cheek + 0.35 * canvas.forehead + 0.1
    patchy = jnp.exp(0.4 * noise.slow(0.8) - 0.08)
    freckles = noise.spots(skin.freckles * jnp.clip(upper_face, 0, 1) * patchy, 0.055)
    spots_ = noise.spots(skin.spots * (1 - canvas.neck), 0.13)
    melanin = melanin + 1.8 * freckles + 1.2 * spots_

    flush = 0.7 * noise.slow(0.8) + 0.5 * noise.slow(0.3) + 0.6 * fine
    blood = (
        skin.blush * canvas.cheek
        + skin.nose_red * jnp.maximum(canvas.nose_tip, 0.6 * canvas.nose)
        + skin.ear_red * canvas.ear
        + 0.25 * skin.blush * canvas.chin
        + 0.30 * canvas.eyelid
        + 0.45 * skin.under_eye * canvas.under_eye
        - 0.25 * canvas.forehead
        - 0.15 * canvas.neck
        + 1.6 * skin.mottle * flush
        + 0.5 * _bump(canvas.lid, 0.0, 0.03)
    )
    return jnp.log(skin.melanin) + melanin, jnp.log(skin.haemoglobin) + blood


def _lips(
    canvas: Canvas, skin: SkinParameters, log_melanin: jax.Array, log_blood: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mask of the lips [N] and the pigments with the lips' in it."""
    soft = skin.lip_edge + 0.5 * canvas.spacing
    mask = _ramp(canvas.lip, -soft, soft)
    seam = jnp.exp(-((canvas.seam / 0.035) ** 2))
    upper = canvas.lip_upper
    melanin = jnp.log(skin.melanin * skin.lip_melanin) + 0.25 * upper + 0.25 * seam
    blood = jnp.log(skin.haemoglobin * skin.lip_blood) - 0.1 * upper + 0.35 * seam
    # The zones' own noise stays, weaker.
    melanin = melanin + 0.4 * (log_melanin - jnp.log(skin.melanin))
    blood = blood + 0.4 * (log_blood - jnp.log(skin.haemoglobin))
    return mask, log_melanin + mask * (melanin - log_melanin), log_blood + mask * (blood - log_blood)


def _facial_hair(canvas: Canvas, skin: SkinParameters, noise: _Noise) -> tuple[jax.Array, jax.Array]:
    """Optical depth of shaved hair [N] and cover by grown hair [N]: beard, moustache, hairline."""
    wobble = 0.05 * noise.slow(0.3)
    skin_only = _ramp(-canvas.lip, -0.01, 0.03)
    beard = _ramp(canvas.beard + skin.beard_line + wobble, -0.10, 0.14) * skin_only
    moustache = _ramp(canvas.moustache + 0.5 * wobble, -0.03, 0.08) * skin_only

    pigment = jnp.clip(0.35 + 0.25 * jnp.log(skin.hair_melanin), 0.1, 0.9) * (1 - 0.7 * skin.grey)
    dots = noise.fine(0.03)
    shadow = skin.stubble * pigment * jnp.exp(0.3 * dots) * jnp.maximum(beard, 0.9 * moustache)

    # Hairs hang: noise four times as long as it is wide.
    strands = noise.fine(0.04, canvas.position * jnp.array([1.0, 0.25, 1.0]))
    grown = jnp.maximum(skin.beard * beard, skin.moustache * moustache)
    grown = grown * (1 + 0.25 * strands + 0.15 * noise.fine(0.1))
    hairline = canvas.scalp + wobble + 0.05 * noise.fine(0.1)
    scalp = skin.scalp * _ramp(hairline, -0.05, 0.3) * (1 + 0.2 * strands)
    return shadow, jnp.clip(1 - (1 - jnp.clip(grown, 0, 0.97)) * (1 - jnp.clip(scalp, 0, 0.97)), 0, 1)


def _brow(canvas: Canvas, skin: SkinParameters, noise: _Noise) -> jax.Array:
    """Cover by the brows [N]: hairs rise near the nose and lie along the brow at its tail."""
    s, t = canvas.brow[:, 0] / skin.brow_length, canvas.brow[:, 1] - skin.brow_height
    half = skin.brow_thickness * 0.08 * _ramp(s, -0.25, 0.3) * (1 - 0.85 * _ramp(s, 0.35, 1.05))
    soft = 0.035 + 0.5 * canvas.spacing
    across = _ramp(half - jnp.abs(t), -soft, soft)
    along = _ramp(s, -0.10, 0.22) * _ramp(-s, -1.12, -0.75)
    body = across * along

    angle = 1.1 - 1.4 * jnp.clip(s, 0.0, 1.0)  # radians from the brow's line, up is positive
    length = 0.95  # of the template's brow, in eye distances
    beside = t * jnp.cos(angle) - s * length * jnp.sin(angle)
    ahead = t * jnp.sin(angle) + s * length * jnp.cos(angle)
    hairs = noise.fine(0.04, jnp.stack([beside, 0.12 * ahead, 2 * canvas.side], -1))
    return jnp.clip(skin.brow_density * body * (1 + 0.4 * hairs), 0.0, 0.97)


def _specular(canvas: Canvas, skin: SkinParameters, noise: _Noise, lip: jax.Array, cover: jax.Array) -> jax.Array:
    """Weight of the specular lobe [N]: more on nose, forehead and lips, less on the lids and under hair.

    The pattern follows the regions measured by Weyrich et al. 2006 ("Analysis of Human Faces using a
    Measurement-Based Skin Reflectance Model"); the weights are fitted by eye.
    """
    zone = jnp.clip(canvas.nose + 0.7 * canvas.forehead + 0.4 * canvas.chin, 0.0, 1.0)
    gain = (
        (0.25 + skin.oil) * zone
        - 0.30 * canvas.eyelid
        - 0.20 * canvas.neck
        - 0.15 * canvas.perioral * (1 - lip)
        + 0.40 * lip
        + 0.12 * noise.fine(0.06)
        + 0.08 * noise.slow(0.8)
    )
    return skin.specular * jnp.exp(gain) * (1 - 0.55 * cover) * (1 - 0.8 * canvas.nostril)


def _ramp(value: Array, low: Array | float, high: Array | float) -> jax.Array:
    x = jnp.clip((value - low) / (high - low), 0.0, 1.0)
    return x * x * (3 - 2 * x)


def _bump(value: Array, centre: Array | float, width: Array | float) -> jax.Array:
    return jnp.exp(-(((value - centre) / width) ** 2))
