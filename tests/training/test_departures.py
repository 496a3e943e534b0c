"""What a run at the size of a paper says that it lacks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from configs import cest, dib21, quickstart, s2f2, yang21
from jfrecon import morphable
from jfrecon.training import departures, loop, stages


def warning(config):
    return departures.warning([part for _, part in stages.configs(config, Path('run'))])


def test_a_paper_without_its_weights_and_photographs_says_so_once(tmp_path):
    told = warning(dib21.get_config())
    assert told.count('--config.network.weights=FILE') == told.count('--config.data.landmarks=LANDMARKS.npz') == 1
    assert '\n' not in told and 'resnet152 from nothing' in told and 'landmarks, whose' not in told
    assert '--config.network.detail_weights=FILE' in warning(s2f2.get_config())
    assert 'weights' not in warning(cest.get_config()) and 'made faces' in warning(cest.get_config())


@pytest.mark.parametrize('configs', [cest, dib21, s2f2, yang21], ids=lambda configs: configs.__name__)
def test_a_paper_that_has_all_says_nothing_and_so_does_a_small_run(configs):
    config = configs.get_config()
    config.data.update(source='folder', path='photos', landmarks='landmarks.npz')
    if 'weights' in config.network:
        config.network.weights = 'resnet.pth'
    if 'detail_weights' in config.network:
        config.network.detail_weights = 'vgg.pth'
    assert warning(config) == ''
    config.data.landmarks = None
    assert 'without landmarks' in warning(config)
    assert warning(configs.get_config('cpu')) == warning(quickstart.get_config()) == ''


def test_a_gaussian_basis_without_a_prior_says_so(monkeypatch):
    model = dataclasses.replace(morphable.load('makehuman', None), expression_prior='gaussian')
    monkeypatch.setattr(morphable, 'load', lambda name, path: model)
    assert 'bounds the expressions of makehuman' in warning(dib21.get_config())
    assert warning(dib21.get_config('cpu')) == ''


def test_training_warns_once(monkeypatch, tmp_path):
    told = []
    monkeypatch.setattr(stages.logging, 'warning', lambda message, *_: told.append(message))
    monkeypatch.setattr(stages, 'check', lambda *_, **__: None)
    monkeypatch.setattr(stages.build, 'training_data', lambda *_: stages.build.Data(()))
    monkeypatch.setattr(loop, 'train', lambda *_, **__: None)
    stages.train(s2f2.get_config(), tmp_path)
    assert [message.startswith('this is not the run of the paper') for message in told] == [True]
