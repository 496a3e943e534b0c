"""Imports run one way, from the commands down to the nouns, and never in a circle."""

from __future__ import annotations

import ast
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = 'jfrecon'
MODULES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
    for path in (ROOT / PACKAGE).rglob('*.py')
}


def order(text: str) -> list[list[str]]:
    """The order in CONTRIBUTING: packages between backticks, those at one height with commas, `<-` between heights."""
    line = re.search(r'\*\*Imports run one way\*\*:(.*?)\n\n', text, re.S)
    assert line, 'CONTRIBUTING has lost its order'
    chain = line[1].split('Methods never')[0]
    return [re.findall(r'`(\w+)`', height) for height in chain.split('<-')]


def imported(path: Path, name: str) -> set[str]:
    """Modules of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: a relative import'
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        else:
            continue
        for full in names:
            if full.split('.')[0] == PACKAGE:
                found.add(full if full in MODULES else full.rpartition('.')[0])
    return found - {name}


EDGES = {name: imported(path, name) for name, path in MODULES.items()}
ORDER = order((ROOT / 'CONTRIBUTING.md').read_text())
HEIGHT = {package: height for height, packages in enumerate(ORDER) for package in packages}


def part(module: str) -> str:
    """jfrecon.data.crop -> data. A `__main__` is a command, whatever package it is in."""
    return 'main' if module.endswith('.__main__') else module.split('.')[1] if '.' in module else ''


def climbs(edges: dict[str, set[str]]) -> list[str]:
    """Imports that run back up, or from one package to another at its height."""
    wrong = []
    for name, others in edges.items():
        for other in others:
            here, there = part(name), part(other)
            if here and there and here != there and HEIGHT[there] >= HEIGHT[here]:
                wrong.append(f'{name} imports {other}')
    return sorted(wrong)


def test_the_order_names_every_package():
    assert {part(name) for name in MODULES} - {''} == HEIGHT.keys()


def test_imports_run_one_way():
    assert climbs(EDGES) == []


def test_an_import_that_runs_back_up_is_noticed():
    assert climbs({'jfrecon.geometry.uv': {'jfrecon.render.raster'}}) == [
        'jfrecon.geometry.uv imports jfrecon.render.raster'
    ]
    assert climbs({'jfrecon.data.folder': {'jfrecon.main'}, 'jfrecon.relight': {'jfrecon.reconstruct'}})
    assert climbs({'jfrecon.data.synthetic.__main__': {'jfrecon.commands'}}) == []


def test_there_is_no_circle():
    """Of modules; a package's `__init__` that imports its own modules is the package's face, not a circle."""
    inner = {name: {other for other in others if not name.startswith(f'{other}.')} for name, others in EDGES.items()}
    list(graphlib.TopologicalSorter(inner).static_order())


def test_methods_never_import_one_another():
    of = lambda module: module.split('.')[2] if module.startswith('jfrecon.methods.') else ''
    shared = {'', 'method', 'parts'}
    wrong = [
        f'{name} imports {other}'
        for name, others in EDGES.items()
        for other in others
        if of(name) not in shared and of(other) not in {*shared, of(name)}
    ]
    assert wrong == []


@pytest.mark.parametrize('folder', ['jfrecon', 'experiments', 'tests'])
def test_no_module_of_ours_needs_an_alias(folder):
    """A name that needs an alias is the wrong name."""
    aliased = [
        f'{path.relative_to(ROOT)}: {alias.name} as {alias.asname}'
        for path in (ROOT / folder).rglob('*.py')
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] == PACKAGE
        for alias in node.names
        if alias.asname and alias.name != '__main__'
    ]
    assert aliased == []
