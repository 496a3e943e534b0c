from __future__ import annotations

import pytest

from experiments import ablations
from experiments.cest_ablations import __main__ as cest
from experiments.dib21_ablations import __main__ as dib21
from experiments.s2f2_ablations import __main__ as s2f2
from jfrecon.errors import UserError
from jfrecon.training import loop, stages


@pytest.mark.parametrize('method', [cest, dib21, s2f2])
@pytest.mark.parametrize('size', ablations.SIZES)
def test_every_variant_differs_from_the_reference_in_what_it_names(method, size, tmp_path):
    config = method.ABLATION.config
    plain = lambda variant: [part.to_dict() for _, part in stages.configs(config(variant, size), tmp_path)]
    reference = plain('reference')
    whole = {cest: 1, dib21: 4 if size == 'cpu' else 3, s2f2: 3}[method]
    assert len(reference) == whole
    fewer = {'not_joint': 1, 'medium': 1, 'coarse': 2}
    for variant in method.VARIANTS.keys() - {'reference'}:
        changed = plain(variant)
        assert changed != reference, variant
        assert len(changed) == whole - fewer.get(variant, 0)
    if method is dib21:
        assert {part['samples'] for part in plain('samples32') if part['renderer'] == 'raytrace'} == {32}
        assert {part['light_bands'] for part in reference} == {9}
        assert {part['light_bands'] for part in plain('bands3')} == {3}
        assert {part['renderer'] for part in plain('vertex')} == {'vertex'}
        assert [part['loss']['symmetry'] > 0 for part in plain('unregularised')[-3:]] == [True, False, False]
    elif method is s2f2:
        assert {part['renderer'] for part in plain('raytrace')} == {'raytrace'}
        assert [part['loss']['symmetry'] > 0 for part in plain('unregularised')] == [True, True, False]


def test_variants_that_begin_alike_share_their_first_stages(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(
        loop, 'train', lambda config, workdir, data, held_out: trained.append((workdir, config.start_from))
    )

    def stages_of(variant, seed=0, method=s2f2):
        config = method.ABLATION.config(variant, 'quick')
        config.seed = seed
        trained.clear()
        last = ablations._trained(config, tmp_path, ablations.build.Data(()))
        folders = [folder for folder, _ in trained]
        assert [before for _, before in trained] == [None, *folders[:-1]] and str(last) == folders[-1]
        return folders

    reference = stages_of('reference')
    assert len(set(reference)) == 3
    assert stages_of('medium') == reference[:2] and stages_of('coarse') == reference[:1]
    assert stages_of('unregularised')[:2] == reference[:2] and stages_of('unregularised')[2] != reference[2]
    # decoders and samples mean nothing to dib21's first stage, bands do
    first = lambda variant: stages_of(variant, method=dib21)[0]
    assert first('one_decoder') == first('samples32') == first('both') == first('reference') != first('bands3')
    assert not set(stages_of('raytrace')) & set(reference) and not set(stages_of('reference', 1)) & set(reference)


@pytest.mark.parametrize('flags', ['--quick --size=paper', '--time --seed=1', '--time --size=cpu'])
def test_a_flag_without_an_effect_is_an_error(flags, tmp_path):
    with pytest.raises(UserError, match=r'--(size|seed) has no effect with --(quick|time)'):
        cest.main([f'--out={tmp_path / "out"}', *flags.split()])
    assert not (tmp_path / 'out').exists()


def test_the_papers_size_is_the_papers_run_on_photographs(tmp_path):
    shards, weights = tmp_path / 'shards', tmp_path / 'resnet.pth'
    shards.mkdir(), weights.touch()
    parse = lambda *flags: ablations.parser('name', '').parse_args(['--out=out', '--size=paper', *flags])
    options = parse(f'--data={shards}', f'--weights={weights}')
    config = dib21.ABLATION.config('reference', 'paper')
    ablations.photographs(config, options)
    paper = dib21.ABLATION.method('paper')
    paper.data.update(source='shards', path=str(shards), crop='prepared')
    paper.network.weights = str(weights)
    parts = lambda whole: [part.to_dict() for _, part in stages.configs(whole, tmp_path)]
    assert parts(config) == parts(paper)
    with pytest.raises(UserError, match=r'--size=paper needs --data=SHARDS of .*jfrecon\.prepare'):
        ablations.photographs(config, parse(f'--weights={weights}'))
    with pytest.raises(UserError, match='--size=paper needs --weights=FILE of ImageNet'):
        ablations.photographs(config, parse(f'--data={shards}'))
    with pytest.raises(UserError, match='--size=paper needs --detail-weights=FILE'):
        ablations.photographs(s2f2.ABLATION.config('reference', 'paper'), options)
    with pytest.raises(UserError, match='--weights has no effect with cest'):
        ablations.photographs(cest.ABLATION.config('reference', 'paper'), options)
    with pytest.raises(UserError, match='--data has no effect without --size=paper'):
        dib21.main([f'--out={tmp_path / "out"}', '--quick', f'--data={shards}'])
    with pytest.raises(UserError, match='--size=paper needs --data'):
        dib21.main([f'--out={tmp_path / "out"}', '--size=paper'])
    assert not (tmp_path / 'out').exists()


def test_table_has_means_spreads_and_the_papers_words():
    results = {
        'a': {'m': {'mean': 1.25, 'std': 0.5, 'n': 3}},
        'b': {'m': {'mean': 2.0, 'std': None, 'n': 1}},
    }
    table = ablations._table(results, {'a': 'better', 'b': 'worse'}, ('m',))
    assert '| a | 1.25 ± 0.5 | better |' in table and '| b | 2 | worse |' in table


def test_runs_of_another_size_are_not_taken_for_this_ones(tmp_path, monkeypatch):
    ablation = dib21.ABLATION
    monkeypatch.setattr(ablations.build, 'source', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    quick, cpu = (ablation.config('reference', size) for size in ('quick', 'cpu'))
    for _ in range(2):  # it may be stopped, and goes on
        with pytest.raises(KeyboardInterrupt):
            ablation._score(quick, tmp_path, tmp_path / 'run', 1)
    (tmp_path / 'run' / 'results.json').write_text('{"error": 1}')
    assert ablation._score(quick, tmp_path, tmp_path / 'run', 1) == {'error': 1}
    with pytest.raises(UserError, match='run is of other settings'):
        ablation._score(cpu, tmp_path, tmp_path / 'run', 1)
