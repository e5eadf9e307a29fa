"""Text from the network, fit for a log line."""

from __future__ import annotations

_LONGEST = 64


def log_text(text: str) -> str:
    """Return `text` as printable ASCII of at most 64 characters; everything else is escaped."""
    safe = text[:_LONGEST].encode("unicode_escape").decode("ascii")
    return safe[: 4 * _LONGEST]
