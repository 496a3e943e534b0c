from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

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
    decoded, focal, *_ = images.decode(images.encode(image))
    np.testing.assert_array_equal(decoded, image)
    assert np.isnan(focal) and decoded.flags.writeable


def test_jpeg_is_close():
    y, x = np.mgrid[:64, :64]
    image = np.stack([2 * x + 60, 2 * y + 60, x + y + 60], axis=-1).astype(np.uint8)
    decoded = images.decode(images.encode(image, quality=95)).image
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
@pytest.mark.parametrize('side, reason', [(12_000, 'the limit of 134,217,728'), (60_000, 'the limit of 268,435,456')])
def test_pictures_that_claim_to_be_huge(side, reason):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)
        with pytest.raises(Unreadable, match=reason):
            images.decode(bomb(side))


def test_a_missing_file_is_unreadable(tmp_path):
    with pytest.raises(Unreadable, match='No such file'):
        images.read(tmp_path / 'none.jpg')


# Where the row and the column of the file's first pixel are to be seen (EXIF 2.32, table 6).
ORIENTATIONS = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image.swapaxes(0, 1)[::-1, ::-1],
    8: lambda image: np.rot90(image),
    9: lambda image: image,  # there is none
}


@pytest.mark.parametrize('orientation', ORIENTATIONS)
def test_orientation_is_applied(orientation):
    image, exif = noise(), Image.Exif()
    exif[0x0112] = orientation
    for options in ({'form': 'PNG'}, {'form': 'TIFF'}, {'form': 'WEBP', 'lossless': True}):
        decoded = images.decode(encoded(Image.fromarray(image), exif=exif, **options)).image
        np.testing.assert_array_equal(decoded, ORIENTATIONS[orientation](image))


def test_broken_exif_is_ignored_with_a_word(tmp_path, caplog):
    good = Image.Exif()
    good[0x0112] = 6
    cut = good.tobytes()[:12]
    for exif in (b'Exif\0\0II*\0nothing', b'Exif\0\0garbage', cut):
        path = tmp_path / f'{len(exif)}.jpg'
        path.write_bytes(encoded(Image.fromarray(noise(64, 48)), 'JPEG', exif=exif))
        found = images.read(path)
        assert found.image.shape == (64, 48, 3) and np.isnan(found.focal)
        assert found.notes == ('its EXIF data are broken, orientation and lens are not known',)
        assert str(path) in caplog.records[-1].getMessage() and 'EXIF' in caplog.records[-1].getMessage()


def test_exif_in_a_text_that_is_no_hexadecimal():
    """As ImageMagick writes it into a PNG; PIL raises an error of its own."""
    text = PngImagePlugin.PngInfo()
    text.add_text('Raw profile type exif', 'exif\n\n     7\nno number\n')
    found = images.decode(encoded(Image.fromarray(noise()), pnginfo=text))
    np.testing.assert_array_equal(found.image, noise())
    assert len(found.notes) == 1 and 'EXIF' in found.notes[0]


def test_grey_and_sixteen_bit():
    grey = noise(channels=1)
    decoded = images.decode(images.encode(grey)).image
    np.testing.assert_array_equal(decoded, np.repeat(grey[..., None], 3, axis=-1))
    deep = grey.astype(np.uint16) * 257  # 255 * 257 = 65535
    for form in ('PNG', 'TIFF'):
        decoded = images.decode(encoded(Image.fromarray(deep), form)).image
        np.testing.assert_array_equal(decoded[..., 1], grey)
    motorola = encoded(Image.frombytes('I;16B', (40, 30), deep.astype('>u2').tobytes()), 'TIFF')
    np.testing.assert_array_equal(images.decode(motorola).image[..., 1], grey)
    two = np.where(grey > 127, 255, 0).astype(np.uint8)
    decoded = images.decode(encoded(Image.fromarray(two).convert('1'))).image
    np.testing.assert_array_equal(decoded[..., 2], two)


def test_sixteen_bits_a_channel():
    """PIL keeps the higher byte."""
    deep = np.random.default_rng(3).integers(0, 65536, (30, 40, 3)).astype('>u2')
    rows = b''.join(b'\0' + row.tobytes() for row in deep)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))

    header = struct.pack('>IIBBBBB', 40, 30, 16, 2, 0, 0, 0)
    png = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')
    assert np.abs(images.decode(png).image.astype(float) - deep / 257).max() <= 1


def test_transparent_pixels_are_black():
    colour, alpha = noise(), np.zeros((30, 40, 1), np.uint8)
    alpha[:15] = 255
    decoded = images.decode(encoded(Image.fromarray(np.concatenate([colour, alpha], axis=-1)))).image
    np.testing.assert_array_equal(decoded[:15], colour[:15])
    assert not decoded[15:].any()
    alpha[:15] = 128  # half of the light
    straight = encoded(Image.fromarray(np.concatenate([colour, alpha], axis=-1)), 'TIFF')
    np.testing.assert_allclose(images.decode(straight).image[:15], colour[:15] / 2, atol=1)
    # The same file, but its tag ExtraSamples says that colours are premultiplied.
    before, after = (struct.pack('<HHIHH', 338, 3, 1, kind, 0) for kind in (2, 1))
    assert before in straight
    premultiplied = images.decode(straight.replace(before, after)).image
    np.testing.assert_allclose(premultiplied[:15], np.minimum(colour[:15], 128), atol=2)
    grey = Image.merge('LA', [Image.fromarray(colour[..., 0]), Image.fromarray(alpha[..., 0])])
    np.testing.assert_allclose(images.decode(encoded(grey)).image[:15, :, 1], colour[:15, :, 0] / 2, atol=1)
    palette = Image.fromarray(colour).quantize(8)
    decoded = images.decode(encoded(palette)).image
    np.testing.assert_array_equal(decoded, np.asarray(palette.convert('RGB')))


def test_four_inks():
    inks = np.zeros((20, 20, 4), np.uint8)
    inks[:10, :, 0] = 255  # cyan: no red
    decoded = images.decode(encoded(Image.fromarray(inks, 'CMYK'), 'JPEG', quality=95)).image
    # JPEG rounds; the two halves are far apart.
    assert decoded[2, 2, 0] < 20 and decoded[2, 2, 1] > 235 and (decoded[15, 5] > 235).all()


def smooth(height: int = 60, width: int = 80) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([2 * x + 40, 2 * y + 60, 200 - x - y], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    'form, suffix, options',
    [
        ('JPEG', '.jfif', {'quality': 95}),
        ('JPEG', '.JPE', {'quality': 95, 'progressive': True}),
        ('MPO', '.mpo', {'quality': 95, 'save_all': True, 'append_images': [Image.new('RGB', (8, 6))]}),
        ('PNG', '.png', {}),
        ('WEBP', '.webp', {'quality': 95}),
        ('BMP', '.bmp', {}),
        ('TIFF', '.tif', {'compression': 'tiff_lzw'}),
        ('PPM', '.ppm', {}),
        ('AVIF', '.avif', {'quality': 95}),
        ('HEIF', '.heic', {'quality': 95}),
    ],
)
def test_formats(form, suffix, options, tmp_path):
    if form == 'HEIF':
        pytest.importorskip('pillow_heif', reason="needs the extra 'heic'").register_heif_opener()
    path = tmp_path / f'photo{suffix}'
    path.write_bytes(encoded(Image.fromarray(smooth()), form, **options))
    found = images.read(path)
    assert suffix.lower() in images.SUFFIXES and found.notes == () and found.scale == 1
    assert np.abs(found.image.astype(int) - smooth()).mean() < 2.5  # a ramp, and chroma of half its resolution


@pytest.mark.parametrize('form', ['GIF', 'WEBP', 'PNG', 'TIFF'])
def test_of_an_animation_the_first_picture(form, tmp_path, caplog):
    path = tmp_path / 'moving'
    first, second = Image.new('RGB', (40, 30), (200, 0, 0)), Image.new('RGB', (40, 30), (0, 200, 0))
    path.write_bytes(encoded(first, form, save_all=True, append_images=[second]))
    found = images.read(path)
    assert (found.image[..., 0] > 180).all() and (found.image[..., 1] < 20).all()
    assert found.notes == ('the first of the pictures in it is taken',)
    assert 'the first of the pictures' in caplog.records[-1].getMessage()


def test_heic_without_its_extra_names_the_remedy(monkeypatch):
    pillow_heif = pytest.importorskip('pillow_heif', reason="needs the extra 'heic'")
    pillow_heif.register_heif_opener()
    data = encoded(Image.fromarray(smooth()), 'HEIF')
    monkeypatch.setattr(images, '_heif', lambda: False)
    with pytest.raises(Unreadable, match=r"pip install 'jfrecon\[heic\]'"):
        images.decode(data)


def test_a_raw_file_is_not_its_thumbnail():
    """DNG, NEF and ARW are TIFF files whose first picture is a small one (tag 254 is 1)."""
    with pytest.raises(Unreadable, match='raw file'):
        images.decode(encoded(Image.fromarray(smooth()), 'TIFF', tiffinfo={254: 1}))


@pytest.mark.parametrize('form', ['JPEG', 'MPO', 'PNG', 'TIFF', 'GIF'])
def test_huge_pictures_are_read_at_half_their_size(form, monkeypatch, caplog):
    monkeypatch.setattr(images, 'MAX_PIXELS', 4000)
    image, exif, lens = smooth(61, 80), Image.Exif(), exif_with(50, None)
    lens[0x0112] = 8
    exif.load(lens.tobytes())
    options = {'quality': 95, 'exif': exif} if form in ('JPEG', 'MPO') else {} if form == 'GIF' else {'exif': exif}
    found = images.decode(encoded(Image.fromarray(image), form, **options))
    assert found.scale == 0.5 and found.notes == ('read at half of its size: it has 0 megapixels',)
    half = image[:60].reshape(30, 2, 40, 2, 3).mean((1, 3))
    upright = found.image if form == 'GIF' else np.rot90(found.image, -1)
    assert upright.shape == (31, 40, 3)
    assert np.abs(upright[:30] - half).mean() < (6 if form == 'GIF' else 2)  # which has a palette
    if form != 'GIF':  # the lens of the smaller picture
        assert found.focal == pytest.approx(50 * np.hypot(61, 80) / np.hypot(36, 24) / 2)
    points = np.arange(136).reshape(68, 2)
    sample = found.sample(points, name='x')
    np.testing.assert_array_equal(sample.landmarks, points / 2)
    assert (sample.scale, sample.name, sample.landmarks.dtype) == (0.5, 'x', np.float32)
    assert not caplog.records  # nothing is wrong


def test_what_is_too_large_even_so(monkeypatch):
    monkeypatch.setattr(images, 'MAX_PIXELS', 1000)
    monkeypatch.setattr(images, 'MAX_WHOLE', 2000)
    monkeypatch.setattr(images, 'MAX_REDUCED', 5000)
    picture = Image.fromarray(smooth())
    assert images.decode(encoded(picture, 'JPEG')).image.shape == (30, 40, 3)
    for options in ({'form': 'PNG'}, {'form': 'JPEG', 'progressive': True}):  # has to be held as a whole
        with pytest.raises(Unreadable, match='80 x 60 pixels are more than the limit of 2,000'):
            images.decode(encoded(picture, **options))
    with pytest.raises(Unreadable, match='more than the limit of 5,000'):
        images.decode(encoded(Image.fromarray(smooth(100, 90)), 'JPEG'))


def exif_with(film: int, recorded: tuple[int, int] | None) -> Image.Exif:
    exif, details = Image.Exif(), {0xA405: film}
    if recorded:
        details |= {0xA002: recorded[0], 0xA003: recorded[1]}
    exif[0x8769] = details
    return exif


def test_focal_length_of_a_35_mm_equivalent():
    picture = Image.fromarray(noise(24, 36))
    focal = images.decode(encoded(picture, exif=exif_with(50, (3600, 2400)))).focal
    assert focal == pytest.approx(50.0)  # one pixel is one millimetre of a 36 x 24 film
    focal = images.decode(encoded(Image.fromarray(noise(36, 24)), exif=exif_with(50, (3600, 2400)))).focal
    assert focal == pytest.approx(50.0)  # turned upright
    focal = images.decode(encoded(picture, exif=exif_with(50, None))).focal
    assert focal == pytest.approx(50.0)


@pytest.mark.parametrize('unit, resolution', [(2, 254.0), (3, 100.0), (4, 10.0), (5, 0.01)])
def test_focal_length_by_the_resolution_of_the_sensor(unit, resolution):
    """A sensor of 36 x 24 mm with 10 pixels a millimetre, 360 x 240 in all; the picture was reduced to a tenth."""
    details = {0x920A: 50.0, 0xA20E: resolution, 0xA210: unit, 0xA002: 360, 0xA003: 240}

    def focal(**changes):
        exif = Image.Exif()
        exif[0x8769] = {**details, **{int(tag[1:], 16): value for tag, value in changes.items()}}
        return images.decode(encoded(Image.fromarray(noise(24, 36)), exif=exif)).focal

    assert focal() == pytest.approx(50.0)
    assert focal(xA405=100) == pytest.approx(100.0), 'the 35 mm equivalent goes before'
    wrong = {'no lens': focal(x920A=0.0), 'no sensor': focal(xA20E=0.0), 'one of 36 m': focal(xA20E=resolution / 1000)}
    wrong |= {'a lens of 5 m': focal(x920A=5000.0), 'no unit': focal(xA210=9), 'cropped': focal(xA003=360)}
    assert all(np.isnan(value) for value in wrong.values()), wrong


@pytest.mark.parametrize('film, recorded', [(0, (36, 24)), (50, (24, 24)), (60_000, (36, 24))])
def test_focal_lengths_that_cannot_hold(film, recorded):
    focal = images.decode(encoded(Image.fromarray(noise(24, 36)), exif=exif_with(film, recorded))).focal
    assert np.isnan(focal)


def test_masks_are_two_valued():
    mask = images.decode_mask(images.encode(np.array([[0, 100, 127], [128, 200, 255]], np.uint8)))
    np.testing.assert_array_equal(mask, [[0, 0, 0], [255, 255, 255]])
