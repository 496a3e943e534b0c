"""Encoded pictures to [H, W, 3] uint8 sRGB and back. Pictures may be broken or hostile."""

from __future__ import annotations

import importlib.util
import io
import math
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from jfrecon.data.sample import Unreadable

Image.init()  # registers the formats; `formats=` below does not do it by itself
# `MAX_PIXELS` refuses what PIL would warn of.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)

# Formats that decode by themselves: PIL would run external programs for others (Ghostscript for EPS).
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'PPM', 'GIF', 'AVIF')
HEIC = ('.heic', '.heif', '.hif')
INSTALL_HEIC = "pip install 'jfrecon[heic]'"
SUFFIXES = (
    '.jpg', '.jpeg', '.jpe', '.jfif', '.mpo', '.png', '.webp', '.bmp', '.tif', '.tiff', '.ppm', '.pgm', '.gif',
    '.avif', *(HEIC if importlib.util.find_spec('pillow_heif') else ()),
)  # fmt: skip
MAX_PIXELS = 80_000_000  # refused before decoding; below PIL's own bomb warning at 89 million
MIN_SIDE = 16  # nothing smaller shows a face
FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)  # the format that EXIF's 35 mm equivalent refers to


def decode(data: bytes, min_side: int = MIN_SIDE) -> tuple[np.ndarray, float]:
    """(image [H, W, 3] uint8 sRGB upright by its EXIF orientation, focal length in pixels or NaN).

    Grey, palette, CMYK and 16-bit pictures are converted, transparent ones shown over black. Raises
    ``Unreadable``.
    """
    if not data:
        raise Unreadable('the file is empty')
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise Unreadable(f'{width} x {height} pixels are more than the limit of {MAX_PIXELS:,}')
            if min(width, height) < min_side:
                raise Unreadable(f'{width} x {height} pixels are too few')
            focal = exif_focal(picture.getexif(), width, height)
            return _rgb(ImageOps.exif_transpose(picture)), focal
    except Unreadable:
        raise
    except UnidentifiedImageError as error:  # whose own words hold an address in memory
        raise Unreadable('not a readable picture (of no known format)') from error
    # A decoder fed garbage may fail in any way (SyntaxError, struct.error, MemoryError ...): all mean it.
    except Exception as error:
        text = str(error).splitlines()
        raise Unreadable(f'not a readable picture ({text[0] if text else type(error).__name__})') from error


def read(path: str | Path) -> tuple[np.ndarray, float]:
    """``decode`` of a file."""
    return decode(_bytes(path))


def decode_mask(data: bytes) -> np.ndarray:
    """[H, W] uint8, 255 where the picture is brighter than half, else 0. Raises ``Unreadable``."""
    image, _ = decode(data, min_side=1)
    return np.where(image.max(axis=-1) > 127, np.uint8(255), np.uint8(0))


def read_mask(path: str | Path) -> np.ndarray:
    """``decode_mask`` of a file."""
    return decode_mask(_bytes(path))


def encode(image: np.ndarray, quality: int | None = None) -> bytes:
    """PNG bytes, or JPEG of that quality without chroma subsampling; the same input gives the same bytes."""
    buffer = io.BytesIO()
    if quality is None:
        Image.fromarray(image).save(buffer, 'PNG')
    else:
        Image.fromarray(image).save(buffer, 'JPEG', quality=quality, subsampling=0)
    return buffer.getvalue()


def exif_focal(exif: Image.Exif, width: int, height: int) -> float:
    """Focal length in pixels from the 35 mm equivalent, f_px = f_35 diagonal_px / diagonal_film; NaN if
    unknown.

    Pictures whose shape differs from the one that the camera recorded were cropped later: the tag no longer
    holds.
    """
    details = exif.get_ifd(ExifTags.IFD.Exif)
    try:
        film = float(details.get(ExifTags.Base.FocalLengthIn35mmFilm) or 0)
        recorded = [
            float(details.get(tag) or 0) for tag in (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)
        ]
    except (TypeError, ValueError):
        return float('nan')
    if not 5 <= film <= 2000:  # also false for NaN
        return float('nan')
    if min(recorded) > 0:
        ratio = max(width, height) / min(width, height) * min(recorded) / max(recorded)
        if not 0.98 < ratio < 1.02:
            return float('nan')
    return film * math.hypot(width, height) / FILM_DIAGONAL_MM


def _rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith('I'):  # 16-bit grey; PIL's own conversion would clip it at 255
        values = np.asarray(picture).astype(np.float64) / 65535.0
        grey = np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    if picture.mode == 'F':
        raise Unreadable('floating-point pictures have no agreed range; save it as PNG or JPEG')
    if picture.has_transparency_data:
        picture = picture.convert('RGBA')
        return np.array(Image.alpha_composite(Image.new('RGBA', picture.size, (0, 0, 0, 255)), picture).convert('RGB'))
    return np.array(picture.convert('RGB'))


def _bytes(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Unreadable(f'{path}: {error.strerror or error}') from error
