"""Folders of results beside what a user has put in them, or has made of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jfrecon import outputs
from jfrecon.errors import UserError


def write(target: Path, contents: dict[str, str], overwrite: bool = False, what: str = 'face') -> list[str]:
    with outputs.unfinished(target) as made:
        for name, text in contents.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_text(text)
        return outputs.publish(made, target, what, overwrite)


def read(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob('*') if path.is_file() and path.name != outputs.RECORD)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


@pytest.fixture
def face(tmp_path):
    """A folder that was written, with a record of its own."""
    record = json.dumps({'photograph': 'me.jpg'})
    write(tmp_path / 'me', {'a.png': 'a', 'b.png': 'b', 'old.mp4': 'o', 'in/c.png': 'c', 'metadata.json': record})
    return tmp_path / 'me'


def test_a_folder_is_there_whole_and_says_what_is_in_it(face):
    about = outputs.record(face)
    assert about['photograph'] == 'me.jpg' and set(about['files']) == {
        'a.png', 'b.png', 'old.mp4', 'in/c.png', 'metadata.json'
    }  # fmt: skip
    assert outputs.is_result(face) and outputs.complete(face)
    assert [path.name for path in face.parent.iterdir()] == ['me']
    with pytest.raises(UserError, match=f'{face / "a.png"} is there already: --overwrite replaces it'):
        write(face, {'a.png': 'new'})
    assert (face / 'a.png').read_text() == 'a'


def test_only_what_we_wrote_is_replaced(face):
    (face / 'a.png').write_text('edited')
    (face / 'notes.txt').write_text('mine')
    (face / 'in' / 'mine').mkdir()
    (face / 'd.png').write_text('mine, of the name of a file to come')
    kept = write(face, {'a.png': 'A', 'b.png': 'B', 'd.png': 'D', 'in/c.png': 'C'}, overwrite=True)
    assert sorted(kept) == ['a.yours.png', 'd.yours.png']
    assert read(face) == {
        'a.png': 'A', 'b.png': 'B', 'd.png': 'D', 'in/c.png': 'C', 'notes.txt': 'mine',
        'a.yours.png': 'edited', 'd.yours.png': 'mine, of the name of a file to come',
    }  # fmt: skip
    assert (face / 'in' / 'mine').is_dir()
    (face / 'a.png').write_text('edited again')
    assert write(face, {'a.png': 'A'}, overwrite=True) == ['a.yours-2.png']
    assert read(face)['a.yours.png'] == 'edited' and read(face)['a.yours-2.png'] == 'edited again'
    (face / 'a.png').write_text('what the next run makes')
    assert write(face, {'a.png': 'what the next run makes'}, overwrite=True) == []


def test_an_edited_file_that_the_new_result_does_not_have_is_kept_aside(face):
    (face / 'old.mp4').write_text('cut')
    assert write(face, {'a.png': 'A'}, overwrite=True) == ['old.yours.mp4']
    assert read(face) == {'a.png': 'A', 'old.yours.mp4': 'cut'}


def test_an_edited_record_and_things_that_are_no_files_are_kept(face, tmp_path):
    record = face / outputs.RECORD
    record.write_text(json.dumps({**json.loads(record.read_text()), 'note': 'do not lose me'}))
    (face / 'a.png').unlink()
    (face / 'a.png').symlink_to(tmp_path / 'painting.png')
    (face / 'b.png').unlink()
    (face / 'b.png').mkdir()
    (face / 'new').write_text('a file where a folder goes')
    kept = write(face, {'a.png': 'A', 'b.png': 'B', 'new/e.png': 'E'}, overwrite=True)
    assert sorted(kept) == ['a.yours.png', 'b.yours.png', 'metadata.yours.json', 'new.yours']
    assert (face / 'a.yours.png').is_symlink() and (face / 'b.yours.png').is_dir()
    assert 'do not lose me' in (face / 'metadata.yours.json').read_text()
    assert not (tmp_path / 'painting.png').exists()


def test_a_result_of_another_kind_does_not_give_way(face):
    """Its files are ours too, and would go."""
    before = read(face)
    with pytest.raises(UserError, match=r'holds another result of jfrecon \(face\): choose another --out'):
        write(face, {'own.png': 'o'}, overwrite=True, what='relit')
    assert read(face) == before


def test_a_folder_without_our_record_loses_nothing(tmp_path):
    mine = tmp_path / 'me'
    mine.mkdir()
    (mine / 'a.png').write_text('mine')
    (mine / outputs.RECORD).write_text('my own notes')
    assert not outputs.is_result(mine)
    assert sorted(write(mine, {'a.png': 'A'}, overwrite=True)) == ['a.yours.png', 'metadata.yours.json']
    assert read(mine) == {'a.png': 'A', 'a.yours.png': 'mine', 'metadata.yours.json': 'my own notes'}


@pytest.mark.parametrize('moment', range(12))
def test_a_kill_at_any_moment_loses_nothing_and_is_mended(face, moment, monkeypatch):
    """Dies at each rename and removal in turn; what the user has made is somewhere, and the next run ends well."""
    (face / 'a.png').write_text('edited')
    steps = {'left': moment}

    def dying(action):
        def step(*arguments, **named):
            if steps['left'] == 0:
                raise KeyboardInterrupt
            steps['left'] -= 1
            return action(*arguments, **named)

        return step

    new = {'a.png': 'A', 'b.png': 'B', 'in/c.png': 'C', 'd.png': 'D'}
    with monkeypatch.context() as patch:
        for name in ('rename', 'replace', 'unlink'):
            patch.setattr(Path, name, dying(getattr(Path, name)))
        try:
            write(face, new, overwrite=True)
        except KeyboardInterrupt:
            assert moment < 11
        else:
            assert moment >= 8, 'the last moments come after the end'
    assert 'edited' in read(face).values() and not list(face.parent.rglob('.jfrecon*'))
    kept = write(face, new, overwrite=True)
    assert len(kept) <= 1, 'nothing of ours counts as edited'
    assert read(face) == {**new, 'a.yours.png': 'edited'}
    assert outputs.complete(face) and outputs.record(face).get('replacing') is None


def test_a_mixture_of_two_results_is_not_complete(face, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(Path, 'replace', full)
        patch.setattr(outputs.files, 'write_json', lambda path, content: path.write_text(json.dumps(content)))
        with pytest.raises(OSError, match='No space'):
            write(face, {'a.png': 'A'}, overwrite=True)
    assert not outputs.complete(face)


def test_what_a_killed_process_leaves_behind_goes(tmp_path, monkeypatch):
    code = (
        'import os, pathlib, sys; from jfrecon import outputs\n'
        'with outputs.unfinished(pathlib.Path(sys.argv[1])) as made:\n'
        '    (made / "panel.png").write_text("half")\n'
        '    os.kill(os.getpid(), 9)\n'
    )
    subprocess.run([sys.executable, '-c', code, str(tmp_path / 'me')], cwd=Path(__file__).parents[1], check=False)
    (left,) = tmp_path.iterdir()
    assert outputs.is_result(left), 'its pictures are no photographs'
    monkeypatch.setattr(outputs, 'SETTLED', -1)
    with outputs.unfinished(tmp_path / 'you') as made:
        assert not left.exists()
        with outputs.unfinished(tmp_path / 'they'):
            assert made.exists(), 'of a process that lives'
    with outputs.unfinished(tmp_path) as made:
        assert made.parent == tmp_path, 'a folder that is there may be on a disk of its own'


def test_a_hostile_record_reaches_nothing_outside(face, tmp_path):
    (tmp_path / 'mine').write_text('mine')
    about = json.loads((face / outputs.RECORD).read_text())
    about['files'] |= {'../mine': outputs.digest(tmp_path / 'mine'), str(tmp_path / 'mine'): 'x', '..': 'x', '': 'x'}
    (face / outputs.RECORD).write_text(json.dumps(about))
    write(face, {'a.png': 'A'}, overwrite=True)
    assert (tmp_path / 'mine').read_text() == 'mine'
    for broken in ('[]', '{"files": []}', '{"files": {"a.png": 3}}', '[' * 100_000, '\xff'):
        (face / outputs.RECORD).write_text(broken)
        write(face, {'a.png': 'A'}, overwrite=True)
    (face / outputs.RECORD).unlink()
    os.mkfifo(face / outputs.RECORD)
    assert outputs.record(face) == {}


def test_what_a_folder_is(face, tmp_path, monkeypatch):
    assert outputs.kind(face) == 'face' and outputs.complete(face)
    earlier = tmp_path / 'earlier'
    earlier.mkdir()
    for name in ('face.glb', outputs.RECORD):
        assert outputs.kind(earlier) is None and not outputs.complete(earlier)
        (earlier / name).write_text('{"photograph": "me.jpg"}')
    assert outputs.kind(earlier) == 'face', 'earlier versions wrote no kind'
    (earlier / 'face.glb').unlink()
    assert outputs.kind(earlier) is None
    monkeypatch.setattr(outputs, 'LARGEST', 20)
    assert outputs.record(earlier) == {}, 'too large to be one of ours'


def test_only_what_is_there_is_in_the_way(face, tmp_path):
    outputs.require_free([face / 'new.png', tmp_path / 'nobody' / 'a.png'], overwrite=False)
    outputs.require_free([face / 'a.png'], overwrite=True)
    with pytest.raises(UserError, match=r'a\.png is there already'):
        outputs.require_free([face / 'new.png', face / 'a.png'], overwrite=False)
    (face / 'lost').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='lost is there already'):
        outputs.require_free([face / 'lost'], overwrite=False)
    assert write(face, {'a.png': 'A', 'new/f.png': 'F'}, overwrite=True) == []
    assert write(tmp_path / 'far' / 'away' / 'me', {'a.png': 'A'}) == []


def test_links_and_pipes_are_not_ours_whatever_is_behind_them(face, tmp_path):
    (tmp_path / 'a.png').write_text('a')
    for name in ('a.png', 'b.png'):
        (face / name).unlink()
    (face / 'a.png').symlink_to(tmp_path / 'a.png')
    os.mkfifo(face / 'b.png')
    kept = write(face, {'a.png': 'A', 'b.png': 'B', 'in/c.png': 'c'}, overwrite=True)
    assert sorted(kept) == ['a.yours.png', 'b.yours.png']
    assert (face / 'a.yours.png').is_symlink() and (face / 'b.yours.png').is_fifo()


@pytest.mark.skipif(not Path('/proc/self/fd').is_dir(), reason='counts open files as Linux shows them')
def test_no_lock_stays_open_and_nothing_young_is_swept(tmp_path, monkeypatch):
    young = tmp_path / f'{outputs.UNFINISHED}{outputs._host()}-1'
    young.mkdir()
    opened = lambda: len(os.listdir('/proc/self/fd'))
    before = opened()
    with outputs.unfinished(tmp_path / 'me'):
        assert young.exists(), 'it may not have its lock yet'
        monkeypatch.setattr(outputs, 'SETTLED', -1)
        with outputs.unfinished(tmp_path / 'you'):
            assert not young.exists()
    assert opened() == before
