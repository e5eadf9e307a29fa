"""Data sets and pixels from disk."""
