"""Slices in space and time, volumes, and the grinders that make them."""
