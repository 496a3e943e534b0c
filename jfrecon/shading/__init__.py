"""Colour, spherical harmonics, environment maps and reflectance: pure functions of camera-space directions."""
