"""Garbage in cycles is looked for less often, and is still found."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from dicomnode.host.foundation.gc_tuning import tune_gc


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_it_is_looked_for_less_often() -> None:
    """At every level, but it is not turned off."""
    before = gc.get_threshold()
    tune_gc()
    assert all(now > then for now, then in zip(gc.get_threshold(), before, strict=True))
    assert gc.isenabled()
