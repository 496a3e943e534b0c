"""The parts of a head as one mesh with one texture."""

from __future__ import annotations

import io
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

from experiments.turning_head import __main__ as turning_head
from jfrecon.export.head import Dressed, Piece
from jfrecon.geometry import uv
from jfrecon.shading import colour
from jfrecon.types import MorphableModel, Topology


def test_each_part_keeps_its_texture_or_its_colour():
    square = np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]], np.float32)
    skin = np.zeros((16, 16, 3), np.uint8)
    skin[:8], skin[8:] = [200, 100, 50], [10, 20, 30]  # the upper half, where v is large, and the lower one
    flat = np.full((16, 16, 3), [128, 128, 255], np.uint8)
    eye = np.full((8, 8, 3), [40, 80, 120], np.uint8)
    corners = lambda first: np.arange(first, first + 3)[None]
    teeth = np.full((9, 3), 0.5, np.float32)
    pieces = (
        Piece('head', Topology(corners(0), square, corners(0)), {'diffuse': skin, 'specular': skin, 'normal': flat}),
        Piece('eye_left', Topology(corners(3), square, corners(0)), {'diffuse': eye}),
        Piece('teeth', Topology(corners(6), np.zeros((1, 2), np.float32), 0 * corners(0)), {}, teeth),
    )
    vertices = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    none = np.zeros((0, 9, 3), np.float32)
    model = MorphableModel(
        topology=Topology(np.concatenate([piece.topology.triangles for piece in pieces]), square, corners(0)),
        mean=vertices, identity_basis=none, expression_basis=none, diffuse_mean=np.full((9, 3), 0.3, np.float32),
        diffuse_basis=none, specular_mean=np.full((9, 1), 0.2, np.float32),
        specular_basis=np.zeros((0, 9, 1), np.float32), landmark_ids=np.zeros(68, int), name='small', licence='',
    )  # fmt: skip
    whole = turning_head.joined(Dressed(model, pieces), np.zeros(0), np.zeros(0))
    looked = uv.sample(jnp.asarray(whole.diffuse)[None], jnp.asarray(whole.topology.uv)[None])[0]
    seen = np.asarray(255 * colour.linear_to_srgb(looked))[whole.topology.uv_triangles]
    np.testing.assert_allclose(seen[0], [[10, 20, 30], [10, 20, 30], [200, 100, 50]], atol=0.01)
    np.testing.assert_allclose(seen[1], np.tile([40, 80, 120], (3, 1)), atol=0.01)
    np.testing.assert_allclose(np.asarray(looked)[whole.topology.uv_triangles[2]], 0.5, atol=1e-6)
    used = whole.vertices[np.unique(whole.topology.triangles)]
    np.testing.assert_allclose(used.min(0), -used.max(0), atol=1e-6)


def test_the_readme_begins_with_the_film():
    root = Path(__file__).parents[1]
    first = re.search(r'!\[[^]]*\]\(([^)]+)\)', (root / 'README.md').read_text())[1]
    assert first == 'experiments/turning_head/astronaut.webp'
    assert (root / first).stat().st_size < 2e6
    with Image.open(root / first) as film:
        assert 40 <= film.n_frames <= 60


def test_a_film_plays_its_frames_again_and_again():
    pictures = [np.full((8, 8, 3), value, np.uint8) for value in (0, 100, 200)]
    with Image.open(io.BytesIO(turning_head.webp(pictures, 0.1))) as film:
        assert (film.format, film.n_frames, film.info['loop']) == ('WEBP', 3, 0)
