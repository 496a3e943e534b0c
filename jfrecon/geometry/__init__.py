"""Rotations, cameras, meshes and UV maps."""
