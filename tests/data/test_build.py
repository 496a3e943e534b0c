"""What configs say of data: masks, splits, and what is held out."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from PIL import Image

from configs import yang21
from jfrecon.data import build, tfds_sources
from jfrecon.data.detection import skin
from jfrecon.data.sample import InMemory, Sample
from jfrecon.errors import UserError
from jfrecon.training import stages

LANDMARKS = np.random.default_rng(0).uniform(8, 32, (68, 2)).astype(np.float32)


def photo(group='', name='', **known):
    return Sample(np.full((40, 40, 3), 90, np.uint8), LANDMARKS, group=group, name=name, **known)


@pytest.fixture
def config(tmp_path):
    """Of two photographs in a folder, one of which has a mask of its upper half in another folder."""
    for name in ('photos/a.png', 'photos/b.png', 'masks/a.png'):
        picture = np.full((40, 40), 90, np.uint8)
        picture[:20] = 255
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).convert('RGB' if 'photos' in name else 'L').save(path)
    np.savez(tmp_path / 'landmarks.npz', filename=['a.png', 'b.png'], landmarks=np.stack([LANDMARKS] * 2))
    config = yang21.get_config('quicktest')
    config.data.update(source='folder', path=str(tmp_path / 'photos'), landmarks=str(tmp_path / 'landmarks.npz'))
    return config


def test_masks_come_from_a_folder(config, tmp_path):
    config.data.masks = str(tmp_path / 'masks')
    build.check(config)
    found = build.source(config, tmp_path)
    np.testing.assert_array_equal(found[0].mask[:, 0] > 127, np.arange(40) < 20)
    assert found[1].mask is None


def test_masks_come_from_the_parser_where_there_are_none(config, tmp_path, monkeypatch):
    asked = []

    def with_mask(sample, box):
        asked.append((sample.name, box))
        return sample.replace(mask=np.full(sample.image.shape[:2], 255, np.uint8))

    monkeypatch.setattr(skin, 'with_mask', with_mask)
    config.data.masks = 'parser'
    build.check(config)
    assert build.source(config, tmp_path)[1].mask.all()
    side = 1.8 * np.ptp(LANDMARKS, axis=0).max()  # as it was trained, whatever the crops of this run are
    assert asked[0][0] == 'b.png' and asked[0][1].side == pytest.approx(side)
    blind = photo().replace(landmarks=np.full((68, 2), np.nan, np.float32))
    given = photo(mask=np.zeros((40, 40), np.uint8))
    parsed = build.Parsed(InMemory([given, blind]), build.rule(config))
    assert not parsed[0].mask.any() and parsed[1].mask.all()
    assert asked[1][1] == (0, 0, 40) and len(asked) == 2


def test_a_split_of_a_tfds_data_set(config, tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_sources, 'Tfds', lambda name, split: (name, split))
    config.data.update(source='tfds', path='the300w_lp', landmarks=None, split='train[:85%]')
    build.check(config)
    assert build.source(config, tmp_path) == ('the300w_lp', 'train[:85%]')


def test_persons_are_held_out_whole_and_whoever_else_is_there(config):
    config.data.held_out = 0.2
    people = [photo(f'person {i // 3}') for i in range(600)]

    class Named(InMemory):
        @property
        def groups(self):
            return [sample.group for sample in self._samples]

    learnt, held_out = build.parts(config, Named(people))
    ours, theirs = set(learnt.groups), set(held_out.groups)
    assert not ours & theirs and len(ours) + len(theirs) == 200
    assert len(theirs) == pytest.approx(40, abs=4 * np.sqrt(200 * 0.2 * 0.8))  # four standard deviations
    assert held_out[0].group == held_out.groups[0]
    fewer = build.parts(config, Named(people[::-2]))[1]
    assert set(fewer.groups) <= theirs
    with pytest.raises(UserError, match=r'held_out=0\.2 leaves 0 of 3|held_out=0\.2 leaves 3 of 3'):
        build.parts(config, Named(people[:3]))


def test_the_held_out_faces_come_once_and_without_jitter(config, monkeypatch, tmp_path):
    config.data.update(held_out=0.5, crop='whole', jitter={'scale': 0.1, 'shift': 0.05, 'flip': 0.5, 'colour': 0.1})
    names = [f'{i}.png' for i in range(40)]

    class Numbered(InMemory):
        def name(self, index):
            return names[index]

    monkeypatch.setattr(build, 'source', lambda config, cache: Numbered([photo() for _ in names]))
    data = build.training_data(config, tmp_path)
    held_out = build.parts(config, build.source(config, tmp_path))[1]
    assert len(data.held_out) == len(held_out) // config.batch_size > 1
    seen = [i for batch in (data.held_out[k] for k in range(len(data.held_out))) for i in batch.index]
    assert len(set(seen)) == len(seen)
    jax.tree.map(np.testing.assert_array_equal, data.held_out[0].landmarks[0], LANDMARKS * 32 / 40)
    config.data.held_out = 0.0
    assert build.training_data(config, tmp_path).held_out == ()


def test_epochs_are_counted_by_the_images(config, tmp_path):
    config.epochs = 2.5
    assert config.optimiser.every != config.epoch
    stages.by_epochs(config, tmp_path)
    assert (config.steps, config.epoch) == (2, 1)  # two images are less than a batch
    config.data.update(source='synthetic', path=None, landmarks=None, faces=90, held_out=0.1)
    config.optimiser.every = config.epoch
    stages.by_epochs(config, tmp_path)
    assert (config.steps, config.epoch, config.optimiser.every) == (50, 20, 20)  # 81 images by fours
    config.epochs, config.steps = 0.0, 7
    stages.by_epochs(config, tmp_path)
    assert config.steps == 7
