"""Configs of checkpoints that were written before their layout was today's."""

from __future__ import annotations

import copy
import json

import pytest
from ml_collections import ConfigDict
from safetensors import safe_open

from configs import cest, dib21, quickstart, s2f2, yang21
from jfrecon import methods, pretrained
from jfrecon.errors import UserError
from jfrecon.training import record, stages

LATER = ('domain', 'solve_light', 'keep_checkpoints', 'keep_checkpoints_every', 'stages', 'stage', 'start_from')


def older(config):
    """As a stage's checkpoint held it on 2026-11-27, before domains, clips and configs of one file each."""
    found = record.plain(config)
    for name in LATER:
        del found[name]
    del found['data']['frames'], found['loss']['exposure'], found['epochs']
    for name in ('masks', 'split', 'held_out'):
        del found['data'][name]
    found['data']['forehead'] = 0.0
    if found['method'] != 'yang21':
        del found['loss']['vertex']
    if found['method'] == 'yang21':
        found['network']['decoders'] = 2
        del found['end_to_end'], found['identity_input']
    if found['method'] == 'cest':
        del found['light_colour']
        found['model']['albedo'] = 0
        found['network']['scales'] |= {'albedo': 0.5, 'translation': 0.5}
    return found


@pytest.mark.parametrize('configs', [cest, dib21, s2f2, yang21], ids=lambda configs: configs.__name__)
def test_an_older_config_becomes_todays_and_describes_the_same_network(configs, tmp_path):
    built = configs.get_config('quicktest')
    if configs is cest:
        built.data.frames = 1
    if configs is yang21:
        built.identity_input = 'crop'
    built.loss.exposure = 0.0
    _, part = stages.configs(built, tmp_path)[-1]
    part.start_from = None
    before = older(part)
    kept = copy.deepcopy(before)
    found = record.current(before)
    assert before == kept  # a copy
    assert found == record.plain(part) and record.current(found) == found
    assert methods.build(ConfigDict(found)).weights == methods.build(part).weights


def test_a_config_that_is_too_old_says_so():
    before = older(dib21.get_config('quicktest+base'))
    del before['network']['scales']
    with pytest.raises(UserError, match=r'no field network\.scales: it is of an older jfrecon, train it anew'):
        record.current(before)
    before = older(dib21.get_config('paper+base'))
    assert record.current(before)['network']['texture'] == 0
    for whole in (dib21.get_config(), cest.get_config('iest')):
        with pytest.raises(UserError, match='decoders of maps of 256 texels are of an older jfrecon'):
            record.current(older(whole))
    assert record.current(record.plain(dib21.get_config())) and record.current(older(cest.get_config()))


@pytest.mark.parametrize(
    'hostile', [[], {}, {'method': ['dib21']}, {'method': 'dib21', 'loss': 3, 'model': {'name': 1}}]
)
def test_what_is_no_config_is_named(hostile):
    with pytest.raises(UserError, match='its config'):
        record.current(hostile)


def test_configs_of_methods_from_elsewhere_are_left_alone():
    mine = {'method': 'mine', 'size': 3}
    assert record.current(mine) == mine


def test_the_network_that_comes_with_jfrecon_has_todays_config():
    with safe_open(pretrained.NETWORK, 'numpy') as file:
        config = json.loads(file.metadata()['config'])
    today = record.current(config)
    assert record._leaves(today).keys() == record._leaves(record.plain(quickstart.get_config())).keys()
    assert today['data']['forehead'] == 0.2  # what made faces have
    assert methods.build(ConfigDict(today)).energy == 'base'
