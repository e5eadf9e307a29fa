"""How an operator names a container that waits."""

from __future__ import annotations

import pytest

from dicomnode.errors import JobStateError
from dicomnode.host.gathering.container_naming import named_container

KEYS = ("4711/1.2/1.2.3", "4711/1.2/1.2.4", "4712@NORTH/1.5", "M%FCller-1", "A%2FB/1.6")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("4711/1.2/1.2.4", "4711/1.2/1.2.4"),
        ("4712", "4712@NORTH/1.5"),
        ("4712@NORTH", "4712@NORTH/1.5"),
        ("M%FCller-1", "M%FCller-1"),
        ("A/B", "A%2FB/1.6"),
        ("A%2FB", "A%2FB/1.6"),
    ],
)
def test_by_its_key_or_by_its_patient(name: str, key: str) -> None:
    """With the issuer and without, as the key shows the identifier and as it is."""
    assert named_container(KEYS, name, "smooth") == key


def test_several_containers_of_a_patient_are_listed() -> None:
    """So that one of them can be named."""
    with pytest.raises(JobStateError) as refused:
        named_container(KEYS, "4711", "smooth")
    assert str(refused.value) == (
        "2 containers of '4711' wait for the pipeline 'smooth'; name one of them:"
        " 4711/1.2/1.2.3, 4711/1.2/1.2.4"
    )


@pytest.mark.parametrize("name", ["", "471", "4711/1.2", "north"])
def test_what_does_not_wait_is_told(name: str) -> None:
    """A part of a key names nothing."""
    with pytest.raises(JobStateError, match="status --patients"):
        named_container(KEYS, name, "smooth")
