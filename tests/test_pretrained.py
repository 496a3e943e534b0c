"""The weights that come with jfrecon, and what their card says."""

from __future__ import annotations

import re

from jfrecon import pretrained

FIELDS = (
    'what it is', 'used by', 'trained on', 'command', 'date, commit, hardware', 'licence', 'good for', 'measured',
    'not to be trusted for',
)  # fmt: skip


def test_the_card_describes_every_file_in_one_form():
    files = {path.name for path in pretrained.FOLDER.glob('*.safetensors')}
    _, *sections = re.split(r'^## ', (pretrained.FOLDER / 'README.md').read_text(), flags=re.M)
    assert {section.split()[0] for section in sections} == files
    named = pretrained.NETWORK, pretrained.SKIN, pretrained.IDENTITY, pretrained.SHAPE
    assert {path.name for path in named} == files
    for section in sections:
        rows = re.findall(r'^\| ([^|]+) \| [^|]+ \|$', section, flags=re.M)
        assert tuple(rows[1:]) == FIELDS, section.split()[0]
