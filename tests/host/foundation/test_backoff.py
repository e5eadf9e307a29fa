"""How long what has failed waits before it is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dicomnode.host.foundation.backoff import BackOff


@given(st.floats(0.01, 100), st.floats(1, 100), st.integers(-1, 10_000))
def test_waits_double_within_a_limit(first: float, factor: float, failures: int) -> None:
    """A wait is the doubled first one or up to a fifth more, and never more than the longest."""
    longest = first * factor
    wait = BackOff(first, longest).delay(failures)
    doubled = first * 2.0 ** min(max(failures - 1, 0), 60)
    assert min(doubled, 0.8 * longest) <= wait <= min(1.2 * doubled, longest)


def test_waits_differ() -> None:
    """Two hosts that failed together do not come back together."""
    assert len({BackOff(30, 600).delay(1) for _ in range(20)}) > 10
    assert len({BackOff(30, 600).delay(99) for _ in range(20)}) > 10
