"""A page on this machine where photographs become heads: `python -m jfrecon.demo`."""
