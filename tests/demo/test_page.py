"""The page of `jfrecon.demo`, as clients and a browser see it."""

from __future__ import annotations

import re
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest

from jfrecon.demo.desk import Desk, Made
from jfrecon.errors import UserError
from tests.browser import CHROMIUM, browser, drawn, until

pytest.importorskip('gradio', reason="needs the extra 'demo'")
from gradio_client import Client, handle_file

from jfrecon.demo import page


class Stub(Desk):
    """Makes a head of each photograph as soon as it may."""

    def __init__(self, folder):
        super().__init__(folder, None)
        self.may = threading.Event()
        self.may.set()

    def _made(self, session, photos, out, same_person, progress):
        assert self.may.wait(30)
        if not photos:
            raise UserError('there is no photograph: drop <one>')
        faces = []
        for photo in photos:
            face = out / photo.stem
            face.mkdir(parents=True)
            for name in ('face.glb', 'report.html', 'photograph.png'):
                (face / name).write_text(f'{name} of {photo.read_text()}')
            face.with_name(f'{face.name}.zip').write_text('zip')
            faces.append(face)
        return Made(faces, ['doubtful: <a>: turned away'])


@pytest.fixture
def desk(tmp_path):
    return Stub(tmp_path / 'people')


@pytest.fixture
def address(desk, tmp_path, monkeypatch):
    monkeypatch.setenv('GRADIO_HEARTBEAT_INTERVAL', '0.1')  # s; a client notices then that it is closed
    with page.serve(desk, tmp_path / 'uploads', free_port()) as address:
        yield address
    assert [path for path in tmp_path.rglob('*') if path.is_file() and path.parent != tmp_path] == []


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / 'me & you.png'
    path.write_text('me')
    return path


def free_port():
    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        return bound.getsockname()[1]


def get(address, path):
    with urllib.request.urlopen(address.rstrip('/') + path) as answer:
        return answer.read().decode(), answer.headers


def client(address):
    return Client(address, verbose=False, analytics_enabled=False)


def test_a_head_can_be_shown_and_saved_until_its_person_goes(address, photo, tmp_path):
    person = client(address)
    shown = person.predict([handle_file(str(photo))], None, False, api_name='/reconstruct')
    assert 'doubtful: &lt;a&gt;' in shown and '<a>' not in shown
    links = re.findall(r'href="([^"]+)" download="([^"]+)"', shown)
    assert [name for _, name in links] == ['face.glb', 'report.html', 'me &amp; you.zip']
    assert get(address, links[0][0])[0] == 'face.glb of me'
    text, headers = get(address, re.search('<iframe [^>]*src="([^"]+)"', shown)[1])
    assert text == 'report.html of me' and headers['content-disposition'].startswith('inline')
    kept = [path for path in (tmp_path / 'uploads').rglob('*') if path.is_file() and path.stat().st_size]
    assert kept == []  # beside empty files of Gradio's
    person.close()
    for _ in range(100):
        if not list((tmp_path / 'people').iterdir()):
            break
        time.sleep(0.1)
    with pytest.raises(urllib.error.HTTPError, match='403'):
        get(address, links[0][0])


def test_an_error_is_the_page_s_message(address):
    with pytest.raises(Exception, match='there is no photograph: drop'):
        client(address).predict([], None, False, api_name='/reconstruct')


def test_others_wait_and_see_their_place(address, desk, tmp_path):
    desk.may.clear()
    photos = [tmp_path / f'{k}.png' for k in range(3)]
    jobs = []
    for k, path in enumerate(photos):
        path.write_text(f'person {k}')
        jobs.append(client(address).submit([handle_file(str(path))], None, False, api_name='/reconstruct'))
        for _ in range(100):  # one after the other
            if (status := jobs[-1].status()).rank is not None or status.code.name == 'PROCESSING':
                break
            time.sleep(0.05)
    assert [job.status().rank for job in jobs[1:]] == [0, 1]
    desk.may.set()
    for k, job in enumerate(jobs):
        link = re.search('href="([^"]+)" download="face.glb"', job.result(30))[1]
        assert get(address, link)[0] == f'face.glb of person {k}'


def test_nothing_else_is_served_and_nothing_is_asked_of_others(address, tmp_path):
    (tmp_path / 'secret.txt').write_text('secret')
    with pytest.raises(urllib.error.HTTPError, match='403'):
        get(address, f'/gradio_api/file={tmp_path}/secret.txt')
    assert address.startswith('http://127.0.0.1:')
    text, _ = get(address, '/config')
    assert '"analytics_enabled":false' in text.replace(' ', '')
    sources = re.findall(r'(?:src|href)="(https?:[^"]+)"', get(address, '/')[0])
    assert sources == []


def test_a_port_that_is_taken_is_an_error_of_one_line(tmp_path):
    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        bound.listen()
        port = bound.getsockname()[1]
        with (
            pytest.raises(UserError, match=f'--port={port} is taken'),
            page.serve(Stub(tmp_path / 'people'), tmp_path / 'uploads', port),
        ):
            pass


DROP = """
const bytes = Uint8Array.from(atob('{}'), (c) => c.charCodeAt(0));
const dropped = new DataTransfer();
dropped.items.add(new File([bytes], 'astronaut.png', {{ type: 'image/png' }}));
const input = document.querySelector('input[type=file]');
input.files = dropped.files;
input.dispatchEvent(new Event('change', {{ bubbles: true }}));
"""
BUTTON = "[...document.querySelectorAll('button')].find((button) => button.textContent.includes('Make heads'))"
HEAD = "document.querySelector('iframe.head-page')"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason='needs a browser')
def test_a_photograph_that_is_dropped_becomes_a_head_in_the_page(tmp_path):
    """With the fit, as a person would have it."""
    import base64
    from pathlib import Path

    import skimage

    from jfrecon.reconstruction import photograph

    picture = Path(skimage.__file__).parent / 'data' / 'astronaut.png'
    desk = Desk(tmp_path / 'people', photograph.reconstructor(None, refine=False), 64)
    with (
        page.serve(desk, tmp_path / 'uploads', free_port()) as address,
        browser(tmp_path / 'profile') as show,
    ):
        evaluate = show(address)
        until(evaluate, "!!document.querySelector('input[type=file]')")
        evaluate(DROP.format(base64.b64encode(picture.read_bytes()).decode()))
        until(evaluate, "document.body.innerText.includes('astronaut.png')")
        evaluate(f'{BUTTON}.click()')
        until(evaluate, f'!!{HEAD}', 600)
        drawn(evaluate, f'{HEAD}.contentDocument')
        assert evaluate("document.querySelectorAll('.head-row a[download]').length") == 3
        until(evaluate, "!document.querySelector('.file-preview')")  # the photograph is gone
        (made,) = (tmp_path / 'people').glob('*/faces/astronaut')
        assert (made / 'metadata.json').is_file() and not list((tmp_path / 'people').rglob('photographs'))
