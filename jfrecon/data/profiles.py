"""Colours of a decoded picture to sRGB, by the ICC profile in it or by what stands for one (Little CMS)."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms

Convert = Callable[[Image.Image], Image.Image]

SAME = 1  # levels of 255: a profile that changes no colour by more is sRGB's
# As Photoshop converts: paper is white, and the deepest black is black.
INTENT, FLAGS = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
SPACES = {'RGB ': ('RGB', 'L'), 'GRAY': ('L',), 'CMYK': ('CMYK',), 'Lab ': ('LAB',)}  # and the modes they describe
SRGB_GAMMA, GAMMA_TOLERANCE = 1 / 2.2, 0.05  # libpng's: PNG files state sRGB's curve so, and nobody means another
D50 = np.array([0.9642, 1.0, 0.8249])  # white of the profiles' connection space, XYZ
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


class Primaries(NamedTuple):
    """Chromaticities (x, y) of white and of the three primaries."""

    white: tuple[float, float]
    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]


SRGB = Primaries((0.3127, 0.3290), (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE = Primaries((0.3127, 0.3290), (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
ADOBE_GAMMA = 563 / 256
# By the numbers of ITU-T H.273, as HEIF and AVIF have them.
PRIMARIES = {
    9: Primaries((0.3127, 0.3290), (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # Rec. 2020
    12: Primaries((0.3127, 0.3290), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}


NAMES = {9: 'Rec. 2020', 12: 'Display P3'}
HDR = {16: 'PQ', 18: 'HLG'}  # transfer functions, likewise


class Profile(NamedTuple):
    """What describes a picture's colours: an ICC profile, and what to call it."""

    icc: bytes
    name: str


def find(picture: Image.Image, exif: Image.Exif, data: bytes) -> Profile | None:
    """The profile of an open picture, or one made of what its format says instead; None for sRGB and for nothing said.

    An ICC profile goes before a PNG's sRGB, gAMA and cHRM, HEIF's and AVIF's numbers and EXIF's colour space.

    data: the file.

    Raises ``ValueError`` where a profile cannot be read.
    """
    if 'icc_profile' in picture.info:
        icc = picture.info['icc_profile']
        if not icc:  # what PIL leaves of one that is cut or does not unpack
            raise ValueError('it is cut short')
        return Profile(icc, _described(icc))
    if 'srgb' in picture.info:
        return None
    if 'gamma' in picture.info or 'chromaticity' in picture.info:
        return _of_png(picture.info.get('gamma', SRGB_GAMMA), picture.info.get('chromaticity'))
    if data[4:8] == b'ftyp' and (at := data.find(b'colrnclx')) >= 0:
        primaries, transfer = struct.unpack_from('>HH', data, at + 8)
        if transfer in HDR:
            raise ValueError(f'high dynamic range, {HDR[transfer]}')
        return Profile(matrix_profile(PRIMARIES[primaries], None), NAMES[primaries]) if primaries in PRIMARIES else None
    if _is_adobe(exif):
        return Profile(matrix_profile(ADOBE, ADOBE_GAMMA), 'Adobe RGB')
    return None


@functools.lru_cache(maxsize=16)
def converter(icc: bytes, mode: str) -> Convert | None:
    """What makes sRGB ('RGB', or 'L' of 'L') of a picture of that mode; None where that changes nothing.

    Raises ``ValueError`` where the profile is broken, or describes pictures of another mode.
    """
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space
    except (OSError, ImageCms.PyCMSError) as error:
        raise ValueError('it is no ICC profile') from error
    if mode not in SPACES.get(space, ()):
        raise ValueError(f'it describes {space.strip()} colours, the picture has {mode}')
    described = 'L' if space == 'GRAY' else mode if space != 'RGB ' else 'RGB'
    return _converter(profile, described, mode)


def of_lab() -> Convert:
    """What makes sRGB of a picture in CIE L*a*b* (D50), as TIFF has it."""
    made = _converter(ImageCms.createProfile('LAB'), 'LAB', 'LAB')
    assert made is not None
    return made


def _converter(
    profile: ImageCms.ImageCmsProfile | ImageCms.core.CmsProfile, described: str, mode: str
) -> Convert | None:
    try:
        transform = ImageCms.buildTransform(
            profile, ImageCms.createProfile('sRGB'), described, 'RGB', INTENT, FLAGS
        )  # fmt: skip
    except ImageCms.PyCMSError as error:
        raise ValueError('it cannot be applied') from error
    if mode == 'L':  # one table for all three channels: what is grey stays exactly grey
        ramp = np.arange(256, dtype=np.uint8)[None]
        greys = ramp if described == 'L' else np.repeat(ramp[..., None], 3, -1)
        table = np.asarray(transform.apply(Image.fromarray(greys)))[0, :, 1]
        if np.abs(table.astype(int) - ramp[0]).max() <= SAME:
            return None
        return lambda picture: picture.point(table.tolist())
    if mode == 'RGB':
        colours = _probe()
        if np.abs(np.asarray(transform.apply(Image.fromarray(colours))).astype(int) - colours).max() <= SAME:
            return None
    return transform.apply


def matrix_profile(primaries: Primaries, gamma: float | None) -> bytes:
    """An ICC profile (version 4.3, three primaries and one curve). gamma: decodes; None: sRGB's curve.

    ICC.1:2010, sections 8.3 and 10.15.
    """
    xyz = lambda xy: np.array([xy[0] / xy[1], 1.0, (1 - xy[0] - xy[1]) / xy[1]])
    white = xyz(primaries.white)
    columns = np.stack([xyz(xy) for xy in primaries[1:]], -1)
    columns = columns * np.linalg.solve(columns, white)
    cone = np.diag((BRADFORD @ D50) / (BRADFORD @ white))  # adapts the picture's white to the connection space's
    columns = np.linalg.inv(BRADFORD) @ cone @ BRADFORD @ columns

    fixed = lambda values: b''.join(struct.pack('>i', round(65536 * float(value))) for value in values)
    curve = (0, [gamma]) if gamma is not None else (3, [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045])
    trc = b'para\0\0\0\0' + struct.pack('>HH', curve[0], 0) + fixed(curve[1])
    tags = {
        b'wtpt': b'XYZ \0\0\0\0' + fixed(D50),
        **{name: b'XYZ \0\0\0\0' + fixed(column) for name, column in zip((b'rXYZ', b'gXYZ', b'bXYZ'), columns.T)},
        **dict.fromkeys((b'rTRC', b'gTRC', b'bTRC'), trc),
    }
    table, data, start = b'', b'', 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack('>4sII', name, start + len(data), len(content))
        data += content
    size = start + len(data)
    header = struct.pack('>I4xI4s4s4s12x4s', size, 0x04300000, b'mntr', b'RGB ', b'XYZ ', b'acsp')
    header += bytes(28) + fixed(D50)
    return header.ljust(128, b'\0') + struct.pack('>I', len(tags)) + table + data


def _of_png(gamma: float, chromaticity: tuple[float, ...] | None) -> Profile | None:
    """Of a gAMA chunk, the exponent that encodes, and a cHRM chunk: x and y of white, red, green and blue."""
    standard = abs(gamma / SRGB_GAMMA - 1) < GAMMA_TOLERANCE
    primaries = SRGB
    if chromaticity is not None:
        given = np.reshape(chromaticity, (4, 2))
        if np.abs(given - np.array(SRGB)).max() > 0.002:  # rounded otherwise
            primaries = Primaries(*((float(x), float(y)) for x, y in given))
    if standard and primaries is SRGB:
        return None
    try:
        return Profile(matrix_profile(primaries, None if standard else 1 / gamma), 'the gamma and primaries in it')
    except (ArithmeticError, ValueError, struct.error, np.linalg.LinAlgError) as error:
        raise ValueError('its gamma or primaries cannot be') from error


def _is_adobe(exif: Image.Exif) -> bool:
    """Whether a camera has set Adobe RGB, which it says by EXIF alone (DCF 2.0, section 3.3)."""
    try:
        interoperability = exif.get_ifd(ExifTags.Base.ExifInteroperabilityOffset)
    except KeyError:  # of Pillow before 13, where there is none
        interoperability = {}
    if interoperability.get(ExifTags.Interop.InteropIndex) == 'R03':
        return True
    return exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace) == 2  # not EXIF's own, but written


def _described(icc: bytes) -> str:
    try:
        text = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile.profile_description or ''
    except (OSError, ImageCms.PyCMSError) as error:
        raise ValueError('it is no ICC profile') from error
    return ' '.join(text.split())[:80] or 'its colour profile'


@functools.cache
def _probe() -> np.ndarray:
    """[1, N, 3] uint8 colours that tell a profile from sRGB's: all greys, and a lattice."""
    lattice = np.stack(np.meshgrid(*[np.linspace(0, 255, 9)] * 3), -1).reshape(-1, 3)
    greys = np.repeat(np.arange(256)[:, None], 3, -1)
    return np.concatenate([lattice, greys]).astype(np.uint8)[None]
