"""The page, by Gradio."""

from __future__ import annotations

import contextlib
import html
import os
import shutil
import traceback
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import gradio

from jfrecon import commands
from jfrecon.data import images
from jfrecon.demo.desk import Desk, Left, Made
from jfrecon.errors import UserError
from jfrecon.files import shown

HOST = '127.0.0.1'
WAITING = 32  # requests in the queue; who comes later is told so
KEPT = 4 * 3600  # seconds after which an upload is deleted, even if its request still waits in the queue
LARGEST = '200mb'  # of an upload
GREETING = """
# A head from a photograph

Drop photographs, or use the camera. Each face becomes a head that can be turned, relit and downloaded. Nothing leaves
this machine: photographs are deleted when their heads are made, heads when this page is closed.
"""
STYLE = """
.head-row { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1rem; margin: .5rem 0; }
.head-row img { width: 4rem; height: 4rem; border-radius: 4px; object-fit: cover; margin: 0; }
.head-row a { text-decoration: underline; } .head-row b { overflow-wrap: anywhere; }
.head-page { width: 100%; height: max(36rem, 88vh); border: 1px solid #ccc; border-radius: 4px; background: #fff; }
"""


@contextlib.contextmanager
def serve(desk: Desk, uploads: Path, port: int) -> Iterator[str]:
    """Serve the page as long as the context lasts, and give its address; what is left is deleted at its end.

    Args:
      desk: works off the requests.
      uploads: a folder for what people hand in.
      port: of this machine.

    Raises:
      UserError: the port is taken.
    """
    # read by Gradio when a page is made
    os.environ |= {'GRADIO_TEMP_DIR': str(uploads), 'GRADIO_ANALYTICS_ENABLED': 'False'}
    page = build(desk)
    try:
        _, address, _ = page.launch(
            server_name=HOST, server_port=port, share=False, prevent_thread_lock=True, quiet=True, inbrowser=False,
            show_error=False, allowed_paths=[str(desk.folder)], max_file_size=LARGEST, footer_links=[],
            run_history=False, enable_monitoring=False, pwa=False, mcp_server=False, ssr_mode=False,
            theme=gradio.themes.Default(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace']),
            css=STYLE,
        )  # fmt: skip
    except OSError as error:
        raise UserError(f'--port={port} is taken or not allowed: choose another') from error
    try:
        yield address
    finally:
        desk.close()
        page.close(verbose=False)
        for folder in (uploads, desk.folder):
            shutil.rmtree(folder, ignore_errors=True)


def build(desk: Desk) -> gradio.Blocks:
    """The page.

    desk: works off its requests.
    """

    def reconstruct(
        uploads: list[str] | None,
        camera: str | None,
        same_person: bool,
        request: gradio.Request,
        progress=gradio.Progress(),  # noqa: B008
    ) -> str:
        told = lambda share, words: progress(share, desc=words)
        try:
            made = desk.reconstruct(str(request.session_hash), _given(uploads, camera), same_person, told)
        except UserError as error:
            raise gradio.Error(str(error), duration=None, title='No head', print_exception=False) from error
        except Left as error:
            raise gradio.Error('the page was closed', print_exception=False) from error
        except OSError as error:
            if error.errno not in commands.FULL:
                traceback.print_exc()
            raise gradio.Error(str(error.strerror), duration=None, title='No head', print_exception=False) from error
        return shown_heads(made)

    def hold(uploads: list[str] | None, camera: str | None, request: gradio.Request) -> None:
        desk.hold(str(request.session_hash), _given(uploads, camera))

    def leave(request: gradio.Request) -> None:
        desk.leave(str(request.session_hash))

    with gradio.Blocks(title='jfrecon', analytics_enabled=False, delete_cache=(60, KEPT)) as page:
        gradio.Markdown(GREETING)
        with gradio.Row():
            with gradio.Column():
                uploads = gradio.File(
                    label='photographs', file_count='multiple', file_types=list(images.SUFFIXES), type='filepath'
                )
            with gradio.Column():
                camera = gradio.Image(
                    label='camera', sources=['webcam'], type='filepath', format='png', image_mode=None, buttons=[],
                    webcam_options=gradio.WebcamOptions(mirror=False),
                )  # fmt: skip
        same_person = gradio.Checkbox(label='all photographs show one person')
        button = gradio.Button('Make heads', variant='primary')
        heads = gradio.HTML(label='heads', min_height=120)
        worked = button.click(
            reconstruct, [uploads, camera, same_person], heads, api_name='reconstruct', concurrency_limit=1,
            scroll_to_output=True,
        )  # fmt: skip
        for given in (uploads, camera):
            given.change(hold, [uploads, camera], None, queue=False, api_visibility='private')
        # they are deleted: whatever came of them, the page no longer shows them
        worked.then(lambda: (None, None), None, [uploads, camera], queue=False, api_visibility='private')
        page.unload(leave)
    page.queue(max_size=WAITING, api_open=False)
    return page


def shown_heads(made: Made) -> str:
    """HTML of heads: for each its photograph and its downloads, and below them the report of one.

    made: of `Desk.reconstruct`.
    """
    address = lambda path: f'/gradio_api/file={urllib.parse.quote(str(path))}'
    rows = []
    for face in made.faces:
        name = html.escape(shown(face.name))
        page = address(face / 'report.html')
        load = lambda path, text=None: (
            f'<a href="{address(path)}" download="{html.escape(shown(path.name))}">{html.escape(text or path.name)}</a>'
        )
        picture = f'<img alt="" src="{address(face / "photograph.png")}">'
        cells = [
            f'<a href="{page}" target="head">{picture}</a><b>{name}</b><a href="{page}" target="head">show</a>',
            load(face / 'face.glb'),
            load(face / 'report.html'),
            load(face.with_name(f'{face.name}.zip'), 'everything (.zip)'),
        ]
        rows.append(f'<div class="head-row">{"".join(cells)}</div>')
    notes = ''.join(f'<p>{html.escape(line)}</p>' for line in made.notes)
    first = address(made.faces[0] / 'report.html')
    return f'{notes}{"".join(rows)}<iframe class="head-page" name="head" title="the head" src="{first}"></iframe>'


def _given(uploads: list[str] | None, camera: str | None) -> list[Path]:
    return [Path(path) for path in (*(uploads or []), *([camera] if camera else []))]
