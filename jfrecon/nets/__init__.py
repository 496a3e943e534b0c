"""Flax modules, and readers of published weights."""
