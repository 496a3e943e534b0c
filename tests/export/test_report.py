import json

import numpy as np

from jfrecon.export import report


def test_report_is_one_page_that_needs_nothing_else(tmp_path):
    metrics = tmp_path / 'metrics.jsonl'
    metrics.write_text(''.join(json.dumps({'step': i, 'loss': 2.0 / (i + 1)}) + '\n' for i in range(5)))
    page = tmp_path / 'report.html'
    pictures = np.arange(2 * 8 * 40 * 3, dtype=np.uint8).reshape(2, 8, 40, 3)
    report.write(
        page,
        'A <b>title</b>',
        {'landmark_nme': {'baseline': 0.25, 'trained': 0.0625}},
        pictures,
        ['input', 'light'],
        metrics,
        notes=['truth & model share a basis'],
    )
    text = page.read_text()
    assert '0.0625' in text and 'polyline' in text and 'data:image/png;base64,' in text
    assert 'A &lt;b&gt;title' in text and 'truth &amp; model' in text and '<b>' not in text  # text is never markup
    assert 'http' not in text.replace('http-equiv', '')
    assert not list(tmp_path.glob('*.tmp'))


def test_montage_stacks_rows_in_order():
    pictures = np.stack([np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)])
    assert report.montage(pictures)[:, 0, 0].tolist() == [10] * 4 + [20] * 4 + [30] * 4
