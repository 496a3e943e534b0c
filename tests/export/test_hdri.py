from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jfrecon.errors import UserError
from jfrecon.export import hdri
from jfrecon.shading import sh

BANDS = 5


def lamp(direction):
    """Soft light from a direction, nowhere negative, as coefficients [25, 3]."""
    unit = np.array(direction) / np.linalg.norm(direction)
    found = np.array(sh.directional(unit, np.ones(3), BANDS, softness=0.7))
    found[0] += sh.GREY
    return found


@pytest.mark.parametrize('suffix, tolerance', [('.exr', 1e-5), ('.hdr', 0.02)])  # 8 bits a channel
def test_light_survives_its_file(suffix, tolerance, tmp_path):
    coefficients = lamp([0.3, 0.5, 0.8])
    hdri.write(tmp_path / f'light{suffix}', hdri.picture(coefficients))
    found = sh.project(hdri.read(tmp_path / f'light{suffix}'), BANDS)
    np.testing.assert_allclose(found, coefficients, atol=tolerance)
    assert [path.name for path in tmp_path.iterdir()] == [f'light{suffix}']


def test_large_maps_are_reduced_to_means(tmp_path, monkeypatch):
    monkeypatch.setattr(hdri, 'HIGHEST', 4)
    radiance = np.random.default_rng(0).uniform(size=(12, 24, 3)).astype(np.float32)
    hdri.write(tmp_path / 'light.exr', radiance)
    expected = np.roll(radiance.reshape(4, 3, 8, 3, 3).mean((1, 3)), -2, axis=1)
    np.testing.assert_allclose(hdri.read(tmp_path / 'light.exr'), expected, atol=1e-6)


@pytest.mark.parametrize('direction', [[1, 0, 0], [0, 0, 1], [-1, 0, 0.2], [0.3, 0.8, -0.5]])
def test_a_lamp_stands_in_the_file_where_three_js_and_blender_look_for_it(direction):
    """u = atan2(z, x) / 2 pi + 1/2 and v = asin(y) / pi + 1/2, v upwards (three.js' equirectUv; glTF's axes)."""
    x, y, z = np.array(direction) / np.linalg.norm(direction)
    picture = hdri.picture(lamp(direction))[..., 0]
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    height, width = picture.shape
    u, v = (column + 0.5) / width, 1 - (row + 0.5) / height
    across = (u - (np.arctan2(z, x) / (2 * np.pi) + 0.5) + 0.5) % 1 - 0.5
    assert abs(across) <= 1.5 / width
    assert abs(v - (np.arcsin(y) / np.pi + 0.5)) <= 1.5 / height


def test_negative_radiance_is_black_in_the_file():
    assert hdri.picture(-lamp([0, 0, 1])).max() == 0


@pytest.mark.parametrize('wrong', ['text', 'short', 'square', 'nan', 'png', 'missing'])
def test_what_is_no_light_is_named(wrong, tmp_path):
    path = tmp_path / ('light.png' if wrong == 'png' else 'light.exr')
    radiance = np.random.default_rng(0).uniform(size=(8, 16, 3)).astype(np.float32)
    if wrong == 'text':
        path.write_text('not a picture')
    elif wrong == 'png':
        Image.fromarray(np.zeros((8, 16, 3), np.uint8)).save(path)
    elif wrong != 'missing':
        radiance[0, 0] = np.nan if wrong == 'nan' else 1
        hdri.write(path, radiance[:, :8] if wrong == 'square' else radiance)
        if wrong == 'short':
            path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(UserError, match=str(path)):
        hdri.read(path)


def test_suns_that_do_not_fit_are_clamped_and_said(tmp_path, caplog):
    radiance = np.ones((8, 16, 3), np.float32)
    radiance[1, 2], radiance[1, 3, 0], radiance[2, 2] = np.inf, 3e38, -0.25
    radiance[3, 3] = 1e6  # a sun that fits
    hdri.write(tmp_path / 'light.exr', radiance)
    found = np.roll(hdri.read(tmp_path / 'light.exr'), 4, axis=1)
    assert found[1, 2].tolist() == [65504] * 3 and found[1, 3, 0] == 65504 and found[2, 2].tolist() == [0] * 3
    assert found[3, 3].tolist() == [1e6] * 3 and (found == 1).sum() == found.size - 10
    assert '4 values are infinite and are read as 65504' in caplog.text and '3 values are negative' in caplog.text
    assert np.isfinite(sh.project(found, BANDS)).all()


def test_a_full_disk_is_an_error_of_the_disk(tmp_path, monkeypatch):
    """OpenImageIO says no more than that it failed."""

    class Library:
        ImageBuf = lambda _, pixels: Library()
        write = lambda *_: False
        geterror = lambda _: 'Failed ImageOutput::Create'

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(hdri, '_library', Library)
    with pytest.raises(UserError, match='cannot be written'):
        hdri.write(tmp_path / 'light.exr', np.ones((8, 16, 3), np.float32))
    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError, match='No space'):
        hdri.write(tmp_path / 'light.exr', np.ones((8, 16, 3), np.float32))
