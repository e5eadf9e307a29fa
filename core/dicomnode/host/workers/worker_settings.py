"""What a worker's supervisor is given at its start."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker process is confined.

    Attributes
    ----------
    disk : int or None
        The longest file that it may write, in bytes.
    nice : int
        By how much its processes give way to the host's.
    grace : float
        Seconds between SIGTERM and SIGKILL for a worker that has run out of time.
    log : int
        Bytes of its output that are kept.
    patience : float
        Seconds after a task's timeout, beyond which the host takes its supervisor for dead.
    """

    disk: int | None = None
    nice: int = 5
    grace: float = 2.0
    log: int = 64 * 1024
    patience: float = 30.0

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)
