"""Light as other programs read it: equirectangular pictures of linear radiance, .exr and .hdr.

The file's middle looks along +x and its right half ends at +z, as glTF viewers, Blender and `face.glb` have it; ours
(`jfrecon.shading.environment`) has +z in the middle, a quarter of a turn away.
"""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

from jfrecon import files
from jfrecon.errors import UserError
from jfrecon.shading import environment

SUFFIXES = ('.exr', '.hdr')
HEIGHT = 64
MAX_PIXELS = 2**25  # of a file that is read
HIGHEST = 256  # rows of a map that is made of it


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
            raise UserError(f'{path} cannot be written: {picture.geterror()}')


def read(path: Path) -> np.ndarray:
    """The light in a file as an environment map [H, 2 H, 3] of `jfrecon.shading.environment`, float32.

    Maps that are higher than `HIGHEST` are reduced to it, each texel the mean of those that it takes the place of.

    Raises:
      UserError: it is not an equirectangular picture of radiance, or too large.
    """
    oiio = _library()
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f'{path}: light is read from {" and ".join(SUFFIXES)}')
    opened = oiio.ImageInput.open(str(path))
    if opened is None:
        raise UserError(f'{path} is not a readable picture of light: {_first_line(oiio.geterror())}')
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
        raise UserError(f'{path} breaks off: {_first_line(oiio.geterror())}')
    if radiance.ndim != 3 or radiance.shape[-1] < 3:
        radiance = np.repeat(radiance.reshape(spec.height, spec.width, -1)[..., :1], 3, -1)
    radiance = radiance[..., :3]
    if not np.isfinite(radiance).all():
        raise UserError(f'{path} has pixels that are not numbers')
    own = np.roll(radiance, -(spec.width // 4), axis=1).astype(np.float32)
    if spec.height <= HIGHEST:
        return own
    small = lambda channel: Image.fromarray(channel).resize((2 * HIGHEST, HIGHEST), Image.Resampling.BOX)
    return np.stack([np.asarray(small(channel)) for channel in np.moveaxis(own, -1, 0)], -1)


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or ['it cannot be decoded'])[0]


def _library():
    try:
        import OpenImageIO
    except ImportError as error:
        raise UserError("pictures of light need OpenImageIO: pip install 'jfrecon[export]'") from error
    return OpenImageIO
