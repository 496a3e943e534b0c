"""Weights that jfrecon brings along; README.md beside them is their model card."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
NETWORK = FOLDER / 'network.safetensors'  # where the fit of a video starts
SKIN = FOLDER / 'parsing.safetensors'  # which pixels show the skin of a face
IDENTITY = FOLDER / 'identity.safetensors'  # whose face a photograph shows
SHAPE = FOLDER / 'shape.safetensors'  # which identity the points of the face mesh suggest
