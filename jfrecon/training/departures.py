"""What a run at the size of a paper lacks of what the paper had: weights, photographs, landmarks."""

from __future__ import annotations

from collections.abc import Sequence

from ml_collections import ConfigDict

from jfrecon import morphable
from jfrecon.data import tfds_sources
from jfrecon.nets import encoder, vgg

LANDMARKS = 'without landmarks, whose terms are zero (--config.data.landmarks=FILE.npz, or python -m jfrecon.prepare)'


def warning(parts: Sequence[ConfigDict]) -> str:
    """Return one line on what the stages of a run lack and how to give it, '' where that is nothing.

    Runs with small networks are nobody's paper: of these only what goes wrong without a word is said.
    """
    found = dict.fromkeys(lack for number, part in enumerate(parts) for lack in _lacks(part, first=number == 0))
    return f'this is not the run of the paper: it trains {"; ".join(found)}' if found else ''


def _lacks(config: ConfigDict, first: bool) -> list[str]:
    data, network, found = config.data, config.get('network', {}), []
    loss, backbone = config.get('loss', {}), network.get('backbone')
    if backbone in encoder.BACKBONES and encoder.is_published(backbone):
        if first and config.start_from is None and network.get('weights', '') is None:
            found.append(f'{backbone} from nothing (--config.network.weights=FILE of ImageNet weights)')
        if (
            first
            and network.get('detail') in vgg.STAGES
            and network.detail != 'small'
            and network.detail_weights is None
        ):
            found.append(f'{network.detail} from nothing (--config.network.detail_weights=FILE of ImageNet weights)')
        if data.source == 'synthetic':
            found.append(
                'on made faces (--config.data.source=folder --config.data.path=PHOTOS '
                '--config.data.landmarks=LANDMARKS.npz --config.data.crop=landmarks)'
            )
    if loss.get('landmarks') and (
        (data.source == 'folder' and data.landmarks is None)
        or (data.source == 'tfds' and tfds_sources.LANDMARKS.get(data.path) is None)
    ):
        found.append(LANDMARKS)
    if not loss.get('expression', 1) and config.get('energy') not in ('albedo', 'fine', 'refine'):
        model = morphable.load(config.model.name, config.model.path)
        if model.expression_prior == 'gaussian':
            found.append(
                f'with nothing that bounds the expressions of {config.model.name}, which have no box '
                '(--config.loss.expression=0.002)'
            )
    return found
