"""What holds for every experiment: how it is called, what it imports, what it leaves."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
from pathlib import Path

import pytest

from experiments import harness
from experiments.identity_network import __main__ as identity_network
from experiments.parsing_network import __main__ as parsing_network
from jfrecon.errors import UserError
from jfrecon.training import record

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / 'experiments'
NAMES = sorted(path.parent.name for path in FOLDER.glob('*/__main__.py'))


@pytest.mark.parametrize('name', NAMES)
def test_help_shows_an_example(name, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # whatever it needs is not there
    monkeypatch.setattr(harness, 'SHARED', tmp_path)
    module = importlib.import_module(f'experiments.{name}.__main__')
    with pytest.raises(SystemExit) as left:
        module.main(['--help'])
    assert left.value.code == 0
    assert f'example: python -m experiments.{name} --out=runs/{name}' in ' '.join(capsys.readouterr().out.split())


@pytest.mark.parametrize('name', NAMES)
def test_it_leaves_a_record(name):
    """By `harness.start` and `Run.record`, or as `ablations.Ablation.run` does it."""
    nodes = [*ast.walk(ast.parse((FOLDER / name / '__main__.py').read_text()))]
    calls = [ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)]
    recorded = 'harness.start' in calls and 'run.record' in calls
    compared = 'ablations.parser' in calls and any(call.endswith('.run') and call != 'commands.run' for call in calls)
    assert recorded or compared
    started = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == 'harness.start']
    assert all('overwrite' in ast.unparse(node) for node in started)


def test_every_picture_is_shown_by_its_readme():
    pictures = [path for path in FOLDER.rglob('*') if path.suffix in ('.jpg', '.png')]
    assert pictures
    assert [path for path in pictures if path.name not in (path.parent / 'README.md').read_text()] == []


def commands_imported(tree: ast.AST) -> list[str]:
    """The packages whose `__main__` is imported, in whichever way."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        else:
            continue
        found += [name for name in names if '__main__' in name.split('.')]
    return found


def test_no_experiment_imports_from_another_ones_command():
    wrong = {path.name: commands_imported(ast.parse(path.read_text())) for path in FOLDER.rglob('*.py')}
    assert {name: names for name, names in wrong.items() if names} == {}


@pytest.mark.parametrize('text', ['from a.__main__ import b', 'from a import __main__ as b', 'import a.__main__'])
def test_such_an_import_is_noticed(text):
    assert commands_imported(ast.parse(text))


def test_a_run_is_recorded_as_it_was_when_it_began(tmp_path, monkeypatch, capsys):
    checkout = tmp_path / 'checkout'
    git = lambda *words: subprocess.run(
        ['git', '-c', 'user.name=a', '-c', 'user.email=a@b', *words], cwd=checkout, check=True, capture_output=True
    )
    monkeypatch.setattr(harness, '__file__', str(checkout / 'harness.py'))
    checkout.mkdir()
    git('init')
    (checkout / 'code.py').write_text('1')
    git('add', 'code.py')
    git('commit', '-m', 'first')
    commit = git('rev-parse', 'HEAD').stdout.decode().strip()
    first = harness.start('some', tmp_path / 'clean')
    (checkout / 'code.py').write_text('2')
    second = harness.start('some', tmp_path / 'changed')
    git('commit', '-am', 'second')
    first.record({'error': 1.0}, '| a table |')
    second.record({'error': 2.0})

    read = lambda run, name: json.loads((run.out / name).read_text())
    assert read(first, 'results.json') == {'error': 1.0} and (first.out / 'table.md').read_text() == '| a table |'
    assert capsys.readouterr().out == '| a table |\n' and not (second.out / 'table.md').exists()
    records = [read(run, 'run.json') for run in (first, second)]
    assert [record['commit'] for record in records] == [commit, commit]
    assert [record['uncommitted_changes'] for record in records] == [False, True]
    assert {'command', 'date', 'seconds', 'hardware', 'python', 'versions'} < records[0].keys()

    third = harness.start('some', tmp_path / 'both')
    third.record({}, parts=[first.out, second.out])
    parts = read(third, 'run.json')['parts']
    assert parts['seconds'] == sum(record['seconds'] for record in records)
    assert parts['commits'] == [commit, f'{commit} and changes']


@pytest.fixture
def begin(monkeypatch, tmp_path):
    """Begins the experiment `some`, by a command with these flags."""

    def begun(*flags, name='some', **settings):
        monkeypatch.setattr('sys.argv', [name, *flags])
        return harness.start(name, tmp_path / 'out', '--overwrite' in flags, **settings)

    return begun


def test_results_that_are_there_are_kept(begin, tmp_path):
    begin('--quick').record({'error': 1.0}, 'a table')
    before = {path.name: path.read_text() for path in (tmp_path / 'out').iterdir()}
    assert before.keys() == {'results.json', 'run.json', 'table.md'}
    for flags in ([], ['--quick']):
        with pytest.raises(UserError, match=r'out holds python -m experiments\.some --quick: --overwrite replaces'):
            begin(*flags)
    with pytest.raises(UserError, match=r'holds python -m experiments\.some --quick'):
        begin('--quick', name='so', adds=True)
    assert {path.name: path.read_text() for path in (tmp_path / 'out').iterdir()} == before
    begin('--overwrite').record({'error': 2.0})
    assert json.loads((tmp_path / 'out' / 'results.json').read_text()) == {'error': 2.0}
    record = json.loads((tmp_path / 'out' / 'run.json').read_text())
    assert record['command'] == 'python -m experiments.some' and 'resumed' not in record
    begin('--seed=2', adds=True)  # to the runs of other seeds


def test_what_was_stopped_goes_on_by_the_same_command(begin, tmp_path):
    begin('--quick')
    (tmp_path / 'out' / 'checkpoint').write_text('half')
    with pytest.raises(UserError, match=r'out holds python -m experiments\.some --quick: --overwrite replaces'):
        begin()
    begin('--quick').record({})
    assert json.loads((tmp_path / 'out' / 'run.json').read_text())['resumed']
    assert (tmp_path / 'out' / 'checkpoint').read_text() == 'half'


def test_a_small_network_goes_on_where_it_was_stopped():
    """Its config, which no config file made, is read again from a checkpoint."""
    kind = identity_network.KINDS['losses']
    for config in (parsing_network.settings(quick=True), identity_network.settings(quick=True, kind=kind)):
        written = record.plain(config)
        assert record.current(written) == written


@pytest.mark.parametrize('name', ['mine.png', 'results.json', 'run.json', 'unfinished.json'])
def test_a_folder_of_something_else_is_refused(name, begin, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / name).write_text('{')
    with pytest.raises(UserError, match=r'out holds .*--overwrite'):
        begin()
    assert (tmp_path / 'out' / name).read_text() == '{'
    begin('--overwrite').record({})


def test_outside_of_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, '__file__', str(tmp_path / 'harness.py'))
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
    run = harness.start('some', tmp_path / 'out')
    assert (run.commit, run.changed) == ('', False)


def test_a_table_has_all_columns_and_empty_cells():
    text = harness.table({'a': {'x': 1.0}, 'b': {'y': 2.0, 'x': 0.12345}})
    assert text == '| | x | y |\n| --- | ---: | ---: |\n| a | 1 |  |\n| b | 0.1235 | 2 |\n'
