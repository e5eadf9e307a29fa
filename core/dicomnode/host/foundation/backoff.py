"""How long to wait before what has failed is tried again."""

from __future__ import annotations

import random
from typing import Final

_SPREAD: Final = 0.2


class BackOff:
    """How long to wait before the next attempt: doubling, within a limit, and a little different each time.

    Parameters
    ----------
    first, longest : float
        Seconds after the first failure, and at most.
    """

    def __init__(self, first: float, longest: float) -> None:
        self.first, self.longest = first, longest
        self._random = random.Random()  # noqa: S311 - it spreads load, it guards nothing

    def delay(self, failures: int) -> float:
        """Return seconds to wait after so many failures (at least one)."""
        doubled = self.first * 2.0 ** min(max(failures, 1) - 1, 60)
        # Jitter goes down from the limit, so that the limit is one.
        return min(
            doubled * self._random.uniform(1.0, 1.0 + _SPREAD),
            self.longest * self._random.uniform(1.0 - _SPREAD, 1.0),
        )
