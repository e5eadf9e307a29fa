"""What an index holds of a data set: the values of some top-level elements, without their elements."""

from __future__ import annotations

from typing import TypeAlias

IndexedValue: TypeAlias = "str | int | float | list[IndexedValue] | None"
"""Plain JSON data: text decoded and split at the backslash, numbers as numbers, None for an empty value."""
