"""Reconstruction by optimisation: a face is fitted to the very photographs that it is wanted of (dib21, section 6)."""
