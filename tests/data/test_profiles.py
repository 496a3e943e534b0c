"""Profiles are written by hand; what is expected is computed in float64 from chromaticities, without Little CMS."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from jfrecon.data import images, profiles

# (x, y) of red, green and blue; all have the white of D65 but ProPhoto's, which is D50.
D65, D50 = (0.3127, 0.3290), (0.3457, 0.3585)
SRGB = [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)]
P3 = [(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)]
ADOBE = [(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)]
# The same adapted to D50, as they stand in the profiles that Apple and Adobe ship; rows are red, green, blue.
P3_D50 = [(0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)]
ADOBE_D50 = [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)]
SRGB_D50 = [(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)]


def srgb_decoded(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_encoded(values):
    values = np.clip(values, 0, 1)
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


def to_xyz(primaries, white=D65):
    """Matrix from linear RGB to XYZ, both of the same white."""
    xyz = lambda xy: np.array([xy[0] / xy[1], 1, (1 - xy[0] - xy[1]) / xy[1]])
    columns = np.stack([xyz(xy) for xy in primaries], -1)
    return columns * np.linalg.solve(columns, xyz(white))


def expected(values, primaries, decode):
    """uint8 colours [..., 3] in a space of D65 -> uint8 sRGB."""
    linear = decode(np.asarray(values, float) / 255)
    linear = linear @ (np.linalg.inv(to_xyz(SRGB)) @ to_xyz(primaries)).T
    return np.round(255 * srgb_encoded(linear))


def fixed(*values):
    return struct.pack(f'>{len(values)}i', *(round(65536 * value) for value in values))


def profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b'mntr', pcs: bytes = b'XYZ ') -> bytes:
    """ICC version 2.4."""
    tags = {b'desc': b'desc\0\0\0\0' + struct.pack('>I', 5) + b'mine\0' + bytes(78), **tags}
    table, data = b'', b''
    for name, content in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack('>II', 132 + 12 * len(tags) + len(data), len(content))
        data += content
    header = struct.pack('>I4xI', 132 + len(table) + len(data), 0x02400000) + kind + space + pcs
    header = header.ljust(36, b'\0') + b'acsp'
    header = header.ljust(68, b'\0') + fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b'\0') + struct.pack('>I', len(tags)) + table + data


def curve(decode) -> bytes:
    """A table of 1024 values."""
    values = np.round(65535 * decode(np.linspace(0, 1, 1024))).astype('>u2')
    return b'curv\0\0\0\0' + struct.pack('>I', 1024) + values.tobytes()


def three_primaries(columns, decode) -> bytes:
    xyz = {name: b'XYZ \0\0\0\0' + fixed(*column) for name, column in zip((b'rXYZ', b'gXYZ', b'bXYZ'), columns)}
    return profile(b'RGB ', {**xyz, **dict.fromkeys((b'rTRC', b'gTRC', b'bTRC'), curve(decode))})


ADOBE_GAMMA = lambda values: values ** (563 / 256)
P3_ICC, ADOBE_ICC = three_primaries(P3_D50, srgb_decoded), three_primaries(ADOBE_D50, ADOBE_GAMMA)
SRGB_ICC = three_primaries(SRGB_D50, srgb_decoded)
SPACES = {'P3': (P3_ICC, P3, srgb_decoded), 'Adobe RGB': (ADOBE_ICC, ADOBE, ADOBE_GAMMA)}
SKIN = [189, 137, 115]  # in P3, of what is (198, 134, 110) in sRGB


def patches(size: int = 8, count: int = 6) -> np.ndarray:
    """Flat squares, the first of them skin, which survive lossy formats; not near the edge of sRGB's gamut."""
    colours = np.random.default_rng(1).integers(60, 200, (count, 3))
    colours[:, 0] = colours[:, 1:].mean(-1) + 20
    colours[0] = SKIN
    row = np.repeat(colours, size, axis=0)[None]
    return np.repeat(row, 3 * size, axis=0).astype(np.uint8)


def saved(image: np.ndarray, form: str, mode: str | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image, mode).save(buffer, form, **options)
    return buffer.getvalue()


EXACT = {'PNG': {}, 'TIFF': {}, 'WEBP': {'lossless': True}}
LOSSY = {'JPEG': {'quality': 100, 'subsampling': 0}, 'AVIF': {'quality': 100, 'subsampling': '4:4:4'}}
HEIF = {'HEIF': {'quality': 100, 'chroma': 444}}


@pytest.mark.parametrize('space', SPACES)
@pytest.mark.parametrize('form', [*EXACT, *LOSSY, *HEIF])
def test_embedded_profiles_are_converted(space, form):
    if form == 'HEIF':
        pytest.importorskip('pillow_heif', reason="needs the extra 'heic'").register_heif_opener()
    icc, primaries, decode = SPACES[space]
    image = patches()
    data = saved(image, form, icc_profile=icc, **EXACT.get(form, LOSSY.get(form, HEIF.get(form))))
    found = images.decode(data)
    away = np.abs(found.image - expected(image, primaries, decode))
    # Little CMS works with 15 bits and rounds; lossy formats are two levels off before that.
    assert away.max() <= (1 if form in EXACT else 4), away.max()
    assert found.notes == ('colours converted from mine',)


def test_skin_from_display_p3():
    """What today's telephones write: untouched, it would be read nine levels too pale."""
    found = images.decode(saved(patches(), 'PNG', icc_profile=P3_ICC)).image
    np.testing.assert_allclose(found[3, 3], [198, 134, 110], atol=1)


@pytest.mark.parametrize('icc', [SRGB_ICC, ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()])
def test_srgb_is_left_as_it_is(icc):
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    found = images.decode(saved(image, 'PNG', icc_profile=icc))
    np.testing.assert_array_equal(found.image, image)
    assert found.notes == ()


def test_values_that_are_no_colours_stay():
    image = patches()
    data = saved(image, 'PNG', icc_profile=ADOBE_ICC)
    np.testing.assert_array_equal(images.decode(data, convert=False).image, image)
    mask = np.full((8, 8), 130, np.uint8)
    dark = profile(b'GRAY', {b'kTRC': curve(lambda values: values**4)})
    assert images.decode_mask(saved(mask, 'PNG', icc_profile=dark)).all()


def with_chunks(image: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with more chunks behind its header."""
    data = saved(image, 'PNG')
    made = b''.join(
        struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:33] + made + data[33:]


def gama(exponent: float):
    return b'gAMA', struct.pack('>I', round(100_000 * exponent))


def chrm(primaries):
    return b'cHRM', struct.pack('>8I', *(round(100_000 * v) for xy in (D65, *primaries) for v in xy))


@pytest.mark.parametrize(
    'chunks, primaries, decode',
    [
        ([gama(1.0)], SRGB, lambda v: v),
        ([gama(1 / 1.8)], SRGB, lambda v: v**1.8),
        ([gama(0.45455), chrm(P3)], P3, srgb_decoded),
        ([chrm(ADOBE), gama(1 / 2.19921875 / 1.06)], ADOBE, lambda v: v ** (2.19921875 * 1.06)),
    ],
    ids=['linear', 'gamma 1.8', "P3 with sRGB's gamma", 'another gamma and primaries'],
)
def test_gamma_and_primaries_of_png(chunks, primaries, decode):
    image = patches()
    found = images.decode(with_chunks(image, *chunks)).image
    assert np.abs(found - expected(image, primaries, decode)).max() <= 1


@pytest.mark.parametrize(
    'chunks', [[gama(0.45455)], [gama(0.45455), chrm(SRGB)], [(b'sRGB', b'\0'), gama(1.0), chrm(P3)]]
)
def test_png_of_srgb(chunks):
    """What says sRGB, and gamma 1/2.2, by which encoders of old mean it."""
    image = patches()
    found = images.decode(with_chunks(image, *chunks))
    np.testing.assert_array_equal(found.image, image)
    assert found.notes == ()


def test_a_camera_set_to_adobe_rgb_says_so_by_exif_alone():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: 'R03'}
    image = patches()
    found = images.decode(saved(image, 'JPEG', exif=exif, quality=100, subsampling=0))
    assert np.abs(found.image - expected(image, ADOBE, ADOBE_GAMMA)).max() <= 4
    assert found.notes == ('colours converted from Adobe RGB',)


@pytest.mark.parametrize('transfer, note', [(13, 'colours converted from Display P3'), (18, 'HLG')])
def test_numbers_of_primaries_in_avif(transfer, note):
    """Its colr box, which PIL passes over."""
    data = saved(patches(), 'AVIF', quality=100, subsampling='4:4:4')
    at = data.index(b'colrnclx') + 8
    found = images.decode(data[:at] + struct.pack('>HH', 12, transfer) + data[at + 4 :])
    assert len(found.notes) == 1 and note in found.notes[0]
    wanted = [198, 134, 110] if transfer == 13 else SKIN
    np.testing.assert_allclose(found.image[3, 3], wanted, atol=3)


def test_grey_stays_grey():
    """A curve for print on an L picture, and an RGB profile on one, whose channels must stay equal."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 16, axis=0)
    found = images.decode(saved(ramp, 'PNG', icc_profile=profile(b'GRAY', {b'kTRC': curve(lambda v: v**1.8)}))).image
    assert np.abs(found[0, :, 1] - np.round(255 * srgb_encoded((np.arange(256) / 255) ** 1.8))).max() <= 1
    np.testing.assert_array_equal(found, found[..., :1].repeat(3, -1))
    found = images.decode(saved(ramp, 'PNG', icc_profile=ADOBE_ICC)).image
    assert np.abs(found[0, :, 1] - np.round(255 * srgb_encoded(ADOBE_GAMMA(np.arange(256) / 255)))).max() <= 1
    np.testing.assert_array_equal(found, found[..., :1].repeat(3, -1))


def four_inks() -> tuple[bytes, np.ndarray, np.ndarray]:
    """A CMYK profile whose L*a*b* is affine in the inks: (profile, [4, 3] per ink, [3] of paper)."""
    inks, paper = np.array([[-25, -30, -40], [-30, 60, -5], [-5, -5, 70], [-40, 0, 0]]), np.array([100, 0, 0])
    corners = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing='ij'), -1).reshape(-1, 4)  # the last ink goes fastest
    lab = paper + corners @ inks
    codes = np.round(np.stack([lab[:, 0] / 100 * 65280, (lab[:, 1] + 128) * 256, (lab[:, 2] + 128) * 256], -1))
    line = np.array([0, 65535], '>u2').tobytes()
    lut = b'mft2\0\0\0\0' + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1) + struct.pack('>HH', 2, 2)
    lut += 4 * line + codes.astype('>u2').tobytes() + 3 * line
    return profile(b'CMYK', dict.fromkeys((b'A2B0', b'A2B1'), lut), b'prtr', b'Lab '), inks, paper


def lab_to_srgb(lab):
    """CIE L*a*b* of D50 -> sRGB, 0 to 255, by Bradford's adaptation to D65."""
    fy = (lab[..., 0] + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1.0, 0.8249]
    adapt = [[0.9555766, -0.0230393, 0.0631636], [-0.0282895, 1.0099416, 0.0210077], [0.0122982, -0.0204830, 1.3299098]]
    return np.round(255 * srgb_encoded(xyz @ np.array(adapt).T @ np.linalg.inv(to_xyz(SRGB)).T))


@pytest.mark.parametrize('form', ['TIFF', 'JPEG'])
def test_four_inks_by_their_profile(form):
    """The deepest black of these inks is L* = 0: nothing is left for black point compensation to do."""
    icc, ink, paper = four_inks()
    colours = np.array([[0, 0, 0, 0], [20, 70, 80, 0], [10, 30, 30, 60], [40, 40, 20, 10]])
    image = np.repeat(np.repeat(colours, 8, axis=0)[None], 24, axis=0).astype(np.uint8)
    options = {'quality': 100} if form == 'JPEG' else {}
    found = images.decode(saved(image, form, 'CMYK', icc_profile=icc, **options)).image
    wanted = lab_to_srgb(paper + colours / 255 @ ink)[:, None]
    assert np.abs(found[12, 3::8] - wanted[:, 0]).max() <= (2 if form == 'TIFF' else 4)


def test_lab_of_tiff():
    image = np.repeat(np.repeat([[[60, 20, 25], [30, -10, 5]]], 16, axis=1), 32, axis=0)
    codes = np.stack([image[..., 0] * 255 / 100, image[..., 1] % 256, image[..., 2] % 256], -1).astype(np.uint8)
    found = images.decode(saved(codes, 'TIFF', 'LAB')).image
    lab = np.stack([codes[..., 0] / 2.55, image[..., 1], image[..., 2]], -1)
    assert np.abs(found - lab_to_srgb(lab)).max() <= 2


@pytest.mark.parametrize(
    'icc, mode, reason',
    [
        (b'no profile at all', 'RGB', 'no ICC profile'),
        (P3_ICC[:200], 'RGB', 'no ICC profile'),
        (profile(b'RGB ', {}), 'RGB', 'cannot be applied'),
        (four_inks()[0], 'RGB', 'describes CMYK colours'),
        (profile(b'GRAY', {b'kTRC': curve(srgb_decoded)}), 'RGB', 'describes GRAY colours'),
        (P3_ICC, 'CMYK', 'describes RGB colours'),
    ],
    ids=['text', 'cut', 'empty', 'of inks', 'of greys', 'of a monitor'],
)
def test_broken_profiles_are_ignored_with_a_word(icc, mode, reason, tmp_path, caplog):
    image = np.full((24, 24, 3 if mode == 'RGB' else 4), 100, np.uint8)
    for name, profiled in (('plain.tif', None), ('broken.tif', icc)):
        (tmp_path / name).write_bytes(saved(image, 'TIFF', mode, icc_profile=profiled))
    plain, broken = (images.read(tmp_path / name) for name in ('plain.tif', 'broken.tif'))
    np.testing.assert_array_equal(broken.image, plain.image)
    assert len(broken.notes) == 1 and reason in broken.notes[0] and plain.notes == ()
    images.read(tmp_path / 'broken.tif')
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and 'broken.tif' in said[0] and reason in said[0], said


def test_profiles_that_png_and_jpeg_lost(tmp_path):
    """PIL leaves nothing of a profile that does not unpack, or of whose parts one is missing."""
    broken = b'icc\0\0' + b'not zlib'
    found = images.decode(with_chunks(patches(), (b'iCCP', broken)))
    assert found.notes == ('its colour profile is ignored: it is cut short',)
    parts = saved(patches(), 'JPEG', icc_profile=P3_ICC + bytes(70_000))
    second = parts.index(b'ICC_PROFILE\0\x02')
    found = images.decode(parts[:second] + b'XXX_PROFILE' + parts[second + 11 :])
    assert found.notes == ('its colour profile is ignored: it is cut short',)


def test_a_written_profile_is_what_it_says():
    """Against the conversion of D65 primaries in float64; ProPhoto's white is another."""
    colours = np.random.default_rng(2).integers(40, 200, (4, 64, 3)).astype(np.uint8)
    convert = profiles.converter(profiles.matrix_profile(profiles.ADOBE, profiles.ADOBE_GAMMA), 'RGB')
    found = np.asarray(convert(Image.fromarray(colours)))
    assert np.abs(found - expected(colours, ADOBE, ADOBE_GAMMA)).max() <= 1
    wide = profiles.Primaries(D50, (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001))
    white = np.full((1, 1, 3), 255, np.uint8)
    found = profiles.converter(profiles.matrix_profile(wide, 1.8), 'RGB')(Image.fromarray(white))
    assert np.asarray(found).min() >= 254
