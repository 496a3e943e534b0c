"""The page of a face, and the part of a glTF camera's picture that is the photograph, by three.js."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import zipfile

import numpy as np
import pytest
from PIL import Image

from jfrecon import morphable
from jfrecon.export import gltf, report, viewer
from jfrecon.morphable import linear
from jfrecon.types import FaceParameters, Pinhole
from tests.browser import CHROMIUM, browser, drawn
from tests.export import glb
from tests.export.test_gltf import dressed

SIZE, FOCAL, PRINCIPAL = (640, 367), 950.0, (305.0, 318.75)
PROJECT = """
import { PerspectiveCamera } from './three.min.mjs';
import { readFileSync } from 'fs';
const { camera, points } = JSON.parse(readFileSync('given.json'));
const { yfov, aspectRatio, znear } = camera.perspective;
const { picture, photograph } = camera.extras;
const seen = new PerspectiveCamera((yfov * 180) / Math.PI, aspectRatio, znear, 10);
seen.setViewOffset(
  picture.width, picture.height, photograph.x, photograph.y, photograph.width, photograph.height);
const m = seen.projectionMatrix.elements;
const clip = (p, row) => m[row] * p[0] + m[row + 4] * p[1] + m[row + 8] * p[2] + m[row + 12];
console.log(JSON.stringify(points.map((p) => [
  (0.5 + 0.5 * clip(p, 0) / clip(p, 3)) * photograph.width, (0.5 - 0.5 * clip(p, 1) / clip(p, 3)) * photograph.height,
])));
"""


@pytest.fixture(scope='module')
def content():
    """Files of one face in perspective and in weak perspective."""
    model = linear.truncate(morphable.load_portrait(), 1, 2, 1)
    zero = lambda *shape: np.zeros(shape, np.float32)
    place = np.array([-90, 30, -700], np.float32)
    face = FaceParameters(zero(1), zero(2), zero(1), np.array([0.1, -0.3, 0], np.float32), place, zero(9, 3))
    camera = Pinhole(FOCAL, np.array(PRINCIPAL))
    return {
        perspective: gltf.binary(
            dressed(model, face), face.replace(perspective=perspective), camera, SIZE, roughness=0.4
        )
        for perspective in (True, False)
    }


@pytest.mark.skipif(shutil.which('node') is None, reason='three.js needs node or a browser')
def test_three_js_draws_the_photograph_by_itself(content, tmp_path):
    found = glb.read(content[True])
    points = glb.vertices(found)
    camera = found.file.cameras[0]
    given = {'camera': {'perspective': camera.perspective, 'extras': camera.extras}, 'points': points.tolist()}
    (tmp_path / 'given.json').write_text(json.dumps(given))
    (tmp_path / 'project.mjs').write_text(PROJECT)
    shutil.copy(viewer.HERE / 'three.min.mjs', tmp_path)
    run = subprocess.run(['node', 'project.mjs'], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    wanted = PRINCIPAL + FOCAL * points[:, :2] * [1, -1] / -points[:, 2:]
    np.testing.assert_allclose(json.loads(run.stdout), wanted, atol=0.01)


def test_the_page_holds_all_files_as_a_zip_that_a_script_finds_them_in():
    contents = {'face.glb': b'glTF' * 9, 'photograph.png': b'png', 'face.obj': b'v 0 0 0\n' * 100, 'ä.png': b'4'}
    part = viewer.part(contents, '</script>', np.ones((4, 8, 3), np.float32), np.zeros(2, np.float32))
    text = lambda name: re.search(f'id="{name}">(.*?)</script>', part, re.S)[1]
    archive, facts = base64.b64decode(text('files')), json.loads(text('facts'))
    with zipfile.ZipFile(io.BytesIO(archive)) as read:
        assert {name: read.read(f'</script>/{name}') for name in contents} == contents
    places = facts['members']
    assert {name: archive[slice(*place)] for name, place in places.items()} == {
        name: content for name, content in contents.items() if name != 'face.obj'
    }
    assert viewer.part(contents, '</script>', np.ones((4, 8, 3), np.float32), np.zeros(2, np.float32)) == part


LAMP = """
for (const [name, value] of Object.entries({{ lamp: 2, brightness: 0.1, azimuth: {}, elevation: 0 }})) {{
  const input = document.querySelector(`#viewer [name=${{name}}]`);
  input.value = value;
  input.dispatchEvent(new Event('input'));
}}
"""


CHOOSE = """
(() => {{
  const input = document.querySelector('#viewer [name={0}]') ?? document.querySelector('[data-expression]');
  input.value = '{1}';
  input.dispatchEvent(new Event('input'));
}})();
"""


@pytest.mark.skipif(CHROMIUM is None, reason='the page needs a browser')
@pytest.mark.parametrize('perspective', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_page_shows_the_face_and_relights_it_without_a_network(perspective, content, tmp_path):
    """Whole, in the middle, about as large whatever the camera; a lamp lights the side that it stands at."""
    with browser(tmp_path / 'profile') as show:
        page = tmp_path / 'report.html'
        contents = {'face.glb': content[perspective]}
        part = viewer.part(contents, 'me', np.ones((4, 8, 3), np.float32), np.zeros(2, np.float32))
        report.page(page, 'face', [], [part])
        evaluate = show(page.as_uri())
        drawn(evaluate)
        lit = canvas(evaluate) > 40  # of a white face on black
        assert 0.15 < lit.mean() < 0.5
        assert not lit[[0, -1]].any(), 'from the crown to the neck'
        assert np.abs(np.argwhere(lit).mean(0) / lit.shape - 0.5).max() < 0.15
        share = []
        for azimuth in (-80, 80):
            evaluate(LAMP.format(azimuth))
            left, right = (half.sum() for half in np.array_split(canvas(evaluate), 2, axis=1))
            share.append(left / (left + right))
        assert share[0] > share[1] + 0.2, share
        before = canvas(evaluate)
        for name, value in {'view': 'wireframe', 'light': 'studio', 'turn': 180, 'expression': 1}.items():
            evaluate(CHOOSE.format(name, value))
            after = canvas(evaluate)
            assert np.abs(after - before).max() > 20, name
            before = after


def canvas(evaluate):
    """What the page has drawn, [H, W] 0..255."""
    picture = evaluate("document.querySelector('canvas').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.split(',')[1]))).convert('L')).astype(float)
