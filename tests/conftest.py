"""Shared by all tests: one machine's worth of quiet."""

from __future__ import annotations

import os

# One device for all tests; those of the data-parallel step start their own process with four.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
