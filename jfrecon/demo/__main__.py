"""python -m jfrecon.demo: a page on this machine where photographs become heads."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import signal
import threading
from pathlib import Path

from jfrecon import commands, files, outputs
from jfrecon.data import detection
from jfrecon.demo.desk import Desk
from jfrecon.errors import UserError
from jfrecon.export import folders, requirements
from jfrecon.reconstruction import photograph, prediction

PORT = 7860


def main(arguments: list[str] | None = None) -> int:
    """Serve a page on this machine where photographs become heads that can be turned, relit and downloaded.

    The page makes the same files as python -m jfrecon.reconstruct, asks nothing of other machines and is not seen by
    them. Requests are worked off one at a time; the others wait in a queue and see their place. Photographs are deleted
    when their heads are made, heads when their page is closed, and everything when the command ends (Ctrl-C).
    """
    options = _parse(arguments)
    requirements.check()
    if importlib.util.find_spec('gradio') is None:
        raise UserError("the page is made by Gradio: pip install 'jfrecon[demo]'")
    from jfrecon.demo import page

    network = None if options.checkpoint is None else prediction.load(options.checkpoint)[0]
    detection.load(detection.DEFAULT).ready()
    make = photograph.reconstructor(network, refine=False)
    ended = threading.Event()
    for name in ('SIGTERM', 'SIGHUP'):  # Windows has no SIGHUP
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: ended.set())
    with outputs.unfinished(files.cache() / 'demo') as folder:
        folder.chmod(0o700)  # photographs of people
        with page.serve(Desk(folder / 'people', make, options.texture), folder / 'uploads', options.port) as address:
            print(f'{address} is ready: open it in a browser; Ctrl-C ends it and deletes what was made', flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                ended.wait()
    print('deleted all photographs and heads')
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = commands.Parser(
        prog='python -m jfrecon.demo',
        description=main.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog='example:\n  python -m jfrecon.demo --port=8080',
    )
    parser.add_argument('--port', type=int, default=PORT, help=f'of this machine; default: {PORT}')
    parser.add_argument(
        '--texture',
        type=int,
        help=f"texels of the side of the head's texture, {folders.SMALLEST} to {folders.LARGEST}; default: 1024",
    )
    parser.add_argument(
        '--checkpoint',
        type=Path,
        help='of a network that predicts the faces, instead of a fit: the working directory of a training, or a file '
        'of jfrecon.pack',
    )
    options = parser.parse_args(arguments)
    if not 0 < options.port < 2**16:
        raise UserError(f'--port={options.port}: 1 to 65535')
    folders.require_texture(options.texture)
    return options


if __name__ == '__main__':
    commands.run(main)
