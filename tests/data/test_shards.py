from __future__ import annotations

import json
import resource
import signal

import msgpack
import numpy as np
import pytest

from jfrecon.data import shards
from jfrecon.data.sample import Sample, Unreadable
from jfrecon.errors import UserError


def sample(seed: int, rich: bool = True) -> Sample:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (24, 20, 3), np.uint8)
    if not rich:
        return Sample(image, name=f'plain {seed}')
    truth = {
        'vertices': rng.normal(size=(7, 3)).astype(np.float16),
        'face': rng.integers(0, 2, (24, 20), np.uint8),
        'diffuse': rng.uniform(size=(24, 20, 3)).astype(np.float16),
        'normal': rng.normal(size=(24, 20, 3)).astype(np.float32),
        'light': rng.normal(size=(9, 3)).astype(np.float32),
    }
    landmarks = rng.uniform(0, 20, (68, 2)).astype(np.float32)
    landmarks[3] = np.nan
    mask = rng.choice([0, 255], (24, 20)).astype(np.uint8)
    return Sample(
        image, landmarks, mask, 123.25, np.array([9, 12.5], np.float32), truth, f'rich {seed}', f'g{seed % 2}'
    )


def assert_same(a: Sample, b: Sample):
    assert (a.name, a.group) == (b.name, b.group)
    for field in ('image', 'landmarks', 'mask', 'focal', 'principal'):
        np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    assert (a.truth is None) == (b.truth is None)
    for key, value in (a.truth or {}).items():
        np.testing.assert_array_equal(value, b.truth[key])
        assert value.dtype == b.truth[key].dtype


def write(folder, count=5, **options):
    samples = [sample(i, rich=i != 2) for i in range(count)]
    shards.write(samples, folder, shard_size=2, **options)
    return samples


def test_round_trip(tmp_path):
    seen = []
    samples = write(tmp_path / 's', progress=seen.append)
    source = shards.Shards(tmp_path / 's')
    assert len(source) == 5 and seen == [1, 2, 3, 4, 5]
    assert sorted(path.name for path in (tmp_path / 's').iterdir()) == [
        'manifest.json', 'shard-00000.array_record', 'shard-00001.array_record', 'shard-00002.array_record'
    ]  # fmt: skip
    for i in (4, 0, 3, 1, 2):
        assert_same(source[i], samples[i])
        assert source.name(i) == samples[i].name
    assert list(source.groups) == ['g0', 'g1', '', 'g1', 'g0']


def test_the_same_samples_give_the_same_bytes(tmp_path):
    for name in 'ab':
        write(tmp_path / name, quality=90)
    files = sorted(path.name for path in (tmp_path / 'a').iterdir())
    for name in files:
        assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()


def test_jpeg_is_smaller_and_not_exact(tmp_path):
    exact, lossy = len(shards.pack(sample(0))), len(shards.pack(sample(0), quality=80))
    assert lossy < exact
    again = shards.unpack(shards.pack(sample(0), quality=80))
    assert again.image.shape == (24, 20, 3) and (again.image != sample(0).image).any()


def test_an_interrupted_run_leaves_no_shards_and_can_be_repeated(tmp_path):
    def stops():
        yield from (sample(i) for i in range(3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards.write(stops(), tmp_path, shard_size=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['shard-00000.array_record']
    with pytest.raises(UserError, match='interrupted'):
        shards.Shards(tmp_path)
    write(tmp_path, count=3)
    assert len(shards.Shards(tmp_path)) == 3


def test_a_complete_folder_is_not_overwritten(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match='already'):
        write(tmp_path)


def test_nothing_to_write(tmp_path):
    with pytest.raises(UserError, match='no samples'):
        shards.write([], tmp_path)
    with pytest.raises(UserError, match='no such folder'):
        shards.Shards(tmp_path / 'none')


def test_a_cut_shard_is_not_complete(tmp_path):
    write(tmp_path)
    path = tmp_path / 'shard-00001.array_record'
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r'shard-00001.array_record is missing or not complete'):
        shards.Shards(tmp_path)


def test_flipped_bits_make_unreadable_samples(tmp_path):
    write(tmp_path)
    path = tmp_path / 'shard-00000.array_record'
    content = bytearray(path.read_bytes())
    content[300] ^= 0xFF  # inside the first record's data: its hash no longer fits
    path.write_bytes(bytes(content))
    source = shards.Shards(tmp_path)
    readable = [s.name for s in source]
    assert source.unreadable and 'rich 0' not in readable and {'plain 2', 'rich 3', 'rich 4'} <= set(readable)


def damaged(**changes) -> bytes:
    fields = msgpack.unpackb(shards.pack(sample(0)))
    for path, value in changes.items():
        *keys, last = path.split('__')
        inner = fields
        for key in keys:
            inner = inner[key]
        inner[last] = value
    return msgpack.packb(fields)


@pytest.mark.parametrize(
    'record',
    [
        b'',
        b'\xc1',
        b'\xdd\xff\xff\xff\xff',  # an array of four billion elements that are not there
        msgpack.packb([1, 2]),
        msgpack.packb({'version': 1}),
        shards.pack(sample(0))[:-5],
        damaged(version=2),
        damaged(image=b'text'),
        damaged(image=7),
        damaged(mask=b''),
        damaged(landmarks=None),
        damaged(landmarks__shape=[68, 3]),
        damaged(landmarks__shape=[-68, -2]),
        damaged(landmarks__shape=[2**40, 2]),
        damaged(landmarks__shape='68'),
        damaged(landmarks__dtype='object'),
        damaged(landmarks__dtype='float16'),
        damaged(focal=-1.0),
        damaged(focal='wide'),
        damaged(truth__face={'dtype': 'uint8', 'shape': [1, 1], 'data': b'x'}),
        damaged(truth={}),
    ],
)
def test_hostile_records_are_unreadable(record):
    with pytest.raises(Unreadable):
        shards.unpack(record)


@pytest.mark.parametrize(
    'change',
    [
        {'version': 99},
        {'count': 6},
        {'shards': []},
        {'shards': [{'file': '../shard-00000.array_record', 'count': 5, 'bytes': 1}]},
        {'names': ['x']},
        {'names': [1, 2, 3, 4, 5]},
        {'shards': None},
    ],
)
def test_wrong_manifests(tmp_path, change):
    write(tmp_path)
    path = tmp_path / shards.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match='write the shards again'):
        shards.Shards(tmp_path)


def test_a_manifest_of_garbage(tmp_path):
    write(tmp_path)
    (tmp_path / shards.MANIFEST).write_bytes(b'\xff{')
    with pytest.raises(UserError, match='damaged'):
        shards.Shards(tmp_path)


def test_a_disk_that_is_full(tmp_path):
    """Played by the limit on the size of a file; the shards before it stay, nothing half-written does."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(UserError, match=r'shard-00001.array_record cannot be written: .*too large'):
            noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)  # 270 kB, whatever packs it
            shards.write([sample(0), sample(1), Sample(noise), Sample(noise)], tmp_path, shard_size=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ['shard-00000.array_record']


def test_doubles_are_not_stored():
    with pytest.raises(TypeError, match='float64'):
        shards.pack(sample(0).replace(truth={k: np.zeros(3) for k in shards.TRUTH_FIELDS}))
