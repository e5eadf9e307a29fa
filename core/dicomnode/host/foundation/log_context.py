"""Which association a thread serves, so that each line that is logged on it can say so."""

from __future__ import annotations

from contextvars import ContextVar

association: ContextVar[str] = ContextVar("association", default="")
"""The id of the association that this thread serves; empty on threads that serve none."""
