"""What README, guides and the notebook show in Python runs as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
RUN = ('README.md',)  # docs/adding.md's are run by tests/test_adding.py
SNIPPETS = [
    (page, number, code)
    for page in RUN
    for number, code in enumerate(re.findall(r'^```python\n(.*?)^```', (ROOT / page).read_text(), re.S | re.M))
]


def test_there_are_snippets():
    assert {page for page, *_ in SNIPPETS} == set(RUN)


@pytest.mark.slow
@pytest.mark.parametrize('page, number, code', SNIPPETS, ids=[f'{page}-{number}' for page, number, _ in SNIPPETS])
def test_a_snippet_runs(page, number, code):
    names: dict = {}
    exec(compile(code, f'{page}, snippet {number}', 'exec'), names)
    picture = names['picture']
    assert picture.image.shape == (1, 256, 256, 3) and 0.1 < float(picture.coverage.mean()) < 0.9


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    cells = json.loads((ROOT / 'notebooks' / 'astronaut.ipynb').read_text())['cells']
    names: dict = {}
    for number, cell in enumerate(cells):
        if cell['cell_type'] == 'code':
            source = ''.join(cell['source']).replace("'runs/notebook'", repr(str(tmp_path)))
            exec(compile(source, f'cell {number}', 'exec'), names)
    assert np.asarray(Image.open(tmp_path / 'relit' / 'side.png')).shape == (256, 256, 4)
    assert [line['step'] for line in names['lines'] if line.get('loss') is not None][-1] == 10
