from __future__ import annotations

import pytest

from jfrecon.evaluation.benchmarks import synthetic


@pytest.mark.parametrize('packed', [False, True])
def test_faces_are_made_where_there_is_a_folder(packed, tmp_path, monkeypatch):
    """In a run's own, which has those that it was trained with; a packed network is a file."""
    network = tmp_path / 'network.safetensors' if packed else tmp_path / 'run'
    network.write_text('packed') if packed else network.mkdir()
    asked = []

    def made(config, folder, *_):
        asked.append(folder)
        folder.mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic.prediction, 'load', lambda path: (None, None, 0))
    monkeypatch.setattr(synthetic.build, 'synthetic_faces', made)
    with pytest.raises(KeyboardInterrupt):
        synthetic.run(network, tmp_path / 'out' / 'results.json')
    assert asked == [tmp_path / ('out' if packed else 'run') / 'synthetic']
