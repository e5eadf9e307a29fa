"""Events and decisions: which images they are about."""

from __future__ import annotations

from dicomnode.host.gathering.messages import Assessment, StartJob


def test_the_images_of_an_assessment() -> None:
    """Those of all inputs, each once; none where there is none."""
    assert Assessment({"ct": ("1.1", "1.2"), "pet": ("1.2", "1.3"), "mask": ()}).uids == {"1.1", "1.2", "1.3"}
    assert Assessment({}).uids == frozenset()


def test_the_images_that_leave_by_a_job() -> None:
    """Those of its inputs, and those of series that were not chosen."""
    assert StartJob("P1", {"ct": ("1.1", "1.2")}, frozenset({"1.9"}), "why").uids == {"1.1", "1.2", "1.9"}
