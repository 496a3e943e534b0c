"""Light as other programs read it: equirectangular pictures of linear radiance, .exr and .hdr.

The file's middle looks along +x and its right half ends at +z, as glTF viewers, Blender and `face.glb` have it; ours
(`jfrecon.shading.environment`) has +z in the middle, a quarter of a turn away.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import logging
from PIL import Image

from jfrecon import files
from jfrecon.errors import UserError
from jfrecon.shading import environment

SUFFIXES = ('.exr', '.hdr')
HEIGHT = 64
MAX_PIXELS = 2**25  # of a file that is read
HIGHEST = 256  # rows of a map that is made of it
BRIGHTEST = 65504.0  # the largest half-precision number: what a sun is that does not fit
BEYOND = 1e9  # no light's radiance; sums over a map of such values are infinite


def picture(light: np.ndarray) -> np.ndarray:
    """Radiance [H, 2 H, 3] float32 of coefficients [L², 3], in the frame of a file; what is negative is black."""
    radiance = np.asarray(environment.from_sh(jnp.asarray(light), HEIGHT, 2 * HEIGHT))
    return np.maximum(np.roll(radiance, HEIGHT // 2, axis=1), 0)


def write(path: Path, radiance: np.ndarray) -> None:
    """Write radiance [H, W, 3] in the frame of a file; the suffix says as what."""
    oiio = _library()
    picture = oiio.ImageBuf(np.ascontiguousarray(radiance, np.float32))
    with files.replacing(path, path.suffix) as unfinished:
        if not picture.write(str(unfinished)):
            reason = picture.geterror()
            unfinished.write_bytes(bytes(radiance.nbytes))  # where the disk is full this says so, as an OSError
            raise UserError(f'{path} cannot be written: {reason}')


def read(path: Path) -> np.ndarray:
    """The light in a file as an environment map [H, 2 H, 3] of `jfrecon.shading.environment`, float32.

    Maps that are higher than `HIGHEST` are reduced to it, each texel the mean of those that it takes the place of.
    Infinite values become `BRIGHTEST` and negative ones 0, which a line on stderr says.

    Raises:
      UserError: it is not an equirectangular picture of radiance, too large, or has values that are not numbers.
    """
    oiio = _library()
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f'{path}: light is read from {" and ".join(SUFFIXES)}')
    opened = oiio.ImageInput.open(str(path))
    if opened is None:
        raise UserError(f'{path} is not a readable picture of light: {_complaint(oiio)}')
    try:
        spec = opened.spec()
        if spec.width != 2 * spec.height or spec.width * spec.height > MAX_PIXELS:
            raise UserError(
                f'{path} has {spec.width} x {spec.height} pixels; light goes once around in a picture twice as wide '
                f'as high, of at most {MAX_PIXELS:,} pixels'
            )
        radiance = opened.read_image(oiio.FLOAT)
    finally:
        opened.close()
    if radiance is None:
        raise UserError(f'{path} breaks off: {_complaint(oiio)}')
    if radiance.ndim != 3 or radiance.shape[-1] < 3:
        radiance = np.repeat(radiance.reshape(spec.height, spec.width, -1)[..., :1], 3, -1)
    radiance = radiance[..., :3]
    if np.isnan(radiance).any():
        raise UserError(f'{path} has pixels that are not numbers')
    endless, negative = radiance > BEYOND, radiance < 0
    if endless.any():
        logging.warning('%s: %d values are infinite and are read as %g', path, endless.sum(), BRIGHTEST)
    if negative.any():
        logging.warning('%s: %d values are negative and are read as 0', path, negative.sum())
    radiance = np.where(negative, 0, np.where(endless, BRIGHTEST, radiance))
    own = np.roll(radiance, -(spec.width // 4), axis=1).astype(np.float32)
    if spec.height <= HIGHEST:
        return own
    small = lambda channel: Image.fromarray(channel).resize((2 * HIGHEST, HIGHEST), Image.Resampling.BOX)
    return np.stack([np.asarray(small(channel)) for channel in np.moveaxis(own, -1, 0)], -1)


def _complaint(oiio: Any) -> str:
    """The first line of its error, which may quote bytes of a damaged file that are no text."""
    try:
        lines = oiio.geterror().strip().splitlines()
    except UnicodeDecodeError:
        lines = []
    return lines[0] if lines else 'it cannot be decoded'


def _library():
    try:
        import OpenImageIO
    except ImportError as error:
        raise UserError("pictures of light need OpenImageIO: pip install 'jfrecon[export]'") from error
    return OpenImageIO
