"""Which methods of a base class an author has overridden."""

from __future__ import annotations

from dicomnode.pipeline.overriding import overridden


class Base:
    """A base."""

    def one(self) -> int:
        return 1

    def two(self) -> int:
        return 2

    @classmethod
    def three(cls) -> int:
        return 3


class Mixin:
    """Overrides from the side."""

    def two(self) -> int:
        return 22


class Same(Base):
    """Overrides nothing."""


class Other(Mixin, Base):
    """Overrides through a mixin, and one method itself."""

    def one(self) -> int:
        return 11


def test_methods_of_ones_own() -> None:
    """A method counts wherever it comes from, if it is not the base's; only those that are asked for."""
    assert overridden(Same, Base, ("one", "two")) == ()
    assert overridden(Other, Base, ("one", "two")) == ("one", "two")
    assert overridden(Other, Base, ("two",)) == ("two",)
