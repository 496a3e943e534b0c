"""The colour of human skin from its pigments.

Skin is an absorbing epidermis (melanin) over a scattering dermis (blood), the layered picture that Donner and
Jensen 2006 ("A Spectral BSSRDF for Shading Human Skin") and Jimenez et al. 2010 ("A Practical Appearance
Model for Dynamic Facial Color") paint faces with. Scattering and pheomelanin are Donner and
Jensen's, eumelanin and bloodless tissue those of S. Jacques, "Skin Optics", Oregon Medical Laser Center News,
January 1998; haemoglobin is S. Prahl's tabulation (after Gratzer and Kollias), averaged over 20 nm bands.

Everything is linear RGB (sRGB primaries), scaled so that a perfect white reflector is (1, 1, 1).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

WAVELENGTHS = np.arange(400.0, 701.0, 20.0)  # nm, centres of 20 nm bands
EPIDERMIS = 0.1  # mm, thickness that holds the melanin
OXYGENATION = 0.9  # share of the haemoglobin in the dermis that carries oxygen

# Molar extinction of haemoglobin with and without oxygen, 1e3 / (cm M), means over the bands.
_OXY = np.array([293.0, 415.0, 130.0, 46.3, 27.6, 21.4, 27.2, 47.1, 38.4, 39.3, 5.69, 1.0, 0.467, 0.326, 0.281, 0.286])
_DEOXY = np.array([230.0, 412.0, 362.0, 42.4, 15.5, 21.1, 32.0, 46.4, 51.4, 36.9, 16.9, 6.92, 4.4, 3.25, 2.42, 1.86])

_XYZ_TO_RGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])


def _lobe(peak: float, below: float, above: float) -> np.ndarray:
    offset = WAVELENGTHS - peak
    return np.exp(-0.5 * (offset / np.where(offset < 0, below, above)) ** 2)


def _colour_matching() -> np.ndarray:
    """[bands, 3] from reflectance to linear RGB: multi-lobe fit of Wyman et al. 2013, equal-energy light."""
    x = 1.056 * _lobe(599.8, 37.9, 31.0) + 0.362 * _lobe(442.0, 16.0, 26.7) - 0.065 * _lobe(501.1, 20.4, 26.2)
    y = 0.821 * _lobe(568.8, 46.9, 40.5) + 0.286 * _lobe(530.9, 16.3, 31.1)
    z = 1.217 * _lobe(437.0, 11.8, 36.0) + 0.681 * _lobe(459.0, 26.0, 13.8)
    weights = np.stack([x, y, z], axis=-1) @ _XYZ_TO_RGB.T
    return (weights / weights.sum(axis=0)).astype(np.float32)


_MELANIN = (6.6e10 * WAVELENGTHS**-3.33).astype(np.float32)  # mm^-1, interior of a melanosome
_PHEOMELANIN = (2.9e14 * WAVELENGTHS**-4.75).astype(np.float32)  # mm^-1, Donner and Jensen 2006
_TISSUE = (0.0244 + 8.53 * np.exp(-(WAVELENGTHS - 154.0) / 66.2)).astype(np.float32)  # mm^-1, bloodless skin
_SCATTERING = (14.74 * WAVELENGTHS**-0.22 + 2.2e11 * WAVELENGTHS**-4).astype(np.float32)  # mm^-1, reduced, ibid.
# 150 g/l of haemoglobin, 64,500 g/mol; ln 10 from decadic to natural, a tenth from cm^-1 to mm^-1.
_BLOOD = (np.log(10) * 150.0 / 64_500.0 * 1e2 * (OXYGENATION * _OXY + (1 - OXYGENATION) * _DEOXY)).astype(np.float32)
_TO_RGB = _colour_matching()


def reflectance(melanin: jax.Array, blood: jax.Array, pheomelanin: jax.Array) -> jax.Array:
    """Linear RGB albedo [..., 3] of skin; the arguments broadcast.

    R = R_0 + (1 - R_0) R_dermis / (1 + x), x = 4 d sigma_epidermis: diffuse light crosses the epidermis
    twice, at a mean slant of two thicknesses. Melanin sits in clumps, so x varies from path to path: 1 / (1 +
    x) is the mean of exp(-x) over exponentially distributed paths (the sieve effect) and keeps dark skin from
    turning orange. R_0 = 0.02 comes back from above the melanin. R_dermis = alpha'/2 (1 + exp(-4/3 A k))
    exp(-k), k = sqrt(3 (1 - alpha')), is the diffuse reflectance of a half space (Jensen et al.
    2001), A = 3.25 for an index of 1.4. With these two choices of ours the skin patches of the Macbeth chart
    and the Monk scale's tones 6 to 8 are met within 15% per channel.

    Args:
      melanin: volume fraction of melanosomes in the epidermis, about 0.003 (very light) to 0.7 (very dark).
      blood: volume fraction of blood in the dermis, about 0.005 to 0.05 (a few times that in the lips).
      pheomelanin: share of pheomelanin in the melanin, 0..1; more is warmer and yellower.
    """
    melanin, blood, pheomelanin = (jnp.asarray(a)[..., None] for a in (melanin, blood, pheomelanin))
    epidermis = melanin * ((1 - pheomelanin) * _MELANIN + pheomelanin * _PHEOMELANIN) + (1 - melanin) * _TISSUE
    dermis = blood * _BLOOD + (1 - blood) * _TISSUE
    albedo = _SCATTERING / (_SCATTERING + dermis)
    k = jnp.sqrt(3 * (1 - albedo))  # dermis > 0 always, so the root is safe
    below = albedo / 2 * (1 + jnp.exp(-4 / 3 * 3.25 * k)) * jnp.exp(-k)
    spectrum = 0.02 + 0.98 * below / (1 + 4 * EPIDERMIS * epidermis)
    return jnp.matmul(spectrum, _TO_RGB, precision=jax.lax.Precision.HIGHEST)


def hair_colour(melanin: jax.Array, pheomelanin: jax.Array, grey: jax.Array) -> jax.Array:
    """Linear RGB albedo [..., 3] of a mat of hair.

    c = exp(-3 sqrt(sigma)), sigma the absorption of eumelanin and pheomelanin per RGB (d'Eon et al. 2011,
    "An Energy-Conserving Hair Reflectance Model"); the root stands for multiple scattering, as in Chiang et
    al. 2016, with a slope fitted by eye to brown, blond and red hair. Grey mixes in unpigmented hair.

    Args:
      melanin: concentration, about 0.3 (blond) to 8 (black).
      pheomelanin: share, 0..1 (red).
      grey: share of white hairs, 0..1.
    """
    melanin, pheomelanin, grey = (jnp.asarray(a)[..., None] for a in (melanin, pheomelanin, grey))
    eumelanin = jnp.array([0.419, 0.697, 1.37])
    red = jnp.array([0.187, 0.4, 1.05])
    sigma = melanin * ((1 - pheomelanin) * eumelanin + pheomelanin * red)
    pigmented = 0.012 + 0.9 * jnp.exp(-3 * jnp.sqrt(sigma + 1e-6))
    return (1 - grey) * pigmented + grey * jnp.array([0.42, 0.41, 0.39])
