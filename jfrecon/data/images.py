"""Encoded pictures to [H, W, 3] uint8 sRGB and back. Pictures may be broken or hostile.

Every photograph, map and mask that somebody hands in is read here.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import math
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from jfrecon.data import profiles
from jfrecon.data.sample import Sample, Unreadable

Image.init()  # registers the formats; `formats=` below does not do it by itself

# Formats that decode by themselves: PIL would run external programs for others (Ghostscript for EPS).
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'PPM', 'GIF', 'AVIF')
HEIC = ('.heic', '.heif', '.hif')
INSTALL_HEIC = "pip install 'jfrecon[heic]'"
SUFFIXES = (
    '.jpg', '.jpeg', '.jpe', '.jfif', '.mpo', '.png', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.pgm', '.gif',
    '.avif', *(HEIC if importlib.util.find_spec('pillow_heif') else ()),
)  # fmt: skip
ANIMATED = ('GIF', 'PNG', 'WEBP', 'AVIF', 'TIFF')  # others hold previews and depth as further pictures
HEIC_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1')

MAX_PIXELS = 80_000_000  # of what is handed on; larger pictures are reduced by half
# Refused before decoding. JPEG is decoded at half its size, which costs no more than MAX_PIXELS, unless it is
# progressive; what has to be decoded whole takes 1 GB.
MAX_REDUCED, MAX_WHOLE = 2**28, 2**27
Image.MAX_IMAGE_PIXELS = MAX_REDUCED  # it refuses twice as many
warnings.filterwarnings('ignore', module=r'PIL\.')  # of damaged pictures: what matters is said here
MIN_SIDE = 16  # nothing smaller shows a face

PLANE_UNITS_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}  # of EXIF's resolution of the focal plane
MIN_SENSOR_MM, MAX_SENSOR_MM = 2.0, 70.0  # longer sides, of telephones and of medium format
FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)  # the format that EXIF's 35 mm equivalent refers to
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF's orientation


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
      image: [H, W, 3] uint8 sRGB, upright by its EXIF orientation.
      focal: its focal length in pixels, NaN where unknown.
      scale: pixels of the image for one of the file: 1, or 0.5 where the file has more than `MAX_PIXELS`.
      notes: what a user may want to know of how it was read, a few words each.
    """

    image: np.ndarray
    focal: float
    scale: float
    notes: tuple[str, ...]

    def sample(self, landmarks: np.ndarray | None = None, **known) -> Sample:
        """The picture as a sample. landmarks: [68, 2] pixels of the file; known: other attributes of it."""
        if landmarks is not None:
            known['landmarks'] = np.asarray(landmarks, np.float32) * np.float32(self.scale)
        return Sample(self.image, focal=self.focal, scale=self.scale, notes=self.notes, **known)


def decode(data: bytes, name: str = '', min_side: int = MIN_SIDE, convert: bool = True) -> Picture:
    """Decode a picture.

    Grey, palette, CMYK and 16-bit pictures are converted, transparent ones shown over black, colours are sRGB whatever
    profile they come with. Of an animation the first picture is taken. What is out of the ordinary is said once in a
    line on stderr, and stands in ``notes``.

    Args:
      data: the file.
      name: for that line.
      min_side: pixels, at least.
      convert: False for values that are no colours (normals, masks): they stay as they are.

    Raises ``Unreadable``.
    """
    if not data:
        raise Unreadable('the file is empty')
    try:
        with Image.open(io.BytesIO(data), formats=_formats(data)) as picture:
            return _decoded(picture, data, name, min_side, convert)
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(f'it claims more pixels than the limit of {MAX_REDUCED:,}') from error
    except UnidentifiedImageError as error:  # whose own words hold an address in memory
        if data[4:8] == b'ftyp' and data[8:12] in HEIC_BRANDS and not _heif():
            raise Unreadable(f'HEIC is read with pillow-heif: {INSTALL_HEIC}') from error
        raise Unreadable('not a readable picture (of no known format)') from error
    # A decoder fed garbage may fail in any way (SyntaxError, struct.error, MemoryError ...): all mean it.
    except Exception as error:
        text = str(error).splitlines()
        raise Unreadable(f'not a readable picture ({text[0] if text else type(error).__name__})') from error


def read(path: str | Path, convert: bool = True) -> Picture:
    """``decode`` of a file."""
    return decode(_bytes(path), str(path), convert=convert)


def decode_mask(data: bytes) -> np.ndarray:
    """[H, W] uint8, 255 where the picture is brighter than half, else 0. Raises ``Unreadable``."""
    image = decode(data, min_side=1, convert=False).image
    return np.where(image.max(axis=-1) > 127, np.uint8(255), np.uint8(0))


def read_mask(path: str | Path) -> np.ndarray:
    """``decode_mask`` of a file."""
    return decode_mask(_bytes(path))


@functools.cache
def say(name: str, words: str) -> None:
    """Say something about a file in a line on stderr; once, however often it is read."""
    logging.warning('%s: %s', name, words)


def encode(image: np.ndarray, quality: int | None = None) -> bytes:
    """PNG bytes, or JPEG of that quality without chroma subsampling; the same input gives the same bytes."""
    buffer = io.BytesIO()
    if quality is None:
        Image.fromarray(image).save(buffer, 'PNG')
    else:
        Image.fromarray(image).save(buffer, 'JPEG', quality=quality, subsampling=0)
    return buffer.getvalue()


def exif_focal(exif: Image.Exif, width: int, height: int) -> float:
    """Focal length in pixels; NaN if unknown.

    From the 35 mm equivalent, f_px = f_35 diagonal_px / diagonal_film; without one, from the focal length and the
    resolution of the sensor (the focal plane). Return NaN if the picture has another shape than the camera recorded,
    since it was cropped later, and if sensor or lens have a size that no camera has.
    """
    details = exif.get_ifd(ExifTags.IFD.Exif)
    tag = ExifTags.Base
    film, lens, resolution = (
        _number(details.get(name)) for name in (tag.FocalLengthIn35mmFilm, tag.FocalLength, tag.FocalPlaneXResolution)
    )
    recorded = [_number(details.get(name)) for name in (tag.ExifImageWidth, tag.ExifImageHeight)]
    if min(recorded) > 0:
        ratio = max(width, height) / min(width, height) * min(recorded) / max(recorded)
        if not 0.98 < ratio < 1.02:
            return float('nan')
    if 5 <= film <= 2000:  # false for NaN, as all comparisons below
        return film * math.hypot(width, height) / FILM_DIAGONAL_MM
    unit = PLANE_UNITS_MM.get(int(_number(details.get(tag.FocalPlaneResolutionUnit, 2))), float('nan'))
    sensor = max(recorded) * unit / resolution if resolution > 0 else float('nan')
    if not (MIN_SENSOR_MM <= sensor <= MAX_SENSOR_MM and 0.2 <= lens / sensor <= 100):
        return float('nan')
    return lens / sensor * max(width, height)


def _number(value: object) -> float:
    """A tag's value, 0 where it is missing or none."""
    try:
        return float(value or 0)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0


def _decoded(picture: Image.Image, data: bytes, name: str, min_side: int, convert: bool) -> Picture:
    width, height = picture.size
    jpeg = picture.format in ('JPEG', 'MPO')
    limit = MAX_REDUCED if jpeg and not picture.info.get('progressive') else MAX_WHOLE
    if width * height > limit:
        raise Unreadable(f'{width} x {height} pixels are more than the limit of {limit:,}: save it smaller')
    if min(width, height) < min_side:
        raise Unreadable(f'{width} x {height} pixels are too few')
    if isinstance(picture, TiffImagePlugin.TiffImageFile) and _is_raw(picture.tag_v2):
        raise Unreadable("a camera's raw file, which holds only a thumbnail as a picture: develop it to JPEG or PNG")
    odd: list[str] = []
    if picture.format in ANIMATED and getattr(picture, 'is_animated', False):
        odd.append('the first of the pictures in it is taken')
    scale, notes = 1.0, []
    if width * height > MAX_PIXELS:
        scale = 0.5
        notes.append(f'read at half of its size: it has {width * height / 1e6:.0f} megapixels')
        if jpeg:  # by the cosine transform, before there are pixels
            picture.draft(None, (width // 2, height // 2))
    picture.load()
    try:
        exif = picture.getexif()  # as PIL leaves it: it turns TIFF by itself
        orientation, focal = exif.get(ExifTags.Base.Orientation, 1), exif_focal(exif, width, height)
        broken = bool(picture.info.get('exif')) and not len(exif)
    except Exception:  # as above
        exif, orientation, focal, broken = Image.Exif(), 1, math.nan, True
    if broken:
        odd.append('its EXIF data are broken, orientation and lens are not known')
    plain = _plain(picture)
    if scale < 1 and plain.size == (width, height):
        plain = plain.reduce(2)
    if convert:
        try:
            if profile := profiles.find(picture, exif, data):
                plain, changed = _converted(plain, profile.icc)
                notes += [f'colours converted from {profile.name}'] if changed else []
        except ValueError as error:
            odd.append(f'its colour profile is ignored: {error}')
    if orientation in UPRIGHT:
        plain = plain.transpose(UPRIGHT[orientation])
    for words in odd if name else []:
        say(name, words)
    return Picture(_over_black(plain), focal * scale, scale, (*notes, *odd))


def _plain(picture: Image.Image) -> Image.Image:
    """The same picture in one of the modes L, RGB, RGBA, CMYK and LAB."""
    if picture.mode == 'F':
        raise Unreadable('floating-point pictures have no agreed range; save it as PNG or JPEG')
    if picture.mode.startswith('I'):  # 16-bit grey; PIL's own conversion would clip it at 255
        values = np.asarray(picture)
        rows = [((np.clip(row, 0, 65535).astype(np.uint32) + 128) // 257).astype(np.uint8) for row in values]
        return Image.fromarray(np.stack(rows))
    if picture.has_transparency_data:
        return picture.convert('RGBA')
    if picture.mode == '1':
        return picture.convert('L')
    return picture if picture.mode in ('L', 'RGB', 'CMYK', 'LAB') else picture.convert('RGB')


def _converted(picture: Image.Image, icc: bytes) -> tuple[Image.Image, bool]:
    """The picture in sRGB, and whether that changed it."""
    colours = picture.convert('RGB') if picture.mode == 'RGBA' else picture
    convert = profiles.converter(icc, colours.mode)
    if convert is None:
        return picture, False
    converted = convert(colours)
    if picture.mode == 'RGBA':
        converted.putalpha(picture.getchannel('A'))
    return converted, True


def _over_black(picture: Image.Image) -> np.ndarray:
    if picture.mode == 'RGBA':
        picture = Image.alpha_composite(Image.new('RGBA', picture.size, (0, 0, 0, 255)), picture)
    elif picture.mode == 'LAB':
        picture = profiles.of_lab()(picture)
    return np.array(picture.convert('RGB'))


def _is_raw(tags: TiffImagePlugin.ImageFileDirectory_v2) -> bool:
    """Whether the first picture of a TIFF file is a thumbnail: those of cameras (DNG, NEF, ARW) begin so."""
    return ExifTags.Base.DNGVersion in tags or tags.get(ExifTags.Base.NewSubfileType) == 1


def _formats(data: bytes) -> tuple[str, ...]:
    return (*FORMATS, 'HEIF') if data[4:8] == b'ftyp' and _heif() else FORMATS


@functools.cache
def _heif() -> bool:
    """Whether PIL reads HEIC, by pillow-heif (the extra ``heic``)."""
    if importlib.util.find_spec('pillow_heif') is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener()
    return True


def _bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Unreadable(f'{path}: {error.strerror or error}') from error
