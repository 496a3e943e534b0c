"""Shared by all tests: one CPU device, and compiled programs kept between runs."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from pathlib import Path

import pytest

# Through the environment, so that the processes that tests start do the same. One device: the tests of the
# data-parallel step start a process with four.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(Path(__file__).parents[1] / '.pytest_cache' / 'compiled'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')
# Most of the suite's time is compilation. The passes that are left out make programs faster, not different; quickstart
# and experiments run with them.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
# Without the emitters that need MLIR, and without splitting programs into parts, pytest with an empty cache took 532 s
# instead of 875 (two cores, 2026-11-27); with the preset tests/methods/test_s2f2.py takes 48 s of CPU instead of 52
# (2026-11-30).
os.environ['XLA_FLAGS'] = ' '.join([
    '--xla_cpu_use_fusion_emitters=false', '--xla_cpu_parallel_codegen_split_count=1',
    '--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE', os.environ.get('XLA_FLAGS', ''),
])  # fmt: skip

assert 'jax' not in sys.modules, 'JAX was imported before it could be told'


# Files that take longest go first: what is left for the end must keep both workers busy until it. By itself xdist would
# begin with those that have most tests (`--no-loadscope-reorder` in the Makefile).
LONGEST = (
    'test_adding', 'test_raytrace', 'test_synthetic', 'test_relight', 'test_reconstruct', 'test_cest', 'test_s2f2',
    'test_dib21', 'test_main', 'test_prepare', 'test_raster', 'test_yang21', 'test_fitter', 'test_loop', 'test_viewer',
    'test_resnet', 'test_skin', 'test_mesh', 'test_tflite', 'test_uv', 'test_encoder', 'test_crossed', 'test_surface',
    'test_fuzz', 'test_models', 'test_vertex', 'test_portraits', 'test_configs', 'test_trace', 'test_lighting',
)  # fmt: skip


def pytest_collection_modifyitems(items: list) -> None:
    place = {name: k for k, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker('gpu') and os.environ['JAX_PLATFORMS'] == 'cpu':
        pytest.skip('needs an accelerator: JAX_PLATFORMS=cuda,cpu')


def pytest_collection_finish() -> None:
    # What was imported stays until the end, and traced programs are trees of many small objects: looking through all of
    # it for garbage as often as Python does took 9% of the time of tests/methods/test_yang21.py (2026-11-30).
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def pytest_unconfigure() -> None:
    # Orbax drops the other reads of a damaged checkpoint half-way; what they say at exit helps nobody.
    warnings.filterwarnings('ignore', 'Exception ignored in: <coroutine object _read_array_index')
