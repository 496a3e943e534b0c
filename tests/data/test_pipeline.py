from __future__ import annotations

import jax
import numpy as np
import pytest

from jfrecon.data import pipeline
from jfrecon.data.cropping import Jitter
from jfrecon.data.sample import InMemory, Sample, Source, Unreadable
from jfrecon.errors import UserError
from jfrecon.training.prefetch import prefetched

OPTIONS = dict(size=16, seed=5, default_focal=4.0, rule=pipeline.landmark_box(1.5))


def sample(index: int, group: str = '', truth: dict | None = None) -> Sample:
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (40, 48, 3), np.uint8)
    return Sample(image, rng.uniform(8, 32, (68, 2)).astype(np.float32), truth=truth, name=f's{index}', group=group)


class Faces(Source):
    """Samples of which some cannot be read."""

    def __init__(self, count: int, broken: tuple[int, ...] = (), groups: list[str] | None = None):
        super().__init__()
        self.count, self.broken, self.given = count, broken, groups or [''] * count

    def __len__(self):
        return self.count

    @property
    def groups(self):
        return self.given

    def read(self, index):
        if index in self.broken:
            raise Unreadable('torn')
        return sample(index, self.given[index])


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def concatenate(parts):
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


@pytest.mark.parametrize('processes', [2, 4])
@pytest.mark.parametrize('frames', [1, 2])
def test_the_parts_of_all_processes_are_the_batch_of_one(processes, frames):
    options = dict(OPTIONS, batch_size=8, jitter=Jitter(), frames=frames)
    source = Faces(11, broken=(4,), groups=[str(i // 3) for i in range(11)])
    alone = pipeline.batches(source, **options)
    parts = [pipeline.batches(source, **options, process_index=i, process_count=processes) for i in range(processes)]
    for step in (0, 1, 5, 123_456):  # the last is far beyond the first epoch
        assert_same(concatenate([part[step] for part in parts]), alone[step])


def test_a_batch_is_the_same_whenever_and_on_whichever_thread_it_is_asked_for():
    dataset = pipeline.batches(Faces(7), **OPTIONS, batch_size=4, jitter=Jitter())
    seen = [dataset[step] for step in range(6)]
    for expected, found in zip(seen[3:], prefetched(dataset.__getitem__, 3, 6, threads=3), strict=True):
        assert_same(found, expected)


def test_every_epoch_has_every_sample_once_in_another_order():
    dataset = pipeline.batches(Faces(12), **OPTIONS, batch_size=4)
    order = np.concatenate([dataset[step].index for step in range(9)]).reshape(3, 12)
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(12), (3, 1)))
    assert (order[0] != order[1]).any() and (order[1] != order[2]).any() and (order[0] != np.arange(12)).any()


def test_the_seed_decides_order_and_jitter():
    def first(seed, jitter):
        options = dict(OPTIONS, seed=seed, batch_size=12)
        batch = pipeline.batches(Faces(12), **options, jitter=jitter)[0]
        order = np.argsort(batch.index)
        return batch.index, batch.landmarks[order]

    order, landmarks = first(0, Jitter())
    other, moved = first(1, Jitter())
    assert (order != other).any() and not np.allclose(landmarks, moved)
    assert_same(first(0, Jitter()), (order, landmarks))
    assert_same(first(0, None)[1], first(1, None)[1])


def test_jitter_is_new_in_every_epoch():
    dataset = pipeline.batches(Faces(4), **OPTIONS, batch_size=4, jitter=Jitter())
    by_sample = [dataset[epoch].landmarks[np.argsort(dataset[epoch].index)] for epoch in range(2)]
    assert (np.abs(by_sample[0] - by_sample[1]).max(axis=(1, 2)) > 0.1).all()


def test_about_half_of_the_crops_are_mirrored():
    """A dark left half becomes a dark right half."""
    image = np.full((40, 40, 3), 50, np.uint8)
    image[:, 20:] = 200
    landmarks = np.tile(np.array([[5.0, 5.0], [35.0, 35.0]], np.float32), (34, 1))
    source = InMemory([Sample(image, landmarks)])
    batch = pipeline.batches(source, **dict(OPTIONS, batch_size=400), jitter=Jitter(flip=0.5))[0]
    mirrored = batch.image[:, :, 2, 0] > batch.image[:, :, -3, 0]
    share = mirrored.mean()
    assert abs(share - 0.5) < 0.1  # four standard deviations of 400 fair coins


def test_batches_are_what_types_say():
    batch = pipeline.batches(Faces(6), **OPTIONS, batch_size=6, jitter=Jitter())[0]
    shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), batch)
    assert shapes.image == ((6, 16, 16, 3), 'float32') and shapes.landmarks == ((6, 68, 2), 'float32')
    assert shapes.landmark_weight == ((6, 68), 'float32') and shapes.mask == ((6, 16, 16), 'float32')
    assert shapes.camera.focal == ((6,), 'float32') and shapes.camera.principal == ((6, 2), 'float32')
    assert shapes.index == ((6,), 'int32')
    assert 0 <= batch.image.min() and 0.5 < batch.image.max() <= 1
    assert set(np.unique(batch.mask)) == {0.0, 1.0}


def test_unknown_landmarks_have_no_weight_and_no_nan():
    landmarks = sample(0).landmarks.copy()
    landmarks[[3, 60]] = np.nan
    batch = pipeline.batches(InMemory([sample(0).replace(landmarks=landmarks)]), **OPTIONS, batch_size=1)[0]
    assert np.flatnonzero(batch.landmark_weight[0] == 0).tolist() == [3, 60]
    assert np.isfinite(batch.landmarks).all()


def test_the_next_readable_sample_replaces_an_unreadable_one():
    source = Faces(6, broken=(2, 3, 5))
    for _ in range(2):  # the second time from memory
        assert [source[i].name for i in range(6)] == ['s0', 's1', 's4', 's4', 's4', 's0']
    assert source.unreadable == [('2', 'torn'), ('3', 'torn'), ('5', 'torn')]
    assert [s.name for s in source] == ['s0', 's1', 's4']


def test_unreadable_samples_are_replaced_whatever_was_read_before():
    options = dict(OPTIONS, batch_size=10, jitter=Jitter())
    fresh = pipeline.batches(Faces(10, broken=(0, 7, 8)), **options)
    used = pipeline.batches(Faces(10, broken=(0, 7, 8)), **options)
    for step in range(4):
        used[step]
    assert_same(used[2], fresh[2])
    assert not set(fresh[2].index) & {0, 7, 8}


def test_a_source_with_nothing_readable():
    with pytest.raises(UserError, match='none of the 3 samples is readable; the first, 0: torn'):
        Faces(3, broken=(0, 1, 2))[1]
    with pytest.raises(UserError, match='none of the 3'):
        pipeline.batches(Faces(3, broken=(0, 1, 2)), **OPTIONS, batch_size=1)[0]
    with pytest.raises(UserError, match='none of the 3'):
        list(pipeline.examples(Faces(3, broken=(0, 1, 2)), size=8, batch_size=2, default_focal=4.0))
    with pytest.raises(UserError, match='no samples'):
        pipeline.batches(Faces(0), **OPTIONS, batch_size=1)


def test_a_sample_with_neither_landmarks_nor_a_mask_is_unreadable():
    blind = sample(1).replace(landmarks=np.full((68, 2), np.nan, np.float32))
    source = InMemory([sample(0), blind])
    assert set(pipeline.batches(source, **OPTIONS, batch_size=4)[0].index) == {0}
    assert source.unreadable == [('1', 'no landmark is known')]
    whole = dict(OPTIONS, rule=pipeline.whole_box())
    source = InMemory([sample(0), blind])
    assert set(pipeline.batches(source, **whole, batch_size=4)[0].index) == {0}
    assert 'neither landmarks nor a mask' in source.unreadable[0][1]
    with pytest.raises(UserError, match='neither landmarks nor a mask'):
        pipeline.batches(InMemory([blind]), **whole, batch_size=1)[0]
    # If it may be anywhere the mask is the photo, 40 of 48 rows high after padding to a square.
    share = pipeline.batches(InMemory([blind]), **whole, batch_size=1, anywhere=True)[0].mask.mean()
    assert abs(share - 40 / 48) <= 1 / 16


def test_the_forehead_is_in_masks_and_hulls_or_in_neither():
    """Of a face of landmarks on a circle, brows at mid-height; the first has a mask of all pixels."""
    angles = np.linspace(0, np.pi, 17)
    jaw = np.stack([20 - 12 * np.cos(angles), 20 + 12 * np.sin(angles)], -1)
    brows = np.stack([np.linspace(9, 31, 10), np.full(10, 18.0)], -1)
    landmarks = np.concatenate([jaw, brows, np.full((41, 2), 22.0)]).astype(np.float32)
    image = np.full((40, 40, 3), 90, np.uint8)
    masked = Sample(image, landmarks, mask=np.full((40, 40), 255, np.uint8))
    options = dict(OPTIONS, size=40, rule=pipeline.whole_box(), batch_size=2)

    def rows(forehead):
        batch = pipeline.batches(InMemory([masked, masked.replace(mask=None)]), **options, forehead=forehead)[0]
        return batch.mask[np.argsort(batch.index)].any(-1).sum(-1).tolist()

    by_hull = 14  # from the brows at 18 to the chin at 32
    assert rows(0.0) == [by_hull, by_hull]
    grown, given = rows(0.5)[1], rows(0.5)[0]
    assert given == 40 and grown == by_hull + 7  # half of the way from chin to brows
    whole = pipeline.batches(InMemory([masked]), **{**options, 'batch_size': 1})[0]
    assert whole.mask.all()  # by default it is in
    blind = masked.replace(landmarks=np.full((68, 2), np.nan, np.float32))
    assert pipeline.batches(InMemory([blind]), **{**options, 'batch_size': 1}, forehead=0.2)[0].mask.all()
    with pytest.raises(UserError, match='where its forehead begins'):
        pipeline.batches(InMemory([blind]), **{**options, 'batch_size': 1}, forehead=0.0)[0]


def test_frames_of_a_batch_come_from_one_clip():
    groups = ['a'] * 5 + ['b'] * 3 + [''] * 4 + ['c']
    dataset = pipeline.batches(Faces(13, groups=groups), **OPTIONS, batch_size=6, frames=3)
    seen = set()
    for step in range(8):
        for clip in dataset[step].index.reshape(2, 3):
            assert len({groups[i] for i in clip}) == 1 and len(set(clip)) == 3
            seen |= set(clip.tolist())
    assert seen == set(range(8))  # 'c' has too few, '' is nobody


def test_a_clip_is_mirrored_whole():
    still = dict(OPTIONS, batch_size=6, frames=3)
    plain = pipeline.batches(Faces(9, groups=['a'] * 3 + ['b'] * 3 + ['c'] * 3), **still)
    jitter = Jitter(scale=0.0, shift=0.0, flip=0.5, colour=0.0)
    flipped = pipeline.batches(Faces(9, groups=['a'] * 3 + ['b'] * 3 + ['c'] * 3), **still, jitter=jitter)
    pictures = {i: image for step in range(3) for i, image in zip(plain[step].index, plain[step].image, strict=True)}
    turned = []
    for step in range(12):
        same = [np.allclose(a, pictures[i], atol=0.01) for i, a in zip(flipped[step].index, flipped[step].image)]
        clips = np.reshape(same, (2, 3))
        assert (clips == clips[:, :1]).all()
        turned += clips[:, 0].tolist()
    assert 4 < sum(turned) < 20


def test_a_clip_with_unreadable_frames_gives_way_to_the_next():
    source = Faces(6, broken=(1,), groups=['a', 'a', 'b', 'b', 'b', ''])
    dataset = pipeline.batches(source, **OPTIONS, batch_size=4, frames=2)
    for step in range(4):
        assert set(dataset[step].index) <= {2, 3, 4}


def test_batches_that_cannot_be_divided():
    with pytest.raises(UserError, match='not divisible by 3 processes'):
        pipeline.batches(Faces(4), **OPTIONS, batch_size=4, process_count=3)
    with pytest.raises(UserError, match='has 2 images'):
        pipeline.batches(Faces(4), **OPTIONS, batch_size=4, frames=2)


def test_a_small_set_is_read_once_and_a_large_one_as_far_as_memory_goes(monkeypatch):
    class Counting(Faces):
        def read(self, index):
            reads.append(index)
            return super().read(index)

    reads: list[int] = []
    forgetful = pipeline.batches(Faces(6), **OPTIONS, batch_size=3, jitter=Jitter())
    monkeypatch.setattr(pipeline, 'MEMORY', 4 * 40 * 48 * 3)
    remembering = pipeline.batches(Counting(6), **OPTIONS, batch_size=3, jitter=Jitter())
    monkeypatch.setattr(pipeline, 'MEMORY', 0)
    for step in range(6):  # three epochs
        assert_same(remembering[step], forgetful[step])
    assert len(reads) == 6 + 2 + 2 and len(set(reads)) == 6


def test_examples_are_all_samples_in_order():
    source = Faces(7, broken=(3,))
    found = list(pipeline.examples(source, size=16, batch_size=4, default_focal=4.0))
    assert [count for _, count in found] == [4, 2]
    assert found[0][0].index.tolist() == [0, 1, 2, 4] and found[1][0].index.tolist() == [5, 6, 6, 6]
    again = list(pipeline.examples(source, size=16, batch_size=4, default_focal=4.0))
    assert_same(found[1][0], again[1][0])


def test_training_sees_no_truth_and_evaluation_does():
    rng = np.random.default_rng(0)
    given = [
        {
            'vertices': rng.normal(size=(5, 3)).astype(np.float16),
            'face': np.ones((40, 48), np.float32),
            'diffuse': rng.uniform(size=(40, 48, 3)).astype(np.float32),
            'normal': np.tile(np.array([0, 0, 1], np.float32), (40, 48, 1)),
            'light': rng.normal(size=(9, 3)).astype(np.float32),
        }
        for _ in range(3)
    ]
    source = InMemory([sample(i, truth=truth) for i, truth in enumerate(given)])
    options = dict(size=16, batch_size=2, default_focal=4.0)
    leaves = jax.tree.leaves(pipeline.batches(source, **OPTIONS, batch_size=2)[0])
    assert len(leaves) == 7
    found = list(pipeline.with_truth(source, **options))
    assert [count for _, _, count in found] == [2, 1]
    batch, truth, _ = found[0]
    np.testing.assert_array_equal(truth.vertices, [given[0]['vertices'], given[1]['vertices']])
    assert truth.diffuse.shape == (2, 16, 16, 3) and truth.light.dtype == np.float32
    plain = next(pipeline.examples(source, **options))[0]
    assert_same(batch, plain)
    with pytest.raises(UserError, match='ground truth'):
        list(pipeline.with_truth(Faces(2), **options))
