"""A face that can be turned and relit in a page, offline: three.js (MIT, `three.LICENSE`) and what asks it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
_STYLE = """
#viewer canvas { display: block; background: #222; border-radius: 4px; width: 100%; }
.choices { display: grid; grid-template-columns: repeat(3, 1fr); gap: .4rem 1.5rem; margin-top: .6rem; }
.choices label { display: flex; justify-content: space-between; gap: .6rem; } .choices input { width: 9rem; }
"""


def part(glb: bytes, radiance: np.ndarray, expression: np.ndarray) -> str:
    """HTML with everything in it.

    Args:
      glb: of `jfrecon.export.gltf`.
      radiance: [H, W, 3] of the light, in the frame of a file (`jfrecon.export.hdri`).
      expression: [E] weights of the morph targets.

    What is chosen at the page may also stand after the # of its address: ``#turn=90&lamp=1&view=diffuse``.
    """
    height, width = radiance.shape[:2]
    whole = np.concatenate([radiance, np.ones((height, width, 1))], -1).astype(np.float32)
    facts = {'light': {'width': width, 'height': height}, 'expression': [round(float(w), 4) for w in expression]}
    text = lambda name: (HERE / name).read_text(encoding='utf-8')
    coded = lambda content: base64.b64encode(content).decode()
    library = f'data:text/javascript;base64,{coded(text("three.min.mjs").encode())}'
    return '\n'.join([
        f'<style>{_STYLE}</style>',
        text('viewer.html'),
        f'<script type="importmap">{json.dumps({"imports": {"three": library}})}</script>',
        f'<script type="application/json" id="facts">{json.dumps(facts)}</script>',
        f'<script type="text/plain" id="light">{coded(whole.tobytes())}</script>',
        f'<script type="text/plain" id="face">{coded(glb)}</script>',
        f'<!-- three.js: {text("three.LICENSE")} -->',
        f'<script type="module">{text("viewer.mjs")}</script>',
    ])  # fmt: skip
