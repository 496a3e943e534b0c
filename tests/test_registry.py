import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from safetensors.numpy import save

from jfrecon import methods, morphable, pretrained, registry
from jfrecon.errors import UserError
from jfrecon.reconstruction import prediction
from jfrecon.training import checkpoints

ROOT = Path(__file__).parent.parent


def test_methods_are_the_packages_and_not_what_they_share():
    assert methods.names() == ('cest', 'dib21', 's2f2', 'yang21')


def test_an_unknown_method_is_told_which_there_are():
    with pytest.raises(UserError, match=r"config.method is 'mofa'; there are cest, dib21, s2f2, yang21$"):
        methods.build(ConfigDict({'method': 'mofa'}))


@pytest.mark.parametrize('name', ['parts', 'tests.test_registry', '..files', 'cest.factors', '', None, ['cest']])
def test_a_name_that_is_none_of_theirs_imports_nothing(name, monkeypatch):
    monkeypatch.setattr(registry.importlib, 'import_module', watched := Watched())
    with pytest.raises(UserError, match=r'there are cest'):
        methods.build(ConfigDict({'method': name}))
    assert set(watched.asked) == {'jfrecon.methods'}


class Watched:
    def __init__(self):
        self.asked, self.real = [], registry.importlib.import_module

    def __call__(self, name):
        self.asked.append(name)
        return self.real(name)


@pytest.mark.parametrize('name', ['hostile', '..hostile', 'jfrecon.methods.hostile'])
def test_a_hostile_checkpoint_imports_nothing(name, tmp_path, monkeypatch):
    (tmp_path / 'hostile.py').write_text('raise SystemExit("imported")')
    monkeypatch.syspath_prepend(tmp_path)
    config, step = checkpoints.load(pretrained.NETWORK)[:2]
    file = tmp_path / 'network.safetensors'
    for changed, asked in (
        ({'method': name}, 'config.method is'),
        ({'model': {**config['model'], 'name': name}}, 'model'),
    ):
        about = {'config': json.dumps(config | changed), 'step': str(step)}
        file.write_bytes(save({'params/x': np.zeros(1, np.float16)}, about))
        with pytest.raises(UserError, match=f'{asked} {re.escape(repr(name))}; there are'):
            prediction.load(file)
    assert 'hostile' not in sys.modules


def test_an_installed_package_gives_methods_and_models(tmp_path, monkeypatch):
    (tmp_path / 'my_project.py').write_text('def build(config, axis_name):\n    return config.method, axis_name\n')
    (tmp_path / 'my_model.py').write_text('def load(path=None):\n    return path\n')
    installed = tmp_path / 'my_project-1.dist-info'
    installed.mkdir()
    (installed / 'METADATA').write_text('Metadata-Version: 2.1\nName: my-project\nVersion: 1\n')
    (installed / 'entry_points.txt').write_text(
        '[jfrecon.methods]\nmine = my_project\ndib21 = my_project\n[jfrecon.morphable.models]\nhorse = my_model\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert methods.names() == ('cest', 'dib21', 'mine', 's2f2', 'yang21')
    assert methods.build(ConfigDict({'method': 'mine'}), 'devices') == ('mine', 'devices')
    assert registry.find('jfrecon.methods', 'dib21', '').__name__ == 'jfrecon.methods.dib21'  # ours comes first
    assert morphable.load('horse') is None and not morphable.has_head('horse')
    monkeypatch.delitem(sys.modules, 'my_project')
    monkeypatch.delitem(sys.modules, 'my_model')


def test_morphable_models_are_told_apart():
    assert morphable.names() == ('basel2009', 'basel2017', 'basel2019', 'flame', 'gnm', 'ict', 'makehuman')
    assert morphable.names(with_head=True) == ('gnm', 'ict', 'makehuman')
    with pytest.raises(UserError, match=r"no whole head for 'flame', .*; there is one for gnm, ict, makehuman"):
        morphable.load_head('flame')
    with pytest.raises(UserError, match=r'flame has its own resolution'):
        morphable.load('flame', 'x', subdivisions=1)


@pytest.mark.parametrize('name', [name for name in morphable.names() if name != 'makehuman'])
def test_a_model_that_is_not_embedded_says_where_to_get_it(name):
    with pytest.raises(UserError, match=rf"the morphable model '{name}' needs a path: .*(\.de|\.ch|github\.com)"):
        morphable.load(name)


def test_the_readme_lists_the_methods_and_the_models():
    text = (ROOT / 'README.md').read_text()
    table = lambda heading: re.findall(r'^\| (.*?) \|', text.split(f'\n## {heading}\n')[1].split('\n## ')[0], re.M)
    named = lambda rows: sorted(re.findall(r'`(\w+)`', ' '.join(rows)))
    assert named(table('The methods')) == list(methods.names())
    assert named(table('Morphable models')[1:]) == list(morphable.names())
