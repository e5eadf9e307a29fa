"""Which methods of a base class an author has overridden."""

from __future__ import annotations

from collections.abc import Iterable


def overridden(kind: type, base: type, methods: Iterable[str]) -> tuple[str, ...]:
    """Return those of some methods that a class has of its own, and not as its base class has them.

    Parameters
    ----------
    kind, base : type
        A class, and the one that it derives from.
    methods : iterable of str
        Their names.
    """
    return tuple(name for name in methods if getattr(kind, name) is not getattr(base, name))


__all__ = ["overridden"]
