"""Colour, spherical harmonics, environment maps and reflectance, in camera space."""
