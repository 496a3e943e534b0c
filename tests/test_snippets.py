"""What README and guides show in Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
