"""A head that can be turned and relit in a page, offline: three.js (MIT, `three.LICENSE`) and what asks it."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PACKED = ('.glb', '.png', '.npz', '.mp4', '.exr')  # which deflating makes no smaller
HEADER = 30  # bytes before the name of a file in a zip, which its content follows
_STYLE = """
body { max-width: 72rem; } #viewer { margin: 1rem 0; }
#viewer .pictures { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .6rem; }
#viewer canvas { display: block; border-radius: 4px; width: 100%; aspect-ratio: 1; }
#viewer .photograph { display: block; aspect-ratio: 1; border-radius: 4px; width: 100%; object-fit: cover; }
#viewer .choices { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: .4rem 1.5rem; }
#viewer .choices { margin-top: .6rem; }
#viewer .choices label { display: flex; align-items: center; justify-content: space-between; gap: .6rem; }
#viewer .choices input, #viewer select { width: 9.5rem; } #viewer details { margin-top: .6rem; }
#viewer .buttons { display: flex; flex-wrap: wrap; gap: .6rem; margin: .6rem 0 0; }
@media (max-width: 40rem) {
  #viewer .pictures { grid-template-columns: minmax(0, 1fr); position: relative; }
  #viewer .photograph { position: absolute; right: .3rem; top: .3rem; width: 24%; border: 1px solid #777; }
}
"""


def part(contents: Mapping[str, bytes], name: str, radiance: np.ndarray, expression: np.ndarray) -> str:
    """HTML with everything in it.

    Args:
      contents: files by name, which the page offers together as a zip: ``face.glb`` is shown, and ``photograph.png``
        beside it where it is there.
      name: of the face; the zip is called by it.
      radiance: [H, W, 3] of the light, in the frame of a file (`jfrecon.export.hdri`).
      expression: [E] weights of the morph targets.

    What is chosen at the page may also stand after the # of its address:
    ``#light=studio&turn=90&lamp=1&view=diffuse&jawOpen=0.5``.
    """
    height, width = radiance.shape[:2]
    whole = np.concatenate([radiance, np.ones((height, width, 1))], -1).astype(np.float32)
    archive, members = _zipped(contents, name)
    facts = {
        'name': name,
        'light': {'width': width, 'height': height},
        'expression': [round(float(w), 4) for w in expression],
        'members': members,
    }
    text = lambda name: (HERE / name).read_text(encoding='utf-8')
    coded = lambda content: base64.b64encode(content).decode()
    library = f'data:text/javascript;base64,{coded(text("three.min.mjs").encode())}'
    return '\n'.join([
        f'<style>{_STYLE}</style>',
        text('viewer.html'),
        f'<script type="importmap">{json.dumps({"imports": {"three": library}})}</script>',
        f'<script type="application/json" id="facts">{_quoted(facts)}</script>',
        f'<script type="text/plain" id="light">{coded(whole.tobytes())}</script>',
        f'<script type="text/plain" id="files">{coded(archive)}</script>',
        f'<!-- three.js: {text("three.LICENSE")} -->',
        f'<script type="module">{text("viewer.mjs")}</script>',
    ])  # fmt: skip


def _zipped(contents: Mapping[str, bytes], name: str) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """A zip of files in a folder, the same bytes for the same files; and where the stored ones lie in it."""
    buffer, places = io.BytesIO(), {}
    with zipfile.ZipFile(buffer, 'w') as archive:
        for file in sorted(contents):
            entry = zipfile.ZipInfo(f'{name}/{file}')  # of 1980
            entry.compress_type = zipfile.ZIP_STORED if file.endswith(PACKED) else zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, contents[file])
            if entry.compress_type == zipfile.ZIP_STORED:
                begin = entry.header_offset + HEADER + len(entry.filename.encode())
                places[file] = (begin, begin + len(contents[file]))
    return buffer.getvalue(), places


def _quoted(facts: object) -> str:
    """JSON that ends no script, whatever a face is called."""
    return json.dumps(facts).replace('<', '\\u003c')
