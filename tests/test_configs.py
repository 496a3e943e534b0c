"""The records of experiments: each complete, nothing in it that its method does not read, derived values as derived."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from configs import cest, dib21, quickstart, s2f2, variants, yang21
from jfrecon import methods
from jfrecon.data import build
from jfrecon.losses import energies
from jfrecon.methods.method import AXIS
from jfrecon.training import settings, stages

ROOT = Path(__file__).parents[1]
METHODS = [cest, dib21, s2f2, yang21]
named = pytest.mark.parametrize('configs', METHODS, ids=lambda configs: configs.__name__.removeprefix('configs.'))


def leaves(config, section=''):
    for name, value in config.items():
        if isinstance(value, type(config)):
            yield from leaves(value, f'{section}{name}.')
        else:
            yield f'{section}{name}'


@pytest.mark.parametrize('name', ['cest', 'dib21', 'quickstart', 's2f2', 'yang21'])
def test_a_file_is_read_without_another(name):
    """What it shares with others is how variants are taken apart."""
    tree = ast.parse((ROOT / 'configs' / f'{name}.py').read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    shared = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == 'configs'
              for alias in node.names]  # fmt: skip
    assert modules <= {'__future__', 'ml_collections', 'ml_collections.config_dict', 'configs'}
    assert set(shared) <= {'variants'}
    said = ast.get_docstring(tree)
    assert 'python -m jfrecon.main --config=configs/' in said and 'Hardware:' in said and 'Expected' in said


@named
def test_every_field_is_read_by_its_method(configs, tmp_path):
    """By some stage, with some renderer and some source of data: a field that nothing reads is another method's."""
    landmarks = tmp_path / 'landmarks.npz'
    landmarks.touch()
    read, whole = set(), configs.get_config('quicktest')
    for renderer in ('vertex', 'raytrace'):
        for _, part in stages.configs(whole, tmp_path):
            weights = part.loss
            if (renderer == 'vertex' and 'vertex' not in weights) or part.get('energy') == 'refine':
                renderer = part.renderer
            part.renderer = renderer
            if 'cross' in weights:  # which are why there is an identity network
                weights.cross = weights.perceptual = 0.1
                part.identity = 'identity.safetensors'
            watched = settings.Watched(part, read)
            methods.build(watched, AXIS)
            build.check(watched)
            part.data.update(source='folder', path=str(tmp_path), landmarks=str(landmarks))
            build.check(settings.Watched(part, read))
            part.data.update(source='tfds', path='the300w_lp', landmarks=None)
            build.check(settings.Watched(part, read))
            dict(watched.optimiser), dict(watched.optimiser.groups)
    of_the_loop = {*settings.LEAST, *settings.OF_THE_RUN, 'stage'}
    unread = {name for name in leaves(whole) if not name.startswith('stage.')} - read - of_the_loop
    assert unread == set()


@named
def test_sizes_have_the_same_fields(configs):
    fields = [set(leaves(configs.get_config(size))) for size in variants.SIZES]
    of_stages = lambda names: {name for name in names if not name.startswith('stage.')}
    assert of_stages(fields[0]) == of_stages(fields[1]) == of_stages(fields[2])
    for size in variants.SIZES:
        config = configs.get_config(size)
        assert set(config.stage) == set(config.stages)
        for part in config.stage.values():
            assert part.steps and set(leaves(part)) - fields[0] <= {
                f'optimiser.groups.{name}' for name in ('encoder', 'head', 'decoder')
            }


def test_terms_of_maps_keep_the_papers_proportion_to_the_photometric_term():
    paper = dib21.get_config()
    for configs in (dib21, s2f2):
        for size in variants.SIZES:
            config = configs.get_config(size)
            assert config.loss.photo == config.loss.vertex
            for name in energies.ALBEDO_TERMS:
                assert config.loss[name] == paper.loss[name] * config.loss.photo, (configs, size, name)
    for size in variants.SIZES:
        config = dib21.get_config(size)
        relaxed = config.loss.consistency_diffuse * config.loss.relax**5
        assert config.stage.joint.loss.to_dict() == {'consistency_diffuse': relaxed, 'relax': 1.0}
        config = s2f2.get_config(size)
        assert config.loss.smoothness_normal == config.loss.photo * (config.network.texture / 256) ** 2


@named
def test_the_readme_says_which_weights_the_small_size_changes(configs):
    name = configs.__name__.removeprefix('configs.')
    text = (ROOT / 'jfrecon' / 'methods' / name / 'README.md').read_text(encoding='utf-8')
    table = text.partition('| `config.loss` | `:paper` | `:cpu` |\n| --- | ---: | ---: |\n')[2].partition('\n\n')[0]
    paper, cpu = configs.get_config().loss, configs.get_config('cpu').loss
    changed = {name: (f'{paper[name]:.3g}', f'{cpu[name]:.3g}') for name in paper if paper[name] != cpu[name]}
    rows = [[cell.strip() for cell in row.strip('|').split('|')] for row in table.splitlines()]
    assert {row[0]: tuple(row[1:]) for row in rows} == changed


def test_stages_last_as_many_epochs_as_the_papers_say():
    epochs = lambda config: [config.stage[name].steps / config.epoch for name in config.stages]
    assert epochs(dib21.get_config()) == [10, 5, 5] and dib21.get_config().epoch * 8 == 250_000
    assert epochs(s2f2.get_config()) == [30, 10, 5] and s2f2.get_config().epoch * 8 == 199_600  # 199,599 images
    assert epochs(yang21.get_config()) == [10, 10] and yang21.get_config().epoch * 16 == 172_224  # 172,209


def test_s2f2_builds_on_dib21():
    """Where its text has lost a value, it is dib21's."""
    for size in ('paper', 'cpu'):
        theirs, ours = dib21.get_config(size), s2f2.get_config(size)
        theirs.data.held_out = ours.data.held_out  # the one thing that it says itself
        assert ours.model == theirs.model and ours.data == theirs.data
        assert all(ours.loss[name] == value for name, value in theirs.loss.items())
        assert all(ours.network[name] == theirs.network[name] for name in theirs.network)


def test_quickstart_is_a_variant_of_dib21():
    """But for a shorter run on fewer faces, in which landmarks count for more, of another seed."""
    theirs, ours = dib21.get_config('cpu+base+solved_light'), quickstart.get_config()
    assert set(leaves(ours)) == set(leaves(theirs))
    assert {name for name in leaves(ours) if ours[name] != theirs[name]} == {
        'loss.landmarks', 'data.faces', 'steps', 'seed',
    }  # fmt: skip


@named
def test_every_change_of_every_size_can_be_trained(configs, tmp_path):
    """Quickly, at the smallest size: each is built and its data are checked, the weights of its terms with it."""
    for change in configs.CHANGES:
        config = configs.get_config(f'quicktest+{change}')
        try:
            for _, part in stages.configs(config, tmp_path):
                watched = settings.Watched(part, set())  # as before a training
                methods.build(watched, AXIS)
                build.check(watched)
        except ValueError as error:  # pragma: no cover
            pytest.fail(f'{change}: {error}')
