"""What is set on a command line, for a run of two stages whose fields are few."""

from __future__ import annotations

import pytest
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from jfrecon.errors import UserError
from jfrecon.training import settings


def config():
    return ConfigDict({
        'method': 'toy',
        'steps': 5,
        'file': placeholder(str),
        'start_from': placeholder(str),
        'loss': {'photo': 1.0, 'prior': 2.0},
        'groups': {},
        'stages': ('one', 'two'),
        'stage': {'one': {'steps': 5}, 'two': {'steps': 7, 'loss': {'prior': 0.5}}},
    })  # fmt: skip


def set_in(built, values):
    """The stages' configs after these settings, as `jfrecon.main` makes them."""
    whole = settings.whole(built)
    for name, value in values.items():
        settings._set(whole, name, value)
    settings.obey(whole, list(values))
    return {name: settings.alone(whole, whole.stage[name]) for name in whole.stages}


def test_stages_are_what_the_run_is_but_for_their_own_changes():
    sparse = config()
    whole = settings.whole(sparse)
    assert whole.stage.two.loss.photo == 1.0 and whole.stage.two.loss.prior == 0.5 and whole.stage.two.steps == 7
    for name in sparse.stages:
        assert settings.alone(whole, whole.stage[name]) == settings.alone(sparse, sparse.stage[name])
        assert settings.alone(sparse, sparse.stage[name]).stages == ()
    whole.stage.one.file = 'x'  # still of its type, and nobody else's
    assert whole.file is None and sparse.file is None and whole.stage.two.file is None
    with pytest.raises(TypeError):
        whole.stage.two.file = 3


def test_a_setting_is_for_every_stage_but_where_one_has_its_own():
    parts = set_in(config(), {'steps': 3, 'loss.prior': 9.0, 'stage.two.loss.prior': 4.0})
    assert (parts['one'].steps, parts['two'].steps) == (3, 3)
    assert (parts['one'].loss.prior, parts['two'].loss.prior) == (9.0, 4.0)
    assert parts['one'].loss.photo == parts['two'].loss.photo == 1.0
    # whichever comes first, and also when a section is set as a whole
    parts = set_in(config(), {'stage.two.loss.prior': 4.0, 'loss': ConfigDict({'photo': 8.0, 'prior': 9.0})})
    assert parts['one'].loss.to_dict() == {'photo': 8.0, 'prior': 9.0}
    assert parts['two'].loss.to_dict() == {'photo': 8.0, 'prior': 4.0}


def test_an_empty_section_empties_that_of_a_stage():
    built = config()
    built.groups = ConfigDict({'encoder': 0.0})
    parts = set_in(built, {'stage.two.groups': ConfigDict()})
    assert parts['one'].groups.to_dict() == {'encoder': 0.0} and not parts['two'].groups


def test_the_network_to_start_from_is_for_the_first_stage():
    built = config()
    built.start_from = 'before'
    assert settings.whole(built).stage.two.start_from is None
    assert set_in(config(), {'start_from': 'before'})['two'].start_from is None
    assert set_in(config(), {'stage.two.start_from': 'before'})['two'].start_from == 'before'


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('stesp', r'--config\.stesp: config has no field stesp; did you mean steps\?'),
        ('loss.fame', r'config\.loss has no field fame; there are photo, prior'),
        ('stage.tow.steps', r'config\.stage has no field tow; did you mean two\?'),
        ('stage.two.loss.pirior', r'config\.stage\.two\.loss has no field pirior; did you mean prior\?'),
        ('steps.many', r'config\.steps has no field many'),
        ('groups.decoder', r'set as a whole: --config\.groups="\{\'decoder\': \.\.\.\}"'),
        ('stage.two.stages', 'has no field stages'),
    ],
)
def test_fields_that_are_not_there_are_named(name, message):
    with pytest.raises(UserError, match=message):
        settings.require(settings.whole(config()), ['steps', 'stage.two.loss.prior', name])


def test_a_stage_that_is_not_trained_is_named():
    built = config()
    built.stages = ('one',)
    with pytest.raises(UserError, match=r'--config\.stage\.two\.steps: config\.stages has one, not two'):
        set_in(built, {'stage.two.steps': 3})


def test_what_is_read_is_noted():
    read = set()
    watched = settings.Watched(config(), read)
    assert read == set()
    assert watched.loss.photo == 1.0 and watched['stage.two.steps'] == 7 and dict(watched.loss) == {
        'photo': 1.0, 'prior': 2.0,
    }  # fmt: skip
    assert {'loss.photo', 'loss.prior', 'stage.two.steps'} <= read and 'steps' not in read
    assert 'steps' in watched and set(watched.stage.one) == {'steps'} and 'stage.one.steps' not in read
    with pytest.raises(UserError, match=r'no field loss\.fame'):
        _ = watched.loss.fame


def test_a_setting_without_effect_is_an_error():
    parts = {name: settings.alone(config(), config().stage[name]) for name in ('one', 'two')}
    read = {'one': {'steps', 'loss', 'loss.photo'}, 'two': {'steps', 'loss', 'loss.photo', 'loss.prior'}}
    # some stage that it is for reads it; 'stages' and 'start_from' are the run's own
    settings.require_use(['loss.prior', 'loss', 'stage.two.loss.prior', 'stages', 'start_from'], parts, read)
    for name in ('groups', 'file', 'stage.one.loss.prior'):
        with pytest.raises(UserError, match=rf'--config\.{name} has no effect: nothing reads it where .*method=toy'):
            settings.require_use([name], parts, read)
