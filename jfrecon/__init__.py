"""jfrecon: self-supervised 3D face reconstruction from a single photograph, in JAX."""

__version__ = '0.1.0'
