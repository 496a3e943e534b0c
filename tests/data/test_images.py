from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from jfrecon.data import images
from jfrecon.data.sample import Unreadable


def encoded(picture: Image.Image, form: str = 'PNG', **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def noise(height: int = 30, width: int = 40, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def bomb(side: int) -> bytes:
    """A PNG that claims side x side pixels in a few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))

    header = struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'\0' * 99)) + chunk(b'IEND', b'')
    )


def test_png_round_trip():
    image = noise()
    decoded, focal = images.decode(images.encode(image))
    np.testing.assert_array_equal(decoded, image)
    assert np.isnan(focal) and decoded.flags.writeable


def test_jpeg_is_close():
    y, x = np.mgrid[:64, :64]
    image = np.stack([2 * x + 60, 2 * y + 60, x + y + 60], axis=-1).astype(np.uint8)
    decoded, _ = images.decode(images.encode(image, quality=95))
    assert np.abs(decoded.astype(int) - image).mean() < 1.5  # a smooth ramp at quality 95: rounding only


@pytest.mark.parametrize(
    'content, reason',
    [
        (b'', 'empty'),
        (b'this is not a picture', 'not a readable picture'),
        (images.encode(noise())[:200], 'not a readable picture'),
        (images.encode(noise(200, 200), quality=90)[:3000], 'not a readable picture'),
        (images.encode(noise(1, 1)), 'too few'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n', 'not a readable picture'),
        (encoded(Image.new('F', (30, 30)), 'TIFF'), 'floating-point'),
    ],
    ids=['empty', 'text', 'cut png', 'cut jpeg', 'one pixel', 'postscript', 'float'],
)
def test_hostile_files_are_unreadable(content, reason):
    with pytest.raises(Unreadable, match=reason):
        images.decode(content)


# PIL itself only warns about the first and refuses the second.
@pytest.mark.parametrize('side, reason', [(12_000, 'the limit of 80,000,000'), (60_000, 'exceeds limit')])
def test_pictures_that_claim_to_be_huge(side, reason):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)
        with pytest.raises(Unreadable, match=reason):
            images.decode(bomb(side))


def test_a_missing_file_is_unreadable(tmp_path):
    with pytest.raises(Unreadable, match='No such file'):
        images.read(tmp_path / 'none.jpg')


def test_orientation_is_applied():
    image = noise()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to see it upright
    decoded, _ = images.decode(encoded(Image.fromarray(image), exif=exif))
    np.testing.assert_array_equal(decoded, np.rot90(image, -1))


def test_grey_and_sixteen_bit():
    grey = noise(channels=1)
    decoded, _ = images.decode(images.encode(grey))
    np.testing.assert_array_equal(decoded, np.repeat(grey[..., None], 3, axis=-1))
    deep = grey.astype(np.uint16) * 257  # 255 * 257 = 65535
    decoded, _ = images.decode(encoded(Image.fromarray(deep)))
    np.testing.assert_array_equal(decoded[..., 1], grey)


def test_transparent_pixels_are_black():
    colour, alpha = noise(), np.zeros((30, 40, 1), np.uint8)
    alpha[:15] = 255
    decoded, _ = images.decode(encoded(Image.fromarray(np.concatenate([colour, alpha], axis=-1))))
    np.testing.assert_array_equal(decoded[:15], colour[:15])
    assert not decoded[15:].any()
    palette = Image.fromarray(colour).quantize(8)
    decoded, _ = images.decode(encoded(palette))
    np.testing.assert_array_equal(decoded, np.asarray(palette.convert('RGB')))


def test_four_inks():
    inks = np.zeros((20, 20, 4), np.uint8)
    inks[:10, :, 0] = 255  # cyan: no red
    decoded, _ = images.decode(encoded(Image.fromarray(inks, 'CMYK'), 'JPEG', quality=95))
    # JPEG rounds; the two halves are far apart.
    assert decoded[2, 2, 0] < 20 and decoded[2, 2, 1] > 235 and (decoded[15, 5] > 235).all()


def exif_with(film: int, recorded: tuple[int, int] | None) -> Image.Exif:
    exif, details = Image.Exif(), {0xA405: film}
    if recorded:
        details |= {0xA002: recorded[0], 0xA003: recorded[1]}
    exif[0x8769] = details
    return exif


def test_focal_length_of_a_35_mm_equivalent():
    picture = Image.fromarray(noise(24, 36))
    _, focal = images.decode(encoded(picture, exif=exif_with(50, (3600, 2400))))
    assert focal == pytest.approx(50.0)  # one pixel is one millimetre of a 36 x 24 film
    _, focal = images.decode(encoded(Image.fromarray(noise(36, 24)), exif=exif_with(50, (3600, 2400))))
    assert focal == pytest.approx(50.0)  # turned upright
    _, focal = images.decode(encoded(picture, exif=exif_with(50, None)))
    assert focal == pytest.approx(50.0)


@pytest.mark.parametrize('film, recorded', [(0, (36, 24)), (50, (24, 24)), (60_000, (36, 24))])
def test_focal_lengths_that_cannot_hold(film, recorded):
    _, focal = images.decode(encoded(Image.fromarray(noise(24, 36)), exif=exif_with(film, recorded)))
    assert np.isnan(focal)


def test_masks_are_two_valued():
    mask = images.decode_mask(images.encode(np.array([[0, 100, 127], [128, 200, 255]], np.uint8)))
    np.testing.assert_array_equal(mask, [[0, 0, 0], [255, 255, 255]])
