from __future__ import annotations

import numpy as np
import pytest

from experiments import ablations
from experiments.dib21_ablations import __main__ as dib21
from jfrecon.training import stages


@pytest.mark.parametrize('size', ablations.SIZES)
def test_every_variant_differs_from_the_reference_in_what_it_names(size, tmp_path):
    plain = lambda variant: [part.to_dict() for _, part in stages.configs(dib21.config(variant, size), tmp_path)]
    reference = plain('reference')
    assert len(reference) == 3
    for variant in dib21.VARIANTS.keys() - {'reference'}:
        changed = plain(variant)
        assert changed != reference, variant
        assert len(changed) == (2 if variant == 'not_joint' else 3)
    assert {part['samples'] for part in plain('samples32')} == {32}
    assert {part['renderer'] for part in plain('vertex')} == {'vertex'}
    assert [part['loss']['symmetry'] for part in plain('unregularised')][1:] == [0, 0]


def test_table_has_means_spreads_and_the_papers_words():
    results = {
        'a': {'m': {'mean': 1.25, 'std': 0.5, 'n': 3}},
        'b': {'m': {'mean': 2.0, 'std': np.nan, 'n': 1}},
    }
    table = ablations._table(results, {'a': 'better', 'b': 'worse'}, ('m',))
    assert '| a | 1.25 ± 0.5 | better |' in table and '| b | 2 | worse |' in table
