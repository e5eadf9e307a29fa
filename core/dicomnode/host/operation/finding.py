"""What a check of the node found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked.

    Attributes
    ----------
    check : str
        Which kind: ``configuration``, ``plugins``, ``pipelines``, ``receiver``, ``data``, ``destinations``,
        ``peers``.
    what : str
        Which one.
    verdict : Verdict
        How it went.
    message : str
        What was found, and what to do about it.
    """

    check: str
    what: str
    verdict: Verdict
    message: str

    def to_json(self) -> dict[str, str]:
        """Return plain data."""
        return asdict(self)
