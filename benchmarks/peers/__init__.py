"""Whom the benchmarks compare with, and who sends to them."""
