"""People carried over to MakeHuman's targets: known ones come back, and the committed numbers are read as they are."""

from __future__ import annotations

import numpy as np
import pytest

from jfrecon.errors import UserError
from jfrecon.morphable import calibration, obj, people
from jfrecon.morphable.coat import SKIN
from jfrecon.morphable.models import ict, makehuman


def test_people_made_of_targets_come_back(monkeypatch):
    """A stand-in for ICT-FaceKit: MakeHuman's own mesh, larger, with known weights of targets as its mean and modes."""
    data = makehuman.folder()
    every = makehuman.adult_targets(data)
    few = {name: every[name] for name in sorted(every) if name.startswith(('nose-', 'head-', 'cheek-', 'chin-'))}
    monkeypatch.setattr(makehuman, 'adult_targets', lambda data: few)
    body = makehuman.read_body(data, 1.04)
    random = np.random.default_rng(0)
    deltas = people.rigid_free(
        np.stack(list(body.displaced(few).values())), body.vertices[body.head], body.at(body.region)
    )
    mean, modes = 0.1 * random.normal(size=len(few)), 0.1 * random.normal(size=(3, len(few)))
    vertices, offsets = body.vertices.copy(), np.zeros((3, *body.vertices.shape))
    vertices[body.head] += np.tensordot(mean, deltas, 1)
    offsets[:, body.head] = np.tensordot(modes, deltas, 1)
    polygons = body.base.polygons[body.part == SKIN]
    mesh = obj.Obj(vertices / 10, body.base.uv, polygons, polygons, np.array([]))
    monkeypatch.setattr(ict, 'PARTS', ((0, len(polygons), SKIN),))
    monkeypatch.setattr(ict, 'LANDMARKS', makehuman.LANDMARKS)
    monkeypatch.setattr(ict, 'EYEBALLS', makehuman.EYEBALLS)
    monkeypatch.setattr(calibration, 'ROUNDS', 8)
    monkeypatch.setattr(calibration, 'STIFF', (1.0,))

    found, _ = calibration.calibrate(ict.Source(mesh, offsets / 10, np.zeros((0, *vertices.shape)), ()))

    again = makehuman.read_body(data, found.scale)
    deltas = people.rigid_free(
        np.stack(list(again.displaced(few).values())), again.vertices[again.head], again.at(again.region)
    )
    at = again.at(again.region)
    wrong = np.tensordot(found.factor, deltas[:, at], 1) - offsets[:, again.region]
    size = np.linalg.norm(offsets[:, again.region], axis=-1).mean()
    # a ridge draws weights to zero, and lips are asked to stay shut
    assert np.linalg.norm(wrong, axis=-1).mean() < 0.1 * size
    made, wanted = again.vertices[again.region] + np.tensordot(found.mean, deltas[:, at], 1), vertices[again.region]
    gap = (made - made.mean(0)) - (wanted - wanted.mean(0))
    assert np.linalg.norm(gap, axis=-1).mean() < 0.5  # mm
    assert found.targets == tuple(few)


def test_statistics_are_written_and_read(tmp_path):
    random = np.random.default_rng(1)
    known = people.Statistics(('a', 'b-c'), random.normal(size=2), random.normal(size=(3, 2)), 1.0625)
    (tmp_path / 'x.safetensors').write_bytes(calibration.packed(known))
    found = people.read(tmp_path / 'x.safetensors')
    assert found.targets == known.targets and found.scale == known.scale
    np.testing.assert_allclose(found.factor, known.factor, rtol=1e-3)  # half precision
    np.testing.assert_allclose(found.mean, known.mean, rtol=1e-3)
    (tmp_path / 'x.safetensors').write_bytes(b'{}')
    with pytest.raises(UserError, match=r'x\.safetensors'):
        people.read(tmp_path / 'x.safetensors')


def test_the_committed_statistics_name_their_licence():
    from safetensors import safe_open

    with safe_open(people.FILE, 'numpy') as file:
        notes = file.metadata()
    assert 'ICT' in notes['source'] and 'USC Institute for Creative Technologies' in notes['licence']
    assert 'Permission is hereby granted' in notes['licence']
    assert people.FILE.stat().st_size < 100_000
