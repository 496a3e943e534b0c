"""Requests of several people: one at a time, and nothing is left of them."""

from __future__ import annotations

import threading
import zipfile
from typing import Any

import pytest

from jfrecon.data.sample import Unreadable
from jfrecon.demo.desk import Desk, Left
from jfrecon.errors import UserError
from jfrecon.export import folders
from jfrecon.export.folders import Settings, Tally
from jfrecon.reconstruction.plan import Job

MAKE: Any = None  # what is stubbed does not ask for it
quiet = lambda share, words: None


def photographs(jobs: list[Job], make: Any, settings: Settings, tally: Tally, bar: folders.Bar) -> None:
    """A face in each photograph that says so; a fit of two steps."""
    for job in jobs:
        if 'face' not in job.path.read_text():
            tally.fail(job.name, Unreadable('no face found'))
            continue
        with bar(job.folder, 2) as step:
            step()
            step()
        (settings.out / job.folder).mkdir(parents=True)
        (settings.out / job.folder / 'face.glb').write_text(job.path.read_text())
        tally.made.append(job.folder)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, 'photographs', photographs)
    return Desk(tmp_path / 'people', MAKE)


@pytest.fixture
def upload(tmp_path):
    def upload(name, text='a face'):
        (tmp_path / 'uploads').mkdir(exist_ok=True)
        path = tmp_path / 'uploads' / name
        path.write_text(text)
        return path

    return upload


def left(tmp_path):
    return sorted(path.name for path in tmp_path.rglob('*') if path.is_file())


def test_a_request_leaves_its_heads_until_its_person_goes(desk, upload, tmp_path):
    said = []
    made = desk.reconstruct(
        'ann', [upload('a.png'), upload('b.png', 'a tree')], False, lambda share, words: said.append((share, words))
    )
    (face,) = made.faces
    assert face.name == 'a' and made.notes == ['failed: b.png: no face found']
    with zipfile.ZipFile(face.with_name('a.zip')) as archive:
        assert 'a/face.glb' in archive.namelist()
    assert said[0] == (0, 'finding faces') and (1.0, 'a: step 2 of 2') in said
    assert left(tmp_path) == ['a.zip', 'face.glb'], 'the photographs are deleted'
    desk.reconstruct('ann', [upload('c.png')], False, quiet)
    assert left(tmp_path) == ['c.zip', 'face.glb'], 'and the heads of before'
    desk.leave('ann')
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    'names, words',
    [
        ([], 'there is no photograph'),
        (['tree.png'], 'tree.png: no face found'),
        (['clip.mp4'], 'python -m jfrecon.reconstruct'),
        (['tree.png', 'gone.png'], 'gone.png was deleted'),
    ],
)
def test_what_cannot_be_made_is_said_and_deleted(names, words, desk, upload, tmp_path):
    uploads = [upload(name, 'a tree') for name in names]
    for path in uploads:
        if path.name == 'gone.png':
            path.unlink()
    with pytest.raises(UserError, match=words):
        desk.reconstruct('ann', uploads, False, quiet)
    assert left(tmp_path) == []


def test_photographs_of_one_name_stay_two(desk, upload, tmp_path):
    first = upload('me.png', 'face one')
    (tmp_path / 'uploads' / 'other').mkdir()
    second = tmp_path / 'uploads' / 'other' / 'me.png'
    second.write_text('face two')
    made = desk.reconstruct('ann', [first, second], False, quiet)
    assert sorted((face / 'face.glb').read_text() for face in made.faces) == ['face one', 'face two']


def test_who_goes_in_the_middle_ends_the_work_and_leaves_nothing(desk, upload, tmp_path):
    said = []

    def goes(share, words):
        said.append(words)
        if 'step 1' in words:
            desk.leave('ann')

    with pytest.raises(Left):
        desk.reconstruct('ann', [upload('a.png')], False, goes)
    assert left(tmp_path) == [] and said[-1] == 'a: step 1 of 2'
    with pytest.raises(Left):
        desk.reconstruct('ann', [upload('b.png')], False, quiet)
    assert left(tmp_path) == []


def test_a_file_of_two_people_stays_for_the_second(desk, upload, tmp_path):
    """It is one file, which the page's upload calls by its content."""
    both = upload('me.png')
    desk.hold('ann', [both])
    desk.hold('ben', [both])
    desk.reconstruct('ann', [both], False, quiet)
    assert both.is_file()
    desk.reconstruct('ben', [both], False, quiet)
    assert not both.exists()
    never_sent = upload('never.png')
    desk.hold('ann', [never_sent])
    desk.leave('ann')
    assert not never_sent.exists()


def test_one_works_at_a_time_and_the_end_of_all_deletes_all(desk, upload, tmp_path):
    begun, go_on, order, ended = threading.Event(), threading.Event(), [], []

    def waits(share, words):
        order.append('ann')
        begun.set()
        assert go_on.wait(10)

    def ben():
        begun.wait(10)
        try:
            desk.reconstruct('ben', [second], False, lambda share, words: order.append('ben'))
        except Left:
            ended.append('ben')

    def ann():
        try:
            desk.reconstruct('ann', [first], False, waits)
        except Left:
            ended.append('ann')

    first, second = upload('a.png'), upload('b.png')
    threads = [threading.Thread(target=person) for person in (ann, ben)]
    for thread in threads:
        thread.start()
    begun.wait(10)
    threads[1].join(0.2)
    assert order == ['ann'], 'the other waits'
    closing = threading.Thread(target=desk.close)
    closing.start()
    go_on.set()
    for thread in (*threads, closing):
        thread.join(10)
    assert sorted(ended) == ['ann', 'ben'] and 'ben' not in order
    assert left(tmp_path) == []
